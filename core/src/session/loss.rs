//! A connection is lost, or cannot be had: what becomes of its messages, and what follows.

use std::time::Duration;

use rand_core::Rng;

use super::close_table::{CloseAction, Pace};
use super::event::{Action, Connect, Event, Loss, StopReason};
use super::outbox::Dropped;
use super::outgoing::{DropReason, MessageId};
use super::reconnect::Past;
use super::session::{Session, State};
use crate::fault::{Fault, FaultKind};
use crate::time::Instant;
use crate::ws::{self, Cause, Closed, HandshakeAction, HandshakeError};

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
    /// The connection is lost: what was on it is settled, and what follows is decided.
    pub(super) fn lose(&mut self, now: Instant, loss: Loss, rng: &mut dyn Rng) {
        let Some(ws) = &self.connection else {
            return;
        };
        let past = Past {
            uptime: now - self.opened_at.unwrap_or(now),
            was_open: true,
            // What the application cannot use is no working connection, however long it lasted.
            heard: ws.has_received() && loss != Loss::ResyncTimeout,
        };
        let rtt = ws.rtt().map(|rtt| rtt.last);
        let interval = ws.keepalive_interval();
        // The reason hook may panic: until then nothing is done by halves.
        let action = self.judge_loss(&loss, past);
        (self.connection, self.opened_at) = (None, None);
        self.act(Action::Disconnect);
        self.down_since = now;
        self.tell(Event::Lost {
            loss: loss.clone(),
            uptime: past.uptime,
            rtt,
            received: self.received,
            sent: self.sent,
        });
        if let Loss::Closed(closed) = &loss
            && let Some(silent) = self.silence.cut_after(now, closed, interval)
        {
            self.tell(Event::CutWhileSilent { silent, interval });
        }
        let by_peer = matches!(&loss, Loss::Closed(closed) if closed.cause == Cause::Peer);
        self.settle(by_peer && action == CloseAction::TooBig);
        self.follow(now, past, loss, action, None, rng);
    }

    /// Ends at once, for a reason of the driver's: the transport is dropped without a word, and what
    /// is on it is settled as after a loss. Where the application has begun to close, that is the
    /// reason.
    pub fn abandon(&mut self, loss: Loss) {
        if self.connection.is_some() {
            self.settle(false);
        }
        let is_closing = self.closing.is_some();
        self.stop(if is_closing {
            StopReason::Closed
        } else {
            StopReason::Fatal(loss)
        });
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
            Cause::Fault(FaultKind::Certificate) => CloseAction::Fatal,
            Cause::ReadIdle | Cause::Stalled | Cause::Lagged => again,
            _ => self.config.action(closed.code, &closed.reason),
        };
        match action {
            CloseAction::FatalUnlessStable if past.uptime >= self.config.stable_after => again,
            CloseAction::FatalUnlessStable => CloseAction::Fatal,
            action => action,
        }
    }

    /// POLICIES 5.4: what a failure to connect means.
    pub(super) fn judge_failure(
        &mut self,
        failure: ConnectFailure,
    ) -> (Loss, CloseAction, Option<Duration>) {
        // A server has answered to how it was connected to.
        if !matches!(failure, ConnectFailure::Fault(_)) {
            self.connect = Connect::default();
        }
        match failure {
            ConnectFailure::Status {
                status,
                retry_after,
            } => {
                let action = self.judge_status(status);
                (Loss::Status(status), action, retry_after)
            }
            ConnectFailure::Handshake {
                error,
                through_proxy,
            } => {
                // A proxy that does not know upgrades mangles them: once more, in case.
                let action = if through_proxy && self.attempts.mangled() {
                    CloseAction::Reconnect(Pace::Usual)
                } else {
                    CloseAction::Fatal
                };
                (Loss::Handshake(error), action, None)
            }
            ConnectFailure::Fault(fault) => {
                let action = self.judge_fault(fault.kind);
                (Loss::Fault(fault), action, None)
            }
            ConnectFailure::Redirect => (Loss::Redirect, CloseAction::Fatal, None),
            ConnectFailure::Invalid => (Loss::Invalid, CloseAction::Fatal, None),
        }
    }

    fn judge_status(&mut self, status: u16) -> CloseAction {
        let again = CloseAction::Reconnect(Pace::Usual);
        match self.config.handshakes.action(status) {
            HandshakeAction::Retry => again,
            HandshakeAction::RetryFresh => {
                self.connect.fresh = true;
                again
            }
            HandshakeAction::RefreshAuth => CloseAction::RefreshAuth,
            HandshakeAction::NotFound if self.attempts.not_found(self.config.not_found_retries) => {
                again
            }
            _ => CloseAction::Fatal,
        }
    }

    fn judge_fault(&self, kind: FaultKind) -> CloseAction {
        match kind {
            FaultKind::Certificate | FaultKind::Handshake | FaultKind::InvalidAddress => {
                CloseAction::Fatal
            }
            // What is left is the address that asked to be left alone.
            _ if self.connect.elsewhere => CloseAction::Reconnect(Pace::Throttled),
            _ => CloseAction::Reconnect(Pace::Usual),
        }
    }

    /// Stops, or connects again.
    pub(super) fn follow(
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
        if past.was_open {
            self.previous = Some(loss.clone());
        }
        let is_drained = self.closing.as_ref().is_some_and(|closing| {
            self.outbox.is_empty() || closing.until.is_none_or(|until| until <= now)
        });
        let told = retry_after.unwrap_or_default();
        match pace {
            _ if is_drained => self.stop(StopReason::Closed),
            None => self.stop(ended(action, loss)),
            // A wait that the server asks for and that ends too late is no wait for anything.
            Some(_) if self.attempts.is_exhausted(now + told, &self.config) => {
                let attempts = self.attempts.count() - 1;
                let last = loss;
                self.stop(StopReason::Exhausted { attempts, last });
            }
            Some(pace) => {
                let delay = self.delay(pace, past.was_open, retry_after, rng);
                self.back_off(now, pace, delay, retry_after);
            }
        }
    }

    /// How long to wait. At once, but only once: two addresses that refuse in turn are no reason for
    /// a storm.
    fn delay(
        &mut self,
        pace: Pace,
        was_open: bool,
        retry_after: Option<Duration>,
        rng: &mut dyn Rng,
    ) -> Duration {
        self.connect.elsewhere = pace == Pace::Elsewhere && self.alternatives;
        if self.connect.elsewhere && self.attempts.count() == 1 {
            return Duration::ZERO;
        }
        self.attempts
            .delay(pace, was_open, retry_after, &self.config, rng)
    }

    /// Waits, then connects again.
    fn back_off(
        &mut self,
        now: Instant,
        pace: Pace,
        delay: Duration,
        retry_after: Option<Duration>,
    ) {
        self.state = State::Backoff;
        self.until = now + delay;
        let attempt = self.attempts.count();
        self.tell(Event::Backoff {
            delay,
            attempt,
            pace,
            retry_after,
            downtime: now - self.down_since,
        });
        if delay == Duration::ZERO {
            self.dial();
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
