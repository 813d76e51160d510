//! A large file, streamed to disk with a progress bar, in memory that does not grow with the file.
//! Arguments are a URL and a file instead.
//!
//! `examples/src` has what it runs: the same on every runtime.

use std::process::ExitCode;

use fulmar_examples::download;
use fulmar_tokio::Tokio;

#[tokio::main]
async fn main() -> ExitCode {
    download(Tokio::new).await
}
