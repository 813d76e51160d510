//! What masks, pings and jitter are drawn from.

use std::convert::Infallible;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng, TryRng};

/// A generator that rests as the seed of the next, a tenth of its size.
pub(super) struct Entropy {
    seed: [u8; 32],
    awake: Option<Box<ChaCha8Rng>>,
}

impl Entropy {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            seed: [0; 32],
            awake: Some(Box::new(rng)),
        }
    }

    /// Gives up what only a connection in use needs.
    pub(super) fn rest(&mut self) {
        if let Some(mut rng) = self.awake.take() {
            rng.fill_bytes(&mut self.seed);
        }
    }

    fn rng(&mut self) -> &mut ChaCha8Rng {
        let seed = self.seed;
        self.awake
            .get_or_insert_with(|| Box::new(ChaCha8Rng::from_seed(seed)))
    }
}

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.rng().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.rng().next_u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.rng().fill_bytes(dst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_rest_repeats_nothing_and_is_the_same_in_every_run() {
        let run = || {
            let mut entropy = Entropy::new(ChaCha8Rng::from_seed([7; 32]));
            let mut drawn = Vec::new();
            for _ in 0..3 {
                drawn.extend([(); 4].map(|()| entropy.next_u64()));
                entropy.rest();
                assert!(entropy.awake.is_none());
                // A second time there is nothing to give up, and the seed stays.
                let seed = entropy.seed;
                entropy.rest();
                assert_eq!(entropy.seed, seed);
            }
            drawn
        };
        let mut drawn = run();
        assert_eq!(drawn, run());
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 12);
    }
}
