//! Messages that wait for the application, and what happens when it is slow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::outbox::Bound;
use super::outgoing::Key;
use crate::ws::Message;

/// Shorter messages are copied: a slice keeps all of the buffer of a read, which is about as long.
const DETACH_BELOW: usize = 16 * 1024;

/// The key of a message, where it has one.
type KeyOf = Arc<dyn Fn(&Message) -> Option<Key> + Send + Sync>;

/// What happens when the inbox is full.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The socket is not read until a quarter is left. Where that takes longer than the
    /// connection's limit, the session admits the lag, connects again and resyncs. The default.
    #[default]
    Pause,
    /// The oldest are dropped, and the application is told how many before the next it gets.
    DropOldest,
    /// A newer message takes the place of a waiting one with the same key; without one, as
    /// `DropOldest`.
    Conflate(KeyOf),
}

impl SlowConsumer {
    /// [`Conflate`](Self::Conflate) by that key.
    ///
    /// It is asked of every message that comes, and then of those that wait, while the session is
    /// locked: it has to be quick, and must not use the session.
    pub fn conflate(key: impl Fn(&Message) -> Option<Key> + Send + Sync + 'static) -> Self {
        Self::Conflate(Arc::new(key))
    }
}

impl fmt::Debug for SlowConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "Pause",
            Self::DropOldest => "DropOldest",
            Self::Conflate(_) => "Conflate",
        })
    }
}

/// What the application gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Message),
    /// So many messages were dropped here, because they were not taken in time.
    Lagged(u64),
}

#[derive(Debug)]
pub(super) struct Inbox {
    queue: VecDeque<Message>,
    bytes: usize,
    bound: Bound,
    policy: SlowConsumer,
    /// Dropped since the application was last told.
    skipped: u64,
    paused: bool,
}

impl Inbox {
    pub(super) fn new(bound: Bound, policy: SlowConsumer) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            bound,
            policy,
            skipped: 0,
            paused: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn push(&mut self, message: Message) {
        let message = message.detached_below(DETACH_BELOW);
        if let SlowConsumer::Conflate(key) = &self.policy
            && let Some(new) = key(&message)
            && let Some(old) = self
                .queue
                .iter_mut()
                .find(|old| key(old).as_ref() == Some(&new))
        {
            self.bytes = self.bytes - old.len() + message.len();
            *old = message;
        } else {
            self.bytes += message.len();
            self.queue.push_back(message);
        }
        if matches!(self.policy, SlowConsumer::Pause) {
            self.paused = self.is_full();
        } else {
            self.drop_oldest();
        }
    }

    pub(super) fn pop(&mut self) -> Option<Received> {
        if self.skipped > 0 {
            return Some(Received::Lagged(std::mem::take(&mut self.skipped)));
        }
        let message = self.queue.pop_front()?;
        self.bytes -= message.len();
        let quarter = |n: usize, of: usize| n <= of / 4;
        self.paused &= !(quarter(self.queue.len(), self.bound.messages)
            && quarter(self.bytes, self.bound.bytes));
        Some(Received::Message(message))
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.bound.messages || self.bytes >= self.bound.bytes
    }

    fn drop_oldest(&mut self) {
        while self.queue.len() > self.bound.messages || self.bytes > self.bound.bytes {
            let Some(oldest) = self.queue.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
            self.skipped += 1;
        }
    }
}
