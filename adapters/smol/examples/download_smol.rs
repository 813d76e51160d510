//! A large file, streamed to disk with a progress bar, in memory that does not grow with the file.
//! Arguments are a URL and a file instead.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_examples::download;
use fulmar_smol::Smol;

fn main() -> ExitCode {
    smol::block_on(download(Smol::new))
}
