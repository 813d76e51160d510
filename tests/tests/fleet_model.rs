//! Whether the fleet simulation computes what it says: against closed formulas.

use std::time::Duration;

use fulmar_core::backoff::Backoff;
use fulmar_core::retry::Retry;
use fulmar_tests::fleet::{Fault, Order, Policy, Report, Scenario, simulate};

const SEEDS: [u64; 2] = [1, 2];

/// Watched for a short time.
fn brief(scenario: Scenario) -> Scenario {
    Scenario {
        before: Duration::from_secs(10),
        after: Duration::from_secs(60),
        ..scenario
    }
}

/// So many attempts at once, and no budget.
fn attempts(max: u32) -> Policy {
    let at_once = Backoff::constant(Duration::ZERO);
    let retry = Retry::new(max).backoff(at_once).throttle(at_once);
    Policy::unbounded("attempts", retry)
}

fn mean(scenario: Scenario, policy: &Policy, of: impl Fn(&Report) -> f64) -> f64 {
    let reports = SEEDS.map(|seed| of(&simulate(&scenario, policy, seed)));
    reports.iter().sum::<f64>() / SEEDS.len() as f64
}

#[track_caller]
fn assert_near(measured: f64, calculated: f64, tolerance: f64) {
    assert!(
        (measured - calculated).abs() <= tolerance,
        "measured {measured}, calculated {calculated}"
    );
}

/// While a request times out it makes all its attempts, `a` of them, so the backlog drains by what the
/// capacity exceeds `a` times the rate by: `(Q - C T) / (C - a rate)`, for clients are served in time
/// again once what waits takes less than their patience, `T`. Each attempt comes `T` after the one
/// before it, and those of the first seconds are not followed by as many from before: so much is
/// never queued.
fn time_to_recover(scenario: &Scenario, a: f64) -> Option<f64> {
    let (rate, capacity) = (scenario.rate, scenario.capacity());
    let patience = scenario.patience.as_secs_f64();
    let never_queued = rate * patience * a * (a - 1.0) / 2.0;
    let backlog = scenario.queue as f64 - capacity * patience - never_queued;
    let spare = capacity - a * rate;
    (spare > 0.0).then(|| backlog / spare)
}

/// A server that is stalled until its queue is full, of which it has four seconds.
fn with_a_backlog(load: f64) -> Scenario {
    Scenario {
        fault: Fault::Stalled,
        fault_for: Duration::from_secs(15),
        before: Duration::from_secs(5),
        after: Duration::from_secs(40),
        ..Scenario::default().with_load(load)
    }
}

#[test]
fn the_backlog_drains_as_fast_as_calculated() {
    for (max, load) in [(1, 0.5), (1, 0.85), (2, 0.4), (3, 0.27)] {
        let scenario = with_a_backlog(load);
        let calculated = time_to_recover(&scenario, f64::from(max)).unwrap();
        let measured = mean(scenario, &attempts(max), |report| {
            report.recovery().unwrap().as_secs_f64()
        });
        // Success is looked at by the second, and chance moves the last of the backlog.
        assert_near(measured, calculated, 0.1 * calculated + 1.0);
    }
}

#[test]
fn the_backlog_drains_only_where_the_capacity_exceeds_the_amplified_load() {
    for max in 1..=3 {
        for (load, drains) in [(0.85, true), (1.1, false)] {
            // The load with all attempts.
            let scenario = with_a_backlog(load / f64::from(max));
            assert_eq!(time_to_recover(&scenario, f64::from(max)).is_some(), drains);
            let report = simulate(&scenario, &attempts(max), 1);
            assert_eq!(report.recovery().is_some(), drains, "{max} {load}");
        }
    }
}

/// One worker and a queue without end: the time in the system is exponential, too.
#[test]
fn the_latency_is_that_of_one_worker_with_a_queue() {
    let scenario = Scenario {
        workers: 1,
        service: Duration::from_millis(10),
        rate: 70.0,
        queue: usize::MAX,
        patience: Duration::from_secs(100),
        fault: Fault::None,
        before: Duration::from_secs(2_000),
        ..Scenario::default()
    };
    let report = simulate(&scenario, &Policy::none(), 1);
    let [before, ..] = report.latencies();
    for share in [0.5, 0.9, 0.99] {
        let calculated = -(1.0_f64 - share).ln() / (scenario.capacity() - scenario.rate);
        let measured = before.quantile(share).unwrap().as_secs_f64();
        assert_near(measured, calculated, 0.1 * calculated);
    }
}

#[test]
fn layers_multiply_their_attempts_unless_a_retry_says_that_it_is_one() {
    for (layers, marks_retries, calculated) in [
        (1, false, 3.0),
        (2, false, 9.0),
        (3, false, 27.0),
        (1, true, 3.0),
        // The first attempt of each layer is retried where it failed, and no retry is.
        (2, true, 5.0),
        (3, true, 7.0),
    ] {
        let scenario = Scenario {
            layers,
            marks_retries,
            fault: Fault::Errors(1.0),
            ..brief(Scenario::small())
        };
        let measured = mean(scenario, &attempts(3), Report::amplification_during);
        assert_near(measured, calculated, 1e-9);
    }
}

#[test]
fn a_layer_waits_for_the_one_below_it() {
    for layers in 1..=3 {
        let scenario = Scenario {
            layers,
            ..brief(Scenario::small())
        };
        let report = simulate(&scenario, &Policy::none(), 1);
        assert_near(report.success_before(), 1.0, 0.001);
        assert!(report.recovery().is_some(), "{layers}");
    }
}

#[test]
fn a_rolling_fault_has_each_shard_in_turn() {
    let scenario = Scenario {
        shards: 5,
        fault: Fault::Refused,
        ..brief(Scenario::small())
    };
    let during = mean(scenario, &Policy::none(), Report::success_during);
    assert_near(during, 0.8, 0.01);
    let outside = mean(scenario, &Policy::none(), Report::success_outside);
    assert_near(outside, 1.0, 0.005);
    let report = simulate(&scenario, &Policy::none(), 1);
    for second in report.fault() {
        // Every second of it: one of the five.
        let second = report.seconds[second];
        let failed = f64::from(second.requests - second.succeeded) / f64::from(second.requests);
        assert_near(failed, 0.2, 0.15);
    }
    // What waited is served when the fault has gone on: all but the backlog of the last.
    let stalled = Scenario {
        fault: Fault::Stalled,
        ..scenario.with_load(0.5)
    };
    let served = mean(stalled, &Policy::none(), |report| {
        let seconds = &report.seconds[report.fault()];
        let served: u32 = seconds.iter().map(|second| second.served).sum();
        let requests: u32 = seconds.iter().map(|second| second.requests).sum();
        f64::from(served) / f64::from(requests)
    });
    assert_near(served, 0.96, 0.02);
}

#[test]
fn a_cut_leaves_its_share_of_the_workers_and_a_slow_server_as_much_of_its_capacity() {
    for fault in [Fault::Cut(0.2), Fault::Slow(5.0)] {
        let scenario = Scenario {
            fault,
            ..brief(Scenario::small())
        };
        let served = mean(scenario, &Policy::none(), |report| {
            let seconds = &report.seconds[report.fault()];
            let served: u32 = seconds.iter().map(|second| second.served).sum();
            f64::from(served) / seconds.len() as f64
        });
        assert_near(served, scenario.capacity() / 5.0, 2.0);
    }
}

#[test]
fn refusals_take_their_share_of_the_work() {
    // Twice what it can do: the served and a tenth of the refused make the capacity.
    let scenario = Scenario {
        reject_cost: Duration::from_millis(4),
        fault: Fault::None,
        queue: 20,
        before: Duration::from_secs(60),
        ..Scenario::small().with_load(2.0)
    };
    let served = mean(scenario, &Policy::none(), |report| {
        let seconds = &report.seconds[10..60];
        let served: u32 = seconds.iter().map(|second| second.served).sum();
        f64::from(served) / seconds.len() as f64
    });
    let (capacity, rate) = (scenario.capacity(), scenario.rate);
    assert_near(served, (capacity - 0.1 * rate) / 0.9, 0.03 * capacity);
}

#[test]
fn last_come_first_served_is_back_while_the_backlog_is_there() {
    let scenario = brief(Scenario::small());
    let back = |order| {
        let scenario = Scenario { order, ..scenario };
        let report = simulate(&scenario, &Policy::none(), 1);
        (report.recovery().unwrap().as_secs(), report.wasted())
    };
    let (fifo, lifo) = (back(Order::Fifo), back(Order::Lifo));
    assert!(fifo.0 >= 12 && lifo.0 <= 2, "{fifo:?} {lifo:?}");
    // Nobody waits for the backlog, but many for what it holds up.
    assert!(fifo.1 > 2.0 * lifo.1, "{fifo:?} {lifo:?}");
}

#[test]
fn requests_are_told_by_their_attempts() {
    let scenario = Scenario {
        fault: Fault::Refused,
        ..brief(Scenario::small())
    };
    for (max, shares) in [(1, vec![1.0]), (3, vec![0.0, 0.0, 1.0])] {
        let report = simulate(&scenario, &attempts(max), 1);
        assert_eq!(report.attempts_of_a_request(), shares);
        assert_near(report.success_outside(), 1.0, 0.001);
    }
}

#[test]
fn success_is_told_apart_inside_and_outside_the_fault() {
    let scenario = Scenario {
        fault: Fault::Errors(0.1),
        ..brief(Scenario::small())
    };
    let report = simulate(&scenario, &Policy::none(), 1);
    assert_near(report.success_during(), 0.9, 0.02);
    assert_near(report.success_outside(), 1.0, 0.001);
}
