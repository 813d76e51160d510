//! sockudo-ws.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::net::TcpStream;

use super::{Error, Peer, ended, unexpected, upgraded};

/// One stream.
pub struct Sockudo(WebSocketStream<TcpStream>);

impl Peer for Sockudo {
    const NAME: &'static str = "sockudo-ws";

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let stream = upgraded(addr, path).await?;
        Ok(Self(WebSocketStream::client(stream, Config::default())))
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
