//! What is counted, second by second, and what follows from it.

use std::ops::Range;
use std::time::Duration;

use fulmar_core::time::Instant;

use super::latency::Latencies;
use super::scenario::Scenario;

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Requests that callers made.
    pub requests: u32,
    /// Of these, the ones that got a response in the end.
    pub succeeded: u32,
    /// Attempts at the server that began in it.
    pub attempts: u32,
    /// Requests that the server finished.
    pub served: u32,
    /// Of these, the ones for a client that had given up.
    pub wasted: u32,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Second by second.
    pub seconds: Vec<Second>,
    fault: Range<usize>,
    slots: Vec<u32>,
    /// Of requests made before, during and after the fault.
    latencies: [Latencies; 3],
    /// Of requests made during the fault: how many needed 1, 2, .. attempts.
    attempts: Vec<u32>,
}

/// Success is steady when this share succeeds ..
const STEADY: f64 = 0.99;
/// .. of the requests of so many seconds.
const STEADY_FOR: usize = 10;
/// Attempts are counted in slots of a tenth of a second as well.
const SLOTS: usize = 10;
const SECOND: u64 = 1_000_000_000;

impl Report {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let start = scenario.before.as_secs() as usize;
        let end = start + scenario.fault_for.as_secs() as usize;
        let seconds = end + scenario.after.as_secs() as usize;
        Self {
            seconds: vec![Second::default(); seconds],
            fault: start..end,
            slots: vec![0; seconds * SLOTS],
            latencies: Default::default(),
            attempts: Vec::new(),
        }
    }

    /// Counts something in the second of that instant. What comes after the last is not counted.
    pub(super) fn count(&mut self, at: Instant, count: impl FnOnce(&mut Second)) {
        if let Some(second) = self.seconds.get_mut(whole_seconds(at)) {
            count(second);
        }
    }

    pub(super) fn count_attempt(&mut self, at: Instant) {
        self.count(at, |second| second.attempts += 1);
        let slot = at.as_nanos() * SLOTS as u64 / SECOND;
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            *slot += 1;
        }
    }

    /// A request that was made then has its response.
    pub(super) fn count_success(&mut self, began: Instant, now: Instant) {
        self.count(began, |second| second.succeeded += 1);
        let second = whole_seconds(began);
        let part = usize::from(second >= self.fault.start) + usize::from(second >= self.fault.end);
        self.latencies[part].record(now - began);
    }

    /// A request that was made then has ended after so many attempts of its client.
    pub(super) fn count_end(&mut self, began: Instant, attempts: u32) {
        if self.fault.contains(&whole_seconds(began)) {
            let attempts = attempts as usize;
            if self.attempts.len() < attempts {
                self.attempts.resize(attempts, 0);
            }
            self.attempts[attempts - 1] += 1;
        }
    }

    /// The seconds in which the fault lasted.
    pub fn fault(&self) -> Range<usize> {
        self.fault.clone()
    }

    /// Attempts at the server per request before the fault.
    pub fn amplification_before(&self) -> f64 {
        self.amplification(0..self.fault.start)
    }

    /// Attempts per request during the fault.
    pub fn amplification_during(&self) -> f64 {
        self.amplification(self.fault())
    }

    /// Attempts per request from 5 s to 65 s after the fault.
    pub fn amplification_after(&self) -> f64 {
        let end = self.seconds.len();
        self.amplification((self.fault.end + 5).min(end)..(self.fault.end + 65).min(end))
    }

    /// The most attempts in any one second from the beginning of the fault, by steps of a tenth, in
    /// multiples of the mean of requests. (Not of that second's own: where there are few, two
    /// attempts of one request would be a peak.)
    pub fn amplification_peak(&self) -> f64 {
        let windows = self.slots[self.fault.start * SLOTS..].windows(SLOTS);
        let peak = windows.map(|window| window.iter().sum::<u32>()).max();
        f64::from(peak.unwrap_or_default()) / self.mean_requests()
    }

    /// The most attempts in a tenth of a second, in multiples of the mean of requests.
    pub fn burst(&self) -> f64 {
        let slots = &self.slots[self.fault.start * SLOTS..];
        let peak = slots.iter().copied().max().unwrap_or_default();
        f64::from(peak) * SLOTS as f64 / self.mean_requests()
    }

    /// How long after the fault success became steady: 99 % of the requests of ten seconds.
    /// `None`: not within the run.
    pub fn recovery(&self) -> Option<Duration> {
        let after = &self.seconds[self.fault.end..];
        let steady = after
            .windows(STEADY_FOR)
            .position(|window| success(window) >= STEADY)?;
        Some(Duration::from_secs(steady as u64))
    }

    /// The share of the requests before the fault that succeeded.
    pub fn success_before(&self) -> f64 {
        success(&self.seconds[..self.fault.start])
    }

    /// The share of the requests during the fault that succeeded.
    pub fn success_during(&self) -> f64 {
        success(&self.seconds[self.fault()])
    }

    /// The share of the requests before and after the fault that succeeded.
    pub fn success_outside(&self) -> f64 {
        let (before, after) = (0..self.fault.start, self.fault.end..self.seconds.len());
        success(
            [before, after]
                .into_iter()
                .flat_map(|range| &self.seconds[range]),
        )
    }

    /// The share of what the server finished, from the beginning of the fault, that was for nobody.
    pub fn wasted(&self) -> f64 {
        let seconds = &self.seconds[self.fault.start..];
        ratio(seconds, |second| second.wasted, |second| second.served)
    }

    /// How long the requests took that succeeded, backoff and all attempts included: those made
    /// before, during and after the fault.
    pub fn latencies(&self) -> &[Latencies; 3] {
        &self.latencies
    }

    /// The shares of the requests made during the fault for which their client made 1, 2, ..
    /// attempts.
    pub fn attempts_of_a_request(&self) -> Vec<f64> {
        let total: u32 = self.attempts.iter().sum();
        let share = |&count| f64::from(count) / f64::from(total);
        self.attempts.iter().map(share).collect()
    }

    fn mean_requests(&self) -> f64 {
        let requests: u32 = self.seconds.iter().map(|second| second.requests).sum();
        f64::from(requests) / self.seconds.len() as f64
    }

    fn amplification(&self, range: Range<usize>) -> f64 {
        let seconds = &self.seconds[range];
        ratio(seconds, |second| second.attempts, |second| second.requests)
    }
}

fn whole_seconds(at: Instant) -> usize {
    (at.as_nanos() / SECOND) as usize
}

fn success<'a>(seconds: impl IntoIterator<Item = &'a Second>) -> f64 {
    ratio(seconds, |second| second.succeeded, |second| second.requests)
}

fn ratio<'a>(
    seconds: impl IntoIterator<Item = &'a Second>,
    part: impl Fn(&Second) -> u32,
    whole: impl Fn(&Second) -> u32,
) -> f64 {
    let (parts, wholes) = seconds.into_iter().fold((0, 0), |(parts, wholes), second| {
        (parts + part(second), wholes + whole(second))
    });
    f64::from(parts) / f64::from(wholes.max(1))
}
