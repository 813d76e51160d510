//! `Retry-After`: the vectors, row by row, up to the decision where they name one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulmar_core::budget::Budget;
use fulmar_core::call::{Call, Request, Verdict};
use fulmar_core::retry::{HeadFacts, MethodClass, Retry, StopReason, parse_retry_after};
use fulmar_core::time::Instant;
use fulmar_tests::properties::backoff::Words;

const DATE: &str = "Fri, 31 Dec 1999 23:59:29 GMT";

/// The local clock says what `DATE` says.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_769)
}

fn parse(values: &[&str], date: Option<&str>, wall: SystemTime) -> Option<Duration> {
    parse_retry_after(
        values.iter().map(|value| value.as_bytes()),
        date.map(str::as_bytes),
        wall,
    )
}

fn secs(secs: u64) -> Option<Duration> {
    Duration::from_secs(secs).into()
}

/// What a call does that is told to wait so long.
fn decide(retry_after: Option<Duration>) -> Verdict {
    let mut call = Call::new(Request::new(MethodClass::Safe), Arc::new(Retry::default()));
    let now = Instant::from_nanos(0);
    call.begin_attempt(now);
    let head = HeadFacts {
        retry_after,
        ..HeadFacts::new(503)
    };
    call.handle_head(now, &head, None, &mut Budget::new(now), &mut Words::at(0.0))
}

const TOO_LONG: Verdict = Verdict::Deliver {
    exhausted: Some(StopReason::RetryAfterTooLong),
};

#[test]
fn plain_seconds_are_taken_with_spaces_around_them() {
    for value in ["120", " 120 "] {
        assert_eq!(parse(&[value], None, wall()), secs(120), "{value:?}");
    }
    assert_eq!(parse(&["0"], None, wall()), secs(0));
}

#[test]
fn what_is_no_number_and_no_date_is_ignored() {
    for value in ["-1", "1.5", "+5", "0x10", "", "soon", "5, 10"] {
        for date in [None, Some(DATE)] {
            assert_eq!(parse(&[value], date, wall()), None, "{value:?}");
        }
    }
    assert!(matches!(decide(None), Verdict::Retry(_)));
}

#[test]
fn a_number_beyond_all_bounds_saturates_and_is_too_long() {
    let wait = parse(&["99999999999999999999"], None, wall());
    assert_eq!(wait, secs(u64::MAX));
    assert_eq!(decide(wait), TOO_LONG);
}

#[test]
fn of_two_fields_the_longer_wait_counts() {
    assert_eq!(parse(&["5", "10"], None, wall()), secs(10));
    assert_eq!(parse(&["10", "5"], None, wall()), secs(10));
}

#[test]
fn a_date_of_any_form_counts_from_the_date_field() {
    for value in [
        "Fri, 31 Dec 1999 23:59:59 GMT",
        "Friday, 31-Dec-99 23:59:59 GMT",
        "Fri Dec 31 23:59:59 1999",
    ] {
        // A local clock that is wrong changes nothing.
        for wall in [
            wall(),
            SystemTime::UNIX_EPOCH,
            wall() + Duration::from_secs(86_400),
        ] {
            assert_eq!(parse(&[value], Some(DATE), wall), secs(30), "{value:?}");
        }
    }
}

#[test]
fn a_date_before_the_response_is_no_wait() {
    let past = "Fri, 31 Dec 1999 23:59:28 GMT";
    assert_eq!(parse(&[past], Some(DATE), wall()), secs(0));
    assert_eq!(parse(&[past], None, wall()), secs(0));
}

#[test]
fn without_a_date_field_a_slow_clock_makes_the_wait_too_long() {
    let hour = Duration::from_secs(3_600);
    let value = "Fri, 31 Dec 1999 23:59:59 GMT";
    let wait = parse(&[value], None, wall() - hour);
    assert_eq!(wait, secs(3_630));
    assert_eq!(decide(wait), TOO_LONG);
}

#[test]
fn a_wait_of_zero_is_still_jittered_and_paid_for() {
    let now = Instant::from_nanos(0);
    let mut call = Call::new(Request::new(MethodClass::Safe), Arc::new(Retry::default()));
    let mut budget = Budget::new(now);
    call.begin_attempt(now);
    let head = HeadFacts {
        retry_after: secs(0),
        ..HeadFacts::new(503)
    };
    let verdict = call.handle_head(now, &head, None, &mut budget, &mut Words::at(0.5));
    let Verdict::Retry(again) = verdict else {
        panic!("{verdict:?}");
    };
    let delay = again.at - now;
    assert!(delay.abs_diff(Duration::from_millis(500)) <= Duration::from_nanos(1));
    assert_eq!(budget.tokens(), 2_000);
}
