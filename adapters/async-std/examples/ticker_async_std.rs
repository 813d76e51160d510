//! A feed of prices whose server is restarted every second: each tick comes once, and in order.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_async_std::AsyncStd;
use fulmar_examples::ticker;

fn main() -> ExitCode {
    async_std::task::block_on(ticker(AsyncStd::new))
}
