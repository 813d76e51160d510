//! What the default policy is held to.

use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::retry::Retry;
use fulmar_tests::fleet::{Fault, Policy, Report, Scenario};

use crate::parallel::{mean, recovery, seeded, worst};
use crate::table::scattered_at;

/// Prints each gate with what was measured. False: one does not hold.
pub(crate) fn check(seeds: &[u64]) -> bool {
    println!("{:72} {:>10} {:>10}", "gate", "at most", "measured");
    let mut gates = Gates { seeds, hold: true };
    gates.amplification();
    gates.success();
    gates.recovery();
    gates.propagation();
    println!(
        "\n{}",
        if gates.hold {
            "every gate holds"
        } else {
            "a gate does not hold"
        }
    );
    gates.hold
}

struct Gates<'a> {
    seeds: &'a [u64],
    hold: bool,
}

const DOWN: [(&str, Fault); 3] = [
    ("a tenth of the capacity", Fault::Slow(10.0)),
    ("refusing", Fault::Refused),
    ("stalled", Fault::Stalled),
];

impl Gates<'_> {
    fn gate(&mut self, name: &str, limit: f64, measured: f64) {
        let holds = measured <= limit;
        self.hold &= holds;
        let mark = if holds { "" } else { "  FAILS" };
        println!("{name:72} {limit:>10.5} {measured:>10.5}{mark}");
    }

    /// A number that no gate is set for, shown beside the gate of its like.
    fn beside(name: &str, limit: f64, measured: f64) {
        let mark = if measured <= limit { "" } else { "  above it" };
        println!("{name:72} {limit:>9.5}* {measured:>10.5}{mark} (no gate)");
    }

    fn ours(&self, scenario: Scenario) -> Vec<Report> {
        seeded(scenario, &Policy::ours(), self.seeds)
    }

    /// Each is the worst of the seeds.
    fn amplification(&mut self) {
        let steady = self.ours(scattered_at(0.001));
        let before = worst(&steady, Report::amplification_before);
        self.gate("attempts per request, 0.1 % failures", 1.002, before);
        for (clients, rate, limit) in [(50, "20", 1.05), (1_000, "1", 1.25), (10_000, "0.1", 1.8)] {
            for (down, fault) in DOWN {
                let reports = self.ours(Scenario {
                    clients,
                    fault,
                    ..Scenario::default()
                });
                let during = worst(&reports, Report::amplification_during);
                let name = format!("attempts per request, clients of {rate}/s, 30 s {down}");
                match (clients, fault) {
                    // The gate was chosen for a brown-out: a refused retry costs half of one that
                    // timed out, and of three requests in half a minute any allowance is much.
                    (10_000, Fault::Refused) => Self::beside(&name, limit, during),
                    _ => self.gate(&name, limit, during),
                }
                if clients < 10_000 {
                    let peak = worst(&reports, Report::amplification_peak);
                    self.gate("  and its peak in one second", 2.5, peak);
                }
            }
        }
    }

    fn success(&mut self) {
        for (share, limit) in [(0.001, 0.00001), (0.01, 0.0001), (0.05, 0.005)] {
            let reports = self.ours(scattered_at(share));
            let failed = 1.0 - mean(&reports, Report::success_before);
            let name = format!("share of requests that fail, {} % failures", share * 100.0);
            self.gate(&name, limit, failed);
        }
    }

    fn recovery(&mut self) {
        for load in [0.5, 0.7, 0.8, 0.85, 0.9] {
            for clients in [50, 1_000, 10_000] {
                let scenario = Scenario {
                    clients,
                    ..Scenario::default()
                };
                let name = format!("30 s at a tenth, load {load}, {clients} clients");
                self.recovers(&name, scenario.with_load(load), &Policy::ours());
            }
        }
        let default = Scenario::default();
        for (name, scenario) in [
            (
                "one client",
                Scenario {
                    clients: 1,
                    ..default
                },
            ),
            (
                "30 s stalled",
                Scenario {
                    fault: Fault::Stalled,
                    ..default
                },
            ),
            (
                "30 s refusing",
                Scenario {
                    fault: Fault::Refused,
                    ..default
                },
            ),
            (
                "30 s of 503",
                Scenario {
                    fault: Fault::Errors(1.0),
                    ..default
                },
            ),
            (
                "a queue of 20,000",
                Scenario {
                    queue: 20_000,
                    ..default
                },
            ),
            (
                "a queue of 500",
                Scenario {
                    queue: 500,
                    ..default
                },
            ),
            (
                "clients that wait 0.3 s",
                Scenario {
                    patience: Duration::from_millis(300),
                    ..default
                },
            ),
            (
                "120 s at a tenth",
                Scenario {
                    fault_for: Duration::from_secs(120),
                    ..default
                },
            ),
        ] {
            self.recovers(name, scenario, &Policy::ours());
        }
        let backoff = Backoff::exponential(Duration::from_millis(100));
        for (name, retry) in [
            ("2 attempts", Retry::new(2)),
            ("5 attempts", Retry::new(5)),
            (
                "no jitter",
                Retry::new(3).backoff(backoff.jitter(Jitter::None)),
            ),
            (
                "no backoff",
                Retry::new(3).backoff(Backoff::constant(Duration::ZERO)),
            ),
        ] {
            let policy = Policy {
                retry,
                ..Policy::ours()
            };
            self.recovers(&format!("the budget with {name}"), default, &policy);
        }
    }

    /// Back within 1.2 times what it takes without retries, or 3 s more; and back at all.
    fn recovers(&mut self, name: &str, scenario: Scenario, policy: &Policy) {
        let bare = recovery(&seeded(scenario, &Policy::none(), self.seeds));
        let back = recovery(&seeded(scenario, policy, self.seeds));
        let limit = (bare * 1.2).max(bare + 3.0);
        let name = format!("seconds to recover, {name} (without retries {bare:.1})");
        self.gate(&name, limit, back);
    }

    fn propagation(&mut self) {
        let reports = self.ours(Scenario {
            drops_expired: true,
            ..Scenario::default()
        });
        let name = "seconds to recover where the server drops what its deadline has passed";
        self.gate(name, 1.0, recovery(&reports));
    }
}
