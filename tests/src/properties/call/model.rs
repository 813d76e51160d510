//! The whole decision, step by step as it is specified.

use std::sync::Arc;
use std::time::Duration;

use fulmar_core::backoff::{Backoff, uniform};
use fulmar_core::budget::{Budget, Cost};
use fulmar_core::call::{Call, Request};
use fulmar_core::fault::{Fate, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, HeadFacts, Replay, Retry, StopReason};
use fulmar_core::time::Instant;

use super::super::backoff::Words;
use super::tables::{Next, Row, Terms, of_failure, of_status};

/// The user's policy, readable.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the user's switches")]
pub(super) struct Rules {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) throttle: Backoff,
    pub(super) transparent: bool,
    pub(super) retry_after_max: Duration,
    /// The policy's that other calls have.
    pub(super) gate_max: Duration,
    pub(super) min_attempt_budget: Duration,
    pub(super) nxdomain: bool,
    pub(super) pool: bool,
    pub(super) extended_5xx: bool,
    pub(super) trust_503: bool,
}

impl Rules {
    pub(super) fn call(&self, request: Request) -> Call {
        let common = Retry::default().retry_after_max(self.gate_max);
        let mut call = Call::new(request, Arc::new(self.policy()));
        call.set_common(&Arc::new(common));
        call
    }

    pub(super) fn policy(&self) -> Retry {
        Retry::new(self.max_attempts)
            .backoff(self.backoff)
            .throttle(self.throttle)
            .transparent(self.transparent)
            .retry_after_max(self.retry_after_max)
            .min_attempt_budget(self.min_attempt_budget)
            .retry_nxdomain(self.nxdomain)
            .retry_pool(self.pool)
            .extended_5xx(self.extended_5xx)
            .trust_503(self.trust_503)
    }
}

/// What should follow an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    Done,
    Stop(StopReason),
    Retry(Grant),
}

/// The terms of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent instructions")]
pub(super) struct Grant {
    pub(super) at: Instant,
    pub(super) free: bool,
    pub(super) fresh: bool,
    pub(super) evict: Option<Duration>,
    pub(super) without_expect: bool,
    pub(super) http1: bool,
    pub(super) local: bool,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(super) enum End {
    Head(HeadFacts),
    Failure(AttemptFacts),
}

/// The state that a decision may look at, and no more.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) request: Request,
    pub(super) rules: Rules,
    pub(super) budget: Budget,
    pub(super) cancelled: bool,
    /// Attempts begun, without the free ones.
    pub(super) counted: u32,
    pub(super) transparent_used: u32,
    pub(super) once_used: Vec<&'static str>,
    pub(super) previous: Duration,
    /// The worst fate of any attempt.
    pub(super) fate: Fate,
}

impl Model {
    pub(super) fn new(request: Request, rules: Rules, budget: Budget) -> Self {
        Self {
            request,
            rules,
            budget,
            cancelled: false,
            counted: 0,
            transparent_used: 0,
            once_used: Vec::new(),
            previous: Duration::ZERO,
            fate: Fate::NotProcessed,
        }
    }

    pub(super) fn row(&self, end: &End) -> Row {
        match end {
            End::Head(head) => of_status(self.request, head, &self.rules),
            End::Failure(facts) => of_failure(self.request, facts, &self.rules),
        }
    }

    /// Section 1.10, line by line.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        end: &End,
        overall: Option<Instant>,
        rng: &mut Words,
    ) -> Decision {
        let row = self.row(end);
        self.fate = self.fate.max(row.fate);
        if let (End::Head(head), Next::Retry(_)) = (end, row.next)
            && let Some(asked) = head.retry_after
        {
            self.budget.shut(now, asked.min(self.rules.gate_max));
        }
        let gone = match (self.request.replay, end) {
            (Replay::OneShot, End::Head(head)) => head.body_pulled,
            (Replay::OneShot, End::Failure(facts)) => facts.body_pulled,
            (Replay::Spooled, End::Head(head)) => head.body_committed,
            (Replay::Spooled, End::Failure(facts)) => facts.body_committed,
            _ => false,
        };
        let (retry_after, idle_for, is_total) = match end {
            End::Head(head) => (head.retry_after, Duration::ZERO, false),
            End::Failure(facts) => {
                let is_total = facts.cause == Cause::Timeout(Phase::Total);
                (None, facts.idle_for, is_total)
            }
        };
        if self.cancelled {
            return Decision::Stop(StopReason::Cancelled);
        }
        if is_total || overall.is_some_and(|overall| now >= overall) {
            return Decision::Stop(StopReason::DeadlineExpired);
        }
        let terms = match row.next {
            Next::Success => {
                self.budget.handle_success(now);
                return Decision::Done;
            }
            Next::Fatal => return Decision::Stop(StopReason::NotRetryable),
            Next::Retry(terms) => terms,
        };
        if terms
            .once
            .is_some_and(|once| self.once_used.contains(&once))
        {
            return Decision::Stop(StopReason::NotRetryable);
        }
        if !terms.who.includes(self.request) {
            return Decision::Stop(StopReason::MaybeProcessed);
        }
        if gone {
            return Decision::Stop(StopReason::BodyNotReplayable);
        }
        let mut grant = Grant {
            at: now,
            free: true,
            fresh: terms.fresh,
            evict: terms.stale.then_some(idle_for),
            without_expect: terms.without_expect,
            http1: terms.http1,
            local: terms.local,
        };
        if terms.free && self.rules.transparent && self.transparent_used < 2 {
            self.transparent_used += 1;
            grant.fresh |= self.transparent_used == 2;
            self.once_used.extend(terms.once);
            return Decision::Retry(grant);
        }
        if self.counted >= self.rules.max_attempts {
            return Decision::Stop(StopReason::MaxAttempts);
        }
        // Section 1.7, the gate: what any call of the origin was told.
        let asked = retry_after.max(self.budget.shut_for(now));
        let (delay, draw) = match self.delay(now, &terms, asked, overall, rng) {
            Ok(delay) => delay,
            Err(reason) => return Decision::Stop(reason),
        };
        let cost = if terms.timeout {
            Cost::Timeout
        } else {
            Cost::Fast
        };
        if !self.budget.withdraw(now, cost) {
            return Decision::Stop(StopReason::BudgetEmpty);
        }
        self.counted += 1;
        self.previous = draw;
        self.once_used.extend(terms.once);
        grant.free = false;
        grant.at = now + delay;
        Decision::Retry(grant)
    }

    /// Section 1.7: the delay, and what of it the backoff drew.
    fn delay(
        &self,
        now: Instant,
        terms: &Terms,
        retry_after: Option<Duration>,
        overall: Option<Instant>,
        rng: &mut Words,
    ) -> Result<(Duration, Duration), StopReason> {
        let backoff = if terms.throttle {
            self.rules.throttle
        } else {
            self.rules.backoff
        };
        if retry_after.is_some_and(|asked| asked > self.rules.retry_after_max) {
            return Err(StopReason::RetryAfterTooLong);
        }
        let draw = backoff.delay(self.counted, self.previous, rng);
        let mut delay = draw;
        if terms.local {
            delay = delay.max(Duration::from_millis(250));
        }
        if let Some(asked) = retry_after {
            let width = Duration::from_secs(1).min(backoff.max_delay());
            let width = nanos((asked / 10).max(width));
            let asked = nanos(asked).saturating_add(u128::from(uniform(rng, 0, clip(width))));
            delay = delay.max(Duration::from_nanos(clip(asked)));
        }
        let needed = nanos(delay) + nanos(self.rules.min_attempt_budget);
        match overall {
            Some(at) if u128::from(now.as_nanos()) + needed > u128::from(at.as_nanos()) => {
                Err(StopReason::DeadlineWouldExpire)
            }
            _ => Ok((delay, draw)),
        }
    }
}

fn nanos(duration: Duration) -> u128 {
    duration.as_nanos()
}

fn clip(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
