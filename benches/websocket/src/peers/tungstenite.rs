//! tokio-tungstenite.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Error, Peer, ended, unexpected, upgraded};

/// One stream.
pub struct Tungstenite(WebSocketStream<TcpStream>);

impl Peer for Tungstenite {
    const NAME: &'static str = "tokio-tungstenite";

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let stream = upgraded(addr, path).await?;
        Ok(Self(
            WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
        ))
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.feed(Message::Binary(message)).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.0.flush().await?)
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        match self.0.next().await.ok_or_else(ended)?? {
            Message::Binary(message) => Ok(message.len()),
            other => Err(unexpected(other)),
        }
    }
}
