//! A WebSocket server that knows frames and nothing else.

use std::future::Future;
use std::io;
use std::time::Duration;

use fulmar_core::ws::CloseCode;
use fulmar_sim::websocket::{Message, WebSocketBuilder};
use fulmar_sim::{Conn, Fault, ServerRequest, Sim, WebSocket};
use fulmar_tests::websocket::{Frame, client_frames, close_frame, frame};

use crate::support::client;

pub(crate) const URL: &str = "ws://api.test/chat";

/// One connection whose handshake is done.
pub(crate) struct Peer {
    pub(crate) conn: Conn,
    rx: Vec<u8>,
    frames: Vec<Frame>,
}

/// The response that a request for a WebSocket asks for.
pub(crate) fn switch(request: &ServerRequest, lines: &str) -> String {
    let key = request.header("sec-websocket-key").unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

impl Peer {
    /// Reads the request and accepts it, with these header lines.
    pub(crate) async fn accept(mut conn: Conn, lines: &str) -> io::Result<Option<Self>> {
        let Some(request) = conn.request().await? else {
            return Ok(None);
        };
        conn.write_all(switch(&request, lines)).await?;
        Ok(Some(Self {
            conn,
            rx: Vec::new(),
            frames: Vec::new(),
        }))
    }

    /// The next frame; `None` where the client has gone.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<Frame>> {
        while self.frames.is_empty() {
            let read = self.conn.read(64 * 1024).await?;
            if read.is_empty() {
                return Ok(None);
            }
            self.rx.extend_from_slice(&read);
            let (frames, used) = client_frames(&self.rx);
            self.rx.drain(..used);
            self.frames = frames;
        }
        Ok(Some(self.frames.remove(0)))
    }

    pub(crate) async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) -> io::Result<()> {
        self.conn.write_all(frame(first, payload.as_ref())).await
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        self.conn.write_all(close_frame(code, reason)).await
    }

    /// Reads frames until the client has gone, or sent a Close frame, whose code is told.
    pub(crate) async fn closing(&mut self) -> io::Result<Option<u16>> {
        while let Some(frame) = self.frame().await? {
            if frame.first == 0x88 {
                return Ok(frame.payload.first_chunk().map(|c| u16::from_be_bytes(*c)));
            }
        }
        Ok(None)
    }

    /// Gives every frame back, whole messages put together, and answers pings and Close frames.
    pub(crate) async fn echo(&mut self) -> io::Result<()> {
        let mut message = (0, Vec::new());
        while let Some(frame) = self.frame().await? {
            match frame.first & 0x0f {
                0x8 => return self.send(0x88, frame.payload).await,
                0x9 => self.send(0x8a, frame.payload).await?,
                0xa => {}
                opcode => {
                    if opcode != 0 {
                        message = (opcode, Vec::new());
                    }
                    message.1.extend_from_slice(&frame.payload);
                    if frame.first & 0x80 != 0 {
                        self.send(0x80 | message.0, &message.1).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Accepts every connection and runs `serve` on it.
pub(crate) fn serve<F, Fut>(sim: &Sim, serve: F)
where
    F: Fn(Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    sim.serve("api.test:80", move |conn| {
        let serve = serve.clone();
        async move {
            match Peer::accept(conn, "").await? {
                Some(peer) => serve(peer).await,
                None => Ok(()),
            }
        }
    });
}

pub(crate) fn echo(sim: &Sim) {
    serve(sim, |mut peer| async move { peer.echo().await });
}

/// Reads slowly, 200 messages as [`numbered`] makes them, and then says "all".
pub(crate) fn count_slowly(sim: &Sim) {
    sim.between(Duration::ZERO.., Fault::slow_reader("api.test", 100_000));
    serve(sim, |mut peer| async move {
        for n in 0..200_u32 {
            let frame = peer.frame().await?.unwrap();
            assert_eq!(frame.payload[..4], n.to_be_bytes());
        }
        peer.send(0x81, "all").await?;
        peer.echo().await
    });
}

/// A message of 10,004 bytes that begins with its number.
pub(crate) fn numbered(n: u32) -> Vec<u8> {
    [&n.to_be_bytes()[..], &[0; 10_000]].concat()
}

/// Opens one with those settings.
pub(crate) fn opened(
    sim: &Sim,
    settings: impl FnOnce(WebSocketBuilder) -> WebSocketBuilder,
) -> fulmar_sim::net::BoxFuture<WebSocket> {
    Box::pin(open_with(settings(client(sim).websocket(URL))))
}

pub(crate) async fn open_with(builder: WebSocketBuilder) -> WebSocket {
    builder.connect().await.unwrap()
}

pub(crate) fn text(message: Option<Message>) -> String {
    message.unwrap().as_text().unwrap().to_owned()
}

pub(crate) async fn close_in_order(ws: &WebSocket) {
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(closed.clean, "{closed}");
}
