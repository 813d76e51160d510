//! What the session sends again on every connection.

use std::collections::VecDeque;
use std::time::Duration;

use super::outgoing::Key;
use crate::time::Instant;
use crate::ws::Message;

/// Subscriptions by key, in the order in which they were first made.
#[derive(Debug)]
pub(super) struct Subscriptions {
    all: Vec<(Key, Message)>,
    /// Those that this connection has not sent.
    due: VecDeque<Key>,
    next_at: Instant,
    /// The next is due and waits for the connection to take it: no timer is needed.
    ready: bool,
    gap: Duration,
    most: usize,
}

impl Subscriptions {
    pub(super) fn new(most: usize, gap: Duration) -> Self {
        Self {
            all: Vec::new(),
            due: VecDeque::new(),
            next_at: Instant::ORIGIN,
            ready: false,
            gap,
            most,
        }
    }

    /// Adds one, or changes its message. Says whether there was room.
    pub(super) fn add(&mut self, key: Key, message: Message) -> bool {
        if let Some(known) = self.all.iter_mut().find(|(known, _)| *known == key) {
            known.1 = message;
        } else if self.all.len() < self.most {
            self.all.push((key.clone(), message));
        } else {
            return false;
        }
        if !self.due.contains(&key) {
            self.due.push_back(key);
        }
        true
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|(known, _)| &**known != key);
        self.due.retain(|known| &**known != key);
        self.all.len() < before
    }

    /// A new connection has sent none.
    pub(super) fn replay(&mut self, now: Instant) {
        self.due = self.all.iter().map(|(key, _)| key.clone()).collect();
        self.next_at = now;
        self.ready = true;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.ready |= self.next_at <= now;
    }

    pub(super) fn is_done(&self) -> bool {
        self.due.is_empty()
    }

    /// When the next is due, on an open connection.
    pub(super) fn next_at(&self) -> Instant {
        if self.due.is_empty() || self.ready {
            Instant::MAX
        } else {
            self.next_at
        }
    }

    /// The next message, at its pace: a herd of subscriptions is the second half of a storm.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Message> {
        if self.next_at > now {
            return None;
        }
        let key = self.due.pop_front()?;
        self.next_at = now + self.gap;
        self.ready = false;
        let found = self.all.iter().find(|(known, _)| *known == key);
        found.map(|(_, message)| message.clone())
    }
}
