//! What bounds the retries of one client: this project's budget, or another's published rule.

use std::collections::VecDeque;
use std::time::Duration;

use fulmar_core::budget::{Budget, BudgetConfig};
use fulmar_core::time::Instant;

/// A rule that bounds retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Only the number of attempts.
    Unbounded,
    /// The budget of `fulmar-core`.
    Ours,
    /// Finagle, tower, reqwest: a share of the requests of ten seconds, and so many a second.
    Reserve {
        /// Retries per request.
        share: f64,
        /// Retries per second on top.
        per_second: f64,
    },
    /// gRPC's `retryThrottling`: a failure costs 1, a success gives `ratio`; retries while more
    /// than half is there.
    Grpc {
        /// The most tokens, with which it begins.
        max: f64,
        /// Tokens per success.
        ratio: f64,
    },
    /// The AWS SDKs' quota of 500: a retry's cost comes back if it succeeds, and 1 per clean
    /// success.
    Aws {
        /// What a retry takes.
        cost: f64,
        /// What a retry after a timeout takes.
        timeout_cost: f64,
    },
}

/// The state of a limit, for one client.
#[derive(Clone, Debug)]
pub(super) enum Account {
    Unbounded,
    Ours(Budget),
    Reserve {
        share: f64,
        per_second: f64,
        firsts: VecDeque<Instant>,
        retries: VecDeque<Instant>,
    },
    Grpc {
        max: f64,
        ratio: f64,
        tokens: f64,
    },
    Aws {
        cost: f64,
        timeout_cost: f64,
        tokens: f64,
    },
}

const RESERVE_WINDOW: Duration = Duration::from_secs(10);
const AWS_TOKENS: f64 = 500.0;

impl Account {
    pub(super) fn new(limit: Limit) -> Self {
        match limit {
            Limit::Unbounded => Self::Unbounded,
            Limit::Ours => Self::Ours(Budget::new(Instant::ORIGIN)),
            Limit::Reserve { share, per_second } => Self::Reserve {
                share,
                per_second,
                firsts: VecDeque::new(),
                retries: VecDeque::new(),
            },
            Limit::Grpc { max, ratio } => Self::Grpc {
                max,
                ratio,
                tokens: max,
            },
            Limit::Aws { cost, timeout_cost } => Self::Aws {
                cost,
                timeout_cost,
                tokens: AWS_TOKENS,
            },
        }
    }

    /// Lends the budget that a [`Call`](fulmar_core::call::Call) asks: our own, or for another's
    /// rule one that says what the rule says.
    pub(super) fn ask<R>(
        &mut self,
        now: Instant,
        timed_out: bool,
        call: impl FnOnce(&mut Budget) -> R,
    ) -> R {
        if let Self::Ours(budget) = self {
            return call(budget);
        }
        let mut answer = if self.allows(now, timed_out) {
            // A new one has enough for one retry.
            Budget::new(now)
        } else {
            let nothing = BudgetConfig {
                min: 0.0,
                max: 0.0,
                ..BudgetConfig::default()
            };
            Budget::with_config(&nothing, now)
        };
        call(&mut answer)
    }

    fn allows(&mut self, now: Instant, timed_out: bool) -> bool {
        match self {
            Self::Unbounded | Self::Ours(_) => true,
            Self::Reserve {
                share,
                per_second,
                firsts,
                retries,
            } => {
                for events in [&mut *firsts, &mut *retries] {
                    while events.front().is_some_and(|at| *at + RESERVE_WINDOW < now) {
                        events.pop_front();
                    }
                }
                let allowed =
                    *share * firsts.len() as f64 + *per_second * RESERVE_WINDOW.as_secs_f64();
                (retries.len() as f64) < allowed
            }
            Self::Grpc { max, tokens, .. } => *tokens > *max / 2.0,
            Self::Aws {
                cost,
                timeout_cost,
                tokens,
            } => *tokens >= if timed_out { *timeout_cost } else { *cost },
        }
    }

    pub(super) fn handle_first_attempt(&mut self, now: Instant) {
        match self {
            Self::Ours(budget) => budget.handle_first_attempt(now),
            Self::Reserve { firsts, .. } => firsts.push_back(now),
            _ => {}
        }
    }

    /// An attempt failed, before it is asked whether another may follow.
    pub(super) fn handle_failure(&mut self) {
        if let Self::Grpc { tokens, .. } = self {
            *tokens = (*tokens - 1.0).max(0.0);
        }
    }

    /// A retry was granted. Returns what it took.
    pub(super) fn handle_retry(&mut self, now: Instant, timed_out: bool) -> f64 {
        match self {
            Self::Reserve { retries, .. } => {
                retries.push_back(now);
                0.0
            }
            Self::Aws {
                cost,
                timeout_cost,
                tokens,
            } => {
                let price = if timed_out { *timeout_cost } else { *cost };
                *tokens -= price;
                price
            }
            _ => 0.0,
        }
    }

    /// An attempt succeeded; `paid` is what the retry before it took. (Our own budget hears of it
    /// from the call.)
    pub(super) fn handle_success(&mut self, paid: f64) {
        match self {
            Self::Grpc { max, ratio, tokens } => *tokens = (*tokens + *ratio).min(*max),
            Self::Aws { tokens, .. } => {
                let back = if paid > 0.0 { paid } else { 1.0 };
                *tokens = (*tokens + back).min(AWS_TOKENS);
            }
            _ => {}
        }
    }
}
