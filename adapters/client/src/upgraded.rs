//! A connection that is no longer HTTP's: after 101, or a 2xx to CONNECT.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::h1::End;
use fulmar_core::pool::Discard;
use fulmar_core::time::Instant;
use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use crate::h1::H1;
use crate::shared::{Registration, Shared};
use crate::wire::{Read, Wire};

/// What a read asks for.
const READ: usize = 8 * 1024;
/// What one write takes.
const WRITE: usize = 64 * 1024;

/// The bytes of a connection that switched protocols; see
/// [`Response::upgrade`](crate::Response::upgrade).
///
/// What the peer sent right behind its head is read first. There are no timeouts on it. A write is
/// passed on at once, as far as the transport takes it; [`poll_flush`](AsyncWrite::poll_flush) waits
/// for the rest, and so does a read. It counts as one of the client's busy connections until it is
/// dropped, which closes it.
///
/// It implements the traits of `futures-io`, and with the feature `tokio-io` those of tokio.
pub struct Upgraded {
    /// Taken out by `Drop` alone.
    h1: Option<Box<H1>>,
    shared: Arc<Shared>,
    /// Who reads and who writes, mostly two tasks: to be told when the client's time is over.
    reader: Registration,
    writer: Registration,
}

/// Which of the two directions waits.
#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

/// The connection's parts, handed over whole.
pub(crate) struct Tunnel<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) rx: &'a mut BytesMut,
    pub(crate) tx: &'a mut WriteBuf,
}

impl Upgraded {
    pub(crate) fn new(h1: Box<H1>, shared: Arc<Shared>) -> Self {
        shared.locked(|state| state.pool.handle_upgraded(h1.slot));
        let h1 = Some(h1);
        Self {
            h1,
            shared,
            reader: Registration::default(),
            writer: Registration::default(),
        }
    }

    /// The connection itself, for a machine of its own.
    #[cfg(feature = "websocket")]
    pub(crate) fn into_parts(mut self) -> Option<(Box<H1>, Arc<Shared>)> {
        Some((self.h1.take()?, self.shared.clone()))
    }

    /// The peer's address, where there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.h1.as_ref()?.peer.as_deref().copied()
    }

    fn tunnel(&mut self) -> io::Result<Tunnel<'_>> {
        if self.shared.is_cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let tunnel = self.h1.as_mut().and_then(|h1| h1.tunnel());
        tunnel.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What can be read now; empty at the end of the stream.
    fn poll_rx(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut BytesMut>> {
        let mut tunnel = self.tunnel()?;
        if tunnel.rx.is_empty() {
            // Who waits for an answer waits for the question to go out, too. Where it cannot, what
            // the peer had sent before is still to be read.
            let _ = tunnel.poll_flush(cx);
            tunnel.rx.reserve(READ);
            let polled = tunnel.wire.poll_read(cx, tunnel.rx, || Phase::Body);
            match ready!(self.or_wait(cx, Side::Read, polled.map_err(error_of)))? {
                Read::Data(_) | Read::End(End::Clean) => {}
                Read::End(_) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Poll::Ready(Ok(self.tunnel()?.rx))
    }

    /// Flushes for a task that writes, which a shutdown finds where it has to wait.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.tunnel()?.poll_flush(cx);
        self.or_wait(cx, Side::Write, polled)
    }

    /// Where there is nothing to do a shutdown has to find whoever waits here.
    fn or_wait<T>(
        &mut self,
        cx: &Context<'_>,
        side: Side,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        let registration = match side {
            Side::Read => &mut self.reader,
            Side::Write => &mut self.writer,
        };
        // There is no deadline, so the time does not matter.
        if registration.ensure(&self.shared, cx, Instant::ORIGIN, Instant::MAX)
            && self.shared.is_cut()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Pending
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let mut tunnel = self.tunnel()?;
        let n = buf.len().min(WRITE);
        tunnel.tx.put_slice(&buf[..n]);
        if let Poll::Ready(Err(error)) = tunnel.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        let polled = self.tunnel()?.wire.poll_shutdown(cx).map_err(error_of);
        self.or_wait(cx, Side::Write, polled)
    }
}

impl Tunnel<'_> {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !(self.tx.is_empty() && self.wire.is_flushed()) {
            let written = ready!(self.wire.poll_write(cx, self.tx, Phase::Write));
            written.map_err(error_of)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn error_of(fault: Fault) -> io::Error {
    let kind = match fault.kind {
        FaultKind::Reset => io::ErrorKind::ConnectionReset,
        FaultKind::Aborted => io::ErrorKind::ConnectionAborted,
        FaultKind::BrokenPipe => io::ErrorKind::BrokenPipe,
        FaultKind::TimedOut => io::ErrorKind::TimedOut,
        FaultKind::Eof => io::ErrorKind::UnexpectedEof,
        FaultKind::Record => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, fault)
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let rx = ready!(self.poll_rx(cx))?;
        let n = rx.len().min(buf.len());
        rx.copy_to_slice(&mut buf[..n]);
        Poll::Ready(Ok(n))
    }
}

impl AsyncBufRead for Upgraded {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let rx = ready!(self.get_mut().poll_rx(cx))?;
        Poll::Ready(Ok(rx))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        if let Ok(tunnel) = self.tunnel() {
            tunnel.rx.advance(amount.min(tunnel.rx.len()));
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}

#[cfg(feature = "tokio-io")]
impl tokio::io::AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0 {
            let rx = ready!(self.poll_rx(cx))?;
            let n = rx.len().min(buf.remaining());
            buf.put_slice(&rx[..n]);
            rx.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tokio-io")]
impl tokio::io::AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        for registration in [&mut self.reader, &mut self.writer] {
            if registration.is_registered() {
                self.shared.locked(|state| registration.remove(state));
            }
        }
        if let Some(h1) = self.h1.take() {
            let why = "upgraded connection dropped";
            self.shared.discard(h1, Discard::Spent, why);
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}
