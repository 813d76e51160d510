//! What the handles of one WebSocket and its keeper share: the machine, its wire, the inbox.
//!
//! Invariants
//! * Whoever drives does so in one locked section, without waiting; wakers are woken and transports
//!   dropped outside it.
//! * Transports are dropped where the machine is done, and not before.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::fault::FaultKind;
use fulmar_core::time::Instant;
use fulmar_core::ws::{Agreed, CloseCode, CloseError, Closed, Connection, Message, Rtt, SendError};

use super::signal::{Signal, TICK};
use super::state::{State, Transport, Want};
use crate::net::Net;

/// One WebSocket.
pub(super) struct Socket {
    net: Arc<dyn Net>,
    signal: Arc<Signal>,
    /// The signal, as the transport knows it.
    waker: Waker,
    state: Mutex<State>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) protocol: Option<String>,
    pub(super) compression: Option<Agreed>,
}

impl Socket {
    pub(super) fn new(
        net: Arc<dyn Net>,
        machine: Connection,
        rng: ChaCha8Rng,
        transport: Transport,
        agreed: (Option<String>, Option<Agreed>),
    ) -> Self {
        let signal = Arc::new(Signal::default());
        let peer = transport.h1.peer.as_deref().copied();
        let state = State::new(machine, transport, rng);
        Self {
            net,
            waker: Waker::from(signal.clone()),
            signal,
            state: Mutex::new(state),
            peer,
            protocol: agreed.0,
            compression: agreed.1,
        }
    }

    pub(super) fn net(&self) -> &Arc<dyn Net> {
        &self.net
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Runs a section that may read and write, and tells whom it concerns.
    fn drive<R>(
        &self,
        is_use: bool,
        section: impl FnOnce(&mut State, &mut Context<'_>, Instant) -> R,
    ) -> R {
        let now = self.net.now();
        let mut hold = self.signal.hold(is_use);
        let mut cx = Context::from_waker(&self.waker);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = section(&mut state, &mut cx, now);
        let spent = state.take_spent();
        hold.news = state.news(spent.is_some());
        drop(state);
        spent.into_iter().for_each(Transport::discard);
        result
    }

    /// The next message; `None` once the connection has ended.
    pub(super) fn poll_recv(&self, user: &mut Context<'_>) -> Poll<Option<Message>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            let polled = state.poll_message(cx, now);
            state.transmit(cx, now);
            let waits = polled.is_pending().then(|| user.waker());
            (
                polled,
                waits.and_then(|waker| self.signal.wait_to_read(waker)),
            )
        });
        polled
    }

    /// Takes the message out, once there is room for it, and writes what the transport takes.
    pub(super) fn poll_send(
        &self,
        user: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            match state.send(cx, now, message, true) {
                Err(SendError::Full(full)) => {
                    *message = Some(full);
                    state.want = Want::Room;
                    (Poll::Pending, self.signal.wait_to_write(user.waker()))
                }
                sent => (Poll::Ready(sent), None),
            }
        });
        polled
    }

    /// Takes the message, if there is room for it now; writing it may wait for a flush.
    pub(super) fn send_now(&self, message: Message, write: bool) -> Result<(), SendError> {
        let mut message = Some(message);
        self.drive(true, |state, cx, now| {
            state.send(cx, now, &mut message, write)
        })
    }

    /// Waits for room, or until everything is written.
    pub(super) fn poll_want(&self, user: &mut Context<'_>, want: Want) -> Poll<Result<(), Closed>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            if want == Want::Flushed || !state.has(want) {
                state.transmit(cx, now);
            }
            if state.has(want) {
                return (Poll::Ready(Ok(())), None);
            }
            if let Some(closed) = state.refusal(want) {
                return (Poll::Ready(Err(closed)), None);
            }
            state.want = want;
            (Poll::Pending, self.signal.wait_to_write(user.waker()))
        });
        polled
    }

    /// Begins to close, unless that has begun.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.drive(true, |state, cx, now| {
            state.machine.close(now, code, reason)?;
            state.resume(now);
            state.transmit(cx, now);
            Ok(())
        })
    }

    /// Asks for a ping. `None` where too many are under way, or the connection closes.
    pub(super) fn ping(&self, ticket: u64) -> bool {
        self.drive(true, |state, cx, now| {
            let Some(id) = state.machine.ping() else {
                return false;
            };
            state.pings.insert(ticket, (id, None));
            state.transmit(cx, now);
            true
        })
    }

    /// How long the pong to that ping took, once it is there.
    pub(super) fn pong(&self, ticket: u64) -> Option<Duration> {
        self.locked(|state| state.pings.get(&ticket)?.1)
    }

    /// Nobody waits for that ping's pong any more.
    pub(super) fn forget_ping(&self, ticket: u64) {
        self.locked(|state| state.pings.remove(&ticket));
    }

    pub(super) fn closed(&self) -> Option<Closed> {
        self.locked(|state| state.machine.closed().map(|closed| Closed::clone(closed)))
    }

    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.locked(|state| state.machine.rtt())
    }

    /// Does what is due while no handle does. Says when to come back, `None` at the end.
    pub(super) fn keep(&self, waker: &Waker) -> Option<Instant> {
        let (until, _replaced) = self.drive(false, |state, cx, now| {
            state.fill_inbox(cx, now);
            state.transmit(cx, now);
            if state.machine.is_done() {
                return (None, None);
            }
            let (watches, replaced) = self.signal.keep(waker);
            let due = state.machine.poll_timeout().unwrap_or(Instant::MAX);
            let tick = if watches { now + TICK } else { Instant::MAX };
            state.sleeps_until = due.min(tick);
            if !watches {
                state.rest();
            }
            (Some(state.sleeps_until), replaced)
        });
        until
    }

    /// Nobody uses it any more, or nobody can: says goodbye as far as that goes at once, and ends.
    pub(super) fn abandon(&self, kind: FaultKind) {
        self.drive(true, |state, cx, now| {
            if state.transport.is_none() {
                return;
            }
            // The code is one that may be sent.
            let _ = state.machine.close(now, CloseCode::GOING_AWAY, "");
            state.transmit(cx, now);
            state.machine.handle_fault(now, kind);
        });
    }

    fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        section(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
