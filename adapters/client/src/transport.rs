//! A user's own transport as a stream.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use futures_io::{AsyncRead, AsyncWrite};

use crate::net::{Stream, Window, gather};

/// A transport of your own (a pipe, a tunnel, a stream of another library) as a [`Stream`], for a
/// [`Net`](crate::net::Net) of your own to hand out.
///
/// A transport that buffers is flushed: after every write, and by reads where that did not suffice.
/// `futures-io` has no question that takes no byte, so asking an idle one whether it is quiet reads
/// one byte, which the next read returns first.
pub struct FromFuturesIo<T> {
    /// Never locked: it makes the stream `Sync`, which the transport need not be.
    io: Mutex<Pin<Box<T>>>,
    window: Window,
    early: Option<u8>,
    unflushed: bool,
    peer: Option<SocketAddr>,
}

impl<T: AsyncRead + AsyncWrite + Send + 'static> FromFuturesIo<T> {
    /// The stream of a transport that is connected.
    pub fn new(io: T) -> Self {
        Self {
            io: Mutex::new(Box::pin(io)),
            window: Window::default(),
            early: None,
            unflushed: false,
            peer: None,
        }
    }

    /// Names the peer, for errors and traces. Default: none.
    #[must_use]
    pub fn with_peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    fn io(&mut self) -> Pin<&mut T> {
        let io = self.io.get_mut().unwrap_or_else(PoisonError::into_inner);
        io.as_mut()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.io().poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Send + 'static> Stream for FromFuturesIo<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if let Some(byte) = self.early.take() {
            buf.extend_from_slice(&[byte]);
            return Poll::Ready(Ok(1));
        }
        // Pending is fine: a slow writer must not stop us reading. An error is the reader's to meet.
        let _ = self.poll_flush(cx);
        let io = self.io.get_mut().unwrap_or_else(PoisonError::into_inner);
        let read = |slice: &mut [u8]| io.as_mut().poll_read(cx, slice);
        self.window.read(buf, read)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        let io = self.io();
        let n = ready!(gather(buf, |slices| match slices {
            [one] => io.poll_write(cx, one),
            many => io.poll_write_vectored(cx, many),
        }))?;
        self.unflushed = true;
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(n)),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_close(cx)
    }

    fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        if self.early.is_some() {
            return false;
        }
        match self.io().poll_read(&mut cx, &mut byte) {
            Poll::Pending => true,
            Poll::Ready(Ok(n)) => {
                self.early = (n > 0).then_some(byte[0]);
                false
            }
            Poll::Ready(Err(_)) => false,
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl<T> fmt::Debug for FromFuturesIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFuturesIo")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
