//! The session's part towards its driver: connections come, bytes go both ways, connections go.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rand_core::Rng;

use super::close_table::{CloseAction, Pace};
use super::event::{Action, Event, Loss, StopReason};
use super::outbox::Dropped;
use super::outgoing::{DropReason, Entry, MessageId, Receipt};
use super::reconnect::Past;
use super::session::{Session, State};
use crate::buf::WriteBuf;
use crate::fault::{Fault, FaultKind};
use crate::time::Instant;
use crate::ws::{self, Cause, Closed, Connection, HandshakeAction, HandshakeError};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The server answered with another status, and said when to come again.
    Status {
        /// The status.
        status: u16,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The server answered 101, but not as it must.
    Handshake {
        /// What was wrong.
        error: HandshakeError,
        /// A proxy that reads plain HTTP stood between: it may have been the one.
        through_proxy: bool,
    },
    /// Resolving, connecting, the tunnel or TLS failed, or took too long.
    Fault(Fault),
    /// Redirects led nowhere that may be followed.
    Redirect,
    /// The URL, a header or a setting makes a connection impossible.
    Invalid,
}

impl Session {
    /// A connection is open. `alternatives` says whether the server has other addresses.
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
        });
        self.follow(now, past, loss, action, retry_after, rng);
    }

    /// Bytes arrived. [`poll_input`](Self::poll_input) reads them.
    pub fn handle_input(&mut self, now: Instant) {
        if let Some(ws) = &mut self.connection {
            ws.handle_input(now);
        }
    }

    /// Reads what is in `rx`, as far as the inbox has room.
    pub fn poll_input(&mut self, now: Instant, rx: &mut BytesMut, rng: &mut dyn Rng) {
        while !self.inbox.is_paused() {
            let Some(ws) = &mut self.connection else {
                rx.clear();
                return;
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
                Ok(None) | Err(_) => break,
            }
        }
        self.lose_if_done(now, rng);
    }

    /// The server ended the transport.
    pub fn handle_eof(&mut self, now: Instant, rng: &mut dyn Rng) {
        if let Some(ws) = &mut self.connection {
            ws.handle_eof(now);
        }
        self.lose_if_done(now, rng);
    }

    /// The transport failed.
    pub fn handle_fault(&mut self, now: Instant, kind: FaultKind, rng: &mut dyn Rng) {
        if let Some(ws) = &mut self.connection {
            ws.handle_fault(now, kind);
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
            ws.poll_transmit(now, tx, rng);
            if !ws.is_sending() {
                self.flight.whole(ws.written());
            }
            if !ws.is_ready(tx) {
                break;
            }
            let Some(entry) = self.next_message(now) else {
                break;
            };
            let message = entry.outgoing.message.clone();
            let compress = entry.outgoing.compress;
            let (id, count) = (entry.id, entry.redelivery);
            self.flight.launch(entry);
            if let Some(ws) = &mut self.connection {
                // It is ready.
                let _ = ws.send(message, compress, tx, rng);
                if !ws.is_sending() {
                    self.flight.whole(ws.written());
                }
            }
            if count > 0 {
                self.tell(Event::Redelivered { id, count });
            }
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

    /// Receipts for what the transport took.
    fn note_written(&mut self, tx: &WriteBuf) {
        if let Some(ws) = &self.connection {
            let taken = ws.written().saturating_sub(tx.remaining() as u64);
            let mut flushed = Vec::new();
            self.flight
                .flushed(taken, &mut |id, receipt| flushed.push((id, receipt)));
            self.tell_receipts(flushed);
        }
    }

    /// Subscriptions have no number, and nobody to tell.
    fn tell_receipts(&mut self, receipts: Vec<(MessageId, Receipt)>) {
        for (id, receipt) in receipts {
            if id != MessageId(0) {
                self.tell(Event::Receipt { id, receipt });
            }
        }
    }

    pub(super) fn acknowledge(&mut self, id: MessageId, before: bool) -> bool {
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
    /// Says whether a connection is closing now.
    pub(super) fn close_when_drained(&mut self, now: Instant) -> bool {
        let Some(closing) = &self.closing else {
            return false;
        };
        let drained = self.outbox.is_empty() && self.flight.is_written();
        if !drained && now < closing.until {
            return false;
        }
        let Some(ws) = &mut self.connection else {
            self.stop(StopReason::Closed);
            return false;
        };
        let frame = &closing.frame;
        // The frame was checked when it was made.
        let _ = ws.close(now, frame.code, &frame.reason);
        if let Some(closing) = &mut self.closing {
            closing.until = Instant::MAX;
        }
        true
    }

    fn lose_if_done(&mut self, now: Instant, rng: &mut dyn Rng) {
        let done = self.connection.as_ref().filter(|ws| ws.is_done());
        if let Some(closed) = done.and_then(|ws| ws.closed()) {
            self.lose(now, Loss::Closed(Arc::clone(closed)), rng);
        }
    }

    /// The connection is lost: what was on it is settled, and what follows is decided.
    fn lose(&mut self, now: Instant, loss: Loss, rng: &mut dyn Rng) {
        let Some(ws) = self.connection.take() else {
            return;
        };
        self.act(Action::Disconnect);
        let opened_at = self.opened_at.take().unwrap_or(now);
        let past = Past {
            uptime: now - opened_at,
            was_open: true,
            heard: ws.has_received(),
        };
        self.down_since = now;
        self.tell(Event::Lost {
            loss: loss.clone(),
            uptime: past.uptime,
            rtt: ws.rtt().map(|rtt| rtt.last),
        });
        let action = self.judge_loss(&loss, past);
        self.settle(action == CloseAction::TooBig);
        self.follow(now, past, loss, action, None, rng);
    }

    /// Messages on the lost connection: kept, dropped with a reason, or doubtful.
    fn settle(&mut self, too_big: bool) {
        let mut wreck = self.flight.wreck();
        let mut dropped = Dropped::new();
        if too_big && let Some((entry, reason)) = self.flight.too_big(&mut wreck.kept) {
            self.outbox.release(entry.len());
            dropped.push((entry.id, reason));
        }
        let broken = wreck.broken.into_iter().filter(|id| *id != MessageId(0));
        dropped.extend(broken.map(|id| (id, DropReason::MaybeDelivered)));
        let unsent = self.resync.drain(..);
        dropped.extend(unsent.map(|entry| (entry.id, DropReason::Reconnect)));
        self.resync_bytes = 0;
        self.outbox.put_back(wreck.kept.into_iter());
        self.outbox.connection_lost(&mut dropped);
        self.tell_dropped(dropped);
        self.doubtful = wreck.doubtful;
        self.doubtful.retain(|id| *id != MessageId(0));
    }

    /// POLICIES 5.4: what an open connection's end means.
    fn judge_loss(&self, loss: &Loss, past: Past) -> CloseAction {
        let again = CloseAction::Reconnect(Pace::Usual);
        let Loss::Closed(closed) = loss else {
            return again;
        };
        let action = match closed.cause {
            Cause::Local => return CloseAction::Stop,
            Cause::Violation(_) => CloseAction::FatalUnlessStable,
            Cause::Fault(FaultKind::Certificate) => CloseAction::Fatal,
            Cause::Peer => self.config.action(closed.code, &closed.reason),
            Cause::ReadIdle | Cause::Stalled | Cause::Lagged => again,
            _ => self.config.action(ws::CloseCode::ABNORMAL, ""),
        };
        match action {
            CloseAction::FatalUnlessStable if past.uptime >= self.config.stable_after => again,
            CloseAction::FatalUnlessStable => CloseAction::Fatal,
            action => action,
        }
    }

    /// POLICIES 5.4: what a failure to connect means.
    fn judge_failure(&mut self, failure: ConnectFailure) -> (Loss, CloseAction, Option<Duration>) {
        let again = CloseAction::Reconnect(Pace::Usual);
        match failure {
            ConnectFailure::Status {
                status,
                retry_after,
            } => {
                let action = match self.config.handshakes.action(status) {
                    HandshakeAction::Retry => again,
                    HandshakeAction::RetryFresh => {
                        self.connect.fresh = true;
                        again
                    }
                    HandshakeAction::RefreshAuth => CloseAction::RefreshAuth,
                    HandshakeAction::NotFound
                        if self.attempts.not_found(self.config.not_found_retries) =>
                    {
                        again
                    }
                    _ => CloseAction::Fatal,
                };
                (Loss::Status(status), action, retry_after)
            }
            ConnectFailure::Handshake {
                error,
                through_proxy,
            } => {
                // A proxy that does not know upgrades mangles them: once more, in case.
                let action = if through_proxy && self.attempts.mangled() {
                    again
                } else {
                    CloseAction::Fatal
                };
                (Loss::Handshake(error), action, None)
            }
            ConnectFailure::Fault(fault) => {
                let hopeless = matches!(
                    fault.kind,
                    FaultKind::Certificate | FaultKind::Handshake | FaultKind::InvalidAddress
                );
                let action = if hopeless { CloseAction::Fatal } else { again };
                (Loss::Fault(fault), action, None)
            }
            ConnectFailure::Redirect => (Loss::Redirect, CloseAction::Fatal, None),
            ConnectFailure::Invalid => (Loss::Invalid, CloseAction::Fatal, None),
        }
    }

    /// Stops, or connects again.
    fn follow(
        &mut self,
        now: Instant,
        past: Past,
        loss: Loss,
        action: CloseAction,
        retry_after: Option<Duration>,
        rng: &mut dyn Rng,
    ) {
        self.attempts.lost(now, past, &self.config);
        let pace = match action {
            CloseAction::Reconnect(pace) => Some(pace),
            CloseAction::RefreshAuth if self.attempts.refresh() => {
                self.connect.refresh_auth = true;
                Some(Pace::Usual)
            }
            CloseAction::TooBig if self.attempts.shrink() => Some(Pace::Usual),
            _ => None,
        };
        self.previous = Some(loss.clone());
        let begun_to_close = self.closing.as_ref().map(|closing| closing.until);
        let nothing_left = self.outbox.is_empty();
        match (begun_to_close, pace) {
            (Some(until), _) if nothing_left || until <= now || until == Instant::MAX => {
                self.stop(StopReason::Closed);
            }
            (_, None) => self.stop(ended(action, loss)),
            (_, Some(_)) if self.attempts.is_exhausted(now, &self.config) => {
                let attempts = self.attempts.count() - 1;
                let last = loss;
                self.stop(StopReason::Exhausted { attempts, last });
            }
            (_, Some(pace)) => self.back_off(now, pace, past.was_open, retry_after, rng),
        }
    }
}

fn ended(action: CloseAction, loss: Loss) -> StopReason {
    match (action, &loss) {
        (CloseAction::Stop, Loss::Closed(closed)) if closed.cause == Cause::Local => {
            StopReason::Closed
        }
        (CloseAction::Stop, Loss::Closed(closed)) => StopReason::Ended(code_of(closed)),
        _ => StopReason::Fatal(loss),
    }
}

fn code_of(closed: &Closed) -> ws::CloseCode {
    closed.code
}
