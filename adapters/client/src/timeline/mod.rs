//! Runs as pictures: what calls did over time, as text and as SVG.
//!
//! A [`Timeline`] is made of the records that an [`Observer`](crate::Observer) got, on any runtime; in
//! the simulator `Run::timeline` makes it, with the faults.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use fulmar::timeline::Timeline;
//! use fulmar::trace::Record;
//!
//! let records = Arc::new(Mutex::new(Vec::new()));
//! let kept = Arc::clone(&records);
//! let observer = move |record: &Record| kept.lock().unwrap().push(record.clone());
//! // .. `Client::builder(net).observer(observer)`, and calls with that client; then:
//! # drop(observer);
//! let timeline = Timeline::of(&records.lock().unwrap());
//! println!("{timeline}");
//! let picture: String = timeline.svg();
//! ```

mod bar;
mod call;
mod connection;
mod paint;
mod svg;
mod text;
mod units;

use std::collections::BTreeMap;
use std::time::Duration;

use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Record};

pub use call::{Attempt, Call, Link, Rest, Row, Span, Stage};
pub use connection::Connection;
pub use paint::{Ink, Paint};
pub use text::legend;
pub use units::time as time_text;

use call::Reader;

/// Calls and connections over time, and what disturbed them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Timeline {
    /// The calls, in the order in which they began.
    pub calls: Vec<Call>,
    /// The connections, in the order in which they were opened.
    pub connections: Vec<Connection>,
    /// What is marked besides: faults.
    pub bands: Vec<Band>,
    /// The earliest instant of interest.
    pub start: Instant,
    /// The latest.
    pub end: Instant,
}

/// A stretch of time with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Its start.
    pub from: Instant,
    /// Its end; [`Instant::MAX`] where it has none.
    pub to: Instant,
    /// What it is.
    pub label: String,
}

impl Timeline {
    /// Reads the records of one client, in order.
    pub fn of(records: &[Record]) -> Self {
        let mut readers: BTreeMap<u64, Reader> = BTreeMap::new();
        let mut last = 0;
        for record in records {
            // A connection that is found closed is told by the pool while it serves that call.
            let call = match (record.call, &record.event) {
                (0, Event::Closed { .. }) => last,
                (0, _) => continue,
                (call, _) => call,
            };
            last = call;
            if let Event::CallStarted { .. } = record.event {
                readers.insert(call, Reader::default());
            }
            if let Some(reader) = readers.get_mut(&call) {
                reader.handle(record);
            }
        }
        let calls: Vec<Call> = readers.into_values().map(Reader::finish).collect();
        let connections = connection::of(records);
        let ends = calls.iter().map(|call| call.start + call.length);
        let used = connections.iter().filter_map(Connection::last_use);
        let starts = calls.iter().map(|call| call.start);
        let opened = connections.iter().map(|connection| connection.opened);
        let start = starts.chain(opened).min().unwrap_or_default();
        let end = ends.chain(used).max().unwrap_or(start);
        Self {
            calls,
            connections,
            bands: Vec::new(),
            start,
            end,
        }
    }

    /// Marks a stretch of time: a fault, a deployment. What lies outside of the calls' time is not
    /// shown.
    #[must_use]
    pub fn band(mut self, from: Instant, to: Instant, label: impl Into<String>) -> Self {
        self.bands.push(Band {
            from,
            to,
            label: label.into(),
        });
        self
    }

    /// Both as one: another client's calls beside these.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.calls.extend(other.calls);
        self.calls.sort_by_key(|call| call.start);
        self.connections.extend(other.connections);
        self.connections.sort_by_key(|connection| connection.opened);
        self.bands.extend(other.bands);
        self.spanning(other.start, other.end)
    }

    /// Shows at least the time from `start` to `end`.
    #[must_use]
    pub fn spanning(mut self, start: Instant, end: Instant) -> Self {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
        self
    }

    fn length(&self) -> Duration {
        self.end - self.start
    }

    /// The bands that can be seen, cut to the timeline.
    fn visible_bands(&self) -> impl Iterator<Item = (Duration, Duration, &str)> {
        let seen = self
            .bands
            .iter()
            .filter(|band| band.from <= self.end && band.to >= self.start);
        seen.map(|band| {
            let from = band.from.max(self.start) - self.start;
            let to = band.to.min(self.end) - self.start;
            (from, to, &*band.label)
        })
    }
}
