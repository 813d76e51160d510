//! Delays: within their bounds for any settings and any draw.

use std::convert::Infallible;
use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter, uniform};
use fulmar_core::rand_core::{Rng, TryRng};

use super::script::Script;

/// Random words from a list, over and over.
///
/// `uniform` takes the high half of `word * (hi - lo + 1)`, so that the word `u * 2^64` lands at
/// the share `u` of the range: that is how the test vectors' `u` maps to a word. The ends are the
/// least word that is never rejected, 1, and the greatest.
#[derive(Clone, Debug)]
pub struct Words {
    words: Vec<u64>,
    next: usize,
}

impl Words {
    /// These words; one at least.
    pub fn new(words: Vec<u64>) -> Self {
        Self { words, next: 0 }
    }

    /// Always the word that lands at the share `u` of a range.
    #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
    pub fn at(u: f64) -> Self {
        let word = (u * 18_446_744_073_709_551_616.0) as u64;
        Self::new(vec![word.max(1)])
    }

    /// How many words were taken.
    pub fn taken(&self) -> usize {
        self.next
    }
}

impl TryRng for Words {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let word = self.words[self.next % self.words.len()];
        self.next += 1;
        Ok(word)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// A number of any magnitude: most bytes say how many bits it has.
pub(super) fn number(script: &mut Script<'_>) -> u64 {
    let magnitude = script.byte() % 65;
    let bits = (0..8).fold(0_u64, |bits, _| bits << 8 | u64::from(script.byte()));
    match magnitude {
        0 => 0,
        shift => bits >> (64 - shift),
    }
}

/// Settings of every kind; not all of them are valid.
pub(super) fn backoff(script: &mut Script<'_>) -> Backoff {
    let base = Duration::from_nanos(number(script));
    let share = f64::from(script.byte()) / 255.0;
    let jitter = match script.below(6) {
        0 => Jitter::None,
        1 => Jitter::Full,
        2 => Jitter::Equal,
        3 => Jitter::Decorrelated,
        4 => Jitter::Proportional(share),
        _ => Jitter::Additive,
    };
    let factor = match script.below(8) {
        0 => 1.0,
        1..=3 => 2.0,
        4 => 1.0 + f64::from(script.byte()) / 100_000.0,
        5 => f64::from_bits(number(script)),
        _ => 1.0 + f64::from(script.byte()) / 50.0,
    };
    let backoff = Backoff::exponential(base)
        .max(Duration::from_nanos(number(script)))
        .factor(factor)
        .jitter(jitter);
    if script.below(4) == 0 {
        backoff.compat()
    } else {
        backoff
    }
}

/// I1.4: for any settings, number of attempts and draws, a delay is at most the longest one, and
/// is zero only where a draw or the settings say so. Without jitter delays never shrink.
///
/// # Panics
///
/// Where a delay is out of bounds.
pub fn backoff_delays(data: &[u8]) {
    let mut script = Script::new(data);
    let backoff = backoff(&mut script);
    let mut rng = Words::new(vec![number(&mut script), number(&mut script)]);
    let mut previous = Duration::from_nanos(number(&mut script));
    let mut plain = Duration::ZERO;
    for _ in 0..8 {
        let n = number(&mut script) as u32;
        previous = backoff.delay(n, previous, &mut rng);
        assert!(
            previous <= backoff.max_delay(),
            "{previous:?} with {backoff:?} at {n}"
        );
    }
    if backoff.validate().is_ok() {
        let plainly = backoff.jitter(Jitter::None);
        for n in [1, 2, 3, 64, 65, 1_074, 1_075, u32::MAX] {
            let delay = plainly.delay(n, previous, &mut rng);
            assert!(delay >= plain, "{plainly:?} shrinks at {n}");
            plain = delay;
        }
        zero_is_only_drawn(&backoff, plain);
    }
}

/// A draw in the middle of its range is no zero, unless the range is (nearly) nothing.
fn zero_is_only_drawn(backoff: &Backoff, longest: Duration) {
    let delay = backoff.delay(1, Duration::ZERO, &mut Words::at(0.75));
    let first = backoff
        .jitter(Jitter::None)
        .delay(1, Duration::ZERO, &mut Words::at(0.5));
    if first > Duration::from_nanos(1) {
        assert!(delay > Duration::ZERO, "{backoff:?}, up to {longest:?}");
    }
}

/// An even draw is within its range, whatever the words, and takes none where there is no choice.
///
/// # Panics
///
/// Where it is not.
pub fn a_draw_is_within_its_range(data: &[u8]) {
    let mut script = Script::new(data);
    let (lo, hi) = (number(&mut script), number(&mut script));
    let mut rng = Words::new(vec![number(&mut script), number(&mut script)]);
    let drawn = uniform(&mut rng, lo, hi);
    assert!(
        drawn >= lo && drawn <= hi.max(lo),
        "{drawn} from {lo} to {hi}"
    );
    assert_eq!(rng.taken() == 0, lo >= hi);
}
