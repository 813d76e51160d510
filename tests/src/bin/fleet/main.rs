//! Retry storms, measured: `just fleet [FILE.svg]`.
//!
//! Runs fleets of up to 10,000 clients against a server that loses nine tenths of its capacity for
//! half a minute, with the client's own retry machine inside, and prints what each policy makes of
//! it: this project's, none at all, the ones that are common, and the budgets of other clients. Then
//! it checks the gates that the default policy is held to, over five seeds, and ends with status 1
//! where one does not hold. The chart shows 1,000 clients second by second.

mod chart;
mod gates;
mod parallel;
mod policies;
mod table;

use std::process::ExitCode;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn main() -> ExitCode {
    let file = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "target/fleet.svg".into());
    if let Err(error) = std::fs::write(&file, chart::draw(SEEDS[0])) {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{file}: attempts per second over time\n");
    table::print(&SEEDS);
    if gates::check(&SEEDS) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
