//! What goes out: a queue of bytes that coalesces the small and chains the large.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A chunk at least this long is sent from where it is; a shorter one is cheaper to copy.
const CHAIN_FROM: usize = 2048;

/// Bytes waiting to be written, in order.
///
/// Heads and small chunks are copied into one buffer, so that they leave in one write; large
/// chunks are chained, so that they are not copied at all. It reads as a [`Buf`]: an adapter
/// writes [`Buf::chunk`], or several chunks by [`Buf::chunks_vectored`], and advances.
///
/// It does not bound itself: who fills it asks [`WriteBuf::len`] first (64 KiB is the mark).
#[derive(Debug, Default)]
pub struct WriteBuf {
    /// What goes out first.
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    queued: usize,
    /// What goes out last, and still grows.
    tail: BytesMut,
}

impl WriteBuf {
    /// An empty buffer with room for a head.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            tail: BytesMut::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.queue.is_empty()
    }

    /// How many chunks wait: one is written plainly, several by one vectored write.
    pub fn chunks(&self) -> usize {
        self.queue.len() + usize::from(!self.tail.is_empty())
    }

    /// Copies bytes in.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Takes bytes in: copied if they are few, chained if they are many.
    pub fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < CHAIN_FROM {
            return self.put_slice(&bytes);
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.queued += before.len();
            self.queue.push_back(before);
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Drops what waits and keeps the room.
    pub fn clear(&mut self) {
        if !self.queue.is_empty() {
            self.queue.clear();
            self.queued = 0;
        }
        self.tail.clear();
    }

    /// Bytes of memory held for small writes.
    pub fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    /// The growing end, for encoders that write in place.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }
}

impl Buf for WriteBuf {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.queue
            .front()
            .map_or(&self.tail[..], |bytes| &bytes[..])
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.queue.iter().map(|bytes| &bytes[..]);
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let mut n = 0;
        for (slot, chunk) in dst.iter_mut().zip(chunks.chain(tail)) {
            *slot = IoSlice::new(chunk);
            n += 1;
        }
        n
    }

    /// # Panics
    ///
    /// If `n` is more than [`WriteBuf::len`]: the transport claims to have written bytes that it
    /// was not given.
    fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.queue.front_mut() {
            let len = front.len();
            if n < len {
                front.advance(n);
                self.queued -= n;
                return;
            }
            n -= len;
            self.queued -= len;
            self.queue.pop_front();
        }
        if n == self.tail.len() {
            // Not `advance`, which would give up the room in front.
            self.tail.clear();
        } else {
            self.tail.advance(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buf: &mut WriteBuf, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !buf.is_empty() {
            let n = step.min(buf.chunk().len());
            out.extend_from_slice(&buf.chunk()[..n]);
            buf.advance(n);
        }
        out
    }

    #[test]
    fn small_chunks_coalesce_and_large_ones_chain_in_order() {
        let mut buf = WriteBuf::with_capacity(64);
        buf.put_slice(b"head");
        buf.put_bytes(Bytes::from(vec![b'x'; CHAIN_FROM]));
        buf.put_bytes(Bytes::from_static(b"tail"));
        assert_eq!(buf.chunks(), 3);
        assert_eq!(buf.len(), CHAIN_FROM + 8);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(buf.chunks_vectored(&mut slices), 3);
        let expected = [b"head".to_vec(), vec![b'x'; CHAIN_FROM], b"tail".to_vec()].concat();
        assert_eq!(drain(&mut buf, 7), expected);
        assert_eq!((buf.len(), buf.chunks()), (0, 0));
    }

    #[test]
    fn a_drained_buffer_keeps_its_room() {
        let mut buf = WriteBuf::with_capacity(64);
        let room = buf.capacity();
        for _ in 0..100 {
            buf.put_slice(&[0; 48]);
            drain(&mut buf, 48);
        }
        assert_eq!(buf.capacity(), room);
    }

    #[test]
    fn advancing_spans_chunks() {
        let mut buf = WriteBuf::default();
        buf.put_bytes(Bytes::from(vec![1; CHAIN_FROM]));
        buf.put_bytes(Bytes::from(vec![2; CHAIN_FROM]));
        buf.put_slice(&[3, 3]);
        buf.advance(CHAIN_FROM * 2 + 1);
        assert_eq!(buf.chunk(), &[3]);
    }
}
