//! A tour of the client: a server that misbehaves, calls that survive it or say why they did not,
//! and the whole story once more in the simulator.
//!
//! `cargo run --release --example tour` takes some ten seconds on loopback and a few milliseconds in
//! the simulator. `cargo run --release --example tour -- URL..` draws the same pictures of calls to
//! servers that you name.

mod clock;
mod gist;
mod loopback;
mod paint;
mod peer;
mod render;
mod scenes;
mod server;
mod simulated;
mod story;
mod tables;
mod tours;
mod units;

use std::error::Error;
use std::process::ExitCode;

use fulmar_tokio::Url;

const USAGE: &str = "usage: tour            the whole tour, on loopback and in the simulator
       tour URL..      the same pictures of a GET of each URL, twice";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "-h" || argument == "--help")
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    for argument in &arguments {
        if let Err(error) = Url::parse(argument) {
            eprintln!("tour: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    match tour(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False where the two tellings differ.
fn tour(urls: &[String]) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if urls.is_empty() {
        tours::whole(&runtime)
    } else {
        runtime.block_on(tours::visit(urls)).map(|()| true)
    }
}
