//! Random choices of a pair.

use chacha20::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Choices that a seed decides.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below that one.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let draw = u128::from(self.0.next_u64()) * u128::from(end);
        (draw >> 64) as u64
    }

    /// Whether something happens that does so in so many cases of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}
