//! The session's part towards its driver: connections come, bytes go both ways, connections go.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rand_core::Rng;

use super::event::{Action, Connect, Event, Loss, StopReason};
use super::loss::ConnectFailure;
use super::outbox::Dropped;
use super::outgoing::{Entry, MessageId, Receipt};
use super::reconnect::Past;
use super::session::{Session, State};
use super::silence::Silence;
use crate::buf::WriteBuf;
use crate::fault::FaultKind;
use crate::time::Instant;
use crate::ws::{self, Connection};

impl Session {
    /// A connection is open. `alternatives` says whether its host has other addresses.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        mut connection: Connection,
        alternatives: bool,
    ) {
        if self.state != State::Connecting {
            return self.act(Action::Disconnect);
        }
        if self.inbox.is_paused() {
            connection.pause(now);
        }
        self.connection = Some(Box::new(connection));
        self.alternatives = alternatives;
        self.opened_at = Some(now);
        self.connect = Connect::default();
        (self.received, self.sent) = (0, 0);
        self.silence = Silence::new(now);
        self.epoch += 1;
        let epoch = self.epoch;
        let downtime = now - self.down_since;
        self.tell(Event::Opened { epoch, downtime });
        self.subscriptions.replay(now);
        self.state = State::Resync;
        self.resynced = !self.config.resync;
        if self.config.resync {
            self.until = now + self.config.resync_timeout;
            let event = Event::Resync {
                epoch,
                previous: self.previous.clone(),
                last_seen: self.last_seen,
                lost: std::mem::take(&mut self.doubtful),
            };
            self.tell(event);
        }
        self.open_when_synced();
        self.close_when_drained(now);
    }

    /// There is no connection.
    pub fn handle_connect_failed(
        &mut self,
        now: Instant,
        failure: ConnectFailure,
        rng: &mut dyn Rng,
    ) {
        if self.state != State::Connecting {
            return;
        }
        let (loss, action, retry_after) = self.judge_failure(failure);
        let past = Past {
            uptime: Duration::ZERO,
            was_open: false,
            heard: false,
        };
        self.tell(Event::Lost {
            loss: loss.clone(),
            uptime: Duration::ZERO,
            rtt: None,
            received: 0,
            sent: 0,
        });
        self.follow(now, past, loss, action, retry_after, rng);
    }

    /// Bytes arrived. [`poll_input`](Self::poll_input) reads them.
    pub fn handle_input(&mut self, now: Instant) {
        if let Some(ws) = &mut self.connection {
            ws.handle_input(now);
            self.silence.handle_input(now);
        }
    }

    /// Reads what is in `rx`, as far as the inbox has room.
    pub fn poll_input(&mut self, now: Instant, rx: &mut BytesMut, rng: &mut dyn Rng) {
        let before = rx.len();
        self.read_messages(now, rx);
        self.received += (before - rx.len()) as u64;
        self.lose_if_done(now, rng);
    }

    fn read_messages(&mut self, now: Instant, rx: &mut BytesMut) {
        while !self.inbox.is_paused() {
            let Some(ws) = &mut self.connection else {
                return rx.clear();
            };
            match ws.poll_event(now, rx) {
                Ok(Some(ws::Event::Message(message))) => {
                    self.inbox.push(message);
                    if self.inbox.is_paused() {
                        ws.pause(now);
                        self.tell(Event::Paused);
                    }
                }
                Ok(Some(ws::Event::Pong { written, .. })) => {
                    let mut seen = Vec::new();
                    self.flight
                        .seen(written, &mut |id, receipt| seen.push((id, receipt)));
                    self.tell_receipts(seen);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// The server ended the transport.
    pub fn handle_eof(&mut self, now: Instant, rng: &mut dyn Rng) {
        if let Some(ws) = &mut self.connection {
            ws.handle_eof();
        }
        self.lose_if_done(now, rng);
    }

    /// The transport failed.
    pub fn handle_fault(&mut self, now: Instant, kind: FaultKind, rng: &mut dyn Rng) {
        if let Some(ws) = &mut self.connection {
            ws.handle_fault(kind);
        }
        self.lose_if_done(now, rng);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        if let Some(ws) = &mut self.connection {
            ws.handle_timeout(now, rng);
        }
        self.lose_if_done(now, rng);
        self.subscriptions.handle_timeout(now);
        if self.until <= now {
            match self.state {
                State::Backoff => self.dial(),
                State::Resync => self.lose(now, Loss::ResyncTimeout, rng),
                _ => {}
            }
        }
        self.close_when_drained(now);
    }

    /// Writes what is due into `tx`. Call it after everything else, and when `tx` has drained.
    pub fn poll_transmit(&mut self, now: Instant, tx: &mut WriteBuf, rng: &mut dyn Rng) {
        self.note_written(tx);
        loop {
            let Some(ws) = &mut self.connection else {
                return tx.clear();
            };
            // One that was given up before, for the server's Close frame, is never whole.
            let was_sending = ws.is_sending();
            ws.poll_transmit(now, tx, rng);
            if was_sending && !ws.is_sending() {
                self.flight.whole(ws.written());
                self.outbox.release_current();
            }
            if !ws.is_ready(tx) {
                break;
            }
            let Some(entry) = self.next_message(now) else {
                break;
            };
            self.give(now, entry, tx, rng);
        }
        self.open_when_synced();
        self.note_written(tx);
        if self.close_when_drained(now)
            && let Some(ws) = &mut self.connection
        {
            ws.poll_transmit(now, tx, rng);
        }
    }

    /// What is sent next: subscriptions, the resync, the outbox.
    fn next_message(&mut self, now: Instant) -> Option<Entry> {
        if let Some(message) = self.subscriptions.pop(now) {
            return Some(Entry {
                id: MessageId(0),
                outgoing: message.into(),
                expires: Instant::MAX,
                redelivery: 0,
            });
        }
        if let Some(entry) = self.resync.pop_front() {
            self.resync_bytes -= entry.len();
            return Some(entry);
        }
        self.open_when_synced();
        if self.state != State::Open {
            return None;
        }
        let (flight, window) = (&self.flight, self.config.window);
        let held = |entry: &Entry| entry.is_kept() && !flight.has_room(window, entry.len());
        let mut dropped = Dropped::new();
        let entry = self.outbox.pop(now, held, &mut dropped);
        self.tell_dropped(dropped);
        entry
    }

    /// Gives a message to the connection, which is ready.
    fn give(&mut self, now: Instant, entry: Entry, tx: &mut WriteBuf, rng: &mut dyn Rng) {
        let message = entry.outgoing.message.clone();
        let compress = entry.outgoing.compress;
        let (id, count) = (entry.id, entry.redelivery);
        self.flight.launch(entry);
        self.silence.handle_output(now);
        if let Some(ws) = &mut self.connection {
            // It takes the message.
            let _ = ws.send(message, compress, tx, rng);
            if !ws.is_sending() {
                self.flight.whole(ws.written());
                self.outbox.release_current();
            }
        }
        if count > 0 {
            self.tell(Event::Redelivered { id, count });
        }
    }

    /// Receipts for what the transport took.
    fn note_written(&mut self, tx: &WriteBuf) {
        if let Some(ws) = &self.connection {
            self.sent = ws.written().saturating_sub(tx.remaining() as u64);
            let mut flushed = Vec::new();
            self.flight
                .flushed(self.sent, &mut |id, receipt| flushed.push((id, receipt)));
            self.tell_receipts(flushed);
        }
    }

    /// Subscriptions have no number, and nobody to tell.
    pub(super) fn tell_receipts(&mut self, receipts: Vec<(MessageId, Receipt)>) {
        for (id, receipt) in receipts {
            if id != MessageId(0) {
                self.tell(Event::Receipt { id, receipt });
            }
        }
    }

    pub(super) fn replay_at(&self) -> Instant {
        self.subscriptions.next_at()
    }

    pub(super) fn open_when_synced(&mut self) {
        let synced = self.resynced && self.resync.is_empty() && self.subscriptions.is_done();
        if self.state == State::Resync && synced {
            self.state = State::Open;
            self.until = Instant::MAX;
        }
    }

    /// Closes the connection once nothing waits, or the drain is over; stops where there is none.
    /// Says whether a connection begins to close now.
    pub(super) fn close_when_drained(&mut self, now: Instant) -> bool {
        let Some(closing) = &mut self.closing else {
            return false;
        };
        let drained = self.outbox.is_empty() && self.flight.is_written();
        if !closing.until.is_some_and(|until| drained || until <= now) {
            return false;
        }
        let Some(ws) = &mut self.connection else {
            self.stop(StopReason::Closed);
            return false;
        };
        let frame = &closing.frame;
        // The frame was checked when it was made.
        let _ = ws.close(now, frame.code, &frame.reason);
        closing.until = None;
        true
    }

    fn lose_if_done(&mut self, now: Instant, rng: &mut dyn Rng) {
        let done = self.connection.as_ref().filter(|ws| ws.is_done());
        if let Some(closed) = done.and_then(|ws| ws.closed()) {
            self.lose(now, Loss::Closed(Arc::clone(closed)), rng);
        }
    }
}
