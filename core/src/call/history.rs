//! The attempts that failed.

use crate::deadline::Spent;
use crate::fault::Fate;

use super::record::{AttemptRecord, UNKNOWN, Via};

/// The failed attempts of a call, bounded: how it began and how it ended.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    records: Vec<AttemptRecord>,
    dropped: u32,
    /// The number of the attempt that was recorded last, which a record may be too short for.
    last: u32,
    /// What the recorded attempts and those dropped have spent.
    spent: Spent,
}

impl History {
    const FIRST: usize = 4;
    const LAST: usize = 12;

    /// Adds a record. Of an attempt that is recorded already (its status was, and then its body
    /// failed) the later word counts: there is one record of an attempt.
    pub(super) fn push(&mut self, number: u32, record: AttemptRecord) {
        if let Some(last) = self.record_of(number) {
            *last = AttemptRecord {
                spent: last.spent,
                tokens: last.tokens,
                ..record
            };
            return;
        }
        self.last = number;
        if self.records.len() >= Self::FIRST + Self::LAST {
            self.records.remove(Self::FIRST);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.records.push(record);
    }

    /// Adds to the record of that attempt what its exchange knows, and the call's clocks.
    pub(super) fn annotate(&mut self, number: u32, via: Via, spent: Spent) {
        let since = spent.since(&self.spent);
        if let Some(record) = self.record_of(number) {
            record.spent = record.spent.and(&since);
            (record.connection, record.peer) = (via.connection, via.peer);
            record.protocol = via.protocol;
            self.spent = spent;
        }
    }

    /// Adds to the record of that attempt what the budget has left, in thousandths of a token.
    pub(super) fn note_budget(&mut self, number: u32, tokens: u32) {
        if let Some(record) = self.record_of(number) {
            record.tokens = u16::try_from(tokens / 1_000)
                .unwrap_or(UNKNOWN)
                .min(UNKNOWN - 1);
        }
    }

    /// What is known of the request by the record of that attempt.
    pub(super) fn fate_of(&self, number: u32) -> Option<Fate> {
        let is_last = self.last == number;
        let last = self.records.last().filter(|_| is_last);
        last.map(|record| record.fate)
    }

    fn record_of(&mut self, number: u32) -> Option<&mut AttemptRecord> {
        let is_last = self.last == number;
        self.records.last_mut().filter(|_| is_last)
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
