//! How many sockets a client may have: who comes later waits, in order.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;
use fulmar_core::ws::{Admission, Gate, GateTicket, Turn};

use crate::alarm::Alarm;
use crate::error::{Error, Kind};
use crate::shared::{Registration, Shared};
use crate::wake::wake_all;

/// Those who may wait.
const WAITERS: usize = 10_000;

/// The client's gate.
pub(crate) struct Cap {
    state: Mutex<State>,
    /// What is said to those who waited in vain.
    why: &'static str,
}

struct State {
    gate: Gate<Arc<str>>,
    /// Whose turn it is, or whom to wake then.
    waiting: BTreeMap<GateTicket, Place>,
}

enum Place {
    Waits(Option<Waker>),
    Over(Turn),
}

/// Whether caps let anything through, and agree: of sockets in all and to one origin, and of
/// handshakes with one origin.
pub(crate) fn check_caps(
    (total, per_origin): (usize, usize),
    handshakes: usize,
) -> Result<(), &'static str> {
    if total == 0 || per_origin == 0 {
        return Err("websocket_limits of 0 let no WebSocket through");
    }
    if per_origin > total {
        return Err("websocket_limits has more to one origin than in all");
    }
    if handshakes == 0 {
        return Err("websocket_handshakes of 0 lets no handshake through");
    }
    Ok(())
}

impl Cap {
    pub(crate) fn new((total, per_origin): (usize, usize), why: &'static str) -> Self {
        let state = Mutex::new(State {
            gate: Gate::new(total, per_origin, WAITERS),
            waiting: BTreeMap::new(),
        });
        Self { state, why }
    }

    /// How many are in, and how many wait.
    pub(crate) fn gauges(&self) -> (usize, usize) {
        self.locked(|state| (state.gate.held(), state.waiting.len()))
    }

    /// Runs a section and wakes, outside the lock, those whose wait it ended.
    fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = section(&mut state);
        let mut wakers = Vec::new();
        while let Some(turn) = state.gate.poll_turn() {
            let (Turn::Pass(ticket) | Turn::TimedOut(ticket)) = turn;
            if let Some(place) = state.waiting.get_mut(&ticket)
                && let Place::Waits(Some(waker)) = std::mem::replace(place, Place::Over(turn))
            {
                wakers.push(waker);
            }
        }
        drop(state);
        wake_all(wakers);
        result
    }

    /// Waits for a pass, until that limit passes or the client ends.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        origin: &str,
        (until, limit): (Instant, Phase),
    ) -> Result<Pass, Error> {
        let origin: Arc<str> = origin.into();
        if shared.is_closed() {
            return Err(Error::new(Kind::Closed));
        }
        let pass = || Pass {
            cap: self.clone(),
            origin: origin.clone(),
        };
        let admission = self.locked(|state| {
            let admission = state.gate.enter(origin.clone(), until);
            if let Admission::Wait(ticket) = admission {
                state.waiting.insert(ticket, Place::Waits(None));
            }
            admission
        });
        let ticket = match admission {
            Admission::Pass => return Ok(pass()),
            Admission::Full => return Err(Error::new(Kind::PoolFull).at(Phase::Pool)),
            Admission::Wait(ticket) => ticket,
        };
        let mut queued = Queued {
            cap: self,
            shared,
            origin: &origin,
            ticket: Some(ticket),
            registration: Registration::default(),
        };
        match queued.turn(until).await {
            Some(Turn::Pass(_)) => Ok(pass()),
            Some(Turn::TimedOut(_)) => {
                let error = Error::timeout(limit).during(Some(Phase::Pool));
                Err(error.because(self.why))
            }
            None => Err(Error::new(Kind::Closed)),
        }
    }
}

/// A place in the queue; given up when dropped, with the pass that it may have got meanwhile.
struct Queued<'a> {
    cap: &'a Cap,
    shared: &'a Arc<Shared>,
    origin: &'a Arc<str>,
    ticket: Option<GateTicket>,
    /// A shutdown has to find who waits here.
    registration: Registration,
}

impl Queued<'_> {
    /// The end of the wait; `None` where it is the client's.
    async fn turn(&mut self, until: Instant) -> Option<Turn> {
        let net = self.shared.net.clone();
        let mut alarm = Alarm::new();
        poll_fn(|cx| {
            if alarm.poll_until(cx, &*net, until).is_ready() {
                self.cap.locked(|state| state.gate.handle_timeout(until));
            }
            self.registration.watch_shutdown(self.shared, cx);
            if self.shared.is_closed() {
                return Poll::Ready(None);
            }
            let waker = cx.waker().clone();
            let (turn, _replaced) = self.cap.locked(|state| self.look(state, waker));
            turn.map_or(Poll::Pending, |turn| Poll::Ready(Some(turn)))
        })
        .await
    }

    fn look(&mut self, state: &mut State, waker: Waker) -> (Option<Turn>, Option<Waker>) {
        let Some(ticket) = self.ticket else {
            return (None, Some(waker));
        };
        match state.waiting.get_mut(&ticket) {
            Some(Place::Waits(known)) => (None, known.replace(waker)),
            Some(Place::Over(turn)) => {
                let turn = *turn;
                state.waiting.remove(&ticket);
                self.ticket = None;
                (Some(turn), Some(waker))
            }
            None => (None, Some(waker)),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| self.registration.remove(state));
        let Some(ticket) = self.ticket else { return };
        let cancelled = self.cap.locked(|state| {
            let place = state.waiting.remove(&ticket);
            match place {
                Some(Place::Over(Turn::Pass(_))) => state.gate.leave(self.origin),
                _ => state.gate.cancel(ticket),
            }
            place
        });
        drop(cancelled);
    }
}

/// A WebSocket may be; given back when dropped.
pub(crate) struct Pass {
    cap: Arc<Cap>,
    origin: Arc<str>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.cap.locked(|state| state.gate.leave(&self.origin));
    }
}
