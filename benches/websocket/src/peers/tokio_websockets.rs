//! tokio-websockets.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::{Error, Peer, ended, unexpected, upgraded};

/// One stream.
pub struct TokioWebsockets(WebSocketStream<TcpStream>);

impl Peer for TokioWebsockets {
    const NAME: &'static str = "tokio-websockets";

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let stream = upgraded(addr, path).await?;
        Ok(Self(ClientBuilder::new().take_over(stream)))
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.feed(Message::binary(message)).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.0.flush().await?)
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        let message = self.0.next().await.ok_or_else(ended)??;
        if message.is_binary() {
            Ok(message.as_payload().len())
        } else {
            Err(unexpected(message))
        }
    }
}
