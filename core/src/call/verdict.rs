//! What follows an attempt.

use std::time::Duration;

use crate::budget::Cost;
use crate::fault::Fate;
use crate::retry::{Once, Retryable, StopReason};
use crate::time::Instant;

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The response goes to the caller.
    Deliver {
        /// Why it was not retried, where it would have been but retries ran out.
        exhausted: Option<StopReason>,
    },
    /// There is another attempt.
    Retry(Again),
    /// The call failed.
    Stop {
        /// Why there is no other attempt.
        reason: StopReason,
        /// Whether the origin acted on the request, in any of the attempts.
        fate: Fate,
    },
}

/// The terms of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent instructions")]
pub struct Again {
    /// When it starts; `now` for a transparent one.
    pub at: Instant,
    /// Whether it must not take a connection that has served before.
    pub fresh: bool,
    /// Whether it is free: outside of attempts and budget.
    pub transparent: bool,
    /// What the retry budget was charged for it, to be [refunded](crate::budget::Budget::refund)
    /// where it is not made.
    pub cost: Option<Cost>,
    /// Close the route's connections that have been idle at least so long: they died together.
    pub evict_idle_for: Option<Duration>,
    /// Leave out `Expect: 100-continue`.
    pub without_expect: bool,
    /// Close the least recently used idle connection first: descriptors or ports ran out.
    pub evict_oldest: bool,
    /// Use HTTP/1.1.
    pub http1: bool,
}

impl Again {
    /// The next attempt on these terms, at once and counted.
    pub(super) fn on(terms: Retryable, now: Instant, idle_for: Duration) -> Self {
        Self {
            at: now,
            fresh: matches!(terms.once, Some(Once::RequestTimeout | Once::Misdirected)),
            transparent: false,
            cost: None,
            evict_idle_for: terms.stale.then_some(idle_for),
            without_expect: terms.once == Some(Once::ExpectationFailed),
            evict_oldest: terms.local,
            http1: terms.once == Some(Once::Http11),
        }
    }
}
