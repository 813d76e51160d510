//! The client under `wstest -m fuzzingserver` of the Autobahn test suite: each of its cases is run, and
//! the server writes a report of how each went.

use std::error::Error;
use std::time::Duration;

use fulmar::net::Net;
use fulmar::websocket::{Closed, Compression, Limits, WebSocketBuilder};
use fulmar::{Client, WebSocket};

use crate::paint::say;

/// Beyond the largest message of the suite, of 16 MiB.
const LARGEST: usize = 64 << 20;
/// Beyond the smallest frames of which it makes 4 MiB.
const FRAGMENTS: u32 = 1 << 20;
/// How long the server may take for its report.
const REPORT: Duration = Duration::from_secs(300);

/// Runs every case of the server at `url` under that name, with a line for each.
///
/// # Errors
///
/// Where a case could not be run: its WebSocket did not open. How a case went is for the server to
/// judge.
///
/// # Cancel safety
///
/// Dropping the future ends the case that is run.
pub async fn autobahn<N: Net>(net: N, url: &str, agent: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::new(net);
    let at = |path: String| client.websocket(format!("{url}{path}"));
    let mut counting = at("/getCaseCount".into()).connect().await?;
    let count = counting.recv().await?.ok_or("the server told no count")?;
    let count: u32 = count.as_text().unwrap_or_default().parse()?;
    while counting.recv().await?.is_some() {}
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent={agent}");
        let ws = unlimited(at(path)).connect().await?;
        let (messages, end) = echo(ws).await;
        let end = end.map_or_else(|| "closed".to_owned(), |end| end.to_string());
        say(&format!(
            "case {case} of {count}: {messages} messages, {end}\n"
        ));
    }
    let reporting = at(format!("/updateReports?agent={agent}"));
    let mut reporting = reporting.keepalive(REPORT).connect().await?;
    while reporting.recv().await?.is_some() {}
    Ok(())
}

fn unlimited(opening: WebSocketBuilder) -> WebSocketBuilder {
    let limits = Limits::new().message(LARGEST).frame(LARGEST);
    let limits = limits.fragments(FRAGMENTS).empty_fragments(FRAGMENTS);
    opening.limits(limits).compression(Compression::new())
}

/// Sends back what comes, until the end: how many messages, and how it ended.
async fn echo(mut ws: WebSocket) -> (u32, Option<Closed>) {
    let mut messages = 0;
    while let Ok(Some(message)) = ws.recv().await {
        messages += 1;
        // Where it cannot be sent, the end is next.
        let _ = ws.send(message).await;
    }
    (messages, ws.closed())
}
