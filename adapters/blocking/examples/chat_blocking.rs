//! Two people in a room whose server is restarted every second: each hears every line, once.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_blocking::{Blocking, Wait};
use fulmar_examples::chat;

fn main() -> ExitCode {
    chat(Blocking::new).wait()
}
