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

use fulmar_tokio::websocket::{CloseCode, Compression, Message, WebSocketBuilder};
use fulmar_tokio::{Client, Tokio, WebSocket};
use tokio::runtime::Builder;

/// A running server, killed when dropped.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn python(library: &str) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/websocket_servers/server.py"
        );
        let mut command = Command::new(python());
        command.args([script, library]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut port);
        let port: u16 = port.trim().parse().unwrap_or_else(|_| {
            panic!("{library} has to be installed for this test (.ci/install): {read:?}")
        });
        Self {
            child,
            base: format!("ws://127.0.0.1:{port}"),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
