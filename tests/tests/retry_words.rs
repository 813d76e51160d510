//! The words and small rules of retrying, each said once.

use std::error::Error;
use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::budget::Budget;
use fulmar_core::call::{Call, Request, Verdict};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, Class, HeadFacts, MethodClass, Retry, RetryError, Ruling, StopReason,
    StreamFault, Violation, classify, is_plain,
};
use fulmar_core::time::Instant;
use fulmar_tests::properties::backoff::Words;
use http::Method;

fn are_distinct(texts: impl IntoIterator<Item = String>) -> bool {
    let mut texts: Vec<String> = texts.into_iter().collect();
    texts.sort_unstable();
    texts.windows(2).all(|pair| pair[0] != pair[1]) && !texts[0].is_empty()
}

#[test]
fn each_cause_violation_and_stream_fault_has_its_own_words() {
    let fault = Fault::new(FaultKind::Refused, Phase::Connect);
    assert!(are_distinct(
        [
            Cause::Fault(fault),
            Cause::Timeout(Phase::Head),
            Cause::Protocol(Violation::Digest),
            Cause::Stream(StreamFault::Refused),
            Cause::QueueFull,
            Cause::Closed,
            Cause::RequestBody,
            Cause::BodyTooLarge,
        ]
        .map(|cause| cause.to_string())
    ));
    assert!(are_distinct(
        [
            Violation::Malformed,
            Violation::Limit,
            Violation::Incomplete,
            Violation::BodyMalformed,
            Violation::BodyLimit,
            Violation::BodyIncomplete,
            Violation::Digest,
        ]
        .map(|violation| violation.to_string())
    ));
    assert!(are_distinct(
        [
            StreamFault::Refused,
            StreamFault::GoAwayWithin,
            StreamFault::Unsent,
            StreamFault::ConnectionLost,
            StreamFault::Internal,
            StreamFault::EnhanceYourCalm,
            StreamFault::Http11Required,
            StreamFault::Protocol,
        ]
        .map(|fault| fault.to_string())
    ));
}

#[test]
fn each_reason_to_stop_has_a_label_and_words() {
    let reasons = [
        StopReason::NotRetryable,
        StopReason::MaybeProcessed,
        StopReason::BodyNotReplayable,
        StopReason::MaxAttempts,
        StopReason::BudgetEmpty,
        StopReason::RetryAfterTooLong,
        StopReason::DeadlineWouldExpire,
        StopReason::DeadlineExpired,
        StopReason::Cancelled,
    ];
    assert!(are_distinct(reasons.map(|reason| reason.to_string())));
    assert!(are_distinct(
        reasons.map(|reason| reason.as_str().to_owned())
    ));
}

#[test]
fn methods_are_safe_idempotent_or_neither() {
    for (method, class) in [
        (Method::GET, MethodClass::Safe),
        (Method::OPTIONS, MethodClass::Safe),
        (Method::PUT, MethodClass::Idempotent),
        (Method::DELETE, MethodClass::Idempotent),
        (Method::POST, MethodClass::Unsafe),
        (Method::PATCH, MethodClass::Unsafe),
    ] {
        assert_eq!(MethodClass::of(&method), class, "{method}");
    }
}

#[test]
fn a_policy_without_attempts_or_with_a_contradiction_is_refused() {
    assert_eq!(Retry::default().validate(), Ok(()));
    assert_eq!(Retry::default().max_attempts(5), Retry::new(5));
    let none = Retry::default().max_attempts(0).validate();
    assert_eq!(none, Err(RetryError::NoAttempts));
    let text = "the retry max_attempts of 0 leaves no attempt at all";
    assert_eq!(RetryError::NoAttempts.to_string(), text);
    assert!(RetryError::NoAttempts.source().is_none());
}

#[test]
fn policies_are_equal_where_they_share_their_rule() {
    let ruled = || Retry::default().classifier(|_, _| None);
    let policy = ruled();
    assert_eq!(policy, policy.clone());
    assert_ne!(policy, ruled());
    assert!(format!("{policy:?}").contains("Classifier"));
}

#[test]
fn statuses_that_no_rule_looks_at_are_plain() {
    for (status, plain) in [
        (200, true),
        (404, true),
        (410, true),
        (429, false),
        (500, false),
    ] {
        assert_eq!(is_plain(status), plain, "{status}");
    }
}

#[test]
fn a_ruling_to_throttle_waits_as_long_as_throttling_does() {
    let steady = |secs| Backoff::exponential(Duration::from_secs(secs)).jitter(Jitter::None);
    let delay = |ruling| {
        let policy = Retry::default()
            .backoff(steady(1))
            .throttle(steady(4))
            .classifier(move |_, _| Some(ruling));
        let now = Instant::from_nanos(1_000_000_000);
        let mut call = Call::new(Request::new(MethodClass::Safe), policy.into());
        call.begin_attempt(now);
        let (mut budget, rng) = (Budget::new(now), &mut Words::at(0.5));
        match call.handle_head(now, &HeadFacts::new(200), None, &mut budget, rng) {
            Verdict::Retry(again) => again.at - now,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delay(Ruling::Retry), Duration::from_secs(1));
    assert_eq!(delay(Ruling::Throttle), Duration::from_secs(4));
}

#[test]
fn a_response_that_ends_within_its_head_is_as_a_connection_that_ends_there() {
    for method in [
        MethodClass::Safe,
        MethodClass::Idempotent,
        MethodClass::Unsafe,
    ] {
        let class = |cause, response_bytes| {
            let facts = AttemptFacts {
                reused: true,
                accepted: 100,
                response_bytes,
                ..AttemptFacts::new(cause)
            };
            classify(Request::new(method), &facts, &Retry::default())
        };
        let incomplete = || Cause::Protocol(Violation::Incomplete);
        let ended = |phase| Cause::Fault(Fault::new(FaultKind::Eof, phase));
        assert_eq!(class(incomplete(), 0), class(ended(Phase::FirstByte), 0));
        assert_eq!(class(incomplete(), 9), class(ended(Phase::Head), 9));
        let total = class(Cause::Timeout(Phase::Total), 0);
        assert!(matches!(total, Class::Fatal { .. }));
    }
}

#[test]
fn a_contradiction_in_a_backoff_is_the_source_of_the_error() {
    let contradiction = Retry::default()
        .backoff(Backoff::exponential(Duration::from_secs(1)).jitter(Jitter::Proportional(1.0)));
    let Err(error) = contradiction.validate() else {
        panic!("it is valid")
    };
    assert!(error.source().is_some());
}
