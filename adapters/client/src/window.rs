//! Reading into a buffer's room by interfaces that want initialised memory.

use std::io;
use std::task::Poll;

use bytes::BytesMut;

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
}
