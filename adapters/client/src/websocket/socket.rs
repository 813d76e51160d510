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

use super::signal::{Hold, Signal, TICK};
use super::state::{State, Transport, Turn, Want};
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
    fn drive<'a, R>(
        &'a self,
        is_use: bool,
        section: impl FnOnce(&mut State, &mut Turn<'_>, &mut Hold<'a>) -> R,
    ) -> R {
        let mut hold = self.signal.hold(is_use);
        let mut turn = Turn::new(&*self.net, Context::from_waker(&self.waker));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = section(&mut state, &mut turn, &mut hold);
        let spent = state.take_spent();
        hold.news = state.news(spent.is_some());
        drop(state);
        spent.into_iter().for_each(Transport::discard);
        result
    }

    /// The next message; `None` once the connection has ended.
    pub(super) fn poll_recv(&self, user: &mut Context<'_>) -> Poll<Option<Message>> {
        // What is there already takes neither the clock nor the transport, and concerns nobody else.
        if let Some(message) = self.locked(State::poll_short) {
            return Poll::Ready(Some(message));
        }
        let user: &Waker = user.waker();
        self.drive(true, |state, turn, hold| {
            let polled = state.poll_message(turn);
            state.transmit(turn);
            hold.reader = polled.is_pending().then_some(user);
            polled
        })
    }

    /// Takes the message out, once there is room for it, and writes what the transport takes.
    pub(super) fn poll_send(
        &self,
        user: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let user: &Waker = user.waker();
        self.drive(true, |state, turn, hold| {
            match state.send(turn, message, true) {
                Err(SendError::Full(full)) => {
                    *message = Some(full);
                    state.want = Some(Want::Room);
                    hold.writer = Some(user);
                    Poll::Pending
                }
                sent => Poll::Ready(sent),
            }
        })
    }

    /// Takes the message, if there is room for it now, and writes what the transport takes.
    pub(super) fn send_now(&self, message: Message) -> Result<(), SendError> {
        let mut message = Some(message);
        self.drive(true, |state, turn, _| state.send(turn, &mut message, true))
    }

    /// Takes the message, if there is room for it now. A flush writes it.
    pub(super) fn feed(&self, message: Message) -> Result<(), SendError> {
        match self.locked(|state| state.feed(message)) {
            Err(SendError::Full(message)) => {
                let mut message = Some(message);
                self.drive(true, |state, turn, _| state.send(turn, &mut message, false))
            }
            fed => fed,
        }
    }

    /// Waits for room, or until everything is written.
    pub(super) fn poll_want(&self, user: &mut Context<'_>, want: Want) -> Poll<Result<(), Closed>> {
        if self.locked(|state| state.has(want)) {
            return Poll::Ready(Ok(()));
        }
        let user: &Waker = user.waker();
        self.drive(true, |state, turn, hold| {
            state.transmit(turn);
            if state.has(want) {
                return Poll::Ready(Ok(()));
            }
            if let Some(closed) = state.refusal(want) {
                return Poll::Ready(Err(closed));
            }
            state.want = Some(want);
            hold.writer = Some(user);
            Poll::Pending
        })
    }

    /// Begins to close, unless that has begun.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.drive(true, |state, turn, _| {
            state.machine.close(turn.now(), code, reason)?;
            state.resume(turn);
            state.transmit(turn);
            Ok(())
        })
    }

    /// Asks for a ping. `None` where too many are under way, or the connection closes.
    pub(super) fn ping(&self, ticket: u64) -> bool {
        self.drive(true, |state, turn, _| {
            let Some(id) = state.machine.ping() else {
                return false;
            };
            state.pings.insert(ticket, (id, None));
            state.transmit(turn);
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
        let (until, _replaced) = self.drive(false, |state, turn, _| {
            let now = turn.now();
            state.fill_inbox(turn);
            state.transmit(turn);
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
        self.drive(true, |state, turn, _| {
            if state.transport.is_none() {
                return;
            }
            // Where a panic drops it, the transport may be what panics: to write would end the process.
            if !std::thread::panicking() {
                // The code is one that may be sent.
                let _ = state.machine.close(turn.now(), CloseCode::GOING_AWAY, "");
                state.transmit(turn);
            }
            state.machine.handle_fault(turn.now(), kind);
        });
    }

    fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        section(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
