//! What is kept of one attempt that failed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Version;

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

/// The connection of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Its number within the client, as in trace events; zero where the attempt got none.
    pub connection: u64,
    /// Its peer, if that has an internet address.
    pub peer: Option<Arc<SocketAddr>>,
    /// What is spoken on it.
    pub protocol: Option<Version>,
}

/// A failed attempt, in at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which attempt it was, from 1 and at most 65,535, transparent ones included.
    pub number: u16,
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
    /// Nanoseconds; of the first it means nothing.
    pub(super) delay: u64,
    /// Why it was made then.
    pub why: Why,
    /// The number of its connection within the client, as in trace events; zero where it got none.
    pub connection: u64,
    /// The peer of that connection, if that has an internet address.
    pub peer: Option<Arc<SocketAddr>>,
    /// What was spoken on it; none where it got none.
    pub protocol: Option<Version>,
    /// Where its time went.
    pub spent: Spent,
    /// Whole tokens, or [`UNKNOWN`].
    pub(super) tokens: u16,
}

/// The budget was not asked.
pub(super) const UNKNOWN: u16 = u16::MAX;

impl AttemptRecord {
    /// The delay before it; none before the first.
    pub fn delay(&self) -> Option<Duration> {
        (self.why != Why::First).then(|| Duration::from_nanos(self.delay))
    }

    /// What the retry budget of its route held once it was decided on: whole tokens, rounded down,
    /// at most 65,534. `None` where the budget was not asked: this side broke the attempt off, or its
    /// body failed.
    pub fn budget_left(&self) -> Option<u16> {
        (self.tokens != UNKNOWN).then_some(self.tokens)
    }

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
    /// One line: the number, how long it was waited for, how it ended and after what time, where that
    /// went, what it says of the request, on which connection, and what the budget had left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.number)?;
        match self.delay() {
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
        write!(f, ": {} after {lasted:?}", self.outcome)?;
        self.fmt_times(f)?;
        write!(f, ", request {}", self.fate)?;
        if self.connection > 0 {
            write!(f, ", connection {}", self.connection)?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " to {peer}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " ({protocol:?})")?;
        }
        match self.budget_left() {
            Some(1) => f.write_str(", 1 retry token left"),
            Some(tokens) => write!(f, ", {tokens} retry tokens left"),
            None => Ok(()),
        }
    }
}

impl AttemptRecord {
    fn fmt_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suspended = self.suspended();
        match (self.spent == Spent::default(), suspended.is_zero()) {
            (true, true) => Ok(()),
            (false, true) => write!(f, " ({})", self.spent),
            (true, false) => write!(f, " (suspended {:?})", readable(suspended)),
            (false, false) => write!(f, " ({}, suspended {:?})", self.spent, readable(suspended)),
        }
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
            delay: 120_000_000,
            why: Why::Backoff,
            connection: 0,
            peer: None,
            protocol: None,
            spent: Spent::default(),
            tokens: UNKNOWN,
        };
        assert_eq!(
            record.to_string(),
            "attempt 2 after a rest of 120ms: status 503 after 20ms (suspended 20ms), request maybe processed"
        );
        assert_eq!(
            (record.delay(), record.budget_left()),
            (Some(Duration::from_millis(120)), None)
        );
        let full = AttemptRecord {
            connection: 7,
            peer: Some(Arc::new(([10, 0, 0, 1], 80).into())),
            protocol: Some(Version::HTTP_11),
            tokens: 9,
            ..record.clone()
        };
        assert!(full.to_string().ends_with(
            "after 20ms (suspended 20ms), request maybe processed, \
             connection 7 to 10.0.0.1:80 (HTTP/1.1), 9 retry tokens left"
        ));
        let stale = AttemptRecord {
            reused: true,
            delay: 0,
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
