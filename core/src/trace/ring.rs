//! The records of a trace, bounded.

use std::collections::VecDeque;
use std::fmt;

use super::Event;
use crate::time::Instant;

/// An event, when it happened, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// The call, numbered from 1; 0 is the pool and its driver.
    pub call: u64,
    /// What.
    pub event: Event,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            0 => write!(f, "{} pool: {}", self.at, self.event),
            call => write!(f, "{} call {call}: {}", self.at, self.event),
        }
    }
}

/// The last records, in order: when it is full, the oldest makes room and is counted.
#[derive(Clone, Debug)]
pub struct Ring {
    records: VecDeque<Record>,
    capacity: usize,
    dropped: u64,
}

impl Ring {
    /// An empty ring for `capacity` records. Of capacity 0 it keeps nothing, and counts.
    ///
    /// All its memory is taken here, up to 4,096 records; a larger ring grows as it fills.
    pub fn new(capacity: usize) -> Self {
        let records = VecDeque::with_capacity(capacity.min(4096));
        Self {
            records,
            capacity,
            dropped: 0,
        }
    }

    /// Adds a record as the newest.
    pub fn push(&mut self, record: Record) {
        if self.records.len() >= self.capacity {
            self.dropped = self.dropped.saturating_add(1);
            if self.records.pop_front().is_none() {
                return;
            }
        }
        self.records.push_back(record);
    }

    /// Takes the oldest record.
    pub fn pop(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// The records kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// How many records are kept.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no record is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records made room for others, over the ring's life.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_when_and_whose() {
        let at = Instant::from_nanos(1_500_000_000);
        let of = |call| {
            Record {
                at,
                call,
                event: Event::Waiting,
            }
            .to_string()
        };
        assert_eq!(of(3), "1.500000000s call 3: waiting for a connection");
        assert_eq!(of(0), "1.500000000s pool: waiting for a connection");
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_counts_it() {
        let record = |call| Record {
            at: Instant::ORIGIN,
            call,
            event: Event::Waiting,
        };
        let mut ring = Ring::new(3);
        (1..=5).for_each(|call| ring.push(record(call)));
        assert_eq!(
            ring.iter().map(|record| record.call).collect::<Vec<_>>(),
            [3, 4, 5]
        );
        assert_eq!((ring.len(), ring.dropped()), (3, 2));
        assert_eq!(ring.pop(), Some(record(3)));
        ring.push(record(6));
        assert_eq!(ring.dropped(), 2);
    }

    #[test]
    fn a_ring_without_room_only_counts() {
        let mut ring = Ring::new(0);
        ring.push(Record {
            at: Instant::ORIGIN,
            call: 0,
            event: Event::Waiting,
        });
        assert!(ring.is_empty());
        assert_eq!(ring.dropped(), 1);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 96, "{}", size_of::<Record>());
    }
}
