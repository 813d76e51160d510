//! The client of `wstest -m fuzzingserver`, the Autobahn test suite's server:
//! `cargo run --release --example autobahn -- ws://127.0.0.1:9001 [AGENT]`.
//!
//! `examples/src` has what it runs. The verdicts are in the report that the server writes. It runs on
//! one thread: on several, a frame that breaks the protocol may be read while the echo of the message
//! in front of it is on its way to be sent, which the suite accepts and calls `NON-STRICT`.

use std::error::Error;

use fulmar_examples::autobahn;
use fulmar_tokio::Tokio;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which server? ws://HOST:PORT")?;
    let agent = arguments.next().unwrap_or_else(|| "fulmar".to_owned());
    autobahn(Tokio::new(), &url, &agent).await
}
