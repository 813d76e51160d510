//! The last scene: a session that rides out its server's restart.

use std::error::Error;
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar::session::{Config, Delivery, Event, Events, Outgoing, Received};
use fulmar::timeline::{Ink, Paint, time_text};
use fulmar::{Backoff, Client};
use futures_core::Stream;

const ORDERS: [&str; 6] = ["apples", "bread", "coffee", "dates", "eggs", "figs"];

/// A line of the story: what happened, and how long it took where that depends on the network.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) took: Option<Duration>,
}

impl Line {
    fn new(what: impl Into<String>, took: Option<Duration>) -> Self {
        let what = what.into();
        Self { what, took }
    }

    /// Nothing where the event is no news.
    fn of(event: &Event) -> Option<Self> {
        let (what, took) = match event {
            Event::Opened { epoch, downtime } => (format!("connection {epoch}"), Some(*downtime)),
            Event::Lost { loss, .. } => (format!("lost: {loss}"), None),
            Event::Backoff { delay, attempt, .. } => {
                (format!("rests before attempt {attempt}"), Some(*delay))
            }
            Event::Redelivered { .. } => ("sends the unanswered order again".to_owned(), None),
            _ => return None,
        };
        Some(Self { what, took })
    }

    pub(crate) fn text(&self) -> String {
        match self.took {
            Some(took) => format!("{}, {}", self.what, time_text(took)),
            None => self.what.clone(),
        }
    }
}

/// Sends six orders to the ledger at `url`, each until it is answered, and tells what happened.
///
/// # Cancel safety
///
/// Dropping the future ends the session.
pub(crate) async fn orders(client: &Client, url: &str) -> Result<Vec<Line>, Box<dyn Error>> {
    let backoff = Backoff::exponential(Duration::from_millis(50)).max(Duration::from_millis(200));
    let config = Config::from(backoff).initial_spread(Duration::from_millis(50));
    let session = client.websocket(url).reconnect(config).open();
    let mut events = session.events();
    let mut lines = Vec::new();
    for order in ORDERS {
        let outgoing = Outgoing {
            delivery: Delivery::AtLeastOnce,
            ..Outgoing::from(order)
        };
        let sent = session.send(outgoing).await?;
        let Some(Received::Message(answer)) = session.recv().await? else {
            return Err("the ledger closed".into());
        };
        session.acknowledge(sent.id());
        // What happened before the answer came.
        let happened = poll_fn(|cx| Poll::Ready(drain(&mut events, cx))).await;
        lines.extend(happened.iter().filter_map(Line::of));
        lines.push(Line::new(answer.as_text().unwrap_or_default(), None));
    }
    let unsent = session.close().await;
    lines.push(Line::new(format!("closed, {} unsent", unsent.len()), None));
    Ok(lines)
}

fn drain(events: &mut Events, cx: &mut Context<'_>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Poll::Ready(Some(event)) = Pin::new(&mut *events).poll_next(cx) {
        all.push(event);
    }
    all
}

const TITLE: &str = "A session, whose server restarts at its third order";

/// The story as it went.
pub(crate) fn block(number: usize, lines: &[Line], paint: Paint) -> String {
    let mut out = paint.text(Ink::Title, format!("{number:>2}  {TITLE}")) + "\n";
    for line in lines {
        let ink = if line.took.is_some() || line.what.starts_with("lost") {
            Ink::Dim
        } else {
            Ink::Good
        };
        let _ = writeln!(out, "    {}", paint.text(ink, line.text()));
    }
    out
}

/// Both tellings beside each other. True where they agree.
pub(crate) fn comparison(real: &[Line], simulated: &[Line], paint: Paint) -> (String, bool) {
    let mut out = paint.text(Ink::Dim, format!("    {TITLE}")) + "\n";
    let is_same = real
        .iter()
        .map(|line| &line.what)
        .eq(simulated.iter().map(|line| &line.what));
    let time = |line: &Line| line.took.map_or_else(String::new, time_text);
    for (real, simulated) in real.iter().zip(simulated) {
        let is_same = real.what == simulated.what;
        let (ink, mark) = if is_same {
            (Ink::Good, "=")
        } else {
            (Ink::Bad, "≠")
        };
        let mark = paint.text(ink, mark);
        let (left, right) = (time(real), time(simulated));
        let _ = writeln!(out, "    {:<79} {left:>8} {right:>9}  {mark}", real.what);
        if !is_same {
            let _ = writeln!(out, "      simulator: {}", simulated.what);
        }
    }
    (out, is_same)
}
