//! Whether another attempt follows: the vectors row by row, and where a call ends.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::budget::Budget;
use fulmar_core::call::{Again, Call, Request, Verdict};
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, HeadFacts, MethodClass, Replay, Retry, Ruling, StopReason,
};
use fulmar_core::time::Instant;
use fulmar_tests::properties::backoff::Words;

const GET: Request = Request::new(MethodClass::Safe);
const PUT: Request = Request {
    replay: Replay::Bytes,
    ..Request::new(MethodClass::Idempotent)
};
const POST: Request = Request {
    replay: Replay::Bytes,
    ..Request::new(MethodClass::Unsafe)
};
/// A call with attempts left, a full budget and a deadline far away, unless a test says otherwise.
struct Scene {
    call: Call,
    budget: Budget,
    now: Instant,
    deadline: Option<Instant>,
}

impl Scene {
    fn new(request: Request) -> Self {
        Self::with(request, Retry::default())
    }

    fn with(request: Request, policy: Retry) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut call = Call::new(request, Arc::new(policy));
        call.begin_attempt(now);
        Self {
            call,
            budget: Budget::new(now),
            now,
            deadline: Some(now + Duration::from_secs(3_600)),
        }
    }

    fn fails(&mut self, facts: &AttemptFacts) -> Verdict {
        let rng = &mut Words::at(0.5);
        self.call
            .handle_failure(self.now, facts, self.deadline, &mut self.budget, rng)
    }

    fn answers(&mut self, head: &HeadFacts) -> Verdict {
        let rng = &mut Words::at(0.5);
        self.call
            .handle_head(self.now, head, self.deadline, &mut self.budget, rng)
    }

    /// The next attempt starts when it was granted.
    fn goes_on(&mut self, verdict: &Verdict) {
        let Verdict::Retry(again) = verdict else {
            panic!("{verdict:?}");
        };
        self.now = again.at;
        self.call.begin_attempt(self.now);
    }

    fn paid(&self) -> u32 {
        3_000 - self.budget.tokens()
    }

    /// The terms of another attempt that counts.
    #[track_caller]
    fn counted(&self, verdict: &Verdict) -> Again {
        let Verdict::Retry(again) = *verdict else {
            panic!("{verdict:?}");
        };
        assert!(!again.transparent && again.at > self.now, "{again:?}");
        again
    }
}

/// The terms of another attempt for free.
#[track_caller]
fn free(verdict: &Verdict) -> Again {
    match *verdict {
        Verdict::Retry(again) if again.transparent => again,
        _ => panic!("{verdict:?}"),
    }
}

const fn stop(reason: StopReason, fate: Fate) -> Verdict {
    Verdict::Stop { reason, fate }
}

fn refused() -> AttemptFacts {
    AttemptFacts::new(Cause::Fault(Fault::new(FaultKind::Refused, Phase::Connect)))
}

fn on_reused(kind: FaultKind, phase: Phase, accepted: u64) -> AttemptFacts {
    AttemptFacts {
        reused: true,
        idle_for: Duration::from_secs(7),
        accepted,
        ..AttemptFacts::new(Cause::Fault(Fault::new(kind, phase)))
    }
}

/// Row 4: all was written, and the connection ended without an answer.
fn unanswered() -> AttemptFacts {
    on_reused(FaultKind::Eof, Phase::FirstByte, 120)
}

#[test]
fn one_attempt_leaves_the_free_ones_and_never_leaves_none() {
    let mut scene = Scene::with(GET, Retry::new(1));
    free(&scene.fails(&unanswered()));
    let mut scene = Scene::with(GET, Retry::new(1));
    let expected = stop(StopReason::MaxAttempts, Fate::NotProcessed);
    assert_eq!(scene.fails(&refused()), expected);
    let mut scene = Scene::with(GET, Retry::never());
    let expected = stop(StopReason::MaxAttempts, Fate::MaybeProcessed);
    assert_eq!(scene.fails(&unanswered()), expected);
}

#[test]
fn a_layer_that_serves_a_retry_makes_one_attempt() {
    let mut scene = Scene::with(GET, Retry::new(3).serving(1));
    let verdict = scene.fails(&refused());
    scene.counted(&verdict);
    for attempt in [2, 3, u32::MAX] {
        let mut scene = Scene::with(GET, Retry::new(3).serving(attempt));
        let expected = stop(StopReason::MaxAttempts, Fate::NotProcessed);
        assert_eq!(scene.fails(&refused()), expected);
    }
}

#[test]
fn the_deadline_is_reached_at_its_very_instant_and_nothing_starts_within_its_last_50_ms() {
    let mut scene = Scene::new(GET);
    scene.deadline = Some(scene.now);
    let expected = stop(StopReason::DeadlineExpired, Fate::Processed);
    assert_eq!(scene.answers(&HeadFacts::new(200)), expected);
    // 100 ms of backoff, and the 50 ms that an attempt needs.
    let policy = Retry::default()
        .backoff(Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None));
    let mut scene = Scene::with(GET, policy.clone());
    let enough = scene.now + Duration::from_millis(150);
    scene.deadline = Some(enough);
    let verdict = scene.fails(&refused());
    scene.counted(&verdict);
    let mut scene = Scene::with(GET, policy);
    scene.deadline = Some(enough - Duration::from_nanos(1));
    let expected = stop(StopReason::DeadlineWouldExpire, Fate::NotProcessed);
    assert_eq!(scene.fails(&refused()), expected);
    assert!(scene.call.retry_exhausted());
}

#[test]
fn a_call_says_the_same_at_its_end_however_often_it_is_asked() {
    let mut scene = Scene::new(POST);
    let end = scene.fails(&unanswered());
    for _ in 0..3 {
        assert_eq!(scene.fails(&refused()), end);
        assert_eq!(scene.answers(&HeadFacts::new(200)), end);
    }
    assert_eq!(scene.call.attempts().len(), 1);
}

#[test]
fn of_many_attempts_the_first_four_and_the_last_twelve_are_kept() {
    let mut scene = Scene::with(GET, Retry::new(100));
    scene.deadline = None;
    for number in 1..=40 {
        let verdict = scene.fails(&refused());
        let Verdict::Retry(_) = verdict else {
            panic!("{verdict:?} after {number}");
        };
        scene.goes_on(&verdict);
        // The budget refills meanwhile.
        scene.now = scene.now + Duration::from_secs(200);
    }
    let numbers: Vec<u16> = scene.call.attempts().iter().map(|one| one.number).collect();
    let kept: Vec<u16> = (1..=4).chain(29..=40).collect();
    assert_eq!((numbers, scene.call.dropped()), (kept, 24));
}

#[test]
fn the_longest_wait_is_still_waited() {
    let policy = || Retry::default().retry_after_max(Duration::from_secs(7));
    let asks = |wait| HeadFacts {
        retry_after: Some(wait),
        ..HeadFacts::new(503)
    };
    let mut scene = Scene::with(GET, policy());
    let verdict = scene.answers(&asks(Duration::from_secs(7)));
    scene.counted(&verdict);
    let mut scene = Scene::with(GET, policy());
    let verdict = scene.answers(&asks(Duration::from_secs(7) + Duration::from_nanos(1)));
    assert!(matches!(verdict, Verdict::Deliver { exhausted: Some(_) }));
    assert_eq!(
        scene.call.stop_reason(),
        Some(StopReason::RetryAfterTooLong)
    );
}

#[test]
fn what_one_call_is_told_holds_others_back_for_as_long_as_their_policy_waits() {
    let own = |secs| Retry::default().retry_after_max(Duration::from_secs(secs));
    for (patience, asked, shut) in [(600, 300, 60), (600, 20, 20), (1, 300, 60), (1, 20, 20)] {
        let mut scene = Scene::with(GET, own(patience));
        scene.call.set_common(&Arc::default());
        scene.answers(&HeadFacts {
            retry_after: Some(Duration::from_secs(asked)),
            ..HeadFacts::new(503)
        });
        let is_shut = scene.budget.shut_for(scene.now);
        assert_eq!(
            is_shut,
            Some(Duration::from_secs(shut)),
            "{patience} {asked}"
        );
    }
}

#[test]
fn a_rule_of_the_users_own_looks_at_every_status_and_at_no_failure_behind_a_delivered_part() {
    assert!(Call::is_plain(200) && !Call::is_plain(503));
    let plain = Scene::new(GET).call;
    assert!(plain.passes(200) && !plain.passes(503));
    let policy = || Retry::default().classifier(|_, _| Some(Ruling::RetryUnsafe));
    let ruled = Scene::with(GET, policy()).call;
    assert!(!ruled.passes(200) && !ruled.passes(503));
    let lost = |delivered| AttemptFacts {
        delivered,
        response_bytes: 100,
        ..on_reused(FaultKind::Reset, Phase::Body, 120)
    };
    let mut scene = Scene::with(POST, policy());
    let verdict = scene.fails(&lost(0));
    scene.counted(&verdict);
    let mut scene = Scene::with(POST, policy());
    assert!(matches!(scene.fails(&lost(1)), Verdict::Stop { .. }));
}
