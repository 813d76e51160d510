//! A server that others wrote, on a free port: started, restarted, and ended with the test.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fulmar_tests::loopback::Loopback;
use fulmar_tokio::websocket::{Message, WebSocketBuilder};
use fulmar_tokio::{Client, Tokio, WebSocket};

use crate::rust_server;

/// Who wrote it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Library {
    Websockets,
    Aiohttp,
    Tungstenite,
}

enum Running {
    Process(Child),
    Threads(Loopback),
}

/// A server, and a client for it.
pub(crate) struct Server {
    pub(crate) library: Library,
    pub(crate) client: Client,
    addr: SocketAddr,
    running: Option<Running>,
}

impl Server {
    pub(crate) fn start(library: Library) -> Self {
        let mut server = Self {
            library,
            client: Client::new(Tokio::new()),
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            running: None,
        };
        server.begin();
        server
    }

    /// Starts it, again at the same port where it ran before.
    pub(crate) fn begin(&mut self) {
        let (running, port) = match self.library {
            Library::Websockets => process("websockets", self.addr.port()),
            Library::Aiohttp => process("aiohttp", self.addr.port()),
            Library::Tungstenite => {
                let server = rust_server::start(self.addr);
                let port = server.addr().port();
                (Running::Threads(server), port)
            }
        };
        self.running = Some(running);
        self.addr.set_port(port);
    }

    /// Kills it.
    pub(crate) fn end(&mut self) {
        match self.running.take() {
            Some(Running::Process(mut child)) => {
                // It may have ended by itself; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
            }
            Some(Running::Threads(server)) => server.end(),
            None => {}
        }
    }

    pub(crate) fn restart(&mut self) {
        self.end();
        self.begin();
    }

    /// What opens a WebSocket at that path, by the client for it.
    pub(crate) fn at(&self, path: &str) -> WebSocketBuilder {
        self.client.websocket(format!("ws://{}{path}", self.addr))
    }

    pub(crate) async fn open(&self, path: &str) -> WebSocket {
        self.at(path).connect().await.unwrap()
    }

    pub(crate) fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What the server saw of that kind, once there is so much of it.
    pub(crate) async fn seen(&self, kind: &str, count: usize) -> Vec<String> {
        let url = self.http_url(&format!("/seen/{kind}/{count}"));
        let response = self.client.get(url).send().await.unwrap();
        let text = response.text().await.unwrap();
        text.split('\n').map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The text that is received next.
pub(crate) async fn text(ws: &mut WebSocket) -> String {
    match ws.recv().await.unwrap() {
        Some(Message::Text(text)) => text.as_str().to_owned(),
        other => panic!("no text: {other:?}"),
    }
}

/// Starts a server, and waits for the port that it prints.
fn process(library: &str, port: u16) -> (Running, u16) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/websocket_servers/server.py"
    );
    let mut command = Command::new(python());
    command.args([script, library, &port.to_string()]);
    // Its standard input ends with this process, and it with that.
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut port = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut port);
    let port = port.trim().parse().unwrap_or_else(|_| {
        panic!("{library} has to be installed for this test (.ci/install): {read:?}")
    });
    (Running::Process(child), port)
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
