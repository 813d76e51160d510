//! A feed of prices whose server is restarted every second: each tick comes once, and in order.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_examples::ticker;
use fulmar_smol::Smol;

fn main() -> ExitCode {
    smol::block_on(ticker(Smol::new))
}
