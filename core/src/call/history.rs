//! The attempts that failed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Spent;
use crate::fault::{Fate, Phase};
use crate::retry::Cause;
use crate::time::Instant;

/// How a recorded attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a response that a rule looks at.
    Status(u16),
    /// Without one, or within its body.
    Failed(Cause),
}

/// Why an attempt was made, and not before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It was the first.
    #[default]
    First,
    /// At once, and free: the one before it was provably not processed.
    Transparent,
    /// After a backoff.
    Backoff,
    /// After the wait that the origin asked for (`Retry-After`).
    Asked,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which attempt it was, from 1, transparent ones included.
    pub number: u32,
    /// When it started.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether its connection had served before.
    pub reused: bool,
    /// Bytes of the request that the transport took.
    pub sent: u64,
    /// Bytes of the response that arrived.
    pub received: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the origin acted on the request.
    pub fate: Fate,
    /// The delay before it; none before the first.
    pub delay: Option<Duration>,
    /// Why it was made then.
    pub why: Why,
    /// The number of its connection within the client, as in trace events; zero where it got none.
    pub connection: u64,
    /// The peer of that connection, if that has an internet address.
    pub peer: Option<Arc<SocketAddr>>,
    /// Where its time went.
    pub spent: Spent,
}

impl AttemptRecord {
    /// Time in which no phase's clock ran, because what came next was up to the application: it did
    /// not ask for the body, or had nothing to send. With [`spent`](Self::spent) it is all the time
    /// from `started` to `ended`. To within 10 microseconds, and zero below.
    pub fn suspended(&self) -> Duration {
        let lasted = self.ended - self.started;
        let rest = lasted.saturating_sub(self.spent.in_phase(Phase::Attempt));
        if rest < Self::ROUNDING {
            return Duration::ZERO;
        }
        rest
    }

    /// What whole microseconds leave out, over all phases.
    const ROUNDING: Duration = Duration::from_micros(10);
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Failed(cause) => cause.fmt(f),
        }
    }
}

impl fmt::Display for AttemptRecord {
    /// One line: the number, how long it was waited for, how it ended and after what time, and
    /// what that says of the request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.number)?;
        match self.delay {
            Some(_) if self.why == Why::Transparent => f.write_str(" at once")?,
            Some(delay) if self.why == Why::Asked => {
                write!(f, " {:?} later, as asked", readable(delay))?;
            }
            Some(delay) => write!(f, " after a rest of {:?}", readable(delay))?,
            None => {}
        }
        if self.reused {
            f.write_str(" on a used connection")?;
        }
        let lasted = readable(self.ended - self.started);
        let (outcome, fate) = (&self.outcome, self.fate);
        write!(f, ": {outcome} after {lasted:?}, request {fate}")
    }
}

/// Cut to the digits that a reader looks at: whole microseconds below a millisecond, tens of them
/// below a second, and milliseconds from there.
fn readable(time: Duration) -> Duration {
    let step = match time.as_secs() {
        0 if time < Duration::from_millis(1) => 1_000,
        0 => 10_000,
        _ => 1_000_000,
    };
    Duration::new(time.as_secs(), time.subsec_nanos() / step * step)
}

/// The failed attempts of a call, bounded: how it began and how it ended.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    records: Vec<AttemptRecord>,
    dropped: u32,
    /// What the recorded attempts and those dropped have spent.
    spent: Spent,
}

impl History {
    const FIRST: usize = 4;
    const LAST: usize = 12;

    /// Adds a record. Of an attempt that is recorded already (its status was, and then its body
    /// failed) the later word counts: there is one record of an attempt.
    pub(super) fn push(&mut self, record: AttemptRecord) {
        if let Some(last) = self.records.last_mut()
            && last.number == record.number
        {
            *last = AttemptRecord {
                spent: last.spent,
                ..record
            };
            return;
        }
        if self.records.len() >= Self::FIRST + Self::LAST {
            self.records.remove(Self::FIRST);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.records.push(record);
    }

    /// Adds to the record of that attempt what its exchange knows, and the call's clocks.
    pub(super) fn annotate(
        &mut self,
        number: u32,
        (connection, peer): (u64, Option<Arc<SocketAddr>>),
        spent: Spent,
    ) {
        let last = self.records.last_mut();
        if let Some(record) = last.filter(|record| record.number == number) {
            record.spent = record.spent.and(&spent.since(&self.spent));
            (record.connection, record.peer) = (connection, peer);
            self.spent = spent;
        }
    }

    /// What was spent by now is of no attempt to come.
    pub(super) fn set_aside(&mut self, spent: Spent) {
        self.spent = spent;
    }

    pub(super) fn records(&self) -> &[AttemptRecord] {
        &self.records
    }

    pub(super) const fn dropped(&self) -> u32 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_a_line() {
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        let record = AttemptRecord {
            number: 2,
            started: at(130),
            ended: at(150),
            reused: false,
            sent: 120,
            received: 60,
            outcome: Outcome::Status(503),
            fate: Fate::MaybeProcessed,
            delay: Some(Duration::from_millis(120)),
            why: Why::Backoff,
            connection: 0,
            peer: None,
            spent: Spent::default(),
        };
        assert_eq!(
            record.to_string(),
            "attempt 2 after a rest of 120ms: status 503 after 20ms, request maybe processed"
        );
        let stale = AttemptRecord {
            reused: true,
            delay: Some(Duration::ZERO),
            why: Why::Transparent,
            ..record.clone()
        };
        assert!(
            stale
                .to_string()
                .starts_with("attempt 2 at once on a used connection: ")
        );
        let why = Why::Asked;
        let asked = AttemptRecord { why, ..record };
        assert!(
            asked
                .to_string()
                .starts_with("attempt 2 120ms later, as asked: ")
        );
    }

    #[test]
    fn times_are_cut_to_what_a_reader_looks_at() {
        let read = |nanos| format!("{:?}", readable(Duration::from_nanos(nanos)));
        assert_eq!(read(271_743), "271µs");
        assert_eq!(read(68_718_362), "68.71ms");
        assert_eq!(read(1_001_842_833), "1.001s");
        assert_eq!(read(u64::MAX), "18446744073.709s");
        assert_eq!(read(0), "0ns");
    }

    #[test]
    fn a_record_is_at_most_128_bytes() {
        assert!(
            size_of::<AttemptRecord>() <= 128,
            "{}",
            size_of::<AttemptRecord>()
        );
    }
}
