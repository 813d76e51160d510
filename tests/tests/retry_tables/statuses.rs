//! Statuses of response heads.

use std::time::Duration;

use fulmar_core::call::{Call, Verdict};
use fulmar_core::fault::Fate;
use fulmar_core::retry::{HeadFacts, Retry, StopReason};

use Fate::{MaybeProcessed as Maybe, NotProcessed as Never, Processed as Yes};

use crate::Then::{Again as Counted, Success, Throttled};
use crate::{ANYONE, Columns, HARMLESS, SAFE, Scene, requests};

fn status(status: u16) -> HeadFacts {
    HeadFacts::new(status)
}

/// A status that came with `Retry-After: 0`, which lengthens no delay beyond recognition.
fn told(status: u16) -> HeadFacts {
    HeadFacts {
        retry_after: Some(Duration::ZERO),
        ..HeadFacts::new(status)
    }
}

#[track_caller]
fn check_heads(policy: &Retry, rows: &[(HeadFacts, Fate, Columns)]) {
    for (head, fate, columns) in rows {
        for (request, then) in requests().into_iter().zip(columns) {
            let mut scene = Scene::new(request, policy);
            let verdict = scene.head(head);
            assert_eq!(
                (scene.call.fate(), scene.then(&verdict)),
                (*fate, *then),
                "{request:?} after {head:?}"
            );
            assert!(then != &Success || !matches!(verdict, Verdict::Stop { .. }));
        }
    }
}

fn expecting() -> HeadFacts {
    HeadFacts {
        expected: true,
        ..status(417)
    }
}

#[test]
fn statuses_that_say_it_was_not_processed_are_repeated_once_for_any_request() {
    let heads = [status(408), expecting(), status(421), status(425)];
    for head in heads {
        check_heads(&Retry::default(), &[(head, Never, ANYONE(Counted))]);
        for request in requests() {
            let mut scene = Scene::new(request, &Retry::default());
            let Verdict::Retry(again) = scene.head(&head) else {
                panic!("no other attempt after {head:?}");
            };
            assert_eq!(again.fresh, matches!(head.status, 408 | 421));
            assert_eq!(again.without_expect, head.status == 417);
            scene.call.begin_attempt(again.at);
            let second = scene.head(&head);
            assert_eq!(second, Verdict::Deliver { exhausted: None });
            assert_eq!(scene.call.stop_reason(), Some(StopReason::NotRetryable));
        }
    }
    let unexpected = status(417);
    check_heads(&Retry::default(), &[(unexpected, Yes, ANYONE(Success))]);
}

#[test]
fn throttling_is_repeated_later_and_for_any_request_where_it_says_when() {
    check_heads(
        &Retry::default(),
        &[
            (status(429), Never, HARMLESS(Throttled)),
            (told(429), Never, ANYONE(Throttled)),
            (status(503), Maybe, HARMLESS(Throttled)),
            (told(503), Never, HARMLESS(Throttled)),
        ],
    );
    check_heads(
        &Retry::default().trust_503(true),
        &[
            (status(503), Maybe, HARMLESS(Throttled)),
            (told(503), Never, ANYONE(Throttled)),
        ],
    );
}

#[test]
fn an_error_of_the_server_is_repeated_once_for_readers() {
    check_heads(&Retry::default(), &[(status(500), Yes, SAFE(Counted))]);
}

#[test]
fn an_error_of_a_gateway_is_repeated_where_that_is_harmless() {
    let rows = [502, 504].map(|code| (status(code), Maybe, HARMLESS(Counted)));
    check_heads(&Retry::default(), &rows);
}

#[test]
fn statuses_of_some_intermediaries_are_repeated_only_if_asked_for() {
    for code in [520, 521, 522, 523, 524, 529] {
        check_heads(&Retry::default(), &[(status(code), Maybe, ANYONE(Success))]);
        check_heads(
            &Retry::default().extended_5xx(true),
            &[(status(code), Maybe, HARMLESS(Counted))],
        );
    }
    let extended = Retry::default().extended_5xx(true);
    check_heads(&extended, &[(status(525), Yes, ANYONE(Success))]);
}

#[test]
fn a_conflict_is_repeated_only_with_a_key() {
    let mut columns = ANYONE(Success);
    columns[3] = Throttled;
    for (request, then) in requests().into_iter().zip(columns) {
        let mut scene = Scene::new(request, &Retry::default());
        let verdict = scene.head(&status(409));
        assert_eq!(scene.then(&verdict), then, "{request:?}");
    }
}

#[test]
fn every_other_status_goes_to_the_caller() {
    let rules = [408, 409, 417, 421, 425, 429, 500, 502, 503, 504];
    let extended = [520, 521, 522, 523, 524, 529];
    for code in (100..1_000).filter(|code| !rules.contains(code) && !extended.contains(code)) {
        check_heads(
            &Retry::default().extended_5xx(true).trust_503(true),
            &[(told(code), Yes, ANYONE(Success))],
        );
    }
    for code in rules.into_iter().chain(extended) {
        assert!(!Call::is_plain(code), "a rule looks at {code}");
    }
}
