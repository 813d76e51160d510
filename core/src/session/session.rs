//! The machine of a WebSocket that outlives its connections.
//!
//! ```text
//!          start()               handle_connected()          resync_done(), replayed
//!   Idle ----------> Connecting --------------------> Resync ------------------------> Open
//!                      ^   |                             | lost                         | lost
//!                      |   | failed                      v                              |
//!                      |   +-----------------------> Backoff <--------------------------+
//!                      +--------------------------------+ its end
//!   any --> Stopped:  a fatal loss, too many attempts, closed by this side or as it should be
//! ```
//!
//! Invariants
//! * A message that was taken ends exactly once: flushed, acknowledged where it is kept for that,
//!   dropped with a reason, or returned when the session stops.
//! * At most once: no message is given to two connections. At least once: every message is
//!   acknowledged, expired, or still here. Order within a lane holds.
//! * The attempts are forgotten only after a stable connection.
//! * Closing takes at most the drain, the close timeout and the EOF timeout.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use rand_core::Rng;

use super::config::Config;
use super::event::{Action, Connect, Event, Loss, StopReason};
use super::flight::Flight;
use super::inbox::{Inbox, Received};
use super::outbox::{Dropped, Outbox};
use super::outgoing::{Entry, MessageId, Outgoing, Receipt};
use super::reconnect::Attempts;
use super::silence::Silence;
use super::subscriptions::Subscriptions;
use crate::backoff::uniform;
use crate::time::Instant;
use crate::ws::{CloseCode, CloseError, CloseFrame, Connection, Rtt};

/// Events that may wait for [`Session::poll_event`], beside two of each message that the outbox may
/// have: what one call makes happen is less, and a driver asks after every call. Beyond, the oldest
/// are dropped and counted.
const MOST_EVENTS: usize = 16 * 1024;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not started.
    Idle,
    /// The driver gets a connection.
    Connecting,
    /// A connection is open; what it must be told first is sent.
    Resync,
    /// A connection is open.
    Open,
    /// It waits before it connects again.
    Backoff,
    /// It has ended.
    Stopped,
}

/// The application's wish to end.
#[derive(Debug)]
pub(super) struct Closing {
    /// When what has not been sent stays unsent; `None` once the connection closes.
    pub(super) until: Option<Instant>,
    pub(super) frame: CloseFrame,
}

/// A WebSocket over any number of connections.
///
/// The driver carries out [`poll_action`](Self::poll_action), reads while
/// [`wants_read`](Self::wants_read), tells what came and what failed, writes what
/// [`poll_transmit`](Self::poll_transmit) gives, and asks for events after each.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) state: State,
    /// The end of the backoff, or of the resync.
    pub(super) until: Instant,
    pub(super) connection: Option<Box<Connection>>,
    pub(super) attempts: Attempts,
    /// How to connect, until a server has answered to that.
    pub(super) connect: Connect,
    pub(super) outbox: Outbox,
    pub(super) flight: Flight,
    pub(super) inbox: Inbox,
    pub(super) subscriptions: Subscriptions,
    /// What the application sends while it resyncs.
    pub(super) resync: VecDeque<Entry>,
    pub(super) resync_bytes: usize,
    pub(super) resynced: bool,
    pub(super) closing: Option<Closing>,
    pub(super) opened_at: Option<Instant>,
    /// When the last connection was lost, or the session started.
    pub(super) down_since: Instant,
    pub(super) epoch: u32,
    /// Bytes of the connection's frames that were read, and that its transport took.
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) silence: Silence,
    pub(super) alternatives: bool,
    pub(super) last_seen: Option<u64>,
    pub(super) previous: Option<Loss>,
    pub(super) doubtful: Vec<MessageId>,
    pub(super) unsent: Vec<(MessageId, Outgoing)>,
    pub(super) stopped: Option<StopReason>,
    actions: VecDeque<Action>,
    pub(super) events: VecDeque<Event>,
    events_dropped: u64,
    pub(super) last_id: u64,
}

impl Session {
    /// A session that has not started.
    pub fn new(config: Config) -> Self {
        Self {
            state: State::Idle,
            until: Instant::MAX,
            connection: None,
            attempts: Attempts::default(),
            connect: Connect::default(),
            outbox: Outbox::new(config.outbox),
            flight: Flight::default(),
            inbox: Inbox::new(config.inbox, config.slow_consumer.clone()),
            subscriptions: Subscriptions::new(config.subscriptions, config.replay_gap),
            resync: VecDeque::new(),
            resync_bytes: 0,
            resynced: false,
            closing: None,
            opened_at: None,
            down_since: Instant::ORIGIN,
            epoch: 0,
            received: 0,
            sent: 0,
            silence: Silence::default(),
            alternatives: false,
            last_seen: None,
            previous: None,
            doubtful: Vec::new(),
            unsent: Vec::new(),
            stopped: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            events_dropped: 0,
            last_id: 0,
            config,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it stopped.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// Whether it takes no more messages: it is about to end, or has.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some() || self.state == State::Stopped
    }

    /// Attempts since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.attempts.count()
    }

    /// Which connection this is, from 1.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Messages that wait to be sent, and those that were and are not acknowledged.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len() + self.flight.kept()
    }

    /// Messages that wait to be taken.
    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    /// Bytes of all messages that it keeps, the one in progress among them.
    pub fn buffered(&self) -> usize {
        let connection = self.connection.as_ref().map_or(0, |ws| ws.buffered());
        self.outbox.bytes() + self.inbox.bytes() + self.resync_bytes + connection
    }

    /// Whether the driver is to read: not while the inbox is full.
    pub fn wants_read(&self) -> bool {
        self.connection.is_some() && !self.inbox.is_paused()
    }

    /// Bytes of the frame at the front of `rx` that are still to come: room worth reserving.
    pub fn wanted(&self, rx: &BytesMut) -> usize {
        self.connection.as_ref().map_or(0, |ws| ws.wanted(rx))
    }

    /// Round-trip times of the connection.
    pub fn rtt(&self) -> Option<Rtt> {
        self.connection.as_ref()?.rtt()
    }

    /// Events that nobody asked for in time.
    pub fn events_dropped(&self) -> u64 {
        self.events_dropped
    }

    /// Begins to connect. Does nothing but the first time.
    pub fn start(&mut self, now: Instant) {
        if self.state == State::Idle {
            self.attempts.begin(now);
            self.down_since = now;
            self.dial();
        }
    }

    /// Takes the next message, or the word that some were dropped before it.
    pub fn recv(&mut self, now: Instant) -> Option<Received> {
        let was_paused = self.inbox.is_paused();
        let received = self.inbox.pop()?;
        if was_paused && !self.inbox.is_paused() {
            if let Some(ws) = &mut self.connection {
                ws.resume(now);
            }
            // It was this side that did not listen.
            self.silence = Silence::new(now);
            self.tell(Event::Resumed);
        }
        Some(received)
    }

    /// Wants the [`PeerSeen`](super::Receipt::PeerSeen) of a message that was flushed on this
    /// connection, however many are flushed behind it: without that the last 1,024 are remembered.
    /// Says whether it has to be waited for; then a [`ping`](Self::ping) brings it.
    pub fn watch(&mut self, id: MessageId) -> bool {
        let is_read = self.flight.watch(id);
        if is_read {
            let receipt = Receipt::PeerSeen;
            self.tell(Event::Receipt { id, receipt });
        }
        !is_read
    }

    /// No longer wants to hear that.
    pub fn unwatch(&mut self, id: MessageId) {
        self.flight.unwatch(id);
    }

    /// Asks for a ping, for the round-trip time and the receipts of what was sent before it.
    pub fn ping(&mut self) -> bool {
        let connection = self.connection.as_mut();
        connection.is_some_and(|ws| ws.ping().is_some())
    }

    /// The network has changed: a backoff ends within a second.
    pub fn network_available(&mut self, now: Instant, rng: &mut dyn Rng) {
        if self.state == State::Backoff {
            let soon = Duration::from_nanos(uniform(rng, 0, 1_000_000_000));
            self.until = self.until.min(now + soon);
        }
    }

    /// Takes no more messages, sends those that wait for up to `drain`, then closes. Does nothing
    /// where the session closes already.
    ///
    /// # Errors
    ///
    /// Where the code or the reason may not be sent.
    pub fn close(
        &mut self,
        now: Instant,
        drain: Duration,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), CloseError> {
        let frame = CloseFrame::new(code, reason)?;
        if self.closing.is_none() && self.state != State::Stopped {
            let until = Some(now + drain);
            self.closing = Some(Closing { until, frame });
            self.close_when_drained(now);
        }
        Ok(())
    }

    /// What was not sent when the session stopped, in the order of sending.
    pub fn take_unsent(&mut self) -> Vec<(MessageId, Outgoing)> {
        std::mem::take(&mut self.unsent)
    }

    /// What the driver is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, or earlier.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().and_then(|ws| ws.poll_timeout());
        let replay = match self.state {
            State::Resync | State::Open => self.replay_at(),
            _ => Instant::MAX,
        };
        let closing = self
            .closing
            .as_ref()
            .and_then(|closing| closing.until)
            .unwrap_or(Instant::MAX);
        let next = self.until.min(replay).min(closing);
        Some(connection.map_or(next, |at| at.min(next))).filter(|at| *at != Instant::MAX)
    }

    /// The next attempt begins.
    pub(super) fn dial(&mut self) {
        self.state = State::Connecting;
        self.until = Instant::MAX;
        self.act(Action::Connect(Connect {
            attempt: self.attempts.count(),
            ..self.connect
        }));
    }

    /// Stops, and keeps what was not sent for whoever asks.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if self.state == State::Stopped {
            return;
        }
        let in_progress = self.state == State::Connecting || self.connection.take().is_some();
        if in_progress {
            self.act(Action::Disconnect);
        }
        let left = self.outbox.drain();
        self.unsent = left
            .into_iter()
            .map(|entry| (entry.id, entry.outgoing))
            .collect();
        self.state = State::Stopped;
        self.until = Instant::MAX;
        self.closing = None;
        self.stopped = Some(reason.clone());
        let unsent = self.unsent.len();
        self.tell(Event::Stopped { reason, unsent });
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn tell(&mut self, event: Event) {
        let of_messages = self.config.outbox.messages.saturating_mul(2);
        if self.events.len() >= MOST_EVENTS.saturating_add(of_messages) {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    pub(super) fn tell_dropped(&mut self, dropped: Dropped) {
        for (id, reason) in dropped {
            self.tell(Event::Dropped { id, reason });
        }
    }
}
