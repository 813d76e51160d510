//! How long requests took, in buckets of which each is a sixteenth wider than its value at most.

use std::time::Duration;

/// Buckets per doubling.
const STEPS: u64 = 16;

/// A histogram of durations from microseconds to hours, exact to 7 %.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: Vec<u32>,
    total: u64,
}

impl Latencies {
    pub(super) fn record(&mut self, took: Duration) {
        let bucket = bucket(took.as_micros() as u64);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The upper edge of the bucket in which this share of them, from 0 to 1, has come to an end.
    /// `None`: there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut passed = 0;
        let bucket = self.counts.iter().position(|&count| {
            passed += u64::from(count);
            passed > 0 && passed as f64 >= share * self.total as f64
        })?;
        Some(Duration::from_micros(edge(bucket)))
    }
}

/// Buckets of one microsecond each up to `STEPS`, then `STEPS` of equal width per doubling.
fn bucket(micros: u64) -> usize {
    let doublings = u64::from(micros.max(STEPS).ilog2() - STEPS.ilog2());
    (doublings * STEPS + (micros >> doublings)) as usize
}

/// The end of a bucket: what begins the next.
fn edge(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    let doublings = (next / STEPS).saturating_sub(1);
    (next - doublings * STEPS) << doublings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_below_the_edge_of_its_bucket_and_not_by_much() {
        for micros in (0..2_000).chain([65_535, 65_536, 999_999, 3_600_000_000]) {
            let edge = edge(bucket(micros));
            assert!(micros < edge, "{micros} {edge}");
            assert!(edge - micros <= micros / STEPS + 1, "{micros} {edge}");
        }
    }
}
