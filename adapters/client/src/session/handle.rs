//! What the application calls.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use fulmar_core::session::{
    Delivery, Key, MessageId, OnFull, Outgoing, Received, SendError, State as Stage, StopReason,
};
use fulmar_core::time::Instant;
use fulmar_core::ws::{CloseCode, CloseError, Message, Rtt};

use super::common::{Common, State};
use super::sent::{Progress, Sent};
use super::streams::{Events, Messages, Seat};
use super::waits::Interest;
use crate::alarm::Alarm;
use crate::error::Error;

/// How long [`Session::close`] waits for what is queued to be sent (POLICIES 5.3).
const DRAIN: Duration = Duration::from_secs(5);

/// The session, until the last handle goes.
pub(super) struct Handle(Arc<Common>);

impl Handle {
    pub(super) fn common(&self) -> &Arc<Common> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.act(|state, _| state.is_abandoned = true);
    }
}

/// A WebSocket over any number of connections. Cloning it bumps a count; every method takes `&self`,
/// so that several tasks may send and receive at once.
///
/// A task of its own connects, sends, receives and reconnects, whether or not the session is used.
/// Dropping the last handle ends it at once, with a Close frame (1001) as far as the transport takes
/// one without waiting; what waits to be sent is lost. For an end that waits see
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Session {
    handle: Arc<Handle>,
}

impl Session {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            handle: Arc::new(Handle(common)),
        }
    }

    fn common(&self) -> &Arc<Common> {
        self.handle.common()
    }

    /// Queues a message, connected or not. It waits while the outbox is full, or, for a message that
    /// is kept until it is acknowledged, while too much is unacknowledged; those who wait get room in
    /// the order in which they came.
    ///
    /// # Errors
    ///
    /// With the message: it is larger than the whole outbox, or the session closes or has stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits drops the message; it was not queued.
    pub async fn send(&self, message: impl Into<Outgoing>) -> Result<Sent, SendError> {
        self.send_until(message.into(), Instant::MAX).await
    }

    /// As [`send`](Self::send), and gives the message back as [`SendError::Full`] where there is no
    /// room for it within that time.
    ///
    /// # Errors
    ///
    /// With the message: there was no room for it, or what [`send`](Self::send) says.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_timeout(
        &self,
        message: impl Into<Outgoing>,
        timeout: Duration,
    ) -> Result<Sent, SendError> {
        let until = self.common().net().now() + timeout;
        self.send_until(message.into(), until).await
    }

    async fn send_until(&self, mut outgoing: Outgoing, until: Instant) -> Result<Sent, SendError> {
        let interest = match outgoing.delivery {
            Delivery::AtMostOnce => Interest::Room,
            Delivery::AtLeastOnce => Interest::KeptRoom,
        };
        if self.is_turn(&outgoing, interest) {
            match self.try_send(outgoing) {
                Err(SendError::Full(full)) => outgoing = full,
                taken => return taken,
            }
        }
        let seat = Seat::new(self.common(), interest);
        let mut waiting = Some(outgoing);
        let mut alarm = Alarm::new();
        poll_fn(|cx| {
            let taken = seat.poll(cx, |state, place| {
                let is_first = state.waits.first(interest) == Some(place);
                self.take_waiting(state, &mut waiting, is_first)
            });
            if taken.is_pending() {
                ready!(alarm.poll_until(cx, &**self.common().net(), until));
                if let Some(full) = waiting.take() {
                    return Poll::Ready(Err(SendError::Full(full)));
                }
            }
            taken
        })
        .await
    }

    /// Queues what waits for room, where it is its turn.
    fn take_waiting(
        &self,
        state: &mut State,
        waiting: &mut Option<Outgoing>,
        is_first: bool,
    ) -> Option<Result<Sent, SendError>> {
        // There will be no room: nobody needs to wait for those before him to hear that.
        let goes = is_first || state.machine.is_closing();
        let outgoing = waiting.take_if(|_| goes)?;
        match self.take(state, outgoing) {
            Err(SendError::Full(full)) => {
                *waiting = Some(full);
                None
            }
            taken => Some(taken),
        }
    }

    /// Whether nobody waits before it. What does not wait for room pushes in.
    fn is_turn(&self, outgoing: &Outgoing, interest: Interest) -> bool {
        outgoing.on_full != OnFull::Refuse
            || self
                .common()
                .locked(|state, _| state.waits.first(interest).is_none())
    }

    /// Queues a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// With the message: there is no room for it, or what [`send`](Self::send) says.
    pub fn try_send(&self, message: impl Into<Outgoing>) -> Result<Sent, SendError> {
        let outgoing = message.into();
        self.common().locked(|state, _| self.take(state, outgoing))
    }

    fn take(&self, state: &mut State, outgoing: Outgoing) -> Result<Sent, SendError> {
        let is_kept = outgoing.delivery == Delivery::AtLeastOnce;
        let id = state.machine.send(self.common().net().now(), outgoing)?;
        state.sent.insert(id, Progress::new(is_kept));
        state.rouse();
        Ok(Sent::new(self.common().clone(), id))
    }

    /// The next message, or how many were dropped before it
    /// ([`SlowConsumer`](super::SlowConsumer)). `Ok(None)`: the session was closed, by whichever side,
    /// as it should be.
    ///
    /// # Errors
    ///
    /// Why the session stopped, where that was not in order. What came before is received first.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: no message is lost.
    pub async fn recv(&self) -> Result<Option<Received>, StopReason> {
        let messages = self.messages();
        poll_fn(|cx| messages.poll_recv(cx)).await
    }

    /// Messages as a stream.
    pub fn messages(&self) -> Messages {
        Messages::new(self.handle.clone())
    }

    /// What happens to the session, from its beginning. Holding it does not keep the session.
    pub fn events(&self) -> Events {
        Events::new(self.common().clone())
    }

    /// The server acknowledged a message that is kept for that. Says whether it still was.
    pub fn acknowledge(&self, id: MessageId) -> bool {
        self.common().act(|state, _| {
            let was_kept = state.machine.ack(id);
            state.offer_room();
            was_kept
        })
    }

    /// The server acknowledged a message and all that were sent before it on its connection.
    pub fn acknowledge_up_to(&self, id: MessageId) -> bool {
        self.common().act(|state, _| {
            let was_kept = state.machine.ack_up_to(id);
            state.offer_room();
            was_kept
        })
    }

    /// Sends `message` now and again on every connection, before anything else, under that key. A
    /// message of the same key replaces it. Says whether there was room
    /// ([`Config::subscriptions`](super::Config::subscriptions)).
    pub fn subscribe(&self, key: impl Into<Key>, message: impl Into<Message>) -> bool {
        let (key, message) = (key.into(), message.into());
        self.common()
            .act(|state, _| state.machine.subscribe(key, message))
    }

    /// No longer sends the message of that key. Says whether there was one.
    pub fn unsubscribe(&self, key: &str) -> bool {
        self.common().act(|state, _| state.machine.unsubscribe(key))
    }

    /// Sends a message as a part of the resync that
    /// [`Event::Resync`](super::Event::Resync) asked for: before all others. It is lost with its
    /// connection.
    ///
    /// # Errors
    ///
    /// With the message: no resync is under way, or its messages exceed the outbox's bound.
    pub fn resync_send(&self, message: impl Into<Message>) -> Result<MessageId, SendError> {
        let message = message.into();
        self.common()
            .act(|state, now| state.machine.resync_send(now, message))
    }

    /// The resync is complete: the outbox opens.
    pub fn resync_done(&self) {
        self.common().act(|state, _| state.machine.resync_done());
    }

    /// Remembers how far the application has come in what the server sends, for the next resync.
    pub fn saw(&self, sequence: u64) {
        self.common().locked(|state, _| state.machine.saw(sequence));
    }

    /// The network has changed: a backoff ends within a second.
    pub fn network_available(&self) {
        self.common()
            .act(|state, now| state.machine.network_available(now, &mut state.rng));
    }

    /// Where it stands.
    pub fn state(&self) -> Stage {
        self.common().locked(|state, _| state.machine.state())
    }

    /// Attempts to connect since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.common().locked(|state, _| state.machine.attempts())
    }

    /// Round-trip times of the connection there is, once a ping was answered.
    pub fn rtt(&self) -> Option<Rtt> {
        self.common().locked(|state, _| state.machine.rtt())
    }

    /// How many messages wait to be sent, or to be acknowledged.
    pub fn outbox_len(&self) -> usize {
        self.common().locked(|state, _| state.machine.outbox_len())
    }

    /// Why the last attempt to connect failed, in full.
    pub fn last_error(&self) -> Option<Error> {
        self.common().locked(|state, _| state.error.clone())
    }

    /// Why it stopped, once it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.common()
            .locked(|state, _| state.machine.stopped().cloned())
    }

    /// Waits until it stops, and says why.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn stopped(&self) -> StopReason {
        let seat = Seat::new(self.common(), Interest::End);
        poll_fn(|cx| seat.poll(cx, |state, _| state.machine.stopped().cloned())).await
    }

    /// What was queued and not sent, or not acknowledged, when the session stopped: in the order of
    /// sending, and once.
    pub fn take_undelivered(&self) -> Vec<(MessageId, Outgoing)> {
        self.common().locked(|state, _| state.machine.take_unsent())
    }

    /// Closes as [`close_after_flush`](Self::close_after_flush), for up to 5 s.
    ///
    /// # Cancel safety
    ///
    /// As [`close_after_flush`](Self::close_after_flush).
    pub async fn close(&self) -> Vec<(MessageId, Outgoing)> {
        self.close_after_flush(DRAIN).await
    }

    /// Takes no more messages, sends those that wait for up to `drain`, over a new connection if need
    /// be, and closes (1000). Returns what is left, in the order of sending, after the drain, the
    /// [close timeout](crate::websocket::WebSocketBuilder::close_timeout) and a second for the end of
    /// the transport at the latest: 6 s after the drain, by default. Where the session closes already
    /// it only waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the close back; what is left stays for
    /// [`take_undelivered`](Self::take_undelivered).
    pub async fn close_after_flush(&self, drain: Duration) -> Vec<(MessageId, Outgoing)> {
        // The code is one that may be sent.
        let _ = self.begin_close(drain, CloseCode::NORMAL, "");
        self.stopped().await;
        self.take_undelivered()
    }

    /// As [`close_after_flush`](Self::close_after_flush) with a code and a reason.
    ///
    /// # Errors
    ///
    /// Where the code or the reason may not be sent: nothing was done.
    ///
    /// # Cancel safety
    ///
    /// As [`close_after_flush`](Self::close_after_flush).
    pub async fn close_with(
        &self,
        code: CloseCode,
        reason: &str,
        drain: Duration,
    ) -> Result<Vec<(MessageId, Outgoing)>, CloseError> {
        self.begin_close(drain, code, reason)?;
        self.stopped().await;
        Ok(self.take_undelivered())
    }

    fn begin_close(
        &self,
        drain: Duration,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), CloseError> {
        self.common().act(|state, now| {
            state.machine.close(now, drain, code, reason)?;
            state.offer_room();
            Ok(())
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state())
            .field("attempts", &self.attempts())
            .field("stopped", &self.stop_reason())
            .finish_non_exhaustive()
    }
}
