//! Calls against the decision as it is specified, and what must hold whatever the facts.

mod ledger;
pub mod lives;
mod model;
mod reading;
mod tables;

use fulmar_core::budget::Budget;
use fulmar_core::call::{Call, Outcome, Verdict};
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, HeadFacts, StopReason};
use fulmar_core::time::Instant;

use super::backoff::{Words, number};
use super::script::Script;

use ledger::Ledger;
use model::{Decision, End, Model};
use tables::repeat_ok;

/// Runs calls of a script, one after another, on one budget, beside the model.
///
/// # Panics
///
/// Where a call decides otherwise than the model, or an invariant does not hold.
pub fn call_steps(data: &[u8]) {
    let mut script = Script::new(data);
    let start = Instant::from_nanos(number(&mut script) >> 8);
    let mut world = World {
        now: start,
        budget: Budget::new(start),
        rng: Words::new(vec![
            number(&mut script),
            number(&mut script),
            number(&mut script),
        ]),
        ledger: Ledger::new(start),
    };
    while !script.is_over() {
        world.call(&mut script);
    }
}

/// What calls share.
struct World {
    now: Instant,
    budget: Budget,
    rng: Words,
    ledger: Ledger,
}

impl World {
    fn call(&mut self, script: &mut Script<'_>) {
        let request = reading::request(script);
        let rules = reading::rules(script);
        assert_eq!(request.repeat_ok(), repeat_ok(request));
        let overall = reading::overall(script, self.now);
        let mut run = Run {
            model: Model::new(request, rules, self.budget.clone()),
            call: rules.call(request),
            overall,
            number: 0,
            failed: 0,
            recorded: 0,
            unsafe_to_repeat: false,
        };
        self.budget.handle_first_attempt(self.now);
        run.model.budget.handle_first_attempt(self.now);
        run.model.counted = 1;
        self.ledger.firsts.push(self.now);
        loop {
            run.begin(self.now);
            if script.is_over() {
                return;
            }
            self.advance(script);
            if script.below(32) == 0 {
                run.call.cancel();
                run.model.cancelled = true;
            }
            let end = reading::end(script);
            let verdict = self.step(&mut run, &end);
            match verdict {
                Verdict::Retry(again) => self.now = self.now.max(again.at),
                Verdict::Deliver { .. } if script.below(2) == 0 => {}
                _ => return self.close(&mut run, verdict),
            }
            if let Verdict::Deliver { exhausted } = verdict {
                // The response was delivered, and then its body may fail.
                if run.is_over() {
                    return self.close(&mut run, Verdict::Deliver { exhausted });
                }
                self.advance(script);
                let end = End::Failure(reading::body_failure(script));
                match self.step(&mut run, &end) {
                    Verdict::Retry(again) => self.now = self.now.max(again.at),
                    last => return self.close(&mut run, last),
                }
            }
        }
    }

    fn advance(&mut self, script: &mut Script<'_>) {
        self.now = self.now + reading::pause(script);
    }

    /// One decision, thrice: by the call, by a copy of all it may look at, and by the model.
    fn step(&mut self, run: &mut Run, end: &End) -> Verdict {
        let (mut call, mut budget, mut rng) =
            (run.call.clone(), self.budget.clone(), self.rng.clone());
        let mut model_rng = self.rng.clone();
        let (now, overall) = (self.now, run.overall);
        let copied = decide(&mut call, now, end, overall, &mut budget, &mut rng);
        let verdict = decide(
            &mut run.call,
            now,
            end,
            overall,
            &mut self.budget,
            &mut self.rng,
        );
        // I1.9: same inputs, same outputs, and the same state afterwards.
        assert_eq!(verdict, copied);
        assert_eq!(format!("{:?}", run.call), format!("{call:?}"));
        assert_eq!(format!("{:?}", self.budget), format!("{budget:?}"));
        let row = run.model.row(end);
        let expected = run.model.decide(now, end, overall, &mut model_rng);
        run.compare(now, end, &verdict, expected);
        assert_eq!(
            format!("{:?}", self.budget),
            format!("{:?}", run.model.budget),
            "charged otherwise after {end:?}"
        );
        run.unsafe_to_repeat |= row.fate != Fate::NotProcessed && !repeat_ok(run.model.request);
        self.ledger.note(now, &verdict, expected, end);
        verdict
    }

    /// I1.7: the call has one end, and tells it again however often it is asked.
    fn close(&mut self, run: &mut Run, last: Verdict) {
        let tokens = self.budget.tokens();
        let reason = match last {
            Verdict::Stop { reason, .. } => Some(reason),
            Verdict::Deliver { exhausted } => exhausted,
            Verdict::Retry(_) => unreachable!("not an end"),
        };
        if let Some(reason) = reason {
            assert_eq!(run.call.stop_reason(), Some(reason));
        }
        let label = run.call.stop_reason();
        assert_eq!(
            run.call.retry_exhausted(),
            matches!(
                label,
                Some(
                    StopReason::MaxAttempts
                        | StopReason::BudgetEmpty
                        | StopReason::DeadlineWouldExpire
                        | StopReason::RetryAfterTooLong
                )
            )
        );
        if let Verdict::Stop { fate, .. } = last {
            assert_eq!(fate, run.model.fate);
            let refused =
                AttemptFacts::new(Cause::Fault(Fault::new(FaultKind::Refused, Phase::Connect)));
            for end in [End::Failure(refused), End::Head(HeadFacts::new(503))] {
                run.call.cancel();
                let (budget, rng) = (&mut self.budget, &mut self.rng);
                let again = decide(&mut run.call, self.now, &end, None, budget, rng);
                assert_eq!(again, last, "a second end, other than the first");
                assert_eq!(run.call.stop_reason(), label);
            }
            assert_eq!(self.budget.tokens(), tokens, "charged after the end");
        }
    }
}

fn decide(
    call: &mut Call,
    now: Instant,
    end: &End,
    overall: Option<Instant>,
    budget: &mut Budget,
    rng: &mut Words,
) -> Verdict {
    match end {
        End::Head(head) => call.handle_head(now, head, overall, budget, rng),
        End::Failure(facts) => call.handle_failure(now, facts, overall, budget, rng),
    }
}

/// A call that runs, and its model.
struct Run {
    call: Call,
    model: Model,
    overall: Option<Instant>,
    number: u32,
    failed: u32,
    /// The attempt that has a record.
    recorded: u32,
    unsafe_to_repeat: bool,
}

impl Run {
    fn begin(&mut self, now: Instant) {
        // I1.1: nothing follows an attempt that may have been processed and must not be repeated.
        assert!(!self.unsafe_to_repeat, "repeated {:?}", self.model.request);
        // I1.3: nothing starts at the deadline or later.
        if self.number > 0 {
            assert!(self.overall.is_none_or(|overall| now < overall), "at {now}");
        }
        self.number += 1;
        assert_eq!(self.call.begin_attempt(now), self.number);
        assert_eq!(self.call.attempt(), self.number);
        // I1.2.
        assert!(self.model.transparent_used <= 2);
        assert!(self.model.counted <= self.model.rules.max_attempts.max(1));
        assert_eq!(
            u32::from(self.call.transparent_used()),
            self.model.transparent_used
        );
        assert_eq!(
            self.number,
            self.model.counted + self.model.transparent_used
        );
    }

    /// Whether the call gave its reason with a response: then nothing is decided any more.
    fn is_over(&self) -> bool {
        self.call.stop_reason().is_some()
    }

    fn compare(&mut self, now: Instant, end: &End, verdict: &Verdict, expected: Decision) {
        let context = || format!("{expected:?} expected of {:?} after {end:?}", self.model);
        match (*verdict, expected) {
            (Verdict::Deliver { exhausted: None }, Decision::Done) => {}
            (Verdict::Deliver { exhausted }, Decision::Stop(reason)) => {
                assert!(matches!(end, End::Head(_)), "{}", context());
                assert!(!is_void(reason), "{}", context());
                assert_eq!(
                    exhausted,
                    Some(reason).filter(|reason| reason.is_exhausted())
                );
                assert_eq!(self.call.stop_reason(), Some(reason), "{}", context());
            }
            (Verdict::Stop { reason, fate }, Decision::Stop(wanted)) => {
                assert_eq!((reason, fate), (wanted, self.model.fate), "{}", context());
                let is_head = matches!(end, End::Head(_));
                assert!(!is_head || is_void(reason), "{}", context());
            }
            (Verdict::Retry(again), Decision::Retry(grant)) => {
                assert_eq!(
                    (again.at, again.transparent, again.fresh),
                    (grant.at, grant.free, grant.fresh),
                    "{}",
                    context()
                );
                assert_eq!(again.without_expect, grant.without_expect);
                assert_eq!(
                    (again.http1, again.evict_oldest),
                    (grant.http1, grant.local)
                );
                assert_eq!(again.evict_idle_for, grant.evict);
                assert!(again.at >= now);
            }
            _ => panic!("{verdict:?}, but {}", context()),
        }
        self.compare_record(now, end, expected);
    }

    /// The history: every attempt that failed, bounded, with what became of it.
    fn compare_record(&mut self, now: Instant, end: &End, expected: Decision) {
        let outcome = match end {
            End::Head(_) if expected == Decision::Done => return,
            End::Head(head) => Outcome::Status(head.status),
            End::Failure(facts) => Outcome::Failed(facts.cause.clone()),
        };
        // A head that no rule looks at is no failure, even where it came too late.
        if matches!(end, End::Head(_)) && matches!(self.model.row(end).next, tables::Next::Success)
        {
            return;
        }
        // The body of a response whose status was recorded: it is the same record.
        let is_new = std::mem::replace(&mut self.recorded, self.number) != self.number;
        self.failed += u32::from(is_new);
        let last = self.call.attempts().last().expect("a record");
        assert_eq!((u32::from(last.number), last.ended), (self.number, now));
        let bytes = match end {
            End::Head(head) => (head.accepted, head.response_bytes),
            End::Failure(facts) => (facts.accepted, facts.response_bytes),
        };
        assert_eq!((last.sent, last.received), bytes);
        assert_eq!(last.outcome, outcome);
        assert_eq!(last.fate, self.model.row(end).fate);
        assert_eq!(last.delay().is_none(), self.number == 1);
        let kept = self.call.attempts().len() as u32;
        assert!(kept <= 16);
        assert_eq!(kept + self.call.dropped(), self.failed);
    }
}

fn is_void(reason: StopReason) -> bool {
    matches!(reason, StopReason::Cancelled | StopReason::DeadlineExpired)
}
