//! The retry budget.

use std::time::Duration;

use fulmar_core::budget::{Budget, BudgetConfig, Cost, InvalidBudget};
use fulmar_core::time::Instant;
use fulmar_tests::properties::budget::budget_ops;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_budget_agrees_with_the_whole_history(data in prop::collection::vec(any::<u8>(), 0..600)) {
        budget_ops(&data);
    }
}

#[test]
fn a_new_budget_allows_two_retries_in_ten_seconds_and_three_in_all() {
    let mut now = Instant::from_nanos(0);
    let mut budget = Budget::new(now);
    let withdrawn: Vec<_> = (0..3).map(|_| budget.withdraw(now, Cost::Fast)).collect();
    assert_eq!(withdrawn, [true, true, false], "the window");
    assert_eq!(budget.tokens(), 1_000, "a refusal charges nothing");
    now = now + Duration::from_secs(10);
    assert!(budget.withdraw(now, Cost::Fast), "the third token");
    assert!(!budget.withdraw(now, Cost::Fast));
    now = now + Duration::from_secs(89);
    assert!(!budget.withdraw(now, Cost::Fast));
    now = now + Duration::from_secs(2);
    assert!(
        budget.withdraw(now, Cost::Fast),
        "refilled at 0.01 a second"
    );
}

#[test]
fn a_retry_that_is_not_made_costs_nothing() {
    let now = Instant::from_nanos(0);
    let mut budget = Budget::new(now);
    for _ in 0..10 {
        assert!(budget.withdraw(now, Cost::Timeout));
        budget.refund(now, now, Cost::Timeout);
    }
    assert_eq!(budget.tokens(), 3_000);
    assert!(budget.withdraw(now, Cost::Fast));
    // Beyond the window there is only the token to give back, and no more than the cap.
    let later = now + Duration::from_secs(10);
    budget.refund(later, now, Cost::Fast);
    budget.refund(later, now, Cost::Fast);
    assert_eq!(budget.tokens(), 3_000);
    assert!(budget.withdraw(later, Cost::Fast) && budget.withdraw(later, Cost::Fast));
    assert!(!budget.withdraw(later, Cost::Fast), "the window");
}

#[test]
fn a_timeout_costs_twice_as_much() {
    let now = Instant::from_nanos(0);
    let mut budget = Budget::new(now);
    assert!(budget.withdraw(now, Cost::Timeout));
    assert!(!budget.withdraw(now, Cost::Timeout));
    assert!(budget.withdraw(now, Cost::Fast));
}

#[test]
fn successes_fill_it_up_to_a_cap_that_follows_the_traffic() {
    let mut now = Instant::from_nanos(0);
    let mut budget = Budget::new(now);
    for (firsts, cap) in [(10, 3_000), (40, 5_000), (200, 10_000)] {
        for _ in 0..firsts {
            budget.handle_first_attempt(now);
        }
        for _ in 0..500 {
            budget.handle_success(now);
        }
        assert_eq!(budget.tokens(), cap);
    }
    // A minute without traffic lowers the cap, at the next withdrawal.
    now = now + Duration::from_secs(65);
    assert!(budget.withdraw(now, Cost::Fast));
    assert_eq!(budget.tokens(), 2_000);
    assert!(!budget.is_initial(now));
    assert!(budget.is_initial(now + Duration::from_secs(200)));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let config = BudgetConfig::default();
    let table = [
        (config, Ok(())),
        (
            BudgetConfig {
                ratio: 1.1,
                ..config
            },
            Err(InvalidBudget::Ratio),
        ),
        (
            BudgetConfig {
                ratio: f64::NAN,
                ..config
            },
            Err(InvalidBudget::Ratio),
        ),
        (
            BudgetConfig {
                window_ratio: Some(-0.1),
                ..config
            },
            Err(InvalidBudget::WindowRatio),
        ),
        (
            BudgetConfig {
                min: 11.0,
                ..config
            },
            Err(InvalidBudget::Caps),
        ),
        (
            BudgetConfig {
                max: f64::INFINITY,
                ..config
            },
            Err(InvalidBudget::Caps),
        ),
        (
            BudgetConfig {
                refill: -1.0,
                ..config
            },
            Err(InvalidBudget::Refill),
        ),
    ];
    for (config, expected) in table {
        assert_eq!(config.validate(), expected, "{config:?}");
    }
}

#[test]
fn hours_and_time_that_runs_back_do_no_harm() {
    let mut budget = Budget::new(Instant::from_nanos(5_000_000_000));
    budget.handle_first_attempt(Instant::from_nanos(0));
    assert!(budget.withdraw(Instant::from_nanos(1), Cost::Fast));
    assert!(budget.withdraw(Instant::MAX, Cost::Fast));
    budget.handle_success(Instant::from_nanos(7));
    assert!(budget.tokens() <= 10_000);
}
