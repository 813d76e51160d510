//! Between buffers and the safe interfaces of sockets: a window of a buffer's room to read into, and
//! what waits to be written as slices.

use std::io::{self, IoSlice};
use std::task::Poll;

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;

/// Chunks that one vectored write takes.
const CHUNKS: usize = 16;

/// How much of a buffer's room is zeroed for the next read.
///
/// The safe interfaces of sockets fill initialised memory only. So no more of the room is
/// initialised than the stream has lately filled: 2 KiB at first, twice as much after a read that
/// filled it, half after one that left most of it empty, 64 KiB at most.
#[derive(Clone, Copy, Debug)]
pub struct Window(u32);

/// Room for a small response.
const MIN: u32 = 2 * 1024;
/// What is zeroed should still be in the cache when it is filled.
const MAX: u32 = 64 * 1024;

impl Default for Window {
    fn default() -> Self {
        Self(MIN)
    }
}

impl Window {
    /// Appends to `buf` what `read` puts into its slice, which is not empty unless `buf` has no spare
    /// capacity. Nothing is appended where `read` is pending or fails.
    ///
    /// # Errors
    ///
    /// Those of `read`; `InvalidData` where it claims more bytes than its slice has.
    pub fn read(
        &mut self,
        buf: &mut BytesMut,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let before = buf.len();
        let room = (buf.capacity() - before).min(self.0 as usize);
        buf.resize(before + room, 0);
        let polled = match read(&mut buf[before..]) {
            Poll::Ready(Ok(n)) if n > room => {
                let text = "the transport claims to have read more than it was asked for";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
            }
            polled => polled,
        };
        let filled = match polled {
            Poll::Ready(Ok(n)) => n,
            _ => 0,
        };
        buf.truncate(before + filled);
        if filled > 0 {
            self.adapt(filled as u32, room as u32);
        }
        polled
    }

    /// The most bytes that the next read brings.
    pub fn size(&self) -> usize {
        self.0 as usize
    }

    fn adapt(&mut self, filled: u32, room: u32) {
        if filled == self.0 {
            self.0 = (self.0 * 2).min(MAX);
        } else if filled < room && filled < self.0 / 4 {
            self.0 = (self.0 / 2).max(MIN);
        }
    }
}

/// Offers to `write` what waits in `buf`, one slice or several for a vectored write, and advances by
/// what it took.
///
/// # Errors
///
/// Those of `write`; `WriteZero` where it takes nothing, `InvalidData` where it claims more than was
/// offered.
pub fn gather(
    buf: &mut WriteBuf,
    write: impl FnOnce(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    let written = if buf.chunks() == 1 {
        write(&[IoSlice::new(buf.chunk())])
    } else {
        let mut slices = [IoSlice::new(&[]); CHUNKS];
        let n = buf.chunks_vectored(&mut slices);
        write(&slices[..n])
    };
    written.map(|written| {
        let n = written?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if n > buf.len() {
            let text = "the transport claims to have written more than it was given";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        buf.advance(n);
        Ok(n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(window: &mut Window, buf: &mut BytesMut, n: usize) -> usize {
        let read = |slice: &mut [u8]| {
            let n = n.min(slice.len());
            slice[..n].fill(7);
            Poll::Ready(Ok(n))
        };
        match window.read(buf, read) {
            Poll::Ready(Ok(n)) => n,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_window_follows_what_is_read() {
        let mut window = Window::default();
        let mut buf = BytesMut::with_capacity(1 << 20);
        let steps: Vec<_> = (0..8)
            .map(|_| fill(&mut window, &mut buf, 1 << 20))
            .collect();
        let kib = [2, 4, 8, 16, 32, 64, 64, 64].map(|n| n * 1024);
        assert_eq!(steps, kib);
        assert_eq!(buf.len(), kib.iter().sum::<usize>());
        assert!(buf.iter().all(|byte| *byte == 7));
        for _ in 0..8 {
            fill(&mut window, &mut buf, 100);
        }
        assert_eq!(window.size(), 2048);
    }

    #[test]
    fn only_what_was_read_is_appended() {
        let mut window = Window::default();
        let mut buf = BytesMut::with_capacity(100);
        buf.extend_from_slice(b"before");
        assert_eq!(fill(&mut window, &mut buf, 3), 3);
        assert_eq!(&buf[..], b"before\x07\x07\x07");
        assert!(window.read(&mut buf, |_| Poll::Pending).is_pending());
        let failed = window.read(&mut buf, |_| Poll::Ready(Err(io::ErrorKind::Other.into())));
        assert!(matches!(failed, Poll::Ready(Err(_))));
        assert_eq!(buf.len(), 9);
        assert_eq!(buf.capacity(), 100, "the room given is the room used");
    }

    #[test]
    fn a_transport_that_claims_too_much_is_an_error() {
        let mut buf = BytesMut::with_capacity(10);
        let claimed = Window::default().read(&mut buf, |slice| Poll::Ready(Ok(slice.len() + 1)));
        assert!(matches!(claimed, Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::InvalidData));
        assert!(buf.is_empty());
    }

    #[test]
    fn what_is_taken_is_gone_and_claims_are_checked() {
        let mut buf = WriteBuf::default();
        buf.put_slice(b"abc");
        let taken = gather(&mut buf, |slices| Poll::Ready(Ok(slices[0].len() - 1)));
        assert!(matches!(taken, Poll::Ready(Ok(2))));
        assert_eq!(buf.chunk(), b"c");
        buf.put_bytes(vec![b'x'; 100_000].into());
        let taken = gather(&mut buf, |slices| Poll::Ready(Ok(slices.len())));
        assert!(matches!(taken, Poll::Ready(Ok(2))));
        let left = buf.len();
        for (claim, kind) in [
            (0, io::ErrorKind::WriteZero),
            (left + 1, io::ErrorKind::InvalidData),
        ] {
            let taken = gather(&mut buf, |_| Poll::Ready(Ok(claim)));
            assert!(matches!(taken, Poll::Ready(Err(e)) if e.kind() == kind));
        }
        assert!(gather(&mut buf, |_| Poll::Pending).is_pending());
        assert_eq!(buf.len(), left);
    }
}
