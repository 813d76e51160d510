//! What was sent of a body that can be read once, kept so that the next attempt can send it again.
//!
//! ```text
//!   recording --a chunk does not fit, or the call needs no other attempt--> committed
//!     |    ^
//!     rewind: the next attempt begins with what is kept
//! ```
//!
//! Invariants:
//! * What is kept is what was sent, from the first byte on: every attempt says the same.
//! * [`Allowance::used`] is the sum of what the spools that share it keep, and at most its limit.
//! * Once committed a spool stays so, and keeps nothing but what this attempt has yet to send.

use bytes::Bytes;

/// What the spools of one client may keep in all.
#[derive(Debug)]
pub struct Allowance {
    limit: usize,
    used: usize,
}

impl Allowance {
    /// At most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Bytes that are kept now.
    pub const fn used(&self) -> usize {
        self.used
    }

    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.limit - self.used;
        if fits {
            self.used += bytes;
        }
        fits
    }

    fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// Keeps the body of one call while it is sent.
///
/// Its bytes are copied: a chunk may be a small part of a large buffer, which to hold on to would
/// cost more than is counted. Before it goes away, [`release`](Self::release) it.
#[derive(Debug)]
pub struct Spool {
    limit: usize,
    kept: Vec<u8>,
    /// So much of it was sent in this attempt.
    sent: usize,
    is_committed: bool,
}

impl Spool {
    /// Keeps at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            sent: 0,
            is_committed: false,
        }
    }

    /// A chunk came from the source, and goes out. All before it did, so [`poll_replay`] has none.
    ///
    /// [`poll_replay`]: Self::poll_replay
    pub fn handle_chunk(&mut self, chunk: &[u8], allowance: &mut Allowance) {
        if self.is_committed || chunk.is_empty() {
            return;
        }
        let len = self.kept.len() + chunk.len();
        if len > self.limit || !allowance.take(chunk.len()) {
            return self.commit(allowance);
        }
        if len > self.kept.capacity() {
            // Doubled, and not beyond what it may ever hold.
            let room = (2 * self.kept.capacity()).clamp(len, self.limit);
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(chunk);
        self.sent = len;
    }

    /// Begins another attempt; says whether one can be made.
    pub fn rewind(&mut self) -> bool {
        if !self.is_committed {
            self.sent = 0;
        }
        !self.is_committed
    }

    /// Gives up on other attempts, and on what is kept for them.
    pub fn commit(&mut self, allowance: &mut Allowance) {
        self.is_committed = true;
        if !self.is_behind() {
            self.release(allowance);
        }
    }

    /// Gives back what is kept.
    pub fn release(&mut self, allowance: &mut Allowance) {
        allowance.give_back(self.kept.len());
        self.kept = Vec::new();
        self.sent = 0;
    }

    /// What is kept and this attempt has not sent yet: it goes out before anything else does.
    pub fn poll_replay(&mut self, allowance: &mut Allowance) -> Option<Bytes> {
        let rest = self.kept.get(self.sent..).filter(|rest| !rest.is_empty())?;
        let rest = Bytes::copy_from_slice(rest);
        self.sent = self.kept.len();
        if self.is_committed {
            self.release(allowance);
        }
        Some(rest)
    }

    /// Whether this attempt has yet to send some of what is kept.
    pub fn is_behind(&self) -> bool {
        self.sent < self.kept.len()
    }

    /// Bytes kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether the body cannot be sent again: some of it was sent that is not kept.
    pub fn is_committed(&self) -> bool {
        self.is_committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn a_body_of_exactly_the_limit_is_kept_and_a_byte_more_commits() {
        let mut allowance = Allowance::new(16 * KIB * KIB);
        let mut spool = Spool::new(64 * KIB);
        spool.handle_chunk(&vec![1; 60 * KIB], &mut allowance);
        spool.handle_chunk(&vec![2; 4 * KIB], &mut allowance);
        assert_eq!((spool.len(), allowance.used()), (64 * KIB, 64 * KIB));
        assert!(spool.kept.capacity() <= 64 * KIB);
        assert!(spool.rewind() && spool.is_behind());
        let again = spool.poll_replay(&mut allowance).unwrap();
        assert_eq!(
            (again.len(), again[0], again[64 * KIB - 1]),
            (64 * KIB, 1, 2)
        );
        assert_eq!(spool.poll_replay(&mut allowance), None);
        spool.handle_chunk(b"x", &mut allowance);
        assert!(spool.is_committed() && !spool.rewind());
        assert_eq!((spool.len(), allowance.used()), (0, 0));
    }

    #[test]
    fn what_others_keep_is_not_there_to_take() {
        let mut allowance = Allowance::new(100);
        let mut spools = [Spool::new(64), Spool::new(64)];
        for spool in &mut spools {
            spool.handle_chunk(&[0; 60], &mut allowance);
        }
        assert_eq!(spools.each_ref().map(Spool::is_committed), [false, true]);
        assert_eq!(allowance.used(), 60);
        spools[0].release(&mut allowance);
        assert_eq!(allowance.used(), 0);
    }

    #[test]
    fn what_is_committed_within_a_replay_is_still_sent() {
        let mut allowance = Allowance::new(100);
        let mut spool = Spool::new(64);
        spool.handle_chunk(b"abc", &mut allowance);
        assert!(spool.rewind());
        spool.commit(&mut allowance);
        assert_eq!(allowance.used(), 3);
        let rest = spool.poll_replay(&mut allowance);
        assert_eq!((rest.as_deref(), allowance.used()), (Some(&b"abc"[..]), 0));
        assert!(!spool.rewind());
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing_and_an_empty_chunk_is_nothing() {
        let mut allowance = Allowance::new(0);
        let mut spool = Spool::new(0);
        spool.handle_chunk(b"", &mut allowance);
        assert!(spool.rewind() && spool.is_empty());
        spool.handle_chunk(b"a", &mut allowance);
        assert!(spool.is_committed());
    }
}
