//! A connection's life: when it worked, and when it idled.

use std::net::SocketAddr;

use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Record};

/// A connection over time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// Its number within the client.
    pub number: u64,
    /// Where it leads, if that is an internet address.
    pub peer: Option<SocketAddr>,
    /// When it was open.
    pub opened: Instant,
    /// When it closed; `None` where nothing was heard of that.
    pub closed: Option<Instant>,
    /// When it served a call; the last one may last.
    pub busy: Vec<(Instant, Option<Instant>)>,
}

impl Connection {
    fn rest(&mut self, at: Instant) {
        if let Some((_, end @ None)) = self.busy.last_mut() {
            *end = Some(at);
        }
    }

    /// The last instant at which it is known to have done something.
    pub(super) fn last_use(&self) -> Option<Instant> {
        let busy = self.busy.iter().map(|(from, to)| to.unwrap_or(*from));
        busy.max()
    }
}

/// The connections that records tell of.
pub(super) fn of(records: &[Record]) -> Vec<Connection> {
    let mut all: Vec<Connection> = Vec::new();
    for Record { at, event, .. } in records {
        if let Event::Connected { connection, peer } = event {
            all.push(Connection {
                number: *connection,
                peer: *peer,
                opened: *at,
                closed: None,
                busy: Vec::new(),
            });
            continue;
        }
        let (Event::Leased { connection, .. }
        | Event::Parked { connection }
        | Event::Closed { connection, .. }
        | Event::Evicted { connection, .. }) = event
        else {
            continue;
        };
        // Those that matter are among the latest.
        let mut latest = all.iter_mut().rev();
        let Some(known) = latest.find(|known| known.number == *connection) else {
            continue;
        };
        match event {
            Event::Leased { .. } => known.busy.push((*at, None)),
            Event::Parked { .. } => known.rest(*at),
            _ => {
                known.rest(*at);
                known.closed = known.closed.or(Some(*at));
            }
        }
    }
    all
}
