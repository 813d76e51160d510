//! Runs on every core, and results in order.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_tests::fleet::{Policy, Report, Scenario, simulate};

/// One run per entry.
pub(crate) fn simulate_all(runs: &[(Scenario, Policy, u64)]) -> Vec<Report> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, policy, seed)) = runs.get(index) else {
                        return;
                    };
                    let report = simulate(scenario, policy, *seed);
                    done.lock().expect("no panic").push((index, report));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

/// The runs of one scenario and policy, one per seed.
pub(crate) fn seeded(scenario: Scenario, policy: &Policy, seeds: &[u64]) -> Vec<Report> {
    let runs: Vec<_> = seeds
        .iter()
        .map(|&seed| (scenario, policy.clone(), seed))
        .collect();
    simulate_all(&runs)
}

pub(crate) fn mean(reports: &[Report], of: impl Fn(&Report) -> f64) -> f64 {
    reports.iter().map(of).sum::<f64>() / reports.len() as f64
}

pub(crate) fn worst(reports: &[Report], of: impl Fn(&Report) -> f64) -> f64 {
    reports.iter().map(of).fold(f64::NEG_INFINITY, f64::max)
}

/// Seconds until success was steady again in the mean of the runs; infinite where one never was.
pub(crate) fn recovery(reports: &[Report]) -> f64 {
    mean(reports, |report| {
        report
            .recovery()
            .map_or(f64::INFINITY, |after| after.as_secs_f64())
    })
}
