//! How long to wait before the next attempt.
//!
//! With `b` the base, `f` the factor, `c` the longest delay, `n` = 1 before the second attempt and
//! `e = min(c, b * f^(n-1))`:
//!
//! | jitter | delay |
//! |---|---|
//! | `None` | `e` |
//! | `Full` | `U[0, e]` |
//! | `Equal` | `e/2 + U[0, e/2]` |
//! | `Decorrelated` | `U[b, min(c, max(b, 3 * previous))]` |
//! | `Proportional(p)` | `min(e, c/(1+p)) * U[1-p, 1+p]` |
//! | `Additive` | `b * f^(n-1) + U[0, b]`, and `c - U[0, b]` where that could pass `c` |
//!
//! The longest delay is a hard bound, and no kind gathers its delays on it: clamping after the
//! jitter would make every client that has failed for long wake at the same moment. The last two
//! rows differ from the formulas their users may know, which [`Backoff::compat`] gives back.
//!
//! The exponential is clamped before it becomes a duration, so that no number of attempts wraps it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use rand_core::Rng;

use crate::time::saturating_nanos;

/// How a delay is spread, so that clients that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all. Every client that failed at one moment returns at one moment.
    None,
    /// Evenly from zero to the exponential: the least load on a struggling peer. The default.
    Full,
    /// Evenly over the upper half of the exponential.
    Equal,
    /// Evenly from the base to three times the previous delay.
    Decorrelated,
    /// By this share to either side, of `[0, 1)`.
    Proportional(f64),
    /// By up to one base more.
    Additive,
}

/// The delays between the attempts of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    base: u64,
    factor: f64,
    max: u64,
    jitter: Jitter,
    compat: bool,
}

/// Delays stay under this unless [`Backoff::max`] says otherwise: 5 s.
const DEFAULT_MAX: u64 = 5_000_000_000;

impl Backoff {
    /// Delays that double from `base`, at most 5 s (or `base`, if that is longer), with full
    /// jitter.
    pub fn exponential(base: Duration) -> Self {
        let base = saturating_nanos(base);
        Self {
            base,
            factor: 2.0,
            max: DEFAULT_MAX.max(base),
            jitter: Jitter::Full,
            compat: false,
        }
    }

    /// The same delay each time, without jitter unless it is set.
    pub fn constant(delay: Duration) -> Self {
        let base = saturating_nanos(delay);
        // Twice the delay leaves room for any jitter around it.
        let max = base.saturating_mul(2);
        Self {
            base,
            factor: 1.0,
            max,
            jitter: Jitter::None,
            compat: false,
        }
    }

    /// Sets what each delay is multiplied by to get the next, at least 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets the longest delay.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = saturating_nanos(max);
        self
    }

    /// Sets how delays are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Uses the formulas as they are often published: `Additive` and `Decorrelated` clamp after
    /// the jitter, and `Proportional` may exceed the longest delay by its share.
    #[must_use]
    pub fn compat(mut self) -> Self {
        self.compat = true;
        self
    }

    /// Checks that the settings agree with each other.
    ///
    /// # Errors
    /// Where the base is longer than the longest delay, the factor shrinks delays or is no number,
    /// or the share of `Proportional` is outside `[0, 1)`.
    pub fn validate(&self) -> Result<(), BackoffError> {
        if self.base > self.max {
            return Err(BackoffError::BaseAboveMax {
                base: Duration::from_nanos(self.base),
                max: Duration::from_nanos(self.max),
            });
        }
        if !self.factor.is_finite() || self.factor < 1.0 {
            return Err(BackoffError::Factor);
        }
        match self.jitter {
            Jitter::Proportional(share) if !(0.0..1.0).contains(&share) => Err(BackoffError::Share),
            _ => Ok(()),
        }
    }

    /// The delay before attempt `n + 1`.
    ///
    /// `previous` is what this returned for the call's last delay, zero at first; only
    /// `Decorrelated` looks at it. Never longer than [`max_delay`](Self::max_delay), whatever the
    /// settings and `n`.
    pub fn delay(&self, n: u32, previous: Duration, rng: &mut dyn Rng) -> Duration {
        let nanos = match self.base {
            0 => 0,
            _ => self.jittered(n, saturating_nanos(previous), rng),
        };
        Duration::from_nanos(nanos)
    }

    /// The same, of at least `floor`. Full jitter is even from there on. What is below it by itself
    /// is drawn evenly from it to its double: raised to it, clients that failed together would
    /// return together.
    #[cfg(feature = "websocket")]
    pub(crate) fn delay_from(
        &self,
        floor: Duration,
        n: u32,
        previous: Duration,
        rng: &mut dyn Rng,
    ) -> Duration {
        let floor = saturating_nanos(floor);
        let twice = floor.saturating_mul(2);
        if self.jitter == Jitter::Full {
            return Duration::from_nanos(uniform(rng, floor, self.expo(n).max(twice)));
        }
        let delay = self.delay(n, previous, rng);
        if saturating_nanos(delay) < floor {
            Duration::from_nanos(uniform(rng, floor, twice))
        } else {
            delay
        }
    }

    /// The longest delay there can be.
    pub fn max_delay(&self) -> Duration {
        Duration::from_nanos(match self.jitter {
            Jitter::Proportional(share) if self.compat => {
                self.max.saturating_add(fraction(self.max, share))
            }
            _ => self.max,
        })
    }

    fn jittered(&self, n: u32, previous: u64, rng: &mut dyn Rng) -> u64 {
        let Self {
            base, max, compat, ..
        } = *self;
        let expo = self.expo(n);
        match self.jitter {
            Jitter::None => expo,
            Jitter::Full => uniform(rng, 0, expo),
            Jitter::Equal => expo - expo / 2 + uniform(rng, 0, expo / 2),
            Jitter::Decorrelated => {
                let reach = previous.max(base).saturating_mul(3);
                if compat {
                    uniform(rng, base, reach).min(max)
                } else {
                    uniform(rng, base.min(max), reach.min(max))
                }
            }
            Jitter::Proportional(share) => {
                let middle = if compat {
                    expo
                } else {
                    expo.min(quotient(max, 1.0 + share))
                };
                let spread = fraction(middle, share);
                let delay = uniform(
                    rng,
                    middle.saturating_sub(spread),
                    middle.saturating_add(spread),
                );
                delay.min(saturating_nanos(self.max_delay()))
            }
            Jitter::Additive => {
                let extra = base.min(max);
                // At least a nanosecond is left where base and longest delay are the same.
                let within = if compat {
                    extra
                } else {
                    extra.min(max.saturating_sub(1))
                };
                match expo.checked_add(extra) {
                    Some(reach) if reach <= max => expo + uniform(rng, 0, extra),
                    _ if compat => expo.saturating_add(uniform(rng, 0, extra)).min(max),
                    _ => max - uniform(rng, 0, within),
                }
            }
        }
    }

    /// `min(max, base * factor^(n-1))`, without overflow on the way.
    fn expo(&self, n: u32) -> u64 {
        let Self {
            base, factor, max, ..
        } = *self;
        let doublings = n.saturating_sub(1);
        if n == 0 || base >= max {
            return base.min(max);
        }
        #[expect(
            clippy::float_cmp,
            reason = "exactly two is the case that integers serve"
        )]
        if factor == 2.0 {
            let fits = doublings < base.leading_zeros();
            return if fits {
                (base << doublings).min(max)
            } else {
                max
            };
        }
        // Repeated multiplication, not `powi`: it grows with `n` for any factor of at least one,
        // and gives the same bits on every machine. 1074 is the exponent range of an `f64`.
        let mut product = base as f64;
        for _ in 0..doublings.min(1074) {
            let next = product * factor;
            if !next.is_finite() || next >= max as f64 {
                return max;
            }
            if next.to_bits() == product.to_bits() {
                break;
            }
            product = next;
        }
        nanos(product).min(max)
    }
}

impl Default for Backoff {
    /// Full jitter, from 100 ms, at most 5 s.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100))
    }
}

/// An even draw from `lo` to `hi`, both included. Draws nothing where there is no choice.
///
/// Lemire, "Fast random integer generation in an interval" (2019): the high half of a 128-bit
/// product, with rejection, so that no value is likelier than another.
pub fn uniform(rng: &mut dyn Rng, lo: u64, hi: u64) -> u64 {
    if lo >= hi {
        return lo;
    }
    let range = (hi - lo).wrapping_add(1);
    if range == 0 {
        return rng.next_u64();
    }
    let mut product = u128::from(rng.next_u64()) * u128::from(range);
    if (product as u64) < range {
        let threshold = range.wrapping_neg() % range;
        // Each draw is rejected with a chance below one half; the bound is for a broken generator.
        for _ in 0..128 {
            if product as u64 >= threshold {
                break;
            }
            product = u128::from(rng.next_u64()) * u128::from(range);
        }
    }
    lo + (product >> 64) as u64
}

fn fraction(value: u64, share: f64) -> u64 {
    nanos(value as f64 * share)
}

fn quotient(value: u64, divisor: f64) -> u64 {
    nanos(value as f64 / divisor)
}

/// The whole nanoseconds of a number: zero if negative or none, the greatest if too large.
#[expect(
    clippy::cast_sign_loss,
    reason = "the cast saturates, and maps NaN to zero"
)]
fn nanos(value: f64) -> u64 {
    value as u64
}

/// Settings of a [`Backoff`] that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackoffError {
    /// The first delay is longer than the longest.
    BaseAboveMax {
        /// The base.
        base: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// The factor is below one, infinite, or not a number.
    Factor,
    /// The share of proportional jitter is outside `[0, 1)`.
    Share,
}

impl fmt::Display for BackoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseAboveMax { base, max } => {
                write!(
                    f,
                    "the backoff base of {base:?} is longer than the backoff max of {max:?}"
                )
            }
            Self::Factor => f.write_str("the backoff factor must be finite and at least 1"),
            Self::Share => {
                f.write_str("the share of proportional jitter must be at least 0 and below 1")
            }
        }
    }
}

impl Error for BackoffError {}
