//! What a budget gave, over all calls.

use std::time::Duration;

use fulmar_core::call::Verdict;
use fulmar_core::fault::FaultKind;
use fulmar_core::retry::Cause;
use fulmar_core::time::Instant;

use super::model::{Decision, End};

/// Everything that was earned and spent.
pub(super) struct Ledger {
    start: Instant,
    pub(super) firsts: Vec<Instant>,
    retries: Vec<Instant>,
    successes: u64,
    /// Thousandths of a token.
    spent: u64,
}

impl Ledger {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            firsts: Vec::new(),
            retries: Vec::new(),
            successes: 0,
            spent: 0,
        }
    }

    /// I1.5, over any ten seconds and over the whole.
    pub(super) fn note(&mut self, now: Instant, verdict: &Verdict, expected: Decision, end: &End) {
        if expected == Decision::Done {
            self.successes += 1;
        }
        if let Verdict::Retry(again) = verdict
            && !again.transparent
        {
            let is_timeout = matches!(end, End::Failure(facts) if is_timeout(&facts.cause));
            self.spent += if is_timeout { 2_000 } else { 1_000 };
            self.retries.push(now);
        }
        let elapsed = (now - self.start).as_millis() as u64;
        assert!(
            self.spent <= 10_000 + 100 * self.successes + elapsed / 100 + 1,
            "more than was ever there"
        );
        // Slots are whole seconds: the ten of them span up to ten seconds and the one that began.
        let recent = |events: &[Instant], seconds| {
            let since = now - Duration::from_secs(seconds);
            events.iter().rev().take_while(|&&at| at >= since).count()
        };
        let retries = recent(&self.retries, 9);
        let firsts = recent(&self.firsts, 20);
        assert!(
            retries <= (firsts / 5).max(2),
            "{retries} retries, {firsts} firsts"
        );
    }
}

fn is_timeout(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout(_) => true,
        Cause::Fault(fault) => fault.kind == FaultKind::TimedOut,
        _ => false,
    }
}
