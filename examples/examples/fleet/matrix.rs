//! The cells of the grid: each without retries, with our budget, and with none.

use fulmar_tests::fleet::{Fault, Limit, Policy, Report, Scenario};

use crate::gates::{Gates, allowed_amplification, allowed_recovery};
use crate::grid::{self, Cell};
use crate::parallel::{mean, recovery, simulate_all, worst};

/// The runs of one cell.
struct Runs<'a> {
    cell: Cell,
    bare: &'a [Report],
    ours: &'a [Report],
    unbounded: &'a [Report],
}

/// Prints a line for each cell. A gate that does not hold has a line of its own below it.
pub(crate) fn check(gates: &mut Gates<'_>, seeds: &[u64]) {
    let cells = grid::cells();
    println!(
        "{} cells in which every value of an axis meets every one of the others. Load: attempts per \
         request before,\nduring and from 5 s after the fault; peak: in a second. Back: seconds without \
         retries, with ours, with\nthe same retries and no budget. Success: outside the fault. p99: of \
         the latency before it.\nWhere requests time out without a fault (-) there is no gate, at a \
         load of 0.95 none for recovery.\n",
        cells.len()
    );
    println!(
        "{} | before during after  peak | back: none   ours   all | success p99",
        grid::HEADING
    );
    let runs: Vec<_> = cells.iter().flat_map(|&cell| runs(cell, seeds)).collect();
    let reports = simulate_all(&runs);
    let mut rest = &reports[..];
    let mut held_down = 0;
    for &cell in &cells {
        let runs = Runs::of(cell, seeds, &mut rest);
        runs.print();
        if runs.is_well_before() {
            runs.check(gates);
            held_down += usize::from(recovery(runs.unbounded).is_infinite());
        }
    }
    println!("\nWithout a budget {held_down} of them never recover.\n");
}

/// Without retries, with ours, and with no budget. The last needs one seed, for it is no gate; and it
/// has none where it would make up to 125 attempts of a request.
fn runs(cell: Cell, seeds: &[u64]) -> Vec<(Scenario, Policy, u64)> {
    let run = |policy: &Policy, seed: u64| (cell.scenario(), policy.clone(), seed);
    let mut runs = Vec::new();
    for policy in [Policy::none(), cell.policy(Limit::Ours)] {
        runs.extend(seeds.iter().map(|&seed| run(&policy, seed)));
    }
    if has_unbounded(cell) {
        runs.push(run(&cell.policy(Limit::Unbounded), seeds[0]));
    }
    runs
}

fn has_unbounded(cell: Cell) -> bool {
    cell.most_attempts() <= 27
}

fn take<'a>(reports: &mut &'a [Report], count: usize) -> &'a [Report] {
    let (taken, rest) = reports.split_at(count);
    *reports = rest;
    taken
}

/// Of the requests during the fault.
fn share_that_answers(scenario: &Scenario) -> f64 {
    let of_a_shard = match scenario.fault {
        Fault::Errors(share) => 1.0 - share,
        _ => 0.0,
    };
    1.0 - (1.0 - of_a_shard) / scenario.shards as f64
}

impl<'a> Runs<'a> {
    /// Takes them from all reports, in the order of [`runs`].
    fn of(cell: Cell, seeds: &[u64], reports: &mut &'a [Report]) -> Self {
        Self {
            cell,
            bare: take(reports, seeds.len()),
            ours: take(reports, seeds.len()),
            unbounded: take(reports, usize::from(has_unbounded(cell))),
        }
    }

    /// Whether the server is up to its load where nothing is wrong, and keeps clients waiting for too
    /// long once in a thousand requests at most.
    fn is_well_before(&self) -> bool {
        worst(self.bare, |report| 1.0 - report.success_before()) <= 0.001
    }

    fn print(&self) {
        let back = |reports| match recovery(reports) {
            seconds if seconds.is_infinite() => "never".into(),
            seconds if seconds.is_nan() => String::new(),
            seconds => format!("{seconds:.1}"),
        };
        let p99 = worst(self.ours, |report| {
            let [before, ..] = report.latencies();
            before.quantile(0.99).unwrap_or_default().as_secs_f64()
        });
        println!(
            "{} | {:6.3} {:6.3} {:5.3} {:5.2} | {:>10} {:>6} {:>5} |  {:.4} {:5.0} ms {}",
            self.cell.name(),
            mean(self.ours, Report::amplification_before),
            mean(self.ours, Report::amplification_during),
            mean(self.ours, Report::amplification_after),
            worst(self.ours, Report::amplification_peak),
            back(self.bare),
            back(self.ours),
            back(self.unbounded),
            mean(self.ours, Report::success_outside),
            p99 * 1_000.0,
            if self.is_well_before() { "" } else { "-" },
        );
    }

    fn check(&self, gates: &mut Gates<'_>) {
        let (cell, ours) = (self.cell, self.ours);
        if cell.load() <= 0.9 {
            let limit = if cell.is_long() {
                allowed_recovery(recovery(self.bare))
            } else {
                // After a short fault the budgets are full still. They recover; nobody said when.
                cell.scenario().after.as_secs_f64()
            };
            gates.quietly("seconds to recover", limit, recovery(ours));
        }
        if cell.layers() == 1 && cell.is_half_a_minute() {
            let scenario = cell.scenario();
            let limit = allowed_amplification(cell.rate(), scenario.fault)
                // What still answers pays for a retry of a tenth of it.
                + 0.1 * share_that_answers(&scenario);
            let during = worst(ours, Report::amplification_during);
            gates.quietly("attempts per request", limit, during);
            if cell.rate() >= 1.0 {
                let peak = worst(ours, Report::amplification_peak);
                gates.quietly("peak in one second", 2.5, peak);
            }
        }
    }
}
