//! Whether another attempt follows.
//!
//! The order is fixed: cancelled, deadline, success, fatal, unsafe to repeat, body gone,
//! transparent, attempts used, delay (`Retry-After`, deadline), and the budget last, so that
//! nothing is charged for a retry that cannot happen.

use std::time::Duration;

use rand_core::Rng;

use crate::backoff::{Backoff, uniform};
use crate::budget::Budget;
use crate::retry::{Class, Once, Retryable, StopReason};
use crate::time::{Instant, saturating_nanos};

use super::{Again, Call};

/// How often a request may be sent again for free: the second time on a fresh connection, so that
/// a long list of stale ones is not walked to its end.
const TRANSPARENT_MAX: u8 = 2;
/// The least delay where this side is short of descriptors or ports.
pub(super) const LOCAL_DELAY: Duration = Duration::from_millis(250);
/// `Retry-After` is spread by a tenth of itself, but at least by this (or the longest backoff).
const SPREAD: Duration = Duration::from_secs(1);

impl Call {
    /// The decision: a function of the call, the ending, the budget, the time and the draws.
    pub(super) fn decide(
        &self,
        now: Instant,
        end: &Ending,
        overall: Option<Instant>,
        budget: &mut Budget,
        rng: &mut dyn Rng,
    ) -> Decision {
        if self.is_cancelled {
            return Decision::Stop(StopReason::Cancelled);
        }
        if end.is_expired {
            return Decision::Stop(StopReason::DeadlineExpired);
        }
        let terms = match end.class {
            Class::Success { .. } => {
                budget.handle_success(now);
                return Decision::Done;
            }
            Class::Retryable { terms, .. } if !self.is_used(terms.once) => terms,
            _ => return Decision::Stop(StopReason::NotRetryable),
        };
        if !terms.repeat.allows(self.request) {
            return Decision::Stop(StopReason::MaybeProcessed);
        }
        if !end.is_replayable {
            return Decision::Stop(StopReason::BodyNotReplayable);
        }
        let again = Again::on(terms, now, end.idle_for);
        if self.is_free(terms) {
            let fresh = again.fresh || self.transparent_used + 1 == TRANSPARENT_MAX;
            return Decision::Retry(
                Again {
                    transparent: true,
                    fresh,
                    ..again
                },
                self.previous,
            );
        }
        if self.counted() >= self.policy.max_attempts {
            return Decision::Stop(StopReason::MaxAttempts);
        }
        // What another call was told holds for this one, too.
        let asked = end.retry_after.max(budget.shut_for(now));
        let (delay, draw) = match self.delay(now, terms, asked, overall, rng) {
            Ok(delay) => delay,
            Err(reason) => return Decision::Stop(reason),
        };
        if !budget.withdraw(now, terms.cost) {
            return Decision::Stop(StopReason::BudgetEmpty);
        }
        Decision::Retry(
            Again {
                at: now + delay,
                cost: Some(terms.cost),
                ..again
            },
            draw,
        )
    }

    /// The delay before the next attempt, and the part of it that backoff drew.
    fn delay(
        &self,
        now: Instant,
        terms: Retryable,
        retry_after: Option<Duration>,
        overall: Option<Instant>,
        rng: &mut dyn Rng,
    ) -> Result<(Duration, Duration), StopReason> {
        let policy = &*self.policy;
        let backoff = if terms.throttle {
            &policy.throttle
        } else {
            &policy.backoff
        };
        if retry_after.is_some_and(|asked| asked > policy.longest_wait) {
            return Err(StopReason::RetryAfterTooLong);
        }
        let draw = backoff.delay(self.counted().max(1), self.previous, rng);
        let mut delay = draw;
        if terms.local {
            delay = delay.max(LOCAL_DELAY);
        }
        if let Some(asked) = retry_after {
            delay = delay.max(spread(asked, backoff, rng));
        }
        // Asked in durations: at the far end of time an instant would no longer move.
        let needed = delay.saturating_add(policy.min_attempt_budget);
        match overall {
            Some(overall) if needed > overall - now => Err(StopReason::DeadlineWouldExpire),
            _ => Ok((delay, draw)),
        }
    }

    /// Attempts that count against the policy's.
    pub(super) fn counted(&self) -> u32 {
        self.number.saturating_sub(u32::from(self.transparent_used))
    }

    fn is_free(&self, terms: Retryable) -> bool {
        terms.transparent && self.policy.transparent && self.transparent_used < TRANSPARENT_MAX
    }

    fn is_used(&self, once: Option<Once>) -> bool {
        once.is_some_and(|once| self.once_used & once.bit() != 0)
    }
}

/// How an attempt ended, as the decision looks at it.
pub(super) struct Ending {
    pub(super) class: Class,
    pub(super) is_expired: bool,
    pub(super) is_replayable: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) idle_for: Duration,
}

pub(super) enum Decision {
    Done,
    Stop(StopReason),
    /// The terms, and what to remember as the previous draw.
    Retry(Again, Duration),
}

/// `asked` and a bit: every client was told the same number.
fn spread(asked: Duration, backoff: &Backoff, rng: &mut dyn Rng) -> Duration {
    let width = (asked / 10).max(SPREAD.min(backoff.max_delay()));
    asked.saturating_add(Duration::from_nanos(uniform(
        rng,
        0,
        saturating_nanos(width),
    )))
}
