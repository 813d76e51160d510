//! Retry storms, measured: `cargo run --release --example fleet`.
//!
//! Runs fleets of up to 10,000 clients against a server that loses nine tenths of its capacity for
//! half a minute, with the client's own retry machine inside, and prints what each policy makes of
//! it: this project's, none at all, the ones that are common, and the budgets of other clients. Then
//! it checks the gates that the default policy is held to, over five seeds, in layers of calls, and
//! over a grid of everything that can vary; it ends with status 1 where one does not hold.
//!
//! | argument | what it does |
//! |---|---|
//! | none | all of it, in some minutes; the chart is `target/fleet.svg` |
//! | `small` | the tables of a fleet of a tenth of the size, with one seed: seconds |
//! | `svg` | the chart alone, to standard output: 1,000 clients second by second |
//!
//! The same arguments print the same bytes.

mod chart;
mod gates;
mod grid;
mod layers;
mod matrix;
mod parallel;
mod policies;
mod table;

use std::process::ExitCode;

use fulmar_tests::fleet::Scenario;

use crate::gates::Gates;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const FILE: &str = "target/fleet.svg";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => full(),
        Some("small") => small(),
        Some("svg") => {
            print!("{}", chart::draw(SEEDS[0]));
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("fleet: {other}: neither `small` nor `svg`");
            ExitCode::FAILURE
        }
    }
}

fn full() -> ExitCode {
    if let Err(error) = std::fs::write(FILE, chart::draw(SEEDS[0])) {
        eprintln!("fleet: {FILE}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{FILE}: attempts per second over time\n");
    let base = Scenario::default();
    table::print(base, &SEEDS);
    let mut gates = Gates::new(base, &SEEDS);
    gates.check();
    gates.scale();
    // So many attempts that chance is of no matter.
    layers::print(base, &SEEDS[..1]);
    layers::check(&mut gates, base);
    matrix::check(&mut gates, &SEEDS[..3]);
    if gates.hold() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn small() -> ExitCode {
    let base = Scenario::small();
    table::print(base, &SEEDS[..1]);
    layers::print(base, &SEEDS[..1]);
    ExitCode::SUCCESS
}
