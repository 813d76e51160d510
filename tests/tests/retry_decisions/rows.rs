//! The vectors.

use std::time::Duration;

use fulmar_core::budget::Cost;
use fulmar_core::call::{Outcome, Request, Verdict};
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, GoAwayCode, HeadFacts, Replay, StopReason, StreamFault, Violation,
};

use crate::{GET, POST, PUT, Scene, free, on_reused, refused, stop, unanswered};

const ONE_SHOT: Request = Request {
    replay: Replay::OneShot,
    ..PUT
};

const SPOOLED: Request = Request {
    replay: Replay::Spooled,
    ..PUT
};

/// Row 3: the connection was gone before a byte went out.
fn unsent() -> AttemptFacts {
    on_reused(FaultKind::BrokenPipe, Phase::Write, 0)
}

fn stream(fault: StreamFault) -> AttemptFacts {
    AttemptFacts {
        accepted: 120,
        ..AttemptFacts::new(Cause::Stream(fault))
    }
}

fn told(status: u16, seconds: u64) -> HeadFacts {
    HeadFacts {
        retry_after: Some(Duration::from_secs(seconds)),
        ..HeadFacts::new(status)
    }
}

/// A refused connection: paid for, and after half of 100 ms.
#[track_caller]
fn refused_and_tried_again(request: Request) {
    let mut scene = Scene::new(request);
    let verdict = scene.fails(&refused());
    let again = scene.counted(&verdict);
    let delay = again.at - scene.now;
    assert!(delay.abs_diff(Duration::from_millis(50)) <= Duration::from_nanos(1));
    assert_eq!(
        (scene.paid(), scene.call.fate()),
        (1_000, Fate::NotProcessed)
    );
}

#[test]
fn row_1_a_refused_connection_is_tried_again() {
    refused_and_tried_again(GET);
}

#[test]
fn row_2_a_refused_connection_is_tried_again_even_for_a_post() {
    refused_and_tried_again(POST);
}

#[test]
fn row_3_what_never_left_goes_out_again_at_once() {
    let mut scene = Scene::new(POST);
    let again = free(&scene.fails(&unsent()));
    assert_eq!((again.at, scene.paid()), (scene.now, 0));
    assert_eq!(again.evict_idle_for, Some(Duration::from_secs(7)));
    assert!(!again.fresh, "the first time the pool is still trusted");
}

#[test]
fn row_4_a_post_that_may_have_arrived_is_not_repeated() {
    let mut scene = Scene::new(POST);
    let expected = stop(StopReason::MaybeProcessed, Fate::MaybeProcessed);
    assert_eq!(scene.fails(&unanswered()), expected);
    assert!(!scene.call.retry_exhausted());
}

/// No answer on a used connection: tried again for free, past the siblings that idled as long.
#[track_caller]
fn unanswered_and_repeated_for_free(request: Request) {
    let mut scene = Scene::new(request);
    let again = free(&scene.fails(&unanswered()));
    assert_eq!(again.evict_idle_for, Some(Duration::from_secs(7)));
    assert_eq!((again.at, scene.paid()), (scene.now, 0));
}

#[test]
fn row_5_with_a_key_or_a_promise_a_post_is_repeated_for_free() {
    unanswered_and_repeated_for_free(Request {
        keyed: true,
        ..POST
    });
    unanswered_and_repeated_for_free(Request {
        declared_idempotent: true,
        ..POST
    });
}

#[test]
fn row_6_an_idempotent_method_is_repeated_for_free() {
    unanswered_and_repeated_for_free(PUT);
}

#[test]
fn row_7_a_body_that_nobody_pulled_can_still_be_sent() {
    free(&Scene::new(ONE_SHOT).fails(&unsent()));
}

#[test]
fn row_8_a_body_that_was_pulled_from_cannot_be_sent_again() {
    let facts = AttemptFacts {
        body_pulled: true,
        ..unanswered()
    };
    let expected = stop(StopReason::BodyNotReplayable, Fate::MaybeProcessed);
    assert_eq!(Scene::new(ONE_SHOT).fails(&facts), expected);
}

#[test]
fn a_spooled_body_can_be_sent_again_until_it_is_committed() {
    for (body_committed, is_free) in [(false, true), (true, false)] {
        let facts = AttemptFacts {
            body_pulled: true,
            body_committed,
            ..unanswered()
        };
        let verdict = Scene::new(SPOOLED).fails(&facts);
        if is_free {
            free(&verdict);
        } else {
            let expected = stop(StopReason::BodyNotReplayable, Fate::MaybeProcessed);
            assert_eq!(verdict, expected);
        }
    }
}

#[test]
fn row_9_the_end_of_a_fresh_connection_counts() {
    let facts = AttemptFacts {
        reused: false,
        ..unanswered()
    };
    let mut scene = Scene::new(GET);
    let verdict = scene.fails(&facts);
    scene.counted(&verdict);
    assert_eq!(scene.paid(), 1_000);
}

#[test]
fn row_10_no_first_byte_in_time_costs_two() {
    let mut scene = Scene::new(GET);
    let facts = AttemptFacts {
        accepted: 120,
        ..AttemptFacts::new(Cause::Timeout(Phase::FirstByte))
    };
    let verdict = scene.fails(&facts);
    scene.counted(&verdict);
    assert_eq!(scene.paid(), 2_000);
}

/// A stream that the peer says it never looked at: opened again at once.
#[track_caller]
fn opened_again_for_free(fault: StreamFault) {
    let mut scene = Scene::new(POST);
    let again = free(&scene.fails(&stream(fault)));
    assert_eq!((again.at, scene.paid()), (scene.now, 0));
}

#[test]
fn row_11_a_stream_that_was_refused_is_opened_again_for_free() {
    opened_again_for_free(StreamFault::Refused);
}

#[test]
fn row_12_a_stream_beyond_the_last_that_was_looked_at_is_opened_again_for_free() {
    opened_again_for_free(StreamFault::GoAwayBeyond {
        first_stream: false,
        code: GoAwayCode::NoError,
    });
}

#[test]
fn row_13_a_stream_within_the_last_that_was_looked_at_may_have_been_processed() {
    let expected = stop(StopReason::MaybeProcessed, Fate::MaybeProcessed);
    let facts = stream(StreamFault::GoAwayWithin);
    assert_eq!(Scene::new(POST).fails(&facts), expected);
}

#[test]
fn row_14_a_first_stream_that_is_rejected_with_an_error_counts_and_waits_longer() {
    let mut scene = Scene::new(POST);
    let verdict = scene.fails(&stream(StreamFault::GoAwayBeyond {
        first_stream: true,
        code: GoAwayCode::EnhanceYourCalm,
    }));
    let delay = scene.counted(&verdict).at - scene.now;
    assert!(delay.abs_diff(Duration::from_millis(500)) <= Duration::from_nanos(1));
    assert_eq!(scene.paid(), 1_000);
}

#[test]
fn row_15_a_connection_lost_without_a_word_may_have_carried_the_request() {
    let expected = stop(StopReason::MaybeProcessed, Fate::MaybeProcessed);
    let facts = stream(StreamFault::ConnectionLost);
    assert_eq!(Scene::new(POST).fails(&facts), expected);
}

#[test]
fn row_16_a_wait_that_ends_after_the_deadline_is_not_begun() {
    let mut scene = Scene::new(GET);
    scene.deadline = Some(scene.now + Duration::from_secs(4));
    let exhausted = Some(StopReason::DeadlineWouldExpire);
    assert_eq!(scene.answers(&told(503, 5)), Verdict::Deliver { exhausted });
    assert!(scene.call.retry_exhausted());
    assert_eq!(scene.paid(), 0, "what cannot happen is not paid for");
}

#[test]
fn row_17_a_post_that_was_throttled_waits_as_long_as_it_was_told() {
    let mut scene = Scene::new(POST);
    let verdict = scene.answers(&told(429, 1));
    let delay = scene.counted(&verdict).at - scene.now;
    // One second, and half of the spread of one second.
    assert!(delay.abs_diff(Duration::from_millis(1_500)) <= Duration::from_nanos(1));
}

#[test]
fn row_18_a_post_that_was_throttled_without_a_time_goes_to_the_caller() {
    let mut scene = Scene::new(POST);
    let verdict = scene.answers(&HeadFacts::new(429));
    assert_eq!(verdict, Verdict::Deliver { exhausted: None });
    assert_eq!(scene.call.stop_reason(), Some(StopReason::MaybeProcessed));
}

/// A refusal that says nothing was done: repeated once, on a connection of its own.
#[track_caller]
fn repeated_once_on_a_new_connection(status: u16) {
    let mut scene = Scene::new(POST);
    let verdict = scene.answers(&HeadFacts::new(status));
    assert!(scene.counted(&verdict).fresh);
    scene.goes_on(&verdict);
    let second = scene.answers(&HeadFacts::new(status));
    assert_eq!(second, Verdict::Deliver { exhausted: None });
    assert_eq!(scene.call.stop_reason(), Some(StopReason::NotRetryable));
}

#[test]
fn row_19_a_request_timeout_is_repeated_once_on_a_new_connection() {
    repeated_once_on_a_new_connection(408);
}

#[test]
fn row_20_a_misdirected_request_is_repeated_once_on_a_new_connection() {
    repeated_once_on_a_new_connection(421);
}

#[test]
fn row_21_an_expired_certificate_is_final() {
    let mut scene = Scene::new(GET);
    let facts = AttemptFacts::new(Cause::Fault(Fault::new(FaultKind::Certificate, Phase::Tls)));
    let expected = stop(StopReason::NotRetryable, Fate::NotProcessed);
    assert_eq!(scene.fails(&facts), expected);
    assert!(!scene.call.retry_exhausted());
}

#[test]
fn row_22_the_third_bad_gateway_goes_to_the_caller() {
    let mut scene = Scene::new(GET);
    for _ in 0..2 {
        let verdict = scene.answers(&HeadFacts::new(502));
        scene.counted(&verdict);
        scene.goes_on(&verdict);
    }
    let exhausted = Some(StopReason::MaxAttempts);
    let last = scene.answers(&HeadFacts::new(502));
    assert_eq!(last, Verdict::Deliver { exhausted });
    assert!(scene.call.retry_exhausted());
    assert_eq!(scene.call.attempts().len(), 3);
}

#[test]
fn row_23_without_budget_a_bad_gateway_goes_to_the_caller() {
    let mut scene = Scene::new(GET);
    assert!(scene.budget.withdraw(scene.now, Cost::Timeout));
    assert!(scene.budget.withdraw(scene.now, Cost::Fast));
    let exhausted = Some(StopReason::BudgetEmpty);
    let verdict = scene.answers(&HeadFacts::new(502));
    assert_eq!(verdict, Verdict::Deliver { exhausted });
    assert!(scene.call.retry_exhausted());
}

/// The caller has 40 kB of a body that breaks off: this call is over. Resuming with `Range` would be
/// another request (`If-Range` needs a strong `ETag`), and no attempt of this one.
#[track_caller]
fn broken_off_for_good(cause: Cause) -> Scene {
    let mut scene = Scene::new(GET);
    let head = scene.answers(&HeadFacts::new(200));
    assert_eq!(head, Verdict::Deliver { exhausted: None });
    let facts = AttemptFacts {
        accepted: 120,
        response_bytes: 40_200,
        delivered: 40_000,
        ..AttemptFacts::new(cause)
    };
    let expected = stop(StopReason::NotRetryable, Fate::Processed);
    assert_eq!(scene.fails(&facts), expected);
    assert!(!scene.call.retry_exhausted());
    assert_eq!(scene.paid(), 0);
    scene
}

#[test]
fn row_24_a_body_that_breaks_off_is_not_begun_anew_and_the_record_says_how_far_it_came() {
    let cause = Cause::Fault(Fault::new(FaultKind::Eof, Phase::Body));
    let scene = broken_off_for_good(cause);
    let records = scene.call.attempts();
    assert_eq!((records.len(), records[0].received), (1, 40_200));
}

#[test]
fn row_25_a_body_that_cannot_be_resumed_is_an_error_of_an_incomplete_response() {
    let cause = Cause::Protocol(Violation::BodyIncomplete);
    let scene = broken_off_for_good(cause.clone());
    let record = &scene.call.attempts()[0];
    assert_eq!(record.outcome, Outcome::Failed(cause));
}

#[test]
fn row_26_a_call_that_is_cancelled_in_its_backoff_is_cancelled_and_nothing_else() {
    let mut scene = Scene::new(GET);
    let verdict = scene.fails(&refused());
    scene.counted(&verdict);
    scene.call.cancel();
    assert_eq!(scene.call.stop_reason(), Some(StopReason::Cancelled));
    assert!(!scene.call.retry_exhausted());
    scene.goes_on(&verdict);
    let expected = stop(StopReason::Cancelled, Fate::NotProcessed);
    assert_eq!(scene.fails(&refused()), expected);
}

#[test]
fn row_27_after_two_free_attempts_a_stale_connection_counts() {
    let mut scene = Scene::new(GET);
    for used in 1..=2 {
        let verdict = scene.fails(&unanswered());
        let again = free(&verdict);
        assert_eq!(
            again.fresh,
            used == 2,
            "the second time never from the pool"
        );
        assert_eq!(scene.call.transparent_used(), used);
        scene.goes_on(&verdict);
    }
    let verdict = scene.fails(&unanswered());
    scene.counted(&verdict);
    assert_eq!(scene.paid(), 1_000);
    assert_eq!(scene.call.attempt(), 3);
}

#[test]
fn row_28_an_internal_error_is_repeated_once() {
    let mut scene = Scene::new(GET);
    let verdict = scene.answers(&HeadFacts::new(500));
    scene.counted(&verdict);
    scene.goes_on(&verdict);
    let second = scene.answers(&HeadFacts::new(500));
    assert_eq!(second, Verdict::Deliver { exhausted: None });
    assert_eq!(scene.call.stop_reason(), Some(StopReason::NotRetryable));
}
