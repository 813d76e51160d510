//! What will happen, in the order in which it will.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;

use crate::slab::Key;
use crate::tcp::Segment;

/// Something that happens at one instant.
#[derive(Debug)]
pub(crate) enum Event {
    /// A timer may be due.
    Timer(Key),
    /// The client's first packet reaches the server's host.
    Syn(Key),
    /// The client learns how its handshake ended.
    Handshake(Key, Option<io::ErrorKind>),
    /// Bytes reach the far end of a direction.
    Segment(Key, u8, Segment),
    /// The end of a direction reaches its far end.
    Fin(Key, u8),
    /// An end learns that its connection failed.
    Abort(Key, u8, io::ErrorKind),
    /// Room in a direction's window comes back to its writer.
    Credit(Key, u8),
    /// An end that reads slowly may read on.
    Readable(Key, u8),
    /// A fault begins (true) or ends.
    Fault(u32, bool),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    sequence: u64,
    event: Event,
}

/// The queue of events, by time, and by order of insertion within one instant.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Entry {
            at,
            sequence: self.sequence,
            event,
        });
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The timer that the next event is of, if it is one.
    pub(crate) fn peek_timer(&self) -> Option<Key> {
        match self.heap.peek()?.event {
            Event::Timer(key) => Some(key),
            _ => None,
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

impl Ord for Entry {
    /// Reversed, because the heap gives out its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
