//! Durations in buckets.

use std::time::Duration;

/// The upper bounds of the buckets, in milliseconds.
const BOUNDS: [u64; 15] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000,
];

/// How many durations fell into each of 16 fixed buckets, and their sum.
///
/// The upper bounds are 1, 2 and 5 times powers of ten from 1 ms to 20 s, then 60 s, each included
/// in its bucket; the last bucket has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets in order: their upper bounds (`None`: no bound) and how many are in each alone.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS.into_iter().map(Duration::from_millis);
        let bounds = bounds.map(Some).chain([None]);
        bounds.zip(self.buckets)
    }

    /// The upper bound of the bucket that the share `share` (0 to 1) of all durations, the shortest
    /// ones, reaches into: so many took no longer. `None` where there are none, or where that
    /// bucket has no bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        #[expect(
            clippy::cast_sign_loss,
            reason = "clamped; and casts from floats saturate"
        )]
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0;
        let reaches = |(_, n): &(Option<Duration>, u64)| {
            below += n;
            below >= rank
        };
        self.buckets().find(reaches)?.0
    }

    pub(super) fn add(&mut self, took: Duration) {
        let millis = Duration::from_millis;
        let place = BOUNDS.partition_point(|bound| millis(*bound) < took);
        self.buckets[place] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_bound_is_in_its_own_bucket_and_what_is_above_it_in_the_next() {
        for (took, bound) in [
            (us(0), Some(us(1_000))),
            (us(1_000), Some(us(1_000))),
            (us(1_001), Some(us(2_000))),
            (us(20_000_001), Some(us(60_000_000))),
            (us(60_000_000), Some(us(60_000_000))),
            (us(60_000_001), None),
            (Duration::MAX, None),
        ] {
            let mut histogram = Histogram::default();
            histogram.add(took);
            let filled: Vec<_> = histogram.buckets().filter(|(_, n)| *n > 0).collect();
            assert_eq!(filled, [(bound, 1)], "{took:?}");
            assert_eq!(histogram.quantile(0.5), bound);
            assert_eq!((histogram.count(), histogram.sum()), (1, took));
        }
    }

    #[test]
    fn a_quantile_is_the_bound_that_so_many_do_not_pass() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=100 {
            histogram.add(us(millis * 1_000));
        }
        for (share, millis) in [
            (0.0, 1),
            (0.01, 1),
            (0.02, 2),
            (0.5, 50),
            (0.51, 100),
            (0.99, 100),
            (1.0, 100),
            (7.0, 100),
            (f64::NAN, 1),
        ] {
            assert_eq!(
                histogram.quantile(share),
                Some(us(millis * 1_000)),
                "{share}"
            );
        }
        assert_eq!(histogram.sum(), us(5_050_000));
        histogram.add(Duration::MAX);
        assert_eq!(histogram.sum(), Duration::MAX, "it saturates");
    }
}
