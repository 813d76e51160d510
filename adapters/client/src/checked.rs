//! Reads and writes of anybody's stream, whose word is held against what became of the buffer.
//!
//! A stream that takes nothing and says that it wrote, or counts bytes that nobody has, would be
//! asked again forever, and what is counted as accepted decides about retries.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;

use crate::net::Stream;

/// As [`Stream::poll_read`]; `InvalidData` where `rx` did not grow by what it says.
pub(crate) fn poll_read(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    rx: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let before = rx.len();
    let n = ready!(stream.poll_read(cx, rx))?;
    if rx.len().wrapping_sub(before) == n {
        return Poll::Ready(Ok(n));
    }
    Poll::Ready(Err(lie("read")))
}

/// The same for the first read of a poll, mostly the only one, where each instruction counts: it may
/// say no more than what `rx` has.
#[inline]
pub(crate) fn poll_read_first(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    rx: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let n = ready!(stream.poll_read(cx, rx))?;
    if n <= rx.len() {
        return Poll::Ready(Ok(n));
    }
    Poll::Ready(Err(lie("read")))
}

/// As [`Stream::poll_write`] of a buffer that is not empty; `InvalidData` where `tx` did not shrink by
/// what it says, or not at all.
pub(crate) fn poll_write(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    tx: &mut WriteBuf,
) -> Poll<io::Result<usize>> {
    let before = tx.len();
    let n = ready!(stream.poll_write(cx, tx))?;
    if n != 0 && before.wrapping_sub(n) == tx.len() {
        return Poll::Ready(Ok(n));
    }
    Poll::Ready(Err(lie("wrote")))
}

/// The same for the first write of a poll, mostly the only one: it may not say that it took nothing.
/// Where it leaves anything, there is a second one.
#[inline]
pub(crate) fn poll_write_first(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    tx: &mut WriteBuf,
) -> Poll<io::Result<usize>> {
    let n = ready!(stream.poll_write(cx, tx))?;
    if n != 0 {
        return Poll::Ready(Ok(n));
    }
    Poll::Ready(Err(lie("wrote")))
}

#[cold]
fn lie(what: &str) -> io::Error {
    let text =
        format!("the transport claims that it {what} another number of bytes than it did, or none");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
