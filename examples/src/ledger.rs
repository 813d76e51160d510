//! A ledger behind a WebSocket: it writes each order down once, and answers with its number. Its first
//! life ends at the third order, written down and not answered; then it is away for one visit.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_io::{AsyncRead, AsyncWrite};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::peer::Peer;

/// The order at which it dies.
const LAST_WORDS: usize = 3;

/// What outlives its connections, as a database does.
#[derive(Default)]
pub(crate) struct Ledger {
    orders: Mutex<Vec<String>>,
    visits: AtomicU32,
}

impl Ledger {
    /// Serves one connection to its end, from the handshake's `Sec-WebSocket-Key` on.
    pub(crate) async fn serve<S>(&self, peer: &mut Peer<S>, key: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let visit = self.visits.fetch_add(1, Ordering::Relaxed);
        if visit == 1 {
            return Ok(());
        }
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        peer.send(head.as_bytes()).await?;
        while let Some((opcode, payload)) = peer.frame().await? {
            match opcode {
                OpCode::Data(_) => {
                    let order = String::from_utf8_lossy(&payload).into_owned();
                    let (number, is_new) = self.enter(&order);
                    if visit == 0 && number == LAST_WORDS {
                        return Ok(());
                    }
                    let said = if is_new { "entered" } else { "was there" };
                    let answer = format!("{order} {said}, as number {number}");
                    peer.say(OpCode::Data(Data::Text), answer.as_bytes())
                        .await?;
                }
                OpCode::Control(Control::Close) => return peer.say(opcode, &payload).await,
                OpCode::Control(_) => {}
            }
        }
        Ok(())
    }

    /// The number of an order, and whether it is new: one that is there is a repeat.
    fn enter(&self, order: &str) -> (usize, bool) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = orders.iter().position(|known| known == order);
        let place = known.unwrap_or_else(|| {
            orders.push(order.to_owned());
            orders.len() - 1
        });
        (place + 1, known.is_none())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads the next frame, unmasked. `None`: the client has closed the connection.
    async fn frame(&mut self) -> io::Result<Option<(OpCode, Vec<u8>)>> {
        loop {
            let mut bytes = io::Cursor::new(self.received());
            let header = FrameHeader::parse(&mut bytes).map_err(io::Error::other)?;
            let start = bytes.position() as usize;
            if let Some((header, length)) = header {
                let end = start + usize::try_from(length).map_err(io::Error::other)?;
                if let Some(payload) = self.received().get(start..end) {
                    let mask = header.mask.unwrap_or_default();
                    let mask = mask.iter().cycle();
                    let payload = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
                    let payload = payload.collect();
                    self.consume(end);
                    return Ok(Some((header.opcode, payload)));
                }
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Sends a frame.
    async fn say(&mut self, opcode: OpCode, payload: &[u8]) -> io::Result<()> {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        let mut frame = Vec::new();
        header
            .format(payload.len() as u64, &mut frame)
            .map_err(io::Error::other)?;
        frame.extend_from_slice(payload);
        self.send(&frame).await
    }
}
