//! Reads and writes of anybody's stream, whose word is held against what became of the buffer.
//!
//! A stream that takes nothing and says that it wrote, or counts bytes that nobody has, would be
//! asked again forever, and what is counted as accepted decides about retries.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;

use crate::net::Stream;

/// As [`Stream::poll_read`]; `InvalidData` where `rx` did not grow by what it says.
#[inline]
pub(crate) fn poll_read(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    rx: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let before = rx.len();
    match stream.poll_read(cx, rx) {
        Poll::Ready(Ok(n)) if rx.len() != before.wrapping_add(n) => lie("read"),
        polled => polled,
    }
}

/// As [`Stream::poll_write`] of a buffer that is not empty; `WriteZero` where nothing was taken,
/// `InvalidData` where `tx` did not shrink by what it says.
#[inline]
pub(crate) fn poll_write(
    stream: &mut dyn Stream,
    cx: &mut Context<'_>,
    tx: &mut WriteBuf,
) -> Poll<io::Result<usize>> {
    let before = tx.len();
    match stream.poll_write(cx, tx) {
        Poll::Ready(Ok(n)) if tx.len().wrapping_add(n) != before => lie("wrote"),
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        polled => polled,
    }
}

#[cold]
fn lie(what: &str) -> Poll<io::Result<usize>> {
    let text = format!("the transport claims that it {what} another number of bytes than it did");
    Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
}
