//! Each policy in three fleets, and under scattered failures; and all that is measured of one fleet.

use std::fmt::Write;
use std::time::Duration;

use fulmar_tests::fleet::{Fault, Policy, Report, Scenario};

use crate::parallel::{mean, recovery, seeded, worst};
use crate::policies;

/// The same requests a second from few busy clients, from many, and from very many slow ones.
const RATES: [f64; 3] = [20.0, 1.0, 0.1];
const SCATTERED: [f64; 4] = [0.001, 0.01, 0.05, 0.2];

/// How many clients of that rate make the requests of this fleet.
#[allow(clippy::cast_sign_loss, reason = "a number of clients is none below 0")]
pub(crate) fn clients(base: Scenario, rate: f64) -> usize {
    (base.rate / rate).round() as usize
}

pub(crate) fn print(base: Scenario, seeds: &[u64]) {
    println!(
        "Capacity {}/s, load {}/s, clients wait {} s; for {} s the server has a tenth of its \
         capacity.\nDuring: attempts per request. Peak: the most in any second, of the mean rate of \
         requests. Back: seconds\nafter the fault until 99 % succeed for 10 s. Means over \
         the seeds ({}), and the worst peak.\n",
        base.capacity(),
        base.rate,
        base.patience.as_secs(),
        base.fault_for.as_secs(),
        seeds.len()
    );
    let fleets = RATES.map(|rate| format!("{} clients of {rate}/s", clients(base, rate)));
    let head = "during  peak  back";
    println!(
        "{:24}| {:24}| {:24}| {:24}| success under scattered failures of",
        "", fleets[0], fleets[1], fleets[2]
    );
    println!(
        "{:24}| {head:24}| {head:24}| {head:24}| 0.1 %    1 %      5 %    20 %",
        "policy"
    );
    println!(
        "{:-<24}|{:-<25}|{:-<25}|{:-<25}|{:-<35}",
        "", "", "", "", ""
    );
    let mut details = Vec::new();
    for policy in policies::all() {
        let mut line = format!("{:24}", policy.name);
        for rate in RATES {
            let clients = clients(base, rate);
            let reports = seeded(Scenario { clients, ..base }, &policy, seeds);
            line += &brief(&reports);
            if clients == base.clients {
                details.push((policy.name, reports));
            }
        }
        println!("{line}{}", under_scattered(base, &policy, seeds));
    }
    println!();
    print_details(base, &details);
}

fn brief(reports: &[Report]) -> String {
    format!(
        "| {:6.2}{:6.2}  {:10}",
        mean(reports, Report::amplification_during),
        worst(reports, Report::amplification_peak),
        back(reports),
    )
}

/// When the fleet is back.
pub(crate) fn back(reports: &[Report]) -> String {
    match recovery(reports) {
        seconds if seconds.is_finite() => format!("{seconds:.0} s"),
        _ => "never".into(),
    }
}

fn under_scattered(base: Scenario, policy: &Policy, seeds: &[u64]) -> String {
    let mut line = String::from("|");
    for (share, digits) in SCATTERED.into_iter().zip([6, 5, 4, 3]) {
        let reports = seeded(scattered(base, share), policy, seeds);
        let success = mean(&reports, Report::success_before);
        let _ = write!(line, " {success:.digits$}");
    }
    line
}

/// No fault but failures here and there, for five minutes.
pub(crate) fn scattered(base: Scenario, share: f64) -> Scenario {
    Scenario {
        fault: Fault::None,
        fault_for: Duration::ZERO,
        before: Duration::from_secs(300),
        after: Duration::from_secs(10),
        scattered: share,
        ..base
    }
}

fn print_details(base: Scenario, details: &[(&str, Vec<Report>)]) {
    println!(
        "The {} clients once more. 0.1 s: the most attempts in a tenth of a second, of the mean of \
         requests.\nWasted: what the server finished for nobody, since the fault. p99: of the requests \
         that succeeded, attempts\nand waits included. Tries: the requests made during the fault, by \
         the attempts of their client.\n",
        base.clients
    );
    println!(
        "{:24}| attempts per request  |      | success       |        | p99 in ms            | tries, %",
        ""
    );
    println!(
        "{:24}| before during   after | 0.1 s| in     out    | wasted | before during  after | 1    2    3    4    5",
        "policy"
    );
    println!(
        "{:-<24}|{:-<23}|{:-<6}|{:-<15}|{:-<8}|{:-<22}|{:-<25}",
        "", "", "", "", "", "", ""
    );
    for (name, reports) in details {
        println!("{name:24}{}", detail(reports));
    }
    println!();
}

fn detail(reports: &[Report]) -> String {
    let mut line = format!(
        "| {:6.3} {:6.3} {:7.3} |{:5.2} | {:.3}  {:.3}  | {:4.0} % |",
        mean(reports, Report::amplification_before),
        mean(reports, Report::amplification_during),
        mean(reports, Report::amplification_after),
        worst(reports, Report::burst),
        mean(reports, Report::success_during),
        mean(reports, Report::success_outside),
        mean(reports, Report::wasted) * 100.0,
    );
    for part in 0..3 {
        let p99 = worst(reports, |report| {
            let p99 = report.latencies()[part].quantile(0.99);
            p99.map_or(f64::INFINITY, |p99| p99.as_secs_f64() * 1_000.0)
        });
        if p99.is_finite() {
            let _ = write!(line, " {p99:6.0}");
        } else {
            line += "      -";
        }
    }
    line += "  |";
    for attempts in 0..5 {
        let share = mean(reports, |report| {
            let shares = report.attempts_of_a_request();
            shares.get(attempts).copied().unwrap_or_default()
        });
        if share > 0.0 {
            let _ = write!(line, " {:4.1}", share * 100.0);
        }
    }
    line
}
