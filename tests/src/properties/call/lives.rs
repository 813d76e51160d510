//! What calls did, without a model beside them: for the invariants that need none.

use std::time::Duration;

use fulmar_core::budget::Budget;
use fulmar_core::call::{Request, Verdict};
use fulmar_core::fault::{Fate, FaultKind};
use fulmar_core::retry::{Cause, StopReason};
use fulmar_core::time::Instant;

use super::super::backoff::{Words, number};
use super::super::script::Script;
use super::model::End;
use super::{decide, reading};

/// An attempt and what was decided on it.
#[derive(Debug)]
struct Attempt {
    began: Instant,
    ended: Instant,
    /// Of a failed one.
    fate: Option<Fate>,
    timed_out: bool,
    verdict: Verdict,
}

/// A call from its beginning to its end, or to the end of the script.
#[derive(Debug)]
struct Life {
    request: Request,
    max_attempts: u32,
    overall: Option<Instant>,
    attempts: Vec<Attempt>,
    label: Option<StopReason>,
    exhausted: bool,
    asked_again: Vec<Verdict>,
}

/// Calls of a script, one after another, on one budget.
fn lives(data: &[u8]) -> Vec<Life> {
    let mut script = Script::new(data);
    let mut now = Instant::from_nanos(number(&mut script) >> 8);
    let mut budget = Budget::new(now);
    let mut rng = Words::new(vec![number(&mut script), number(&mut script)]);
    let mut lives = Vec::new();
    while !script.is_over() {
        lives.push(live(&mut script, &mut now, &mut budget, &mut rng));
    }
    lives
}

fn live(script: &mut Script<'_>, now: &mut Instant, budget: &mut Budget, rng: &mut Words) -> Life {
    let request = reading::request(script);
    let rules = reading::rules(script);
    let overall = reading::overall(script, *now);
    let mut call = rules.call(request);
    let mut attempts = Vec::new();
    let mut last = None;
    budget.handle_first_attempt(*now);
    loop {
        call.begin_attempt(*now);
        let began = *now;
        *now = *now + reading::pause(script);
        let end = reading::end(script);
        let before = call.attempts().len() as u32 + call.dropped();
        let verdict = decide(&mut call, *now, &end, overall, budget, rng);
        let failed = call.attempts().len() as u32 + call.dropped() > before;
        attempts.push(Attempt {
            began,
            ended: *now,
            fate: failed
                .then(|| call.attempts().last().map(|record| record.fate))
                .flatten(),
            timed_out: timed_out(&end),
            verdict,
        });
        match verdict {
            Verdict::Retry(again) => *now = (*now).max(again.at),
            _ => last = Some(end),
        }
        if last.is_some() || script.is_over() {
            break;
        }
    }
    let (label, exhausted) = (call.stop_reason(), call.retry_exhausted());
    // Only an end that failed is asked about again: after a response, its body may still fail.
    let is_stop = attempts
        .last()
        .is_some_and(|attempt| matches!(attempt.verdict, Verdict::Stop { .. }));
    let asked_again = last.filter(|_| is_stop).map(|end| {
        (0..3)
            .map(|_| decide(&mut call, *now, &end, overall, budget, rng))
            .collect()
    });
    Life {
        request,
        max_attempts: rules.max_attempts,
        overall,
        attempts,
        label,
        exhausted,
        asked_again: asked_again.unwrap_or_default(),
    }
}

fn timed_out(end: &End) -> bool {
    match end {
        End::Head(_) => false,
        End::Failure(facts) => match &facts.cause {
            Cause::Timeout(_) => true,
            Cause::Fault(fault) => fault.kind == FaultKind::TimedOut,
            _ => false,
        },
    }
}

/// I1.1: after an attempt that may have been processed, of a request that must not be repeated,
/// there is no other.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_1_nothing_follows_what_may_have_been_processed(data: &[u8]) {
    for life in lives(data) {
        let all_but_last = life.attempts.len() - 1;
        for attempt in &life.attempts[..all_but_last] {
            let may_be = attempt.fate.is_none_or(|fate| fate != Fate::NotProcessed);
            assert!(life.request.repeat_ok() || !may_be, "{life:?}");
        }
    }
}

/// I1.2: counted attempts are at most the policy's, free ones at most two more.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_2_attempts_are_bounded(data: &[u8]) {
    for life in lives(data) {
        let is_free = |attempt: &&Attempt| matches!(attempt.verdict, Verdict::Retry(again) if again.transparent);
        let granted = &life.attempts[..life.attempts.len() - 1];
        let free = granted.iter().filter(is_free).count();
        let counted = life.attempts.len() - free;
        assert!(free <= 2, "{life:?}");
        assert!(counted <= life.max_attempts.max(1) as usize, "{life:?}");
    }
}

/// I1.3: no attempt starts at the deadline or later, and no rest ends after it.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_3_nothing_starts_at_the_deadline_or_later(data: &[u8]) {
    for life in lives(data) {
        let Some(overall) = life.overall else {
            continue;
        };
        for attempt in &life.attempts[1..] {
            assert!(attempt.began < overall, "{life:?}");
        }
        for attempt in &life.attempts {
            if let Verdict::Retry(again) = attempt.verdict {
                assert!(again.at >= attempt.ended && again.at < overall, "{life:?}");
            }
        }
    }
}

/// I1.5: within ten slots of a second retries are within the firsts' share, and over the whole
/// within what was earned. (That no balance is negative is the budget's own property.)
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_5_retries_stay_within_the_budget(data: &[u8]) {
    let lives = lives(data);
    let start = lives.first().map(|life| life.attempts[0].began);
    let (mut firsts, mut retries, mut earned, mut spent) = (Vec::new(), Vec::new(), 0, 0);
    for life in &lives {
        firsts.push(life.attempts[0].began);
        for attempt in &life.attempts {
            let at = attempt.ended;
            match attempt.verdict {
                Verdict::Deliver { .. } if attempt.fate.is_none() => earned += 100,
                Verdict::Retry(again) if !again.transparent => {
                    spent += if attempt.timed_out { 2_000 } else { 1_000 };
                    retries.push(at);
                }
                _ => continue,
            }
            let elapsed = (at - start.unwrap_or(at)).as_millis() as u64;
            assert!(spent <= 10_000 + earned + elapsed / 100 + 1, "{lives:?}");
            let since = |events: &[Instant], secs| {
                let from = at - Duration::from_secs(secs);
                events.iter().filter(|event| **event >= from).count()
            };
            if retries.last() == Some(&at) {
                let (within, firsts) = (since(&retries, 9), since(&firsts, 10));
                assert!(within <= (firsts / 5).max(2), "{lives:?}");
            }
        }
    }
}

/// I1.7: a call ends once, and is exhausted exactly where its one label says so.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_7_a_call_has_one_end_and_one_label(data: &[u8]) {
    for life in lives(data) {
        let runs_out = matches!(
            life.label,
            Some(
                StopReason::MaxAttempts
                    | StopReason::BudgetEmpty
                    | StopReason::DeadlineWouldExpire
                    | StopReason::RetryAfterTooLong
            )
        );
        assert_eq!(life.exhausted, runs_out, "{life:?}");
        let Some((last, before)) = life.attempts.split_last() else {
            continue;
        };
        let is_end = |attempt: &Attempt| !matches!(attempt.verdict, Verdict::Retry(_));
        assert!(!before.iter().any(is_end), "{life:?}");
        let repeats = life.asked_again.iter().all(|again| *again == last.verdict);
        assert!(repeats, "{life:?}");
        if let Verdict::Stop { reason, .. } = last.verdict {
            assert_eq!(life.label, Some(reason), "{life:?}");
        }
    }
}

/// I1.9: the same facts, times and draws give the same decisions.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_9_the_same_facts_give_the_same_decisions(data: &[u8]) {
    assert_eq!(format!("{:?}", lives(data)), format!("{:?}", lives(data)));
}
