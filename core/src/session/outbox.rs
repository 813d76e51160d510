//! Messages that wait to be sent: three lanes, one bound.
//!
//! Lanes share by deficit round robin (Shreedhar and Varghese, 1995): in each round a lane may send
//! so many bytes, 128, 64 and 16 KiB, and the higher lane goes first. What a lane with nothing to
//! send did not use stays, up to one round, so that a rare urgent message goes at once and none
//! starves the others.

use std::collections::VecDeque;

use super::outgoing::{DropReason, Entry, MessageId, OnFull, Outgoing};
use crate::lane::Lane;
use crate::time::Instant;

/// Bytes per round, by lane.
const SHARES: [usize; 3] = {
    let [high, normal, bulk] = Lane::SHARES;
    [
        high as usize * QUANTUM,
        normal as usize * QUANTUM,
        bulk as usize * QUANTUM,
    ]
};

const QUANTUM: usize = 16 * 1024;

/// What a message costs beside its bytes: the longest head of a frame.
const OVERHEAD: usize = 14;

/// A bound in messages and in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Messages.
    pub messages: usize,
    /// Bytes of messages.
    pub bytes: usize,
}

impl Bound {
    pub(super) fn has_room(self, messages: usize, bytes: usize, more: usize) -> bool {
        messages < self.messages && bytes.saturating_add(more) <= self.bytes
    }
}

/// What was dropped, and why.
pub(super) type Dropped = Vec<(MessageId, DropReason)>;

#[derive(Debug)]
pub(super) struct Outbox {
    lanes: [Queue; 3],
    bound: Bound,
    /// Of what waits, of what is being written, and of what is kept until it is acknowledged.
    messages: usize,
    bytes: usize,
    /// Bytes of the message that is being written, unless it is kept.
    current: Option<usize>,
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Bytes that it may still send in this round.
    left: usize,
}

impl Outbox {
    pub(super) fn new(bound: Bound) -> Self {
        Self {
            lanes: SHARES.map(|left| Queue {
                entries: VecDeque::new(),
                left,
            }),
            bound,
            messages: 0,
            bytes: 0,
            current: None,
        }
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.entries.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.entries.is_empty())
    }

    /// Bytes of all messages that are waiting or kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn fits(&self, outgoing: &Outgoing) -> bool {
        outgoing.message.len() <= self.bound.bytes && self.bound.messages > 0
    }

    /// Takes a message; gives it back where there is no room and it says so.
    pub(super) fn push(&mut self, entry: Entry, dropped: &mut Dropped) -> Result<(), Outgoing> {
        let Some(entry) = self.replace(entry, dropped) else {
            return Ok(());
        };
        if !self.bound.has_room(self.messages, self.bytes, entry.len()) {
            match entry.outgoing.on_full {
                OnFull::Refuse => return Err(entry.outgoing),
                OnFull::DropNew => {
                    dropped.push((entry.id, DropReason::Overflow));
                    return Ok(());
                }
                OnFull::DropOldest => {
                    let Some(count) = self.in_the_way(&entry) else {
                        return Err(entry.outgoing);
                    };
                    self.drop_oldest(entry.outgoing.lane, count, dropped);
                }
            }
        }
        self.charge(entry.len());
        self.lane(entry.outgoing.lane).entries.push_back(entry);
        Ok(())
    }

    /// How many of the oldest of its lane would have to go for the message to have room; `None`
    /// where all of them are too few.
    fn in_the_way(&self, entry: &Entry) -> Option<usize> {
        let (mut messages, mut bytes) = (self.messages, self.bytes);
        let lane = &self.lanes[entry.outgoing.lane as usize];
        for (count, oldest) in lane.entries.iter().enumerate() {
            if self.bound.has_room(messages, bytes, entry.len()) {
                return Some(count);
            }
            (messages, bytes) = (messages - 1, bytes - oldest.len());
        }
        let all = lane.entries.len();
        let fits = self.bound.has_room(messages, bytes, entry.len());
        fits.then_some(all)
    }

    fn drop_oldest(&mut self, lane: Lane, count: usize, dropped: &mut Dropped) {
        let oldest: Vec<_> = self.lane(lane).entries.drain(..count).collect();
        for entry in oldest {
            self.release(entry.len());
            dropped.push((entry.id, DropReason::Overflow));
        }
    }

    /// Puts the message in the place of one with its key. Gives it back where there is none, or
    /// where it is larger and does not fit.
    fn replace(&mut self, entry: Entry, dropped: &mut Dropped) -> Option<Entry> {
        let Some(key) = &entry.outgoing.key else {
            return Some(entry);
        };
        let entries = &mut self.lanes[entry.outgoing.lane as usize].entries;
        let found = entries
            .iter_mut()
            .find(|old| old.outgoing.key.as_ref() == Some(key));
        let Some(old) = found else {
            return Some(entry);
        };
        let bytes = self.bytes - old.len() + entry.len();
        if bytes > self.bound.bytes {
            return Some(entry);
        }
        self.bytes = bytes;
        let old = std::mem::replace(old, entry);
        dropped.push((old.id, DropReason::Replaced));
        None
    }

    /// The next message. What has waited too long is dropped; a lane whose first message `held`
    /// names waits.
    pub(super) fn pop(
        &mut self,
        now: Instant,
        held: impl Fn(&Entry) -> bool,
        dropped: &mut Dropped,
    ) -> Option<Entry> {
        self.expire(now, dropped);
        let mut ready = [false; 3];
        for (lane, ready) in self.lanes.iter().zip(&mut ready) {
            *ready = lane.entries.front().is_some_and(|entry| !held(entry));
        }
        if ready == [false; 3] {
            return None;
        }
        loop {
            for (lane, _) in self.lanes.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                let cost = lane.entries.front().map_or(0, Entry::len) + OVERHEAD;
                if cost <= lane.left {
                    lane.left -= cost;
                    let entry = lane.entries.pop_front()?;
                    if !entry.is_kept() {
                        self.current = Some(entry.len());
                    }
                    return Some(entry);
                }
            }
            self.next_round(ready);
        }
    }

    /// As many rounds as it takes until some lane can send.
    fn next_round(&mut self, ready: [bool; 3]) {
        let rounds = |lane: &Queue, share: usize| {
            let cost = lane.entries.front().map_or(0, Entry::len) + OVERHEAD;
            cost.saturating_sub(lane.left).div_ceil(share)
        };
        let lanes = self.lanes.iter().zip(SHARES).zip(ready);
        let rounds = lanes
            .filter(|(_, ready)| *ready)
            .map(|((lane, share), _)| rounds(lane, share))
            .min()
            .unwrap_or_default();
        for ((lane, share), ready) in self.lanes.iter_mut().zip(SHARES).zip(ready) {
            lane.left += rounds * share;
            if !ready {
                lane.left = lane.left.min(share);
            }
        }
    }

    fn expire(&mut self, now: Instant, dropped: &mut Dropped) {
        for place in 0..self.lanes.len() {
            let entries = |outbox: &mut Self| {
                let entries = &mut outbox.lanes[place].entries;
                let expired = entries.front().is_some_and(|entry| entry.expires <= now);
                if expired { entries.pop_front() } else { None }
            };
            while let Some(entry) = entries(self) {
                self.release(entry.len());
                dropped.push((entry.id, DropReason::Expired));
            }
        }
    }

    /// Puts back, before all others, what was sent and not acknowledged, in its order.
    pub(super) fn put_back(&mut self, entries: impl DoubleEndedIterator<Item = Entry>) {
        for entry in entries.rev() {
            self.lane(entry.outgoing.lane).entries.push_front(entry);
        }
    }

    /// Drops what does not survive its connection.
    pub(super) fn connection_lost(&mut self, dropped: &mut Dropped) {
        self.release_current();
        for place in 0..self.lanes.len() {
            let entries = std::mem::take(&mut self.lanes[place].entries);
            for entry in entries {
                if entry.outgoing.drop_on_reconnect {
                    self.release(entry.len());
                    dropped.push((entry.id, DropReason::Reconnect));
                } else {
                    self.lanes[place].entries.push_back(entry);
                }
            }
        }
    }

    /// Takes out a message that was sent before and waits to be sent again.
    pub(super) fn remove_sent(&mut self, id: MessageId) -> bool {
        for place in 0..self.lanes.len() {
            let entries = &mut self.lanes[place].entries;
            let found = entries
                .iter()
                .position(|entry| entry.id == id && entry.redelivery > 0);
            if let Some(entry) = found.and_then(|found| entries.remove(found)) {
                self.release(entry.len());
                return true;
            }
        }
        false
    }

    /// The message that was taken out last is written, or will not be.
    pub(super) fn release_current(&mut self) {
        if let Some(len) = self.current.take() {
            self.release(len);
        }
    }

    /// Everything that waits, in the order in which it was sent.
    pub(super) fn drain(&mut self) -> Vec<Entry> {
        let lanes = self.lanes.iter_mut();
        let mut all: Vec<_> = lanes.flat_map(|lane| lane.entries.drain(..)).collect();
        all.sort_by_key(|entry| entry.id);
        for entry in &all {
            self.release(entry.len());
        }
        all
    }

    /// A kept message is acknowledged, or given up.
    pub(super) fn release(&mut self, len: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
    }

    fn charge(&mut self, len: usize) {
        self.messages += 1;
        self.bytes += len;
    }

    fn lane(&mut self, lane: Lane) -> &mut Queue {
        &mut self.lanes[lane as usize]
    }
}
