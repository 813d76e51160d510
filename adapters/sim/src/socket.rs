//! The client's end of a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use fulmar::net::Stream;
use fulmar_core::buf::WriteBuf;

use crate::slab::Key;
use crate::tcp::read_into;
use crate::world::World;

/// One end of a connection. Dropping it closes it.
pub(crate) struct Socket {
    pub(crate) world: Arc<World>,
    pub(crate) key: Key,
    /// 0: the client's, 1: the server's.
    pub(crate) end: usize,
}

impl Socket {
    pub(crate) fn poll_read(
        &self,
        cx: &Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.world
            .with(|state| read_into(state, self.key, self.end, cx, buf))
    }

    pub(crate) fn poll_read_slice(
        &self,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let (max, mut at) = (buf.len(), 0);
        let sink = |bytes: &[u8]| {
            if let Some(room) = buf.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        self.world
            .with(|state| state.poll_read(self.key, self.end, cx, max, sink))
    }

    pub(crate) fn poll_write(
        &self,
        cx: &Context<'_>,
        buf: &mut impl Buf,
    ) -> Poll<io::Result<usize>> {
        self.world
            .with(|state| state.poll_write(self.key, self.end, cx, buf))
    }

    pub(crate) fn shutdown(&self) {
        self.world.with(|state| state.shutdown(self.key, self.end));
    }

    pub(crate) fn reset(&self) {
        self.world.with(|state| state.reset(self.key, self.end));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.world.with(|state| state.close(self.key, self.end));
    }
}

/// A stream that a [`SimNet`](crate::SimNet) opened.
pub(crate) struct SimStream {
    pub(crate) socket: Socket,
    pub(crate) peer: SocketAddr,
}

impl Stream for SimStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, buf)
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.shutdown();
        Poll::Ready(Ok(()))
    }

    fn is_quiet(&mut self) -> bool {
        self.socket
            .world
            .with(|state| state.is_quiet(self.socket.key, self.socket.end))
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }
}
