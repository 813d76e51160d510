//! What the handles of one WebSocket and its keeper share: the machine, its wire, the inbox.
//!
//! Invariants
//! * Whoever drives does so in one locked section, without waiting; wakers are woken and transports
//!   dropped outside it.
//! * Transports are dropped where the machine is done, and not before.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::fault::FaultKind;
use fulmar_core::time::Instant;
use fulmar_core::ws::{Agreed, CloseCode, CloseError, Closed, Connection, Message, Rtt, SendError};

use super::signal::{Signal, TICK};
use super::state::{State, Want};
use super::transport::Transport;
use super::turn::Turn;
use crate::net::Net;
use crate::wake::wake;

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
    ) -> Arc<Self> {
        let peer = transport.h1.peer.as_deref().copied();
        let state = State::new(machine, transport, rng);
        Arc::new_cyclic(|socket| {
            let signal = Arc::new(Signal::new(socket.clone()));
            Self {
                net,
                waker: Waker::from(signal.clone()),
                signal,
                state: Mutex::new(state),
                peer,
                protocol: agreed.0,
                compression: agreed.1,
            }
        })
    }

    pub(super) fn net(&self) -> &Arc<dyn Net> {
        &self.net
    }

    /// Runs a section that may read and write, and tells whom it concerns.
    fn drive<R>(
        &self,
        state: MutexGuard<'_, State>,
        section: impl FnOnce(&mut State, &mut Turn<'_>) -> R,
    ) -> R {
        let mut turn = self.turn();
        let (state, result) = self.guarded(state, |state| section(state, &mut turn));
        let has_fired = self.signal.end();
        if has_fired || state.has_news() {
            Self::tell(state, has_fired);
        }
        result
    }

    #[inline(never)]
    fn tell(mut state: MutexGuard<'_, State>, has_fired: bool) {
        let spent = state.take_spent();
        let wakers = state.tell(has_fired);
        drop(state);
        spent.into_iter().for_each(Transport::discard);
        wakers.wake();
    }

    /// Runs a section that may call the transport, which is anybody's code.
    #[inline]
    fn guarded<'a, R>(
        &'a self,
        state: MutexGuard<'a, State>,
        section: impl FnOnce(&mut State) -> R,
    ) -> (MutexGuard<'a, State>, R) {
        let panicked = Panicked(self);
        // Behind it, so that a panic opens the lock first.
        let mut state = state;
        self.signal.begin();
        let result = section(&mut state);
        std::mem::forget(panicked);
        (state, result)
    }

    #[inline]
    fn turn(&self) -> Turn<'_> {
        Turn::new(&self.net, Context::from_waker(&self.waker))
    }

    /// Drives for one who uses the connection.
    fn drive_use<R>(&self, section: impl FnOnce(&mut State, &mut Turn<'_>) -> R) -> R {
        let mut state = self.lock();
        state.waiting.note_use();
        self.drive(state, section)
    }

    /// The transport has news, and nobody drives.
    pub(super) fn fire(&self) {
        let mut state = self.lock();
        if let Some(reader) = state.fired_for_reader() {
            drop(state);
            return wake(reader);
        }
        let wakers = state.tell(true);
        drop(state);
        wakers.wake();
    }

    /// The next message; `None` once the connection has ended.
    pub(super) fn poll_recv(&self, user: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.lock();
        let mut has_read = false;
        // A message that is there, or comes with one read, takes no clock and concerns nobody else.
        loop {
            if let Some(message) = state.poll_short(&self.net) {
                return Poll::Ready(Some(message));
            }
            if has_read || !state.is_empty() || !state.waiting.note_watched_use() {
                break;
            }
            let read;
            (state, read) = self.guarded(state, |state| state.read(&mut self.turn()));
            if !self.signal.end_quietly() {
                break;
            }
            if read.is_pending() {
                let _replaced = state.waiting.read(user.waker());
                drop(state);
                return Poll::Pending;
            }
            has_read = true;
        }
        state.waiting.note_use();
        self.drive(state, |state, turn| {
            let polled = state.poll_message(turn);
            if polled.is_pending() {
                turn.replaced = state.waiting.read(user.waker());
            }
            polled
        })
    }

    /// Takes the message out, once there is room for it, and writes what the transport takes.
    pub(super) fn poll_send(
        &self,
        user: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let Some(given) = message.take() else {
            return Poll::Ready(Ok(()));
        };
        self.drive_use(|state, turn| match state.send(turn, given) {
            Err(SendError::Full(full)) => {
                *message = Some(full);
                state.want = Some(Want::Room);
                turn.replaced = state.waiting.write(user.waker());
                Poll::Pending
            }
            sent => Poll::Ready(sent),
        })
    }

    /// Takes the message out, once there is room for it. A flush writes it.
    pub(super) fn poll_feed(
        &self,
        user: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        while let Some(given) = message.take() {
            match self.feed(given) {
                Err(SendError::Full(full)) => *message = Some(full),
                fed => return Poll::Ready(fed),
            }
            // An end shows when it is tried again.
            let _ = ready!(self.poll_want(user, Want::Room));
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the message, if there is room for it now, and writes what the transport takes.
    pub(super) fn send_now(&self, message: Message) -> Result<(), SendError> {
        self.drive_use(|state, turn| state.send(turn, message))
    }

    /// Takes the message, if there is room for it now. A flush writes it.
    #[inline]
    pub(super) fn feed(&self, message: Message) -> Result<(), SendError> {
        self.locked(|state| state.feed(message))
    }

    /// Waits for room, or until everything is written.
    pub(super) fn poll_want(&self, user: &mut Context<'_>, want: Want) -> Poll<Result<(), Closed>> {
        let mut state = self.lock();
        if state.has(want) {
            return Poll::Ready(Ok(()));
        }
        state.waiting.note_use();
        self.drive(state, |state, turn| {
            state.transmit(turn);
            if state.has(want) {
                return Poll::Ready(Ok(()));
            }
            if let Some(closed) = state.refusal(want) {
                return Poll::Ready(Err(closed));
            }
            state.want = Some(want);
            turn.replaced = state.waiting.write(user.waker());
            Poll::Pending
        })
    }

    /// Begins to close, unless that has begun.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.drive_use(|state, turn| {
            state.machine.close(turn.now(), code, reason)?;
            state.resume(turn);
            state.transmit(turn);
            Ok(())
        })
    }

    /// Asks for a ping. `None` where too many are under way, or the connection closes.
    pub(super) fn ping(&self, ticket: u64) -> bool {
        self.drive_use(|state, turn| {
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

    pub(super) fn closed(&self) -> Option<Closed> {
        self.locked(|state| state.machine.closed().map(|closed| Closed::clone(closed)))
    }

    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.locked(|state| state.machine.rtt())
    }

    /// Does what is due while no handle does. Says when to come back, `None` at the end.
    pub(super) fn keep(&self, waker: &Waker) -> Option<Instant> {
        self.drive(self.lock(), |state, turn| {
            let now = turn.now();
            state.fill_inbox(turn);
            state.transmit(turn);
            if state.machine.is_done() {
                return None;
            }
            let (watches, replaced) = state.waiting.keep(waker);
            turn.replaced = replaced;
            let due = state.machine.poll_timeout().unwrap_or(Instant::MAX);
            let tick = if watches { now + TICK } else { Instant::MAX };
            state.sleeps_until = due.min(tick);
            if !watches {
                state.rest();
            }
            Some(state.sleeps_until)
        })
    }

    /// A number for one who waits for a pong, or the end.
    pub(super) fn ticket(&self) -> u64 {
        self.locked(|state| state.waiting.ticket())
    }

    /// They wait.
    pub(super) fn wait(&self, ticket: u64, waker: Waker) {
        // What comes back is dropped here, outside the lock.
        drop(self.locked(|state| state.waiting.wait(ticket, waker)));
    }

    /// They no longer do, for whatever it was.
    pub(super) fn forget(&self, ticket: u64) {
        drop(self.locked(|state| {
            state.pings.remove(&ticket);
            state.waiting.forget(ticket)
        }));
    }

    /// Nobody uses it any more, or nobody can: says goodbye as far as that goes at once, and ends.
    pub(super) fn abandon(&self, kind: FaultKind) {
        self.drive_use(|state, turn| {
            if state.transport.is_none() {
                return;
            }
            // Where a panic drops it, the transport may be what panics: to write would end the process.
            if !std::thread::panicking() {
                // The code is one that may be sent.
                let _ = state.machine.close(turn.now(), CloseCode::GOING_AWAY, "");
                state.transmit(turn);
            }
            state.machine.handle_fault(kind);
        });
    }

    fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        section(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A section that panics leaves a transport of which nothing is known: the connection ends, and who
/// waits hears of it.
struct Panicked<'a>(&'a Socket);

impl Drop for Panicked<'_> {
    fn drop(&mut self) {
        // It asks nobody the time: who panicked may be the clock.
        self.0
            .drive_use(|state, _| state.machine.handle_fault(FaultKind::Other));
    }
}
