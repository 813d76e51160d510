//! WebSocket servers that others wrote: Python's `websockets` and aiohttp, and tungstenite.
//!
//! They are started here, on a free port. One that is not installed (`.ci/install`) fails its tests
//! and says so.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use fulmar_tokio::session::{Config, Delivery, Event, Outgoing, Received};
use fulmar_tokio::websocket::{CloseCode, Compression, Message, WebSocketBuilder};
use fulmar_tokio::{Backoff, Client, Tokio, WebSocket};
use tokio::runtime::Builder;

/// A running server, killed when dropped.
struct Server {
    library: &'static str,
    child: Child,
    port: u16,
}

impl Server {
    fn python(library: &'static str) -> Self {
        let (child, port) = start(library, 0);
        Self {
            library,
            child,
            port,
        }
    }

    /// Kills it, and starts it anew at the same port.
    fn restart(&mut self) {
        self.end();
        (self.child, _) = start(self.library, self.port);
    }

    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a server, and waits for the port that it prints.
fn start(library: &str, port: u16) -> (Child, u16) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/websocket_servers/server.py"
    );
    let mut command = Command::new(python());
    command.args([script, library, &port.to_string()]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut port = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut port);
    let port = port.trim().parse().unwrap_or_else(|_| {
        panic!("{library} has to be installed for this test (.ci/install): {read:?}")
    });
    (child, port)
}

/// The interpreter that `.ci/install` set up beside what cargo builds.
fn python() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.ancestors().map(|dir| dir.join("python/bin/python"));
    let mut found = found.filter(|python| python.exists());
    found
        .next()
        .expect("Python's WebSocket servers have to be installed for this test (.ci/install)")
}

fn run<F: Future>(test: impl FnOnce(Client) -> F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(Client::new(Tokio::new())))
}

async fn open(builder: WebSocketBuilder) -> WebSocket {
    builder.connect().await.unwrap()
}

async fn echoes(ws: &mut WebSocket) {
    for message in [
        Message::text(""),
        Message::text("grüße"),
        Message::binary(vec![0; 125]),
        Message::binary((0..=255).cycle().take(70_000).collect::<Vec<u8>>()),
        Message::text("again and again ".repeat(100_000)),
    ] {
        ws.send(message.clone()).await.unwrap();
        assert!(ws.recv().await.unwrap() == Some(message));
    }
    assert!(ws.ping().await.unwrap().as_nanos() > 0);
    let closed = ws.close(CloseCode(4001), "done").await.unwrap();
    // aiohttp answers every code with 1000.
    assert!(closed.clean, "{closed}");
}

async fn behaves(client: Client, server: Server) {
    // `websockets` refuses who offers none of its protocols.
    let at = |path| client.websocket(server.url(path)).protocol("v2.chat");
    let mut plain = open(at("/")).await;
    assert_eq!(plain.protocol(), Some("v2.chat"));
    assert_eq!(plain.compression(), None);
    echoes(&mut plain).await;

    for compression in [Compression::new(), Compression::low_memory()] {
        let mut packed = open(at("/").compression(compression)).await;
        assert!(packed.compression().is_some());
        echoes(&mut packed).await;
    }

    let mut ws = open(at("/large")).await;
    assert_eq!(ws.recv().await.unwrap().unwrap().len(), 3 << 20);
    drop(ws);

    let mut ws = open(at("/ping")).await;
    assert_eq!(ws.recv().await.unwrap(), Some("ponged".into()));
    drop(ws);

    let mut ws = open(at("/close")).await;
    assert_eq!(ws.recv().await.unwrap(), Some("bye".into()));
    assert_eq!(ws.recv().await, Ok(None));
    let closed = ws.closed().unwrap();
    assert_eq!((closed.code, &*closed.reason), (CloseCode(4000), "why"));

    let refused = at("/refused").connect().await;
    assert_eq!(refused.unwrap_err().status().unwrap(), 401);
    assert_eq!(client.gauges().busy, 0);
}

/// Every message is acknowledged once it comes back, however often the server goes in between.
async fn outlives(builder: WebSocketBuilder, mut restart: impl FnMut(u32)) {
    let backoff = Backoff::exponential(Duration::from_millis(10)).max(Duration::from_millis(200));
    let config = Config::from(backoff).initial_spread(Duration::from_millis(50));
    let session = builder.reconnect(config).outbox(100).open();
    let mut epochs = 0;
    for n in 0..60_u32 {
        let outgoing = Outgoing {
            delivery: Delivery::AtLeastOnce,
            ..Outgoing::from(n.to_string())
        };
        let sent = session.send(outgoing).await.unwrap();
        if n % 20 == 10 {
            restart(n);
            epochs += 1;
        }
        while session.outbox_len() > 0 {
            let Some(Received::Message(message)) = session.recv().await.unwrap() else {
                panic!("the session goes on");
            };
            // One that was acknowledged before may come again.
            if message.as_text() == Some(&*n.to_string()) {
                session.acknowledge(sent.id());
            }
        }
    }
    let mut events = session.events();
    assert!(session.close().await.is_empty());
    let mut opened = 0;
    while let Some(event) = events.next().await {
        opened += u32::from(matches!(event, Event::Opened { .. }));
    }
    assert!(opened > epochs, "{opened} connections");
}

fn outlives_restarts(library: &'static str) {
    let mut server = Server::python(library);
    run(|client| async move {
        let builder = client.websocket(server.url("/")).protocol("v2.chat");
        outlives(builder, |_| server.restart()).await;
    });
}

#[test]
fn a_session_outlives_restarts_of_websockets_of_python() {
    outlives_restarts("websockets");
}

#[test]
fn a_session_outlives_restarts_of_aiohttp() {
    outlives_restarts("aiohttp");
}

#[test]
fn a_session_outlives_connections_that_tungstenite_drops() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        // The last connection is closed in order; the others end after some messages.
        for connection in 1.. {
            let mut ws = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            for _ in 0..9 * connection {
                match ws.read() {
                    Ok(message) if message.is_text() => ws.send(message).unwrap(),
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => return connection,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        unreachable!("connections do not end")
    });
    run(|client| async move { outlives(client.websocket(url), |_| {}).await });
    assert!(server.join().unwrap() > 2);
}

#[test]
fn websockets_of_python_and_this_client_understand_each_other() {
    let server = Server::python("websockets");
    run(|client| behaves(client, server));
}

#[test]
fn aiohttp_and_this_client_understand_each_other() {
    let server = Server::python("aiohttp");
    run(|client| behaves(client, server));
}

#[test]
fn tungstenite_and_this_client_understand_each_other() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut ws = tungstenite::accept(stream).unwrap();
        loop {
            match ws.read() {
                Ok(message) if message.is_text() || message.is_binary() => {
                    ws.send(message).unwrap();
                }
                // It answers pings and Close frames itself.
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return,
                Err(error) => panic!("{error}"),
            }
        }
    });
    run(|client| async move {
        echoes(&mut open(client.websocket(url)).await).await;
    });
    server.join().unwrap();
}
