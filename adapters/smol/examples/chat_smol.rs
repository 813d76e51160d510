//! Two people in a room whose server is restarted every second: each hears every line, once.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_examples::chat;
use fulmar_smol::Smol;

fn main() -> ExitCode {
    smol::block_on(chat(Smol::new))
}
