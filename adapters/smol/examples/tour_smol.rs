//! A tour of the client: a server that misbehaves, calls that survive it or say why they did not,
//! and the whole story once more in the simulator. Arguments are URLs of real servers instead.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_examples::tour;
use fulmar_smol::Smol;

fn main() -> ExitCode {
    smol::block_on(tour(Smol::new))
}
