//! fastwebsockets. It has no queue: every message is a write.

use std::net::SocketAddr;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use tokio::net::TcpStream;

use super::{Error, Peer, unexpected, upgraded};

/// One stream.
pub struct Fastwebsockets(FragmentCollector<TcpStream>);

impl Peer for Fastwebsockets {
    const NAME: &'static str = "fastwebsockets";

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        let stream = upgraded(addr, path).await?;
        let socket = WebSocket::after_handshake(stream, Role::Client);
        Ok(Self(FragmentCollector::new(socket)))
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        let frame = Frame::binary(Payload::Borrowed(&message));
        Ok(self.0.write_frame(frame).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        let frame = self.0.read_frame().await?;
        if frame.opcode == OpCode::Binary {
            Ok(frame.payload.len())
        } else {
            Err(unexpected(frame.opcode))
        }
    }
}
