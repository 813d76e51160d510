//! Layers of calls that all retry: what reaches the server is the product.

use fulmar_core::backoff::Jitter;
use fulmar_tests::fleet::{Fault, Policy, Report, Scenario};

use crate::gates::Gates;
use crate::parallel::{mean, seeded, worst};
use crate::table::back;

/// Prints what 1 to 3 layers make of a policy.
pub(crate) fn print(base: Scenario, seeds: &[u64]) {
    println!(
        "Layers of calls: the clients call a service, which calls another, which calls the server; each \
         retries, and\nwaits {} s longer than the one below. Marked: what is called for a retry is \
         called once.\n",
        base.patience.as_secs()
    );
    println!(
        "{:17} {:>6} {:8} | a tenth left: during   after  peak  back   | all 503: during  peak  back",
        "policy", "layers", ""
    );
    for policy in [
        Policy::none(),
        Policy::jittered("3 x full jitter", Jitter::Full),
        Policy::ours(),
    ] {
        for layers in 1..=3 {
            for marks_retries in [false, true] {
                if marks_retries && layers == 1 {
                    continue;
                }
                let scenario = Scenario {
                    layers,
                    marks_retries,
                    ..base
                };
                println!("{}", line(&policy, scenario, seeds));
            }
        }
    }
    println!();
}

/// Holds ours to the gate of recovery.
pub(crate) fn check(gates: &mut Gates<'_>, base: Scenario) {
    for layers in 2..=3 {
        for fault in [Fault::Slow(10.0), Fault::Errors(1.0), Fault::Stalled] {
            for load in [0.8, 0.9] {
                let scenario = Scenario {
                    layers,
                    fault,
                    ..base
                };
                let name = format!("{layers} layers, load {load}, {fault:?}");
                gates.recovers(&name, scenario.with_load(load), &Policy::ours());
            }
        }
    }
    println!();
}

fn line(policy: &Policy, scenario: Scenario, seeds: &[u64]) -> String {
    let marked = if scenario.marks_retries { "marked" } else { "" };
    let slow = seeded(scenario, policy, seeds);
    let refusing = Scenario {
        fault: Fault::Errors(1.0),
        ..scenario
    };
    let down = seeded(refusing, policy, seeds);
    format!(
        "{:17} {:>6} {marked:8} | {:20.2} {:7.2} {:5.2}  {:6} | {:15.2} {:5.2}  {}",
        policy.name,
        scenario.layers,
        mean(&slow, Report::amplification_during),
        mean(&slow, Report::amplification_after),
        worst(&slow, Report::amplification_peak),
        back(&slow),
        mean(&down, Report::amplification_during),
        worst(&down, Report::amplification_peak),
        back(&down),
    )
}
