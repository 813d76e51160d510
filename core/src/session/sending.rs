//! The session's part towards who sends: messages, those of a resync, subscriptions, and
//! acknowledgements.

use super::outbox::Dropped;
use super::outgoing::{Entry, Key, MessageId, Outgoing, Receipt, SendError};
use super::session::{Session, State};
use crate::lane::Lane;
use crate::time::Instant;
use crate::ws::Message;

impl Session {
    /// Takes a message to be sent.
    ///
    /// # Errors
    ///
    /// Where there is no room for it and it says so, where it could never have room, or where the
    /// session closes; the message is given back.
    pub fn send(
        &mut self,
        now: Instant,
        outgoing: impl Into<Outgoing>,
    ) -> Result<MessageId, SendError> {
        let outgoing = outgoing.into();
        if self.is_closing() {
            return Err(SendError::Closed(outgoing));
        }
        let entry = self.entry(now, outgoing);
        if !self.could_fit(&entry) {
            return Err(SendError::TooBig(entry.outgoing));
        }
        if entry.is_kept() && !self.flight.has_room(self.config.window, entry.len()) {
            return Err(SendError::Full(entry.outgoing));
        }
        let id = entry.id;
        let mut dropped = Dropped::new();
        let taken = self.outbox.push(entry, &mut dropped);
        self.tell_dropped(dropped);
        taken.map(|()| id).map_err(SendError::Full)
    }

    /// Whether there is room for it while nothing else waits.
    fn could_fit(&self, entry: &Entry) -> bool {
        let config = &self.config;
        let is_bulk = entry.outgoing.lane == Lane::Bulk;
        self.outbox.fits(&entry.outgoing)
            && !(is_bulk && entry.len() > config.max_bulk)
            && !(entry.is_kept() && entry.len() > config.window.bytes)
    }

    /// The server acknowledged a message. Says whether it was still kept.
    pub fn ack(&mut self, id: MessageId) -> bool {
        self.acknowledge(id, false)
    }

    /// The server acknowledged a message and all that were sent on this connection before it; the
    /// message alone, where this connection has not sent it again yet.
    pub fn ack_up_to(&mut self, id: MessageId) -> bool {
        self.acknowledge(id, true)
    }

    /// Sends `message` now and again on every connection, under that key. A message of the same key
    /// replaces it. Says whether there was room.
    pub fn subscribe(&mut self, key: Key, message: Message) -> bool {
        self.subscriptions.add(key, message)
    }

    /// No longer sends the message of that key. Says whether there was one.
    pub fn unsubscribe(&mut self, key: &str) -> bool {
        self.subscriptions.remove(key)
    }

    /// Sends a message as a part of the resync: before all others, in this order. It is lost with
    /// its connection.
    ///
    /// # Errors
    ///
    /// Where there is no resync under way, or the messages exceed the outbox's bound.
    pub fn resync_send(&mut self, now: Instant, message: Message) -> Result<MessageId, SendError> {
        let entry = self.entry(now, message.into());
        if self.state != State::Resync || self.resynced {
            return Err(SendError::Closed(entry.outgoing));
        }
        let bound = self.config.outbox;
        if !bound.has_room(self.resync.len(), self.resync_bytes, entry.len()) {
            return Err(SendError::Full(entry.outgoing));
        }
        let id = entry.id;
        self.resync_bytes += entry.len();
        self.resync.push_back(entry);
        Ok(id)
    }

    /// The resync is complete: the outbox opens once its messages are sent.
    pub fn resync_done(&mut self) {
        if self.state == State::Resync && !self.resynced {
            self.resynced = true;
            self.until = Instant::MAX;
            self.open_when_synced();
        }
    }

    /// Remembers how far the application has come in what the server sends, for the next resync.
    pub fn saw(&mut self, sequence: u64) {
        self.last_seen = Some(sequence);
    }

    fn acknowledge(&mut self, id: MessageId, before: bool) -> bool {
        let mut acked = Vec::new();
        let mut receipts = |id, receipt| acked.push((id, receipt));
        let mut found = self.flight.ack(id, before, &mut self.outbox, &mut receipts);
        if !found {
            // Its connection was lost, and it waits to be sent again.
            found = self.outbox.remove_sent(id);
            if found {
                acked.push((id, Receipt::Acked));
            }
        }
        self.tell_receipts(acked);
        found
    }

    fn entry(&mut self, now: Instant, outgoing: Outgoing) -> Entry {
        self.last_id += 1;
        Entry {
            id: MessageId(self.last_id),
            expires: outgoing.ttl.map_or(Instant::MAX, |ttl| now + ttl),
            outgoing,
            redelivery: 0,
        }
    }
}
