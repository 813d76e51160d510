//! Random streams, one per named actor.

use std::hash::Hasher;

use chacha20::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;

/// An actor's own random stream. It depends on the simulation's seed and on the actor's name and on
/// nothing else, so another actor's draws, or its existence, shift none of this one's.
#[derive(Debug)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        let mut bytes = [0; 32];
        for (word, out) in bytes.chunks_exact_mut(8).enumerate() {
            let mut hasher = SipHasher13::new_with_keys(seed, word as u64);
            hasher.write(name.as_bytes());
            out.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    pub(crate) fn fill(&mut self, dst: &mut [u8]) {
        self.0.fill_bytes(dst);
    }

    /// A draw from `lo..=hi`; none is taken where there is no choice. The bias of the
    /// multiplication is below 2^-20 for every range that fits a virtual day.
    pub(crate) fn uniform(&mut self, lo: u64, hi: u64) -> u64 {
        if lo >= hi {
            return lo;
        }
        let span = u128::from(hi - lo) + 1;
        lo + ((u128::from(self.0.next_u64()) * span) >> 64) as u64
    }

    /// Whether something of probability `p` happens; no draw is taken where it cannot.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        if p <= 0.0 {
            return false;
        }
        // 53 bits are all that a double tells apart.
        ((self.0.next_u64() >> 11) as f64) < p * 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_the_seed_and_the_name() {
        let draw = |seed, name| Stream::named(seed, name).uniform(0, u64::MAX);
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn draws_stay_within_their_range() {
        let mut stream = Stream::named(7, "range");
        assert!((0..1000).all(|_| (3..=5).contains(&stream.uniform(3, 5))));
        let hits = (0..10_000).filter(|_| stream.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!stream.chance(0.0) && stream.chance(1.0));
    }
}
