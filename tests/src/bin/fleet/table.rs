//! Each policy in three fleets, and under scattered failures.

use std::fmt::Write;
use std::time::Duration;

use fulmar_tests::fleet::{Fault, Policy, Report, Scenario};

use crate::parallel::{mean, recovery, seeded, worst};
use crate::policies;

/// The same 1,000 requests/s from few busy clients, from many, and from very many slow ones.
const FLEETS: [usize; 3] = [50, 1_000, 10_000];
const SCATTERED: [f64; 4] = [0.001, 0.01, 0.05, 0.2];

pub(crate) fn print(seeds: &[u64]) {
    println!(
        "Capacity 1,250/s, load 1,000/s, clients wait 1 s; for 30 s the server has a tenth of its \
         capacity.\nDuring: attempts per request. Peak: the most in any second, of the mean rate of \
         requests. Back: seconds\nafter the fault until 99 % succeed for 10 s. {} seeds: means, and \
         the worst peak.\n",
        seeds.len()
    );
    println!(
        "{:24}| 50 clients of 20/s  | 1,000 clients of 1/s | 10,000 clients of 0.1/s | success under scattered failures of",
        ""
    );
    println!(
        "{:24}| during  peak   back | during  peak    back | during  peak       back | 0.1 %    1 %      5 %    20 %",
        "policy"
    );
    println!(
        "{:-<24}|{:-<21}|{:-<22}|{:-<25}|{:-<35}",
        "", "", "", "", ""
    );
    for policy in policies::all() {
        let mut line = format!("{:24}", policy.name);
        for (fleet, width) in FLEETS.into_iter().zip([6, 7, 10]) {
            line += &in_fleet(fleet, &policy, seeds, width);
        }
        println!("{line}{}", scattered(&policy, seeds));
    }
    println!();
}

fn in_fleet(clients: usize, policy: &Policy, seeds: &[u64], width: usize) -> String {
    let scenario = Scenario {
        clients,
        ..Scenario::default()
    };
    let reports = seeded(scenario, policy, seeds);
    let back = match recovery(&reports) {
        seconds if seconds.is_finite() => format!("{seconds:.0} s"),
        _ => "never".into(),
    };
    format!(
        "| {:6.2}{:6.2}{back:>width$} ",
        mean(&reports, Report::amplification_during),
        worst(&reports, Report::amplification_peak),
    )
}

fn scattered(policy: &Policy, seeds: &[u64]) -> String {
    let mut line = String::from("|");
    for (share, digits) in SCATTERED.into_iter().zip([6, 5, 4, 3]) {
        let success = mean(
            &seeded(scattered_at(share), policy, seeds),
            Report::success_before,
        );
        let _ = write!(line, " {success:.digits$}");
    }
    line
}

/// No fault but failures here and there, for five minutes.
pub(crate) fn scattered_at(share: f64) -> Scenario {
    Scenario {
        fault: Fault::None,
        fault_for: Duration::ZERO,
        before: Duration::from_secs(300),
        after: Duration::from_secs(10),
        scattered: share,
        ..Scenario::default()
    }
}
