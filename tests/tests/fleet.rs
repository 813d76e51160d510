//! Small fleets, quick enough for every run of the tests; `just fleet` runs the large ones. That the
//! model is right is tested in `fleet_model`.

use std::time::Duration;

use fulmar_tests::fleet::{Fault, Policy, Report, Scenario, simulate};

/// A tenth of the default, and watched for a minute after the fault.
fn small() -> Scenario {
    Scenario {
        after: Duration::from_secs(60),
        ..Scenario::small()
    }
}

fn recovery(report: &Report) -> Option<u64> {
    report.recovery().map(|after| after.as_secs())
}

#[test]
fn retries_without_a_budget_hold_the_server_down_after_its_fault() {
    for policy in [
        Policy::immediate(),
        Policy::three_attempts(),
        Policy::five_attempts(),
    ] {
        let report = simulate(&small(), &policy, 1);
        assert_eq!(recovery(&report), None, "{}", policy.name);
        assert!(report.amplification_during() > 2.5, "{}", policy.name);
        assert!(report.amplification_after() > 2.5, "{}", policy.name);
    }
}

#[test]
fn with_the_default_policy_the_server_recovers_as_if_nobody_retried() {
    for seed in 1..=3 {
        let bare = recovery(&simulate(&small(), &Policy::none(), seed)).unwrap();
        let report = simulate(&small(), &Policy::ours(), seed);
        let back = recovery(&report).unwrap();
        assert!(back <= bare + 3, "{back} s, {bare} s without retries");
        assert!(report.amplification_during() <= 1.25, "{report:?}");
        assert!(report.amplification_peak() <= 2.5, "{report:?}");
    }
}

/// Three requests of each client in the half minute, and three tokens. A retry after a timeout costs
/// two of them, one after a refusal costs one: for `k` requests there are `min(3, 2 k)` retries, 2.7
/// in the mean.
#[test]
fn slow_clients_make_the_attempts_that_their_three_tokens_pay() {
    let down = |fault| {
        let scenario = Scenario {
            clients: 1_000,
            fault,
            ..small()
        };
        simulate(&scenario, &Policy::ours(), 1).amplification_during()
    };
    for fault in [Fault::Slow(10.0), Fault::Stalled] {
        assert!(down(fault) <= 1.8, "{fault:?} {}", down(fault));
    }
    let refused = down(Fault::Refused);
    assert!((1.8..=1.9).contains(&refused), "{refused}");
}

#[test]
fn layers_that_all_retry_recover_as_well() {
    let scenario = Scenario {
        layers: 3,
        ..small()
    };
    let report = simulate(&scenario, &Policy::ours(), 1);
    let bare = recovery(&simulate(&scenario, &Policy::none(), 1)).unwrap();
    let back = recovery(&report).unwrap();
    assert!(back <= bare + 3, "{back} s, {bare} s without retries");
    assert!(report.amplification_after() * scenario.load() < 1.0);
    let naive = simulate(&scenario, &Policy::immediate(), 1);
    assert!(naive.amplification_during() > 20.0);
    assert_eq!(recovery(&naive), None);
}

#[test]
fn the_default_policy_hides_scattered_failures_from_callers() {
    let scenario = Scenario {
        fault: Fault::None,
        scattered: 0.01,
        ..small()
    };
    let bare = simulate(&scenario, &Policy::none(), 1).success_before();
    let ours = simulate(&scenario, &Policy::ours(), 1).success_before();
    assert!(bare < 0.993, "{bare}");
    assert!(ours > 0.999, "{ours}");
}

#[test]
fn a_server_that_drops_what_its_deadline_has_passed_is_back_at_once() {
    let scenario = Scenario {
        drops_expired: true,
        ..small()
    };
    let report = simulate(&scenario, &Policy::ours(), 1);
    assert!(recovery(&report).unwrap() <= 1, "{:?}", report.recovery());
}

#[test]
fn the_same_seed_gives_the_same_report_and_every_policy_the_same_arrivals() {
    let ours = simulate(&small(), &Policy::ours(), 7);
    assert_eq!(ours, simulate(&small(), &Policy::ours(), 7));
    let bare = simulate(&small(), &Policy::none(), 7);
    assert_ne!(ours, bare);
    let requests = |report: &Report| -> Vec<_> {
        report
            .seconds
            .iter()
            .map(|second| second.requests)
            .collect()
    };
    assert_eq!(requests(&ours), requests(&bare));
}
