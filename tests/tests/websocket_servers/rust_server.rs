//! The server of tungstenite: what `server.py` does and tells, on threads of this process.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use fulmar_tests::loopback::{Loopback, Request};
use tungstenite::error::CapacityError;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const LARGE: usize = 3 << 20;
const LARGEST_MESSAGE: usize = 4 << 20;
const LARGEST_FRAME: usize = 2 << 20;

/// Starts one at an address of loopback.
pub(crate) fn start(addr: SocketAddr) -> Loopback {
    let journal = Arc::new(Journal::default());
    Loopback::start_at(addr, move |request, stream| {
        let path: Vec<_> = request.target.split('/').skip(1).collect();
        let (status, text) = match *path {
            ["seen", kind, count] => (200, journal.seen(kind, count.parse().unwrap())),
            ["status", status] => (status.parse().unwrap(), "no".into()),
            ["busy"] if journal.note("busy", "") == 1 => (503, "come again".into()),
            _ => {
                let mut guest = Guest::welcome(request, stream, &journal)?;
                let ended = guest.attend(request, &path);
                guest.go(&ended);
                return Ok(false);
            }
        };
        let len = text.len();
        let retry = if *path == ["busy"] {
            "Retry-After: 1\r\n"
        } else {
            ""
        };
        let head = format!("HTTP/1.1 {status} X\r\n{retry}Content-Length: {len}\r\n\r\n");
        stream.write_all((head + &text).as_bytes())?;
        Ok(true)
    })
}

/// What was seen, by kind.
#[derive(Default)]
struct Journal {
    lines: Mutex<BTreeMap<String, Vec<String>>>,
    news: Condvar,
}

impl Journal {
    /// Says how many there are of the kind.
    fn note(&self, kind: &str, line: impl Into<String>) -> usize {
        let mut lines = self.lines.lock().unwrap();
        let kind = lines.entry(kind.into()).or_default();
        kind.push(line.into());
        self.news.notify_all();
        kind.len()
    }

    fn seen(&self, kind: &str, count: usize) -> String {
        let is_early =
            |lines: &mut BTreeMap<String, Vec<String>>| lines.get(kind).map_or(0, Vec::len) < count;
        let lines = self.lines.lock().unwrap();
        let lines = self.news.wait_while(lines, is_early).unwrap();
        lines[kind].join("\n")
    }
}

/// One connection.
struct Guest<'a> {
    ws: WebSocket<TcpStream>,
    journal: &'a Journal,
    how_closed: String,
}

impl<'a> Guest<'a> {
    fn welcome(
        request: &Request,
        stream: &mut TcpStream,
        journal: &'a Journal,
    ) -> io::Result<Self> {
        let key = request.header("sec-websocket-key").unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let offers = |offers: &str| offers.split(',').any(|offer| offer.trim() == "v2.chat");
        let is_offered = request.header("sec-websocket-protocol").is_some_and(offers);
        let protocol = if is_offered {
            "Sec-WebSocket-Protocol: v2.chat\r\n"
        } else {
            ""
        };
        let head = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        write!(
            stream,
            "{head}{protocol}Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_FRAME));
        Ok(Self {
            ws: WebSocket::from_raw_socket(stream.try_clone()?, Role::Server, Some(config)),
            journal,
            how_closed: String::new(),
        })
    }

    /// Serves it, until it ends one way or another.
    fn attend(&mut self, request: &Request, path: &[&str]) -> tungstenite::Result<()> {
        let first = self.journal.note("open", "") == 1;
        match *path {
            ["headers"] => {
                let headers = request.headers.iter();
                let lines: Vec<_> = headers
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect();
                self.ws.send(lines.join("\n").into())?;
            }
            ["large"] => self.ws.send(vec![0; LARGE].into())?,
            ["close", code, reason] => {
                self.ws.send("bye".into())?;
                self.ws.close(Some(frame(code.parse().unwrap(), reason)))?;
            }
            ["crowd"] => {
                for n in 0.. {
                    self.ws.send(format!("{n} {}", "x".repeat(10_000)).into())?;
                }
            }
            ["keepalive"] => {
                for _ in 0..2 {
                    self.ws.send(Message::Ping("?".into()))?;
                    let pong = self.ws.read()?;
                    assert_eq!(pong, Message::Pong("?".into()));
                    self.journal.note("pong", "");
                }
            }
            // Whatever comes, nothing is answered.
            ["mute"] if first => {
                io::copy(self.ws.get_mut(), &mut io::sink())?;
            }
            _ => {}
        }
        self.hear(*path != ["listen"])
    }

    fn hear(&mut self, echoes: bool) -> tungstenite::Result<()> {
        loop {
            match self.ws.read()? {
                message @ (Message::Text(_) | Message::Binary(_)) => {
                    let line = match &message {
                        Message::Text(text) if text.len() < 100 => text.to_string(),
                        long => long.len().to_string(),
                    };
                    self.journal.note("message", line);
                    if echoes {
                        self.ws.send(message)?;
                    }
                }
                // It has answered.
                Message::Ping(_) => {
                    self.journal.note("ping", "");
                }
                Message::Close(frame) => {
                    let told = frame.map(|frame| format!("{} {}", frame.code, frame.reason));
                    self.how_closed = told.unwrap_or_default();
                }
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn go(mut self, ended: &tungstenite::Result<()>) {
        if let Err(Error::Capacity(CapacityError::MessageTooLong { .. })) = ended {
            // Other servers do that themselves.
            let _ = self.ws.close(Some(frame(1009, "too big")));
            let _ = io::copy(self.ws.get_mut(), &mut io::sink());
        }
        self.journal.note("close", self.how_closed);
    }
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    }
}
