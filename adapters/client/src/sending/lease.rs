//! How an attempt gets its connection: an idle one, a place in the queue, or a dial.

use std::sync::Arc;
use std::task::Context;

use fulmar_core::fault::{FaultKind, Phase};
use fulmar_core::pool::{Ask, Lease, Refusal, Slot, Ticket};
use fulmar_core::retry::Cause;
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;

use super::{Live, Progress, Step};
use crate::dial::Destination;
use crate::error::{Error, Kind};
use crate::exchange::StreamHandle;
use crate::h1::{Bufs, H1};
use crate::milestones::Milestones;
use crate::request::Parts;
use crate::shared::{Shared, State};

/// What the pool says.
type Leased = Result<Lease<Box<H1>, StreamHandle>, Refusal>;

impl Live {
    /// Asks for a connection: an idle one, a place in the queue, or a dial to be spawned.
    pub(super) fn lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        let bound = self.clocks.lower_bound(now).unwrap_or(Instant::MAX);
        let route = parts.route();
        let lane = parts.lane();
        let per_origin = parts.profile().and_then(|manner| manner.per_origin);
        let mut bufs = None;
        let waker = cx.waker().clone();
        let (lease, _replaced) = shared.locked_and_driven(|state| {
            let (tag, replaced) = self.registration.register(state, waker, bound);
            let repeatable = self.call.request().repeat_ok();
            let ask = Ask {
                fresh: self.fresh,
                repeatable,
                probe: false,
                lane,
                per_origin,
                tag,
            };
            let mut lease = state.pool.checkout(now, route, ask);
            bufs = self.account(state, now, route, &lease);
            self.own(&mut lease);
            (lease, replaced)
        });
        self.handle_lease(shared, parts, cx, now, lease, bufs)
    }

    /// What was given has an owner before the lock opens: what follows may panic.
    fn own(&mut self, lease: &mut Leased) {
        match lease {
            Ok(Lease::Idle(slot, h1, _)) => h1.slot = *slot,
            Ok(Lease::Dial(ticket, _) | Lease::Wait(ticket)) => self.step = Step::Queued(*ticket),
            _ => {}
        }
    }

    /// Books a first attempt with the route's retry budget, and takes buffers for a connection.
    fn account(
        &mut self,
        state: &mut State,
        now: Instant,
        route: &str,
        lease: &Leased,
    ) -> Option<Box<Bufs>> {
        let slot = match lease {
            Ok(Lease::Idle(slot, ..)) => Some(*slot),
            _ => None,
        };
        if !std::mem::replace(&mut self.accounted, true) {
            match slot.and_then(|slot| state.pool.slot_budget(slot)) {
                Some(budget) => budget.handle_first_attempt(now),
                None => state.pool.budget(now, route).handle_first_attempt(now),
            }
        }
        slot.and_then(|_| state.lend())
    }

    pub(super) fn poll_lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
        ticket: Ticket,
    ) -> Progress {
        if self.clocks.is_overdue(now) {
            // A connection that came with it goes to the next: nothing is sent past the deadline.
            return self.expire(shared, parts, now, Phase::Total);
        }
        let mut bufs = None;
        let lease = shared.locked_and_driven(|state| {
            let mut lease = state.pool.poll_lease(now, ticket);
            if matches!(lease, Some(Ok(Lease::Idle(..)))) {
                bufs = state.lend();
            }
            if let Some(lease) = &mut lease {
                self.tell_dial(now);
                self.own(lease);
            }
            lease
        });
        match lease {
            Some(lease) => self.handle_lease(shared, parts, cx, now, lease, bufs),
            None => self.wait(shared, parts, cx, now),
        }
    }

    fn handle_lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
        lease: Leased,
        bufs: Option<Box<Bufs>>,
    ) -> Progress {
        match lease {
            Ok(Lease::Idle(_, h1, idle_for)) => {
                self.start(shared, parts, now, h1, idle_for, bufs.unwrap_or_default())
            }
            Ok(Lease::Share(_, stream)) => match stream {},
            Ok(Lease::Dial(ticket, slot)) => {
                self.clocks.entered(now, Phase::Connect);
                self.paid = None;
                self.dial = Some(self.dial(shared, parts, now, slot));
                // The dial may have been refused at once.
                self.poll_lease(shared, parts, cx, now, ticket)
            }
            Ok(Lease::Wait(_)) => {
                shared.emit(self.id, || Event::Waiting);
                self.clocks.entered(now, Phase::Pool);
                self.wait(shared, parts, cx, now)
            }
            Err(refusal) => self.handle_refusal(shared, parts, now, refusal),
        }
    }

    /// Tells the clocks where the time of a dial went that the call waited for.
    pub(super) fn tell_dial(&mut self, now: Instant) {
        if let Some(milestones) = self.dial.take() {
            milestones.tell(now, &mut self.clocks);
        }
    }

    fn dial(
        &self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        slot: Slot,
    ) -> Arc<Milestones> {
        let options = parts.options.as_deref();
        let timeouts = options
            .and_then(|o| o.timeouts.as_ref())
            .unwrap_or(&shared.settings.timeouts);
        let to = Destination {
            url: parts.url.clone(),
            socket: parts.socket(&shared.settings),
            avoid: options.and_then(|o| o.avoid),
        };
        crate::dial::spawn(shared, to, slot, timeouts, self.id, now)
    }

    fn handle_refusal(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        refusal: Refusal,
    ) -> Progress {
        self.step = Step::Over;
        match refusal {
            Refusal::Closed => {
                let error = Error::new(Kind::Closed);
                self.break_off(shared, parts, now, Cause::Closed, error)
            }
            Refusal::QueueFull => {
                let error = Error::new(Kind::PoolFull).at(Phase::Pool);
                self.attempt_failed(shared, parts, now, Cause::QueueFull, error)
            }
            Refusal::Dial(fault)
                if fault.kind == FaultKind::RuntimeGone && shared.is_undriven() =>
            {
                self.fail_undriven(shared, parts, now)
            }
            Refusal::Dial(fault) => {
                // A dial that ran out of its own time is that phase's timeout.
                let (cause, error) = match fault.kind {
                    FaultKind::TimedOut if fault.code.is_none() => {
                        (Cause::Timeout(fault.phase), Error::of_dial_timeout(&fault))
                    }
                    _ => (Cause::Fault(fault.clone()), Error::of_fault(fault)),
                };
                self.attempt_failed(shared, parts, now, cause, error)
            }
        }
    }
}
