//! What the default policy is held to.

use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::retry::Retry;
use fulmar_tests::fleet::{Fault, Order, Policy, Report, Scenario};

use crate::parallel::{mean, recovery, seeded, worst};
use crate::table::scattered;

/// Gates, and whether all of them hold.
pub(crate) struct Gates<'a> {
    base: Scenario,
    seeds: &'a [u64],
    checked: usize,
    failed: usize,
}

const DOWN: [(&str, Fault); 3] = [
    ("a tenth of the capacity", Fault::Slow(10.0)),
    ("refusing", Fault::Refused),
    ("stalled", Fault::Stalled),
];

/// The most attempts per request during 30 s of a fault, for clients of that many requests a second.
pub(crate) fn allowed_amplification(rate: f64, fault: Fault) -> f64 {
    match fault {
        // A refused retry costs a token, not two. See `slow_clients_that_are_refused`.
        Fault::Refused | Fault::Errors(_) if rate < 1.0 => slow_clients_that_are_refused(),
        _ if rate < 1.0 => 1.8,
        _ if rate < 20.0 => 1.25,
        _ => 1.05,
    }
}

/// What the rule of the budget makes of clients of 0.1 requests/s whose attempts all fail at once for
/// 30 s.
///
/// The gate of 1.8 is for a brown-out or a stall, in which a retry follows a timeout and costs two of
/// the three tokens of a slow client. A refusal costs one, so each client has three retries in the
/// outage: it gains a third of a token meanwhile, and nothing from successes. Two of them may follow
/// one request, of three attempts. Of `k` requests, three in the mean, `min(3, 2 k)` are retried: 1.90
/// attempts per request at most. The window of two retries in ten seconds leaves 1.84 of them.
fn slow_clients_that_are_refused() -> f64 {
    let requests = 3.0_f64;
    let none = (-requests).exp();
    let one = requests * none;
    let retries = 2.0 * one + 3.0 * (1.0 - none - one);
    1.0 + retries / requests
}

/// Within 1.2 times what it takes without retries, or 3 s more.
pub(crate) fn allowed_recovery(bare: f64) -> f64 {
    (bare * 1.2).max(bare + 3.0)
}

#[allow(clippy::cast_sign_loss, reason = "a number of things is none below 0")]
fn many(count: usize, times: f64) -> usize {
    (count as f64 * times).round() as usize
}

impl<'a> Gates<'a> {
    /// Gates for a fleet like this one: so large, with such a server.
    pub(crate) fn new(base: Scenario, seeds: &'a [u64]) -> Self {
        Self {
            base,
            seeds,
            checked: 0,
            failed: 0,
        }
    }

    /// Prints each gate with what was measured.
    pub(crate) fn check(&mut self) {
        println!("{:78} {:>9} {:>9}", "gate", "at most", "measured");
        self.amplification();
        self.success();
        self.loads();
        self.faults();
        self.servers();
        self.policies();
        self.propagation();
        println!();
    }

    /// Prints the verdict. False: a gate does not hold.
    pub(crate) fn hold(&self) -> bool {
        match self.failed {
            0 => println!("all {} gates hold", self.checked),
            failed => println!("{failed} of {} gates do not hold", self.checked),
        }
        self.failed == 0
    }

    pub(crate) fn gate(&mut self, name: &str, limit: f64, measured: f64) {
        let holds = self.count(limit, measured);
        let mark = if holds { "" } else { "  FAILS" };
        println!("{name:78} {limit:>9.5} {measured:>9.5}{mark}");
    }

    /// The same, printed where it does not hold.
    pub(crate) fn quietly(&mut self, name: &str, limit: f64, measured: f64) {
        if !self.count(limit, measured) {
            println!("  {name}: {measured:.5}, at most {limit:.5}  FAILS");
        }
    }

    fn count(&mut self, limit: f64, measured: f64) -> bool {
        let holds = measured <= limit;
        self.checked += 1;
        self.failed += usize::from(!holds);
        holds
    }

    /// A number that no gate is set for.
    pub(crate) fn beside(name: &str, measured: f64) {
        println!("{name:78} {:>9} {measured:>9.5}", "no gate");
    }

    fn ours(&self, scenario: Scenario) -> Vec<Report> {
        seeded(scenario, &Policy::ours(), self.seeds)
    }

    /// Each is the worst of the seeds.
    fn amplification(&mut self) {
        let steady = self.ours(scattered(self.base, 0.001));
        let before = worst(&steady, Report::amplification_before);
        self.gate("attempts per request, 0.1 % failures", 1.002, before);
        for rate in [20.0, 1.0, 0.1] {
            let clients = crate::table::clients(self.base, rate);
            for (down, fault) in DOWN {
                let reports = self.ours(Scenario {
                    clients,
                    fault,
                    ..self.base
                });
                let during = worst(&reports, Report::amplification_during);
                let name = format!("attempts per request, clients of {rate}/s, 30 s {down}");
                self.gate(&name, allowed_amplification(rate, fault), during);
                if rate >= 1.0 {
                    let peak = worst(&reports, Report::amplification_peak);
                    self.gate("  and its peak in one second", 2.5, peak);
                }
            }
        }
        let short = self.ours(Scenario {
            queue: self.base.queue / 10,
            ..self.base
        });
        let peak = worst(&short, Report::amplification_peak);
        self.gate("the peak with a tenth of the queue", 2.5, peak);
    }

    fn success(&mut self) {
        for (share, limit) in [(0.001, 0.00001), (0.01, 0.0001), (0.05, 0.005)] {
            let reports = self.ours(scattered(self.base, share));
            let failed = 1.0 - mean(&reports, Report::success_before);
            let name = format!("share of requests that fail, {} % failures", share * 100.0);
            self.gate(&name, limit, failed);
        }
    }

    fn loads(&mut self) {
        for load in [0.5, 0.7, 0.8, 0.85, 0.9, 0.95] {
            for rate in [20.0, 1.0, 0.1] {
                let mut scenario = self.base.with_load(load);
                scenario.clients = crate::table::clients(self.base, rate);
                let name = format!("load {load}, {} clients", scenario.clients);
                if load > 0.9 {
                    scenario.after *= 2;
                    self.shown(&name, scenario, &Policy::ours());
                } else {
                    self.recovers(&name, scenario, &Policy::ours());
                }
            }
        }
        let one = Scenario {
            clients: 1,
            ..self.base
        };
        self.recovers("one client", one, &Policy::ours());
    }

    /// Fleets of so much traffic that one seed takes as long as ten of the others, and has as little
    /// chance in it. (10,000 clients of 20/s would take as long as all the rest.)
    pub(crate) fn scale(&mut self) {
        for (clients, rate) in [(1_000_u32, 20.0), (10_000, 1.0)] {
            let times = f64::from(clients) * rate / self.base.rate;
            let scenario = Scenario {
                clients: clients as usize,
                rate: self.base.rate * times,
                workers: many(self.base.workers, times),
                queue: many(self.base.queue, times),
                after: Duration::from_secs(40),
                ..self.base
            };
            let mut once = Gates::new(self.base, &self.seeds[..1]);
            let name = format!("{clients} clients of {rate}/s");
            once.recovers(&name, scenario, &Policy::ours());
            self.checked += once.checked;
            self.failed += once.failed;
        }
        println!();
    }

    fn faults(&mut self) {
        let base = self.base;
        let of = |fault| Scenario { fault, ..base };
        let lasting = |seconds| Scenario {
            fault_for: Duration::from_secs(seconds),
            ..base
        };
        let rolling = |shards: u32, fault| Scenario {
            shards: shards as usize,
            fault,
            // As many workers for each shard, as fast together.
            workers: base.workers * shards as usize,
            service: base.service * shards,
            ..lasting(30 * u64::from(shards))
        };
        for (name, scenario) in [
            ("a tenth of the workers", of(Fault::Cut(0.1))),
            ("stalled", of(Fault::Stalled)),
            ("refusing", of(Fault::Refused)),
            ("all 503", of(Fault::Errors(1.0))),
            ("half 503", of(Fault::Errors(0.5))),
            ("for 5 s", lasting(5)),
            ("for 120 s", lasting(120)),
            ("2 shards in turn, refusing", rolling(2, Fault::Refused)),
            ("5 shards in turn, refusing", rolling(5, Fault::Refused)),
            ("5 shards in turn, all 503", rolling(5, Fault::Errors(1.0))),
        ] {
            self.recovers(name, scenario, &Policy::ours());
        }
        for fault in [Fault::Slow(10.0), Fault::Stalled] {
            let name = format!("2 shards in turn, {fault:?}");
            self.comes_back(&name, rolling(2, fault));
            let name = format!("5 shards in turn, {fault:?}");
            self.shown(&name, rolling(5, fault), &Policy::ours());
        }
    }

    /// Back in the end: a shard that times out is paid for by the successes of the others.
    ///
    /// One budget is for all of an origin. Of `m` shards, `m - 1` answer, and each answer adds a tenth
    /// of a token, so `0.1 (m - 1)` tokens a request go to the one that does not, two for a retry: it
    /// has `1 + 0.05 (m - 1)` attempts a request. With two shards that is 1.05, which drains at a load
    /// of 0.9, if slowly. With five it is 1.2, and with a load of 0.8 hardly does. Where requests
    /// fail at once there is no backlog, and hence no matter.
    fn comes_back(&mut self, name: &str, scenario: Scenario) {
        let (name, back) = self.measure(name, scenario, &Policy::ours());
        self.gate(&name, scenario.after.as_secs_f64(), back);
    }

    fn shown(&mut self, name: &str, scenario: Scenario, policy: &Policy) {
        let (name, back) = self.measure(name, scenario, policy);
        Self::beside(&name, back);
    }

    fn measure(&self, name: &str, scenario: Scenario, policy: &Policy) -> (String, f64) {
        let bare = recovery(&seeded(scenario, &Policy::none(), self.seeds));
        let back = recovery(&seeded(scenario, policy, self.seeds));
        let name = format!("seconds to recover: {name} (without retries {bare:.1})");
        (name, back)
    }

    fn servers(&mut self) {
        let base = self.base;
        for (name, scenario) in [
            (
                "a queue four times as long",
                Scenario {
                    queue: base.queue * 4,
                    ..base
                },
            ),
            (
                "a tenth of the queue",
                Scenario {
                    queue: base.queue / 10,
                    ..base
                },
            ),
            (
                "last come first served",
                Scenario {
                    order: Order::Lifo,
                    ..base
                },
            ),
            (
                "a refusal costs a tenth of a request",
                Scenario {
                    reject_cost: base.service / 10,
                    ..base
                },
            ),
            (
                "clients that wait 0.3 s",
                Scenario {
                    patience: Duration::from_millis(300),
                    ..base
                },
            ),
        ] {
            self.recovers(name, scenario, &Policy::ours());
        }
    }

    fn policies(&mut self) {
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
            self.recovers(&format!("the budget with {name}"), self.base, &policy);
        }
    }

    /// Back as fast as allowed, and back at all; and while it gets back the retries leave the server
    /// more than it needs.
    pub(crate) fn recovers(&mut self, name: &str, scenario: Scenario, policy: &Policy) {
        let bare = recovery(&seeded(scenario, &Policy::none(), self.seeds));
        let reports = seeded(scenario, policy, self.seeds);
        let back = recovery(&reports);
        let name = format!("seconds to recover: {name} (without retries {bare:.1})");
        let short = scenario.fault_for < Duration::from_secs(30);
        let limit = if short {
            scenario.after.as_secs_f64()
        } else {
            allowed_recovery(bare)
        };
        self.gate(&name, limit, back);
        let after = worst(&reports, Report::amplification_after);
        self.quietly(
            "attempts per request after it, times the load",
            1.0,
            after * scenario.load(),
        );
    }

    fn propagation(&mut self) {
        let reports = self.ours(Scenario {
            drops_expired: true,
            ..self.base
        });
        let name = "seconds to recover where the server drops what its deadline has passed";
        self.gate(name, 1.0, recovery(&reports));
    }
}
