//! The delays between attempts: the vectors, row by row.

use std::time::Duration;

use fulmar_core::backoff::{Backoff, BackoffError, Jitter};
use fulmar_core::retry::Retry;
use fulmar_tests::properties::backoff::Words;

/// The settings that most rows share: from 100 ms, doubling, at most 5 s.
fn usual(jitter: Jitter) -> Backoff {
    backoff(100, 5_000).jitter(jitter)
}

fn backoff(base: u64, max: u64) -> Backoff {
    Backoff::exponential(Duration::from_millis(base)).max(Duration::from_millis(max))
}

/// The delay before attempt `n + 1` in nanoseconds, where the draw is at the share `u`.
fn delay(backoff: &Backoff, n: u32, u: f64) -> u128 {
    after(backoff, n, 0, u)
}

fn after(backoff: &Backoff, n: u32, previous: u64, u: f64) -> u128 {
    backoff
        .delay(n, Duration::from_millis(previous), &mut Words::at(u))
        .as_nanos()
}

/// Whether nanoseconds are that many milliseconds. A draw among whole nanoseconds has no exact
/// middle where their number is even, hence one more or less.
#[track_caller]
fn is_ms(nanos: u128, millis: u64) {
    let expected = u128::from(millis) * 1_000_000;
    assert!(nanos.abs_diff(expected) <= 1, "{nanos} ns, not {millis} ms");
}

#[test]
fn without_jitter_a_delay_doubles_up_to_the_longest() {
    let plain = usual(Jitter::None);
    let rows = [
        (1, 100),
        (2, 200),
        (6, 3_200),
        (7, 5_000),
        (64, 5_000),
        (u32::MAX, 5_000),
    ];
    for (n, millis) in rows {
        assert_eq!(delay(&plain, n, 0.5), millis * 1_000_000, "{n}");
    }
}

#[test]
fn full_jitter_spreads_a_delay_from_zero() {
    let full = usual(Jitter::Full);
    for (n, millis) in [(1, 50), (2, 100), (6, 1_600), (7, 2_500)] {
        is_ms(delay(&full, n, 0.5), millis);
    }
    assert_eq!(delay(&full, 1, 0.0), 0);
    is_ms(delay(&full, 1, 1.0), 100);
    assert_eq!(Backoff::default(), full, "the default");
}

#[test]
fn equal_jitter_spreads_the_upper_half_of_a_delay() {
    let equal = usual(Jitter::Equal);
    for (n, millis) in [(1, 75), (2, 150), (6, 2_400), (7, 3_750)] {
        is_ms(delay(&equal, n, 0.5), millis);
    }
    is_ms(delay(&equal, 1, 0.0), 50);
    is_ms(delay(&equal, 1, 1.0), 100);
}

#[test]
fn proportional_jitter_spreads_a_delay_to_both_sides() {
    let quarter = usual(Jitter::Proportional(0.25));
    is_ms(delay(&quarter, 1, 0.0), 75);
    is_ms(delay(&quarter, 1, 1.0), 125);
}

#[test]
fn proportional_jitter_stays_below_the_longest_delay_as_a_whole() {
    let quarter = usual(Jitter::Proportional(0.25));
    is_ms(delay(&quarter, 7, 0.0), 3_000);
    is_ms(delay(&quarter, 7, 1.0), 5_000);
}

#[test]
fn proportional_jitter_may_pass_the_longest_delay_where_compatibility_is_asked_for() {
    let quarter = backoff(1_000, 30_000)
        .jitter(Jitter::Proportional(0.25))
        .compat();
    is_ms(delay(&quarter, 6, 0.0), 22_500);
    is_ms(delay(&quarter, 6, 1.0), 37_500);
    assert_eq!(quarter.max_delay(), Duration::from_millis(37_500));
}

#[test]
fn additive_jitter_adds_up_to_one_base() {
    let additive = backoff(200, 5_000).jitter(Jitter::Additive);
    for (n, millis) in [(1, 300), (5, 3_300)] {
        is_ms(delay(&additive, n, 0.5), millis);
        is_ms(delay(&additive.compat(), n, 0.5), millis);
    }
}

#[test]
fn saturated_additive_jitter_goes_down_from_the_longest_delay() {
    let additive = backoff(200, 5_000).jitter(Jitter::Additive);
    is_ms(delay(&additive.compat(), 6, 0.5), 5_000);
    is_ms(delay(&additive, 6, 0.5), 4_900);
    assert_eq!(
        Retry::strict(),
        Retry::new(3).backoff(additive),
        "the strict preset"
    );
}

#[test]
fn decorrelated_jitter_reaches_three_times_the_previous_delay() {
    let decorrelated = usual(Jitter::Decorrelated);
    for (previous, millis) in [(100, 200), (200, 350), (4_000, 2_550)] {
        is_ms(after(&decorrelated, 2, previous, 0.5), millis);
    }
    is_ms(after(&decorrelated, 1, 0, 0.5), 200);
}

const KINDS: [Jitter; 6] = [
    Jitter::None,
    Jitter::Full,
    Jitter::Equal,
    Jitter::Decorrelated,
    Jitter::Proportional(0.25),
    Jitter::Additive,
];

#[test]
fn from_nothing_there_is_no_delay() {
    for jitter in KINDS {
        for u in [0.0, 0.5, 1.0] {
            assert_eq!(delay(&backoff(0, 5_000).jitter(jitter), 7, u), 0);
        }
    }
}

#[test]
fn the_longest_delay_holds_against_any_base() {
    for jitter in KINDS {
        let huge = Backoff::exponential(Duration::from_nanos(u64::MAX))
            .max(Duration::from_secs(5))
            .jitter(jitter);
        assert!(delay(&huge, 1, 1.0) <= 5_000_000_000, "{jitter:?}");
        assert!(huge.validate().is_err());
    }
}

#[test]
fn another_factor_grows_a_delay_to_the_same_bound() {
    let slow = backoff(1_000, 120_000).factor(1.6).jitter(Jitter::None);
    for (n, millis) in [(1, 1_000), (2, 1_600), (11, 109_951), (12, 120_000)] {
        assert_eq!(delay(&slow, n, 0.5) / 1_000_000, millis, "{n}");
    }
}

#[test]
fn a_constant_delay_stays_the_same() {
    let constant = Backoff::constant(Duration::from_millis(300));
    for n in [1, 2, 50, u32::MAX] {
        is_ms(delay(&constant, n, 0.5), 300);
    }
    assert_eq!(constant.validate(), Ok(()));
    let spread = constant.jitter(Jitter::Proportional(0.5));
    is_ms(delay(&spread, 9, 1.0), 450);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let fine = backoff(100, 5_000);
    let (base, max) = (Duration::from_secs(6), Duration::from_secs(5));
    let table = [
        (fine, Ok(())),
        (backoff(5_000, 5_000), Ok(())),
        (fine.jitter(Jitter::Proportional(0.0)), Ok(())),
        (
            backoff(6_000, 5_000),
            Err(BackoffError::BaseAboveMax { base, max }),
        ),
        (fine.factor(0.99), Err(BackoffError::Factor)),
        (fine.factor(f64::NAN), Err(BackoffError::Factor)),
        (fine.factor(f64::INFINITY), Err(BackoffError::Factor)),
        (
            fine.jitter(Jitter::Proportional(1.0)),
            Err(BackoffError::Share),
        ),
        (
            fine.jitter(Jitter::Proportional(-0.1)),
            Err(BackoffError::Share),
        ),
        (
            fine.jitter(Jitter::Proportional(f64::NAN)),
            Err(BackoffError::Share),
        ),
    ];
    for (backoff, expected) in table {
        assert_eq!(backoff.validate(), expected, "{backoff:?}");
    }
}
