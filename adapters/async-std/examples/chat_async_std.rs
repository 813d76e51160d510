//! Two people in a room whose server is restarted every second: each hears every line, once.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_async_std::AsyncStd;
use fulmar_examples::chat;

fn main() -> ExitCode {
    async_std::task::block_on(chat(AsyncStd::new))
}
