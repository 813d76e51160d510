//! yawc.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::net::TcpStream;
use yawc::{Frame, OpCode, Options, Role, WebSocket};

use super::{Error, Peer, unexpected, upgraded};

/// Its own limits, of a payload and of a buffer, are too small for messages of 1 MiB.
const LIMITS: (usize, usize) = (4 << 20, 8 << 20);

/// One stream.
pub struct Yawc(WebSocket<TcpStream>);

impl Peer for Yawc {
    const NAME: &'static str = "yawc";

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let stream = upgraded(addr, path).await?;
        Ok(Self(WebSocket::from_stream(
            stream,
            Role::Client,
            Options::default().with_limits(LIMITS.0, LIMITS.1),
        )?))
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.feed(Frame::binary(message)).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.0.flush().await?)
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        let frame = self.0.next_frame().await?;
        if frame.opcode() == OpCode::Binary {
            Ok(frame.payload().len())
        } else {
            Err(unexpected(frame.opcode()))
        }
    }
}
