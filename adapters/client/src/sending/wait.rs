//! A call that has nothing to do, and who may end it while it waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::retry::Cause;
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
    fn halt(&mut self, shared: &Arc<Shared>, parts: &mut Parts, now: Instant) -> Option<Progress> {
        match self.step {
            Step::Exchanging(_) if shared.is_cut() => {
                let error = Error::new(Kind::Closed);
                Some(self.break_off(shared, parts, now, Cause::Closed, error))
            }
            Step::Resting(_) | Step::Entering if shared.is_closed() => {
                self.step = Step::Over;
                let error = Error::new(Kind::Closed);
                Some(self.end_with(error, parts))
            }
            Step::Resting(_) | Step::Queued(_) | Step::Entering if shared.is_undriven() => {
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
        parts: &mut Parts,
        now: Instant,
    ) -> Progress {
        let fault = Fault::new(FaultKind::RuntimeGone, Phase::Connect);
        let fault = fault.with_detail("there is no runtime here that runs");
        let error = Error::of_fault(fault.clone());
        if let Step::Resting(_) | Step::Entering = self.step {
            return self.end_with(error, parts);
        }
        self.break_off(shared, parts, now, Cause::Fault(fault), error)
    }
}
