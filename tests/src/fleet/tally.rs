//! What is counted, second by second, and what follows from it.

use std::ops::Range;
use std::time::Duration;

use fulmar_core::time::Instant;

use super::scenario::Scenario;

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Requests that callers made.
    pub requests: u32,
    /// Of these, the ones that got a response in the end.
    pub succeeded: u32,
    /// Attempts that began in it.
    pub attempts: u32,
    /// Requests that the server finished for a client that had given up.
    pub wasted: u32,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Second by second.
    pub seconds: Vec<Second>,
    fault: Range<usize>,
    slots: Vec<u32>,
}

/// Success is steady when this share succeeds ..
const STEADY: f64 = 0.99;
/// .. of the requests of so many seconds.
const STEADY_FOR: usize = 10;
/// Attempts are counted in slots of a tenth of a second as well.
const SLOTS: u64 = 10;
const SECOND: u64 = 1_000_000_000;

impl Report {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let start = scenario.before.as_secs() as usize;
        let end = start + scenario.fault_for.as_secs() as usize;
        let seconds = end + scenario.after.as_secs() as usize;
        Self {
            seconds: vec![Second::default(); seconds],
            fault: start..end,
            slots: vec![0; seconds * SLOTS as usize],
        }
    }

    /// Counts something in the second of that instant. What comes after the last is not counted.
    pub(super) fn count(&mut self, at: Instant, count: impl FnOnce(&mut Second)) {
        if let Some(second) = self.seconds.get_mut((at.as_nanos() / SECOND) as usize) {
            count(second);
        }
    }

    pub(super) fn count_attempt(&mut self, at: Instant) {
        self.count(at, |second| second.attempts += 1);
        if let Some(slot) = self
            .slots
            .get_mut((at.as_nanos() * SLOTS / SECOND) as usize)
        {
            *slot += 1;
        }
    }

    /// The seconds in which the fault lasted.
    pub fn fault(&self) -> Range<usize> {
        self.fault.clone()
    }

    /// Attempts per request before the fault.
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

    /// The most attempts per request in any second from the beginning of the fault.
    pub fn amplification_peak(&self) -> f64 {
        let mean = self.mean_requests();
        let seconds = &self.seconds[self.fault.start..];
        let peak = seconds.iter().map(|second| second.attempts).max();
        f64::from(peak.unwrap_or_default()) / mean
    }

    /// The most attempts in a tenth of a second, in multiples of the mean of requests.
    pub fn burst(&self) -> f64 {
        let slots = &self.slots[self.fault.start * SLOTS as usize..];
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

    /// Attempts per second from the beginning of the fault that the server finished for nobody.
    pub fn wasted(&self) -> f64 {
        let seconds = &self.seconds[self.fault.start..];
        let wasted: u32 = seconds.iter().map(|second| second.wasted).sum();
        f64::from(wasted) / seconds.len() as f64
    }

    fn mean_requests(&self) -> f64 {
        let requests: u32 = self.seconds.iter().map(|second| second.requests).sum();
        f64::from(requests) / self.seconds.len() as f64
    }

    fn amplification(&self, range: Range<usize>) -> f64 {
        let seconds = &self.seconds[range];
        let attempts: u32 = seconds.iter().map(|second| second.attempts).sum();
        let requests: u32 = seconds.iter().map(|second| second.requests).sum();
        f64::from(attempts) / f64::from(requests.max(1))
    }
}

fn success(seconds: &[Second]) -> f64 {
    let succeeded: u32 = seconds.iter().map(|second| second.succeeded).sum();
    let requests: u32 = seconds.iter().map(|second| second.requests).sum();
    f64::from(succeeded) / f64::from(requests.max(1))
}
