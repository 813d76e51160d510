//! A feed of prices that survives its server's restarts: each tick comes once, in order.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fulmar::Client;
use fulmar::net::Net;
use fulmar::session::{Event, Events, Messages, Received, StopReason};
use fulmar::websocket::Message;
use futures_core::Stream;

use super::{Guest, Said, eager, news, start};
use crate::paint::say;

/// Ticks that are waited for, and the time between two.
const TICKS: u64 = 80;
const EVERY: Duration = Duration::from_millis(40);

/// Follows a feed for as long as it takes for 80 ticks, whose server is restarted every second.
///
/// # Cancel safety
///
/// Dropping the future ends the session.
pub async fn ticker<N: Net>(net: impl Fn() -> N) -> ExitCode {
    match follow(net).await {
        Ok(connections) => {
            say(&format!(
                "{TICKS} ticks, each once, over {connections} connections\n"
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ticker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What comes next, of either kind.
enum News {
    Message(Result<Option<Received>, StopReason>),
    Event(Event),
}

/// Events first, so that a loss is told before what comes after it.
fn poll_news(messages: &mut Messages, events: &mut Events, cx: &mut Context<'_>) -> Poll<News> {
    if let Poll::Ready(Some(event)) = Pin::new(events).poll_next(cx) {
        return Poll::Ready(News::Event(event));
    }
    let received = Pin::new(messages).poll_next(cx);
    received.map(|received| News::Message(received.transpose()))
}

async fn follow<N: Net>(net: impl Fn() -> N) -> Result<u32, Box<dyn Error>> {
    let begun = Instant::now();
    let addr = start(move |guest| publish(guest, begun))?;
    let client = Client::new(net());
    let opening = client.websocket(format!("ws://{addr}/")).reconnect(eager());
    // Each connection is told first how far the one before it had come.
    let session = opening.on_resync(|event| match event {
        Event::Resync { last_seen, .. } => {
            vec![Message::text(
                last_seen.map_or(1, |seen| seen + 1).to_string(),
            )]
        }
        _ => Vec::new(),
    });
    let session = session.open();
    let (mut messages, mut events) = (session.messages(), session.events());
    let (mut seen, mut connections) = (0, 0);
    while seen < TICKS {
        match poll_fn(|cx| poll_news(&mut messages, &mut events, cx)).await {
            News::Event(event) => {
                if let Event::Opened { epoch, .. } = event {
                    connections = epoch;
                }
                if let Some(line) = news(&event) {
                    say(&format!("    {line}\n"));
                }
            }
            News::Message(received) => {
                let Some(Received::Message(message)) = received? else {
                    return Err("the feed ended".into());
                };
                let text = message.as_text().unwrap_or_default();
                let number = text.split(' ').next().map_or(Ok(0), str::parse::<u64>)?;
                if number <= seen {
                    // It waited here while its connection was lost, and was asked for again.
                    continue;
                }
                if number > seen + 1 {
                    return Err(format!("tick {number} came after {seen}").into());
                }
                seen = number;
                session.saw(seen);
                if seen % 10 == 0 {
                    say(&format!("tick {text}\n"));
                }
            }
        }
    }
    session.close().await;
    if connections < 3 {
        return Err(format!("the server did not restart: {connections} connections").into());
    }
    Ok(connections)
}

/// Tells a guest all ticks from the one that it asks for on.
fn publish(mut guest: Guest, begun: Instant) -> io::Result<()> {
    let mut next = None;
    loop {
        match guest.listen() {
            Said::Text(text) => next = text.parse::<u64>().ok(),
            Said::Nothing => {}
            Said::Bye => return Ok(()),
        }
        let last = begun.elapsed().as_millis() / EVERY.as_millis();
        while let Some(number) = next.filter(|number| u128::from(*number) <= last) {
            guest.say(format!("{number} {}", 1_000 + number * number % 97))?;
            next = Some(number + 1);
        }
    }
}
