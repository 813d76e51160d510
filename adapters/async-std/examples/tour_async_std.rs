//! A tour of the client: a server that misbehaves, calls that survive it or say why they did not,
//! and the whole story once more in the simulator. Arguments are URLs of real servers instead.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_async_std::AsyncStd;
use fulmar_examples::tour;

fn main() -> ExitCode {
    async_std::task::block_on(tour(AsyncStd::new))
}
