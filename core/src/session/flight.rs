//! Messages that were given to the connection: until they are written, read, acknowledged.

use std::collections::{BTreeMap, VecDeque};

use super::outbox::{Bound, Outbox};
use super::outgoing::{DropReason, Entry, MessageId, Receipt};

/// Written messages that the session remembers until the server is known to have read them.
const MOST_UNSEEN: usize = 1024;

/// What is under way on one connection.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Not wholly taken by the transport.
    writing: VecDeque<Flying>,
    /// Taken, and not known to be read.
    unseen: VecDeque<Seen>,
    /// Of those, the ones of which somebody waits to hear that they were read, and where they end.
    watched: BTreeMap<MessageId, u64>,
    /// Where the last message ends that was taken and is no longer remembered.
    forgotten: u64,
    /// Bytes that the server is known to have read.
    read: u64,
    /// Taken, and kept until acknowledged.
    unacked: VecDeque<Entry>,
    /// Of kept messages.
    messages: usize,
    bytes: usize,
    /// The largest message that is known to have been read.
    largest: usize,
}

#[derive(Debug)]
struct Flying {
    id: MessageId,
    len: usize,
    /// Where in the connection's bytes it ends, once that is known.
    end: Option<u64>,
    /// The message, where it is kept.
    entry: Option<Entry>,
    acked: bool,
}

#[derive(Debug)]
struct Seen {
    id: MessageId,
    len: usize,
    end: u64,
    kept: bool,
}

/// What a lost connection leaves.
#[derive(Debug, Default)]
pub(super) struct Wreck {
    /// To be sent again, in order.
    pub(super) kept: Vec<Entry>,
    /// Not wholly taken by the transport, and not to be sent again.
    pub(super) broken: Vec<MessageId>,
    /// The same, and those that were taken but may not have been read.
    pub(super) doubtful: Vec<MessageId>,
}

impl Flight {
    /// Whether a message that is kept may be sent.
    pub(super) fn has_room(&self, window: Bound, len: usize) -> bool {
        window.has_room(self.messages, self.bytes, len)
    }

    pub(super) fn is_written(&self) -> bool {
        self.writing.is_empty()
    }

    pub(super) fn kept(&self) -> usize {
        self.messages
    }

    /// A message was given to the connection.
    pub(super) fn launch(&mut self, entry: Entry) {
        let (id, len) = (entry.id, entry.len());
        let kept = entry.is_kept();
        if kept {
            self.messages += 1;
            self.bytes += len;
        }
        self.writing.push_back(Flying {
            id,
            len,
            end: None,
            entry: kept.then_some(entry),
            acked: false,
        });
    }

    /// The last message that was launched is whole in the connection's bytes, so many.
    pub(super) fn whole(&mut self, written: u64) {
        if let Some(last) = self.writing.back_mut() {
            last.end.get_or_insert(written);
        }
    }

    /// The transport took so many bytes.
    pub(super) fn flushed(&mut self, bytes: u64, receipts: &mut impl FnMut(MessageId, Receipt)) {
        let is_flushed = |flying: &Flying| flying.end.is_some_and(|end| end <= bytes);
        while self.writing.front().is_some_and(is_flushed)
            && let Some(flying) = self.writing.pop_front()
        {
            if flying.acked {
                continue;
            }
            receipts(flying.id, Receipt::Flushed);
            if self.unseen.len() == MOST_UNSEEN {
                let oldest = self.unseen.pop_front();
                self.forgotten = oldest.map_or(self.forgotten, |oldest| oldest.end);
            }
            self.unseen.push_back(Seen {
                id: flying.id,
                len: flying.len,
                end: flying.end.unwrap_or(bytes),
                kept: flying.entry.is_some(),
            });
            self.unacked.extend(flying.entry);
        }
    }

    /// Somebody waits to hear that the server has read a message that was taken. Says whether it has:
    /// of one that is no longer remembered, whether it has read all of those.
    pub(super) fn watch(&mut self, id: MessageId) -> bool {
        let unseen = self.unseen.iter().find(|seen| seen.id == id);
        let end = unseen.map_or(self.forgotten, |seen| seen.end);
        if end > self.read {
            self.watched.insert(id, end);
        }
        end <= self.read
    }

    /// Nobody does any more.
    pub(super) fn unwatch(&mut self, id: MessageId) {
        self.watched.remove(&id);
    }

    /// The server has read so many bytes.
    pub(super) fn seen(&mut self, bytes: u64, receipts: &mut impl FnMut(MessageId, Receipt)) {
        self.read = bytes;
        while self.unseen.front().is_some_and(|seen| seen.end <= bytes)
            && let Some(seen) = self.unseen.pop_front()
        {
            self.largest = self.largest.max(seen.len);
            self.watched.remove(&seen.id);
            receipts(seen.id, Receipt::PeerSeen);
        }
        self.watched.retain(|id, end| {
            let is_read = *end <= bytes;
            if is_read {
                receipts(*id, Receipt::PeerSeen);
            }
            !is_read
        });
    }

    /// The server has acknowledged a message; with `before`, all that were sent before it, too.
    pub(super) fn ack(
        &mut self,
        id: MessageId,
        before: bool,
        outbox: &mut Outbox,
        receipts: &mut impl FnMut(MessageId, Receipt),
    ) -> bool {
        let of = |entry: &Entry| entry.id == id;
        let taken = self.unacked.iter().position(of);
        let is_kept = |flying: &Flying| flying.entry.as_ref().is_some_and(of);
        let under_way = self.writing.iter().position(is_kept);
        let (taken, under_way) = match (taken, under_way) {
            (Some(place), _) if before => (0..place + 1, 0..0),
            (Some(place), _) => (place..place + 1, 0..0),
            // The server got it by an earlier connection: that says nothing of what is on this one.
            (None, Some(place)) => (0..0, place..place + 1),
            (None, None) => return false,
        };
        let mut acked: Vec<Entry> = self.unacked.drain(taken).collect();
        for flying in self.writing.range_mut(under_way) {
            flying.acked = true;
            acked.extend(flying.entry.take());
        }
        for entry in acked {
            self.messages -= 1;
            self.bytes -= entry.len();
            self.largest = self.largest.max(entry.len());
            outbox.release(entry.len());
            receipts(entry.id, Receipt::Acked);
        }
        true
    }

    /// The connection is lost.
    pub(super) fn wreck(&mut self) -> Wreck {
        let mut wreck = Wreck {
            kept: self.unacked.drain(..).collect(),
            ..Wreck::default()
        };
        self.watched.clear();
        (self.forgotten, self.read) = (0, 0);
        let unseen = self.unseen.drain(..).filter(|seen| !seen.kept);
        wreck.doubtful.extend(unseen.map(|seen| seen.id));
        for flying in self.writing.drain(..) {
            match flying.entry {
                Some(entry) => wreck.kept.push(entry),
                None if flying.acked => {}
                None => wreck.broken.push(flying.id),
            }
        }
        wreck.doubtful.extend(&wreck.broken);
        for entry in &mut wreck.kept {
            entry.redelivery += 1;
        }
        (self.messages, self.bytes) = (0, 0);
        wreck
    }

    /// Of what would be sent again, the largest, where nothing so large was ever read.
    pub(super) fn too_big(&self, kept: &mut Vec<Entry>) -> Option<(Entry, DropReason)> {
        let (place, entry) = kept
            .iter()
            .enumerate()
            .max_by_key(|(_, entry)| entry.len())?;
        if entry.len() <= self.largest {
            return None;
        }
        Some((kept.remove(place), DropReason::TooBig))
    }
}
