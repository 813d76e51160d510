//! The attempts that failed.

use std::time::Duration;

use crate::fault::Fate;
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
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the origin acted on the request.
    pub fate: Fate,
    /// The delay before it; none before the first.
    pub delay: Option<Duration>,
    /// Whether it was a transparent retry.
    pub transparent: bool,
}

/// The failed attempts of a call, bounded: how it began and how it ended.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    records: Vec<AttemptRecord>,
    dropped: u32,
}

impl History {
    const FIRST: usize = 4;
    const LAST: usize = 12;

    pub(super) fn push(&mut self, record: AttemptRecord) {
        if self.records.len() >= Self::FIRST + Self::LAST {
            self.records.remove(Self::FIRST);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.records.push(record);
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
    fn a_record_is_at_most_128_bytes() {
        assert!(
            size_of::<AttemptRecord>() <= 128,
            "{}",
            size_of::<AttemptRecord>()
        );
    }
}
