//! A call that has nothing to do, and who may end it while it waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

use super::{Live, Progress, Step};
use crate::error::{Error, Kind};
use crate::exchange::Exchange;
use crate::request::Parts;
use crate::shared::Shared;

impl Live {
    /// Nothing to do right now: has time run out, and will somebody wake us when it does?
    pub(super) fn wait(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        if let Some(phase) = self.clocks.expired(now) {
            return self.expire(shared, parts, now, phase);
        }
        let mut next = self
            .clocks
            .poll_timeout()
            .map_or(Instant::MAX, |(at, _)| at);
        match &self.step {
            Step::Resting(until) => next = next.min(*until),
            Step::Exchanging(Exchange::H1(h1)) => {
                next = next.min(h1.machine().poll_timeout().unwrap_or(Instant::MAX));
            }
            _ => {}
        }
        // Only now is it known whether anybody runs who will wake the call.
        if self.registration.ensure(shared, cx, now, next)
            && let Some(end) = self.halt(shared, parts, now)
        {
            return end;
        }
        Poll::Pending
    }

    /// The client is shut down, or no runtime runs: whether that concerns the call as it waits.
    #[cold]
    fn halt(&mut self, shared: &Arc<Shared>, parts: &Parts, now: Instant) -> Option<Progress> {
        match self.step {
            Step::Exchanging(_) if shared.is_cut() => {
                let mut error = Error::new(Kind::Closed);
                if self.is_begun() {
                    error = error.with_fate(Fate::MaybeProcessed);
                }
                self.give_up_exchange(shared, "the client is closed");
                Some(Poll::Ready(Err(self.error(error, parts, None))))
            }
            Step::Resting(_) if shared.is_closed() => {
                self.step = Step::Over;
                let error = Error::new(Kind::Closed);
                Some(Poll::Ready(Err(self.error(error, parts, None))))
            }
            Step::Resting(_) | Step::Queued(_) if shared.is_undriven() => {
                Some(self.fail_undriven(shared, parts, now))
            }
            _ => None,
        }
    }

    /// No runtime runs: nobody would dial for the call, or wake it.
    #[cold]
    pub(super) fn fail_undriven(
        &mut self,
        shared: &Shared,
        parts: &Parts,
        now: Instant,
    ) -> Progress {
        if let Step::Queued(ticket) = std::mem::replace(&mut self.step, Step::Over) {
            shared.locked(|state| state.pool.cancel(now, ticket));
        }
        let fault = Fault::new(FaultKind::RuntimeGone, Phase::Connect);
        let fault = fault.with_detail("there is no runtime here that runs");
        Poll::Ready(Err(self.error(Error::of_fault(fault), parts, None)))
    }
}
