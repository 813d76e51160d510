//! Tokio's sockets as streams.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use fulmar::net::{Stream, WriteBuf, gather};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite, Interest};

pub(crate) struct Socket(pub(crate) tokio::net::TcpStream);

impl Stream for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        // The future holds nothing between polls. Unlike `try_read_buf` it knows that a short read
        // has emptied the socket, which saves the read that would find it so.
        pin!(self.0.read_buf(buf)).poll(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.0);
        gather(buf, |slices| match slices {
            [one] => socket.poll_write(cx, one),
            many => socket.poll_write_vectored(cx, many),
        })
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_quiet(&mut self) -> bool {
        // Where readiness is not remembered nothing is asked of the system.
        let peek = || SockRef::from(&self.0).peek(&mut [MaybeUninit::uninit()]);
        let peeked = self.0.try_io(Interest::READABLE, peek);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()
    }
}
