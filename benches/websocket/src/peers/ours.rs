//! Fulmar: a WebSocket of the whole client, keepalive and limits as they come.

use std::net::SocketAddr;

use bytes::Bytes;
use fulmar_tokio::{Client, Message, Tokio, WebSocket};
use futures_util::SinkExt;

use super::{Error, Peer, ended, unexpected};

/// Its name in the table.
pub const NAME: &str = "fulmar";

/// One WebSocket, and the client that it came from.
pub struct Ours {
    socket: WebSocket,
    _client: Client,
}

impl Peer for Ours {
    const NAME: &'static str = NAME;

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let client = Client::new(Tokio::new());
        let url = format!("ws://{addr}{path}");
        let socket = client
            .websocket(url.as_str())
            .compression(None)
            .connect()
            .await?;
        Ok(Self {
            socket,
            _client: client,
        })
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.socket.feed(Message::Binary(message)).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(SinkExt::flush(&mut self.socket).await?)
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        match self.socket.recv().await? {
            Some(Message::Binary(message)) => Ok(message.len()),
            Some(other) => Err(unexpected(other)),
            None => Err(ended()),
        }
    }
}
