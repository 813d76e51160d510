//! One logical request: which attempt follows which, and when it is over.
//!
//! ```text
//!   begin_attempt --> attempt --handle_head----> Deliver            the response goes up
//!        ^               |   \                     |
//!        |               |    `handle_failure      | its body failed: handle_failure
//!        |               v            v            v
//!        `--Retry(at)-- decide <-------------------'
//!                        |
//!                        `----> Stop(reason, fate)                  and ever after the same
//!
//!   Deliver, and the caller has the head --handle_lost_body--> reason
//! ```
//!
//! Invariants:
//! * No attempt follows one that may have been processed, unless a repeat is harmless.
//! * Counted attempts are at most the policy's, transparent ones at most two more.
//! * A call ends once; its reason then stays.
//! * The same facts, budget, time and draws give the same decision.

mod close;
mod decide;
mod history;
mod record;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;

use crate::budget::Budget;
use crate::deadline::Spent;
use crate::fault::{Fate, Phase};
use crate::retry::{
    AttemptFacts, Cause, Class, HeadFacts, Replay, Retry, Retryable, Ruling, Seen, StopReason,
    classify, classify_status, is_plain,
};
use crate::time::{Instant, saturating_nanos};

use decide::{Decision, Ending};
use history::History;

pub use crate::retry::facts::Request;
pub use record::{AttemptRecord, Outcome, Via, Why};
pub use verdict::{Again, Verdict};

/// What the next attempt was granted, until it begins.
#[derive(Clone, Copy, Debug, Default)]
struct Grant {
    delay: Option<Duration>,
    why: Why,
}

/// The user's rule, before an attempt is decided on.
#[derive(Clone, Copy, Debug, Default)]
enum Rule {
    #[default]
    ToAsk,
    /// It was asked beforehand.
    Said(Option<Ruling>),
}

/// One logical request over its attempts.
///
/// It sees no bytes and sends nothing: it is told facts, and says what follows. Nothing is
/// allocated before the first failure.
#[derive(Clone, Debug)]
pub struct Call {
    request: Request,
    policy: Arc<Retry>,
    number: u32,
    transparent_used: u8,
    /// `Once` bits.
    once_used: u8,
    is_cancelled: bool,
    started: Instant,
    granted: Grant,
    /// The last draw of a backoff, for decorrelated jitter.
    previous: Duration,
    fate: Fate,
    /// Why the call got no other attempt. The caller may have its response all the same.
    reason: Option<StopReason>,
    is_stopped: bool,
    rule: Rule,
    /// Boxed, because most calls have none of it.
    rare: Option<Box<Rare>>,
}

/// What a call has that failed before, or whose policy is its own.
#[derive(Clone, Debug, Default)]
struct Rare {
    history: History,
    /// The policy of other calls, where this one has its own.
    common: Option<Arc<Retry>>,
}

impl Call {
    /// A call whose first attempt has not begun.
    pub fn new(request: Request, policy: Arc<Retry>) -> Self {
        Self {
            request,
            policy,
            number: 0,
            transparent_used: 0,
            once_used: 0,
            is_cancelled: false,
            started: Instant::ORIGIN,
            granted: Grant::default(),
            previous: Duration::ZERO,
            fate: Fate::NotProcessed,
            reason: None,
            is_stopped: false,
            rule: Rule::ToAsk,
            rare: None,
        }
    }

    /// Names the policy that other calls have in `common`, where this one's is its own: what an
    /// origin tells it (`Retry-After`) holds those back for as long at most as they would wait.
    pub fn set_common(&mut self, common: &Arc<Retry>) {
        if !Arc::ptr_eq(common, &self.policy) {
            self.rare.get_or_insert_default().common = Some(common.clone());
        }
    }

    /// Begins an attempt, and returns its number from 1, transparent ones included.
    pub fn begin_attempt(&mut self, now: Instant) -> u32 {
        self.number = self.number.saturating_add(1);
        self.started = now;
        self.number
    }

    /// Gives the call up: whatever the attempt that runs comes to, no other follows.
    pub fn cancel(&mut self) {
        self.is_cancelled = true;
    }

    /// Decides on a response head. `overall` is the deadline of the whole call.
    ///
    /// A status that [`is_plain`](Self::is_plain) is delivered, and need not come here.
    pub fn handle_head(
        &mut self,
        now: Instant,
        head: &HeadFacts,
        overall: Option<Instant>,
        budget: &mut Budget,
        rng: &mut dyn Rng,
    ) -> Verdict {
        if let Some(reason) = self.reason {
            return self.end(reason, true);
        }
        let class = classify_status(self.request, head, &self.policy);
        let class = self.overrule(class, Seen::Status(head.status));
        if let (Class::Retryable { .. }, Some(asked)) = (class, head.retry_after) {
            // Not longer than other calls would wait: the origin may think better of it.
            let common = self.rare.as_ref().and_then(|rare| rare.common.as_ref());
            let common = common.unwrap_or(&self.policy);
            budget.shut(now, asked.min(common.longest_wait));
        }
        self.fate = self.fate.max(class.fate());
        if !matches!(class, Class::Success { .. }) {
            let bytes = (head.accepted, head.response_bytes);
            let outcome = Outcome::Status(head.status);
            self.record(now, head.reused, bytes, outcome, class.fate());
        }
        let end = Ending {
            class,
            is_expired: overall.is_some_and(|overall| now >= overall),
            is_replayable: self.is_replayable(head.body_pulled, head.body_committed),
            retry_after: head.retry_after,
            idle_for: Duration::ZERO,
        };
        let decision = self.decide(now, &end, overall, budget, rng);
        self.note_budget(budget);
        match decision {
            Decision::Done => Verdict::Deliver { exhausted: None },
            Decision::Stop(reason) => self.end(reason, true),
            Decision::Retry(again, draw) => self.grant(now, &end, again, draw),
        }
    }

    /// Decides on an attempt that ended without a complete response.
    ///
    /// It may be a response that was delivered and whose body failed. After a stop this returns
    /// the same again.
    pub fn handle_failure(
        &mut self,
        now: Instant,
        facts: &AttemptFacts,
        overall: Option<Instant>,
        budget: &mut Budget,
        rng: &mut dyn Rng,
    ) -> Verdict {
        if let (true, Some(reason)) = (self.is_stopped, self.reason) {
            return self.end(reason, false);
        }
        let mut class = classify(self.request, facts, &self.policy);
        if facts.delivered == 0 {
            class = self.overrule(class, Seen::Failure(&facts.cause));
        }
        self.fate = self.fate.max(class.fate());
        self.record(
            now,
            facts.reused,
            (facts.accepted, facts.response_bytes),
            Outcome::Failed(facts.cause.clone()),
            class.fate(),
        );
        if let Some(reason) = self.reason {
            return self.end(reason, false);
        }
        let end = Ending {
            class,
            is_expired: facts.cause == Cause::Timeout(Phase::Total)
                || overall.is_some_and(|overall| now >= overall),
            is_replayable: self.is_replayable(facts.body_pulled, facts.body_committed),
            retry_after: None,
            idle_for: facts.idle_for,
        };
        let decision = self.decide(now, &end, overall, budget, rng);
        self.note_budget(budget);
        match decision {
            Decision::Done => Verdict::Deliver { exhausted: None },
            Decision::Stop(reason) => self.end(reason, false),
            Decision::Retry(again, draw) => self.grant(now, &end, again, draw),
        }
    }

    /// Asks the user's rule about what the next `handle_head` or `handle_failure` is told. Optional:
    /// for who calls those under a lock, under which nothing of the user's should run.
    pub fn consult(&mut self, seen: Seen<'_>) {
        self.rule = Rule::Said(self.policy.ask(self.request, seen));
    }

    /// Adds to the record of the attempt that failed just now on which connection it ran, and
    /// where its time went: `spent` is of the whole call so far.
    pub fn annotate(&mut self, via: Via, spent: Spent) {
        if let Some(rare) = &mut self.rare {
            rare.history.annotate(self.number, via, spent);
        }
    }

    fn note_budget(&mut self, budget: &Budget) {
        if let Some(rare) = &mut self.rare {
            rare.history.note_budget(self.number, budget.tokens());
        }
    }

    /// Notes that the call has waited before its first attempt, as for a place among the calls in
    /// flight: `spent`, of the whole call so far, is no time of that attempt's.
    pub fn handle_admitted(&mut self, spent: Spent) {
        let rare = self.rare.get_or_insert_default();
        rare.history.set_aside(spent);
    }

    /// Whether no rule looks at a response with this status: it can go to the caller at once.
    pub const fn is_plain(status: u16) -> bool {
        is_plain(status)
    }

    /// Whether this call's response with that status can go to the caller at once:
    /// [`is_plain`](Self::is_plain), and no rule of the user's looks at it either.
    #[inline]
    pub fn passes(&self, status: u16) -> bool {
        is_plain(status) && !self.policy.has_classifier()
    }

    /// What the call is of.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The number of the attempt that runs or ended last, from 1; zero before the first.
    pub fn attempt(&self) -> u32 {
        self.number
    }

    /// How many attempts the policy allows from the one that runs on, itself included.
    pub fn attempts_left(&self) -> u32 {
        let before = self.counted().saturating_sub(1);
        self.policy.max_attempts.saturating_sub(before).max(1)
    }

    /// How many of the attempts were transparent retries.
    pub fn transparent_used(&self) -> u8 {
        self.transparent_used
    }

    /// The failed attempts in their order: the first four and the last twelve.
    pub fn attempts(&self) -> &[AttemptRecord] {
        let rare = self.rare.as_ref();
        rare.map_or(&[], |rare| rare.history.records())
    }

    /// How many failed attempts are not among [`attempts`](Self::attempts).
    pub fn dropped(&self) -> u32 {
        let rare = self.rare.as_ref();
        rare.map_or(0, |rare| rare.history.dropped())
    }

    /// Whether the origin acted on the request, in any attempt that has ended.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Why there is no other attempt, once there is none: the call's terminal label.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.reason
            .or(self.is_cancelled.then_some(StopReason::Cancelled))
    }

    /// Whether the last failure was one to retry, and retries ran out.
    pub fn retry_exhausted(&self) -> bool {
        self.reason.is_some_and(StopReason::is_exhausted)
    }

    fn overrule(&mut self, class: Class, seen: Seen<'_>) -> Class {
        let ruling = match std::mem::take(&mut self.rule) {
            Rule::ToAsk => self.policy.ask(self.request, seen),
            Rule::Said(ruling) => ruling,
        };
        ruling.map_or(class, |ruling| ruling.overrule(class))
    }

    fn is_replayable(&self, pulled: bool, committed: bool) -> bool {
        match self.request.replay {
            Replay::Empty | Replay::Bytes | Replay::Factory => true,
            Replay::Spooled => !committed,
            Replay::OneShot => !pulled,
        }
    }

    fn grant(&mut self, now: Instant, end: &Ending, again: Again, draw: Duration) -> Verdict {
        self.transparent_used += u8::from(again.transparent);
        if let Class::Retryable {
            terms: Retryable {
                once: Some(once), ..
            },
            ..
        } = end.class
        {
            self.once_used |= once.bit();
        }
        self.previous = draw;
        let delay = again.at - now;
        let least = if again.evict_oldest {
            draw.max(decide::LOCAL_DELAY)
        } else {
            draw
        };
        self.granted = Grant {
            delay: Some(delay),
            why: match delay {
                _ if again.transparent => Why::Transparent,
                longer if longer > least => Why::Asked,
                _ => Why::Backoff,
            },
        };
        Verdict::Retry(again)
    }

    /// The last word, and the same ever after.
    fn end(&mut self, reason: StopReason, is_response: bool) -> Verdict {
        self.reason = Some(reason);
        let is_void = matches!(reason, StopReason::Cancelled | StopReason::DeadlineExpired);
        if is_response && !is_void && !self.is_stopped {
            return Verdict::Deliver {
                exhausted: reason.is_exhausted().then_some(reason),
            };
        }
        self.is_stopped = true;
        Verdict::Stop {
            reason,
            fate: self.fate,
        }
    }

    fn record(
        &mut self,
        now: Instant,
        reused: bool,
        (sent, received): (u64, u64),
        outcome: Outcome,
        fate: Fate,
    ) {
        let record = AttemptRecord {
            number: self.number.min(u16::MAX.into()) as u16,
            started: self.started,
            ended: now,
            reused,
            sent,
            received,
            outcome,
            fate,
            delay: self.granted.delay.map_or(0, saturating_nanos),
            why: self.granted.why,
            connection: 0,
            peer: None,
            protocol: None,
            spent: Spent::default(),
            tokens: record::UNKNOWN,
        };
        let rare = self.rare.get_or_insert_default();
        rare.history.push(self.number, record);
    }
}
