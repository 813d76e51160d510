//! Messages that wait for the reader.

use std::collections::VecDeque;

use fulmar_core::ws::Message;

use super::state::READ_MAX;

/// How many, and bytes of them (POLICIES 5.7).
const MOST: usize = 256;
const MOST_BYTES: usize = 4 << 20;

/// What came while nobody read.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, message: Message) {
        // A slice keeps all of the buffer of a read, however little of it is counted here.
        let message = message.detached_below(READ_MAX);
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        if self.messages.is_empty() {
            // An idle connection owns no buffers.
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// Whether it has drained so far that reading goes on.
    pub(super) fn is_low(&self) -> bool {
        self.messages.len() <= MOST / 4 && self.bytes <= MOST_BYTES / 4
    }
}
