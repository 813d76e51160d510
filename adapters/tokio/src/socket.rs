//! Tokio's sockets as streams.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use fulmar::net::{SocketOptions, Stream, WriteBuf};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite, Interest};
use tokio::runtime::Handle;

use crate::number;

/// A socket of a runtime.
pub(crate) struct Socket<S> {
    pub(crate) io: S,
    /// The runtime that drives it.
    pub(crate) runtime: u64,
}

/// Chunks that one vectored write takes.
const CHUNKS: usize = 16;

pub(crate) fn set_up(socket: &tokio::net::TcpSocket, options: &SocketOptions) -> io::Result<()> {
    socket.set_nodelay(options.nodelay)?;
    if let Some(idle) = options.keepalive {
        SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    Ok(())
}

fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buf: &mut WriteBuf,
) -> Poll<io::Result<usize>> {
    let written = if buf.chunks() == 1 {
        Pin::new(stream).poll_write(cx, buf.chunk())
    } else {
        let mut slices = [io::IoSlice::new(&[]); CHUNKS];
        let n = buf.chunks_vectored(&mut slices);
        Pin::new(stream).poll_write_vectored(cx, &slices[..n])
    };
    written.map_ok(|n| {
        buf.advance(n);
        n
    })
}

macro_rules! stream {
    ($socket:ty, $peer:expr) => {
        impl Stream for Socket<$socket> {
            fn poll_read(
                &mut self,
                cx: &mut Context<'_>,
                buf: &mut BytesMut,
            ) -> Poll<io::Result<usize>> {
                // The future holds nothing between polls. Unlike `try_read_buf` it knows that a
                // short read has emptied the socket, which saves the read that would find it so.
                pin!(self.io.read_buf(buf)).poll(cx)
            }

            fn poll_write(
                &mut self,
                cx: &mut Context<'_>,
                buf: &mut WriteBuf,
            ) -> Poll<io::Result<usize>> {
                poll_write(&mut self.io, cx, buf)
            }

            fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.io).poll_shutdown(cx)
            }

            fn is_quiet(&mut self) -> bool {
                // One whose runtime is gone keeps what it remembered. Only another runtime can ask.
                if Handle::try_current().is_ok_and(|handle| number(&handle) != self.runtime) {
                    let mut cx = Context::from_waker(Waker::noop());
                    if let Poll::Ready(Err(_)) = self.io.poll_read_ready(&mut cx) {
                        return false;
                    }
                }
                // Where readiness is not remembered nothing is asked of the system.
                let mut byte = [MaybeUninit::uninit()];
                let peek = || SockRef::from(&self.io).peek(&mut byte);
                let peeked = self.io.try_io(Interest::READABLE, peek);
                peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }

            fn peer(&self) -> Option<SocketAddr> {
                $peer(&self.io)
            }
        }
    };
}

stream!(tokio::net::TcpStream, |io: &tokio::net::TcpStream| io
    .peer_addr()
    .ok());
#[cfg(unix)]
stream!(tokio::net::UnixStream, |_| None);
