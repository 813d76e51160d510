//! The retry budget against a list of everything that happened.

use std::time::Duration;

use fulmar_core::budget::{Budget, Cost};
use fulmar_core::time::Instant;

use super::script::Script;

const SECOND: u64 = 1_000_000_000;

/// The default rules, applied to the whole history at each step.
#[derive(Default)]
struct History {
    firsts: Vec<Instant>,
    retries: Vec<Instant>,
    /// Thousandths of a token.
    tokens: u64,
    refilled: Instant,
}

fn second(at: Instant) -> u64 {
    at.as_nanos() / SECOND
}

impl History {
    /// Events in the latest ten seconds of the clock, or the latest twelve times five.
    fn recent(events: &[Instant], now: Instant, slots: u64, width: u64) -> u64 {
        let slot = |at| second(at) / width;
        events
            .iter()
            .filter(|at| slot(**at) + slots > slot(now))
            .count() as u64
    }

    fn cap(&self, now: Instant) -> u64 {
        (Self::recent(&self.firsts, now, 12, 5) * 100).clamp(3_000, 10_000)
    }

    fn refill(&mut self, now: Instant) {
        let cap = self.cap(now);
        // A thousandth each 100 ms; a full bucket keeps no remainder.
        while self.tokens < cap && self.refilled + Duration::from_millis(100) <= now {
            self.refilled = self.refilled + Duration::from_millis(100);
            self.tokens += 1;
        }
        if self.tokens >= cap {
            self.tokens = cap;
            self.refilled = self.refilled.max(now);
        }
    }

    fn allowed(&self, now: Instant) -> u64 {
        (Self::recent(&self.firsts, now, 10, 1) / 5).max(2)
    }

    fn withdraw(&mut self, now: Instant, cost: u64) -> bool {
        self.refill(now);
        let retries = Self::recent(&self.retries, now, 10, 1);
        let may = self.tokens >= cost && retries < self.allowed(now);
        if may {
            self.tokens -= cost;
            self.retries.push(now);
        }
        may
    }

    fn refund(&mut self, now: Instant, paid: Instant, cost: u64) {
        self.refill(now);
        self.tokens = (self.tokens + cost).min(self.cap(now));
        if let Some(place) = self.retries.iter().position(|at| *at == paid) {
            self.retries.remove(place);
        }
    }
}

/// Runs the script on the budget and on the history, and checks what a budget is for: over any ten
/// slots retries are within the firsts' share, and over the whole within what was deposited.
///
/// # Panics
///
/// Where they differ, or a bound is passed.
pub fn budget_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let start = Instant::from_nanos(script.below(256) as u64 * SECOND / 16);
    let mut now = start;
    let mut budget = Budget::new(now);
    let mut history = History {
        tokens: 3_000,
        refilled: now,
        ..History::default()
    };
    let (mut successes, mut spent, mut payments) = (0_u64, 0_u64, Vec::new());
    while !script.is_over() {
        match script.below(9) {
            0..=2 => {
                for _ in 0..=script.below(32) {
                    budget.handle_first_attempt(now);
                    history.firsts.push(now);
                }
            }
            3 => {
                for _ in 0..=script.below(32) {
                    budget.handle_success(now);
                    successes += 1;
                    history.refill(now);
                    history.tokens = (history.tokens + 100).min(history.cap(now));
                }
            }
            4 | 5 => {
                let (cost, milli) = match script.below(3) {
                    0 => (Cost::Timeout, 2_000),
                    _ => (Cost::Fast, 1_000),
                };
                let paid = budget.withdraw(now, cost);
                assert_eq!(paid, history.withdraw(now, milli), "at {now}");
                if paid {
                    spent += milli;
                    payments.push((now, cost, milli));
                }
            }
            8 if !payments.is_empty() => {
                let (paid, cost, milli) = payments.swap_remove(script.below(payments.len()));
                budget.refund(now, paid, cost);
                history.refund(now, paid, milli);
                spent -= milli;
                assert_eq!(u64::from(budget.tokens()), history.tokens, "at {now}");
            }
            6 => now = now + Duration::from_millis(script.below(256) as u64 * 7),
            _ => now = now + Duration::from_millis(script.below(256) as u64 * 131),
        }
        let elapsed = (now - start).as_millis() as u64;
        assert!(
            spent <= 10_000 + 100 * successes + elapsed / 100,
            "more than was ever there"
        );
        let retries = History::recent(&history.retries, now, 10, 1);
        let firsts = History::recent(&history.firsts, now, 11, 1);
        // The firsts of the slot that has just passed may have allowed them.
        assert!(retries <= (firsts / 5).max(2) || history.retries.last() < Some(&now));
        assert!(u64::from(budget.tokens()) <= 10_000);
    }
    let quiet = now + Duration::from_secs(600);
    assert!(budget.is_initial(quiet), "ten quiet minutes make it new");
}
