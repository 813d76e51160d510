//! What the scenarios share: a server that remembers over its connections, and what is asked of a
//! session.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar_sim::session::{Config, Event, Events, Received, SessionBuilder};
use fulmar_sim::{Backoff, Conn, Session, Sim};

use crate::server::{Peer, URL, serve};
use crate::support::{client, ms, secs};

/// What was said to the server, in order: the connection, from 1, and the text.
pub(crate) type Heard = Arc<Mutex<Vec<(usize, String)>>>;

/// Quick to reconnect.
pub(crate) fn quick() -> Config {
    Config::new()
        .backoff(Backoff::exponential(ms(100)).max(secs(1)))
        .initial_spread(ms(100))
}

/// A session at the usual place, not opened yet.
pub(crate) fn session(sim: &Sim, config: Config) -> SessionBuilder {
    client(sim).websocket(URL).reconnect(config)
}

/// Runs `serve` on every connection before its handshake, with its number.
pub(crate) fn numbered_before<F, Fut>(sim: &Sim, addr: &str, run: F)
where
    F: Fn(usize, Conn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let count = Mutex::new(0);
    sim.serve(addr, move |conn| {
        let mut count = count.lock().unwrap();
        *count += 1;
        run(*count, conn)
    });
}

/// Runs `serve` on every connection, with its number.
pub(crate) fn numbered<F, Fut>(sim: &Sim, run: F)
where
    F: Fn(usize, Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let count = Arc::new(Mutex::new(0));
    serve(sim, move |peer| {
        let mut count = count.lock().unwrap();
        *count += 1;
        run(*count, peer)
    });
}

/// A server that does nothing but listen.
pub(crate) fn listening(sim: &Sim) -> Heard {
    let heard = Heard::default();
    let log = heard.clone();
    numbered(sim, move |n, mut peer| {
        let log = log.clone();
        async move { listen(&mut peer, n, &log).await }
    });
    heard
}

/// Remembers what is said; answers pings and Close frames.
pub(crate) async fn listen(peer: &mut Peer, number: usize, heard: &Heard) -> io::Result<()> {
    while let Some(text) = next_text(peer).await? {
        heard.lock().unwrap().push((number, text));
    }
    Ok(())
}

/// The next message; `None` once the client has gone, or closes.
pub(crate) async fn next_text(peer: &mut Peer) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    while let Some(frame) = peer.frame().await? {
        match frame.first & 0x0f {
            0x8 => {
                peer.send(0x88, frame.payload).await?;
                return Ok(None);
            }
            0x9 => peer.send(0x8a, frame.payload).await?,
            0xa => {}
            _ => {
                text.extend_from_slice(&frame.payload);
                if frame.first & 0x80 != 0 {
                    return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
                }
            }
        }
    }
    Ok(None)
}

pub(crate) fn texts(heard: &Heard) -> Vec<String> {
    let heard = heard.lock().unwrap();
    heard.iter().map(|(_, text)| text.clone()).collect()
}

/// The next message of the session.
pub(crate) async fn recv(session: &Session) -> String {
    match session.recv().await.unwrap() {
        Some(Received::Message(message)) => message.as_text().unwrap().to_owned(),
        other => panic!("no message: {other:?}"),
    }
}

/// Waits for an event of which `pick` makes something.
pub(crate) async fn event<T>(events: &mut Events, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    loop {
        let event = events.next().await.expect("the event comes");
        if let Some(picked) = pick(&event) {
            return picked;
        }
    }
}

/// Waits until a connection is open.
pub(crate) async fn opened(events: &mut Events) -> u32 {
    event(events, |event| match event {
        Event::Opened { epoch, .. } => Some(*epoch),
        _ => None,
    })
    .await
}

/// The delay before the next attempt, and its number.
pub(crate) async fn backoff(events: &mut Events) -> (Duration, u32) {
    event(events, |event| match event {
        Event::Backoff { delay, attempt, .. } => Some((*delay, *attempt)),
        _ => None,
    })
    .await
}
