//! Fulmar: a WebSocket of the whole client, keepalive and limits as they come.

use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::Bytes;
use fulmar_tokio::{Client, Limits, Message, Tokio, WebSocket};
use futures_util::SinkExt;

use super::{Error, Peer, ended, unexpected};
use crate::table::IDLE_CONNECTIONS;

/// Its name in the table.
pub const NAME: &str = "fulmar";

/// A program has one client, whatever the number of its connections: as many as the table asks for.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    const MOST: usize = 2 * IDLE_CONNECTIONS;
    let limits = Limits::new().total(MOST as u32).per_origin(MOST as u32);
    let builder = Client::builder(Tokio::new()).limits(limits);
    let client = builder.websocket_limits(MOST, MOST).build();
    client.expect("limits that agree with each other")
});

/// One WebSocket.
pub struct Ours {
    socket: WebSocket,
}

impl Peer for Ours {
    const NAME: &'static str = NAME;

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let url = format!("ws://{addr}{path}");
        let opening = CLIENT.websocket(url.as_str()).compression(None);
        let socket = opening.connect().await?;
        Ok(Self { socket })
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.socket.feed(message).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(SinkExt::flush(&mut self.socket).await?)
    }

    async fn send_now(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.socket.send(message).await?)
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        match self.socket.recv().await? {
            Some(Message::Binary(message)) => Ok(message.len()),
            Some(other) => Err(unexpected(other)),
            None => Err(ended()),
        }
    }
}
