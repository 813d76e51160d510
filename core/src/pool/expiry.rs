//! When idle connections expire. They have no timers of their own: one timer is set to a lower
//! bound of all their limits, and what is due is found by going over the places, some in each call.
//!
//! ```text
//!   Waiting for the bound -- reached --> Going over, bound of what was seen ---+
//!      ^                                        |          ^ not all yet      |
//!      '--------- all places were seen ---------'          '------------------'
//! ```
//!
//! Invariant: no idle connection that the round under way has passed has a limit before `bound`;
//! with no round under way, none at all has. Taking a connection leaves the bound as it is, hence
//! it may prove early, and then costs one round.

use std::time::Duration;

use crate::time::Instant;
use crate::timer::{TimerKey, Timers};

use super::lease::Eviction;
use super::pool::Pool;
use super::slot::State;

/// Whose deadline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Idle,
    Route(u32),
}

/// So many places, and so many routes, are looked at in one call; the rest follow soon.
const DUE_PER_CALL: u32 = 256;
const RESUME: Duration = Duration::from_millis(1);

/// How far the search for what is expired has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    pub(super) bound: Instant,
    /// The place to go on from.
    round: Option<u32>,
    timer: TimerKey,
    /// What is due is not looked at before this.
    resume_at: Instant,
}

impl Expiry {
    pub(super) fn new(now: Instant, timers: &mut Timers<Due>) -> Self {
        Self {
            bound: Instant::MAX,
            round: None,
            timer: timers.insert(Instant::MAX, Due::Idle),
            resume_at: now,
        }
    }
}

impl<U, S: Clone> Pool<U, S> {
    /// Does what is due: expires idle connections, begins dials that had to wait, forgets routes.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.expiry.resume_at {
            return;
        }
        let mut is_idle_due = false;
        for _ in 0..DUE_PER_CALL {
            let Some(key) = self.timers.expire(now) else {
                break;
            };
            match self.timers.get(key).copied() {
                Some(Due::Idle) => is_idle_due = true,
                Some(Due::Route(r)) => self.handle_route_timer(now, r),
                None => {}
            }
        }
        if is_idle_due {
            self.expire_idle(now);
        }
        if self.timers.poll_timeout().is_some_and(|at| at <= now) {
            self.expiry.resume_at = now + RESUME;
        }
        self.serve_ring(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); there may turn out to be nothing to
    /// do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let at = self.timers.poll_timeout();
        at.map(|at| at.max(self.expiry.resume_at))
    }

    /// A connection idles until then.
    pub(super) fn note_expiry(&mut self, until: Instant) {
        if until < self.expiry.bound {
            self.expiry.bound = until;
            if self.expiry.round.is_none() {
                self.timers.reset(self.expiry.timer, until);
            }
        }
    }

    /// Goes on with the round, or begins one.
    fn expire_idle(&mut self, now: Instant) {
        let first = self.expiry.round.unwrap_or_else(|| {
            self.expiry.bound = Instant::MAX;
            0
        });
        let places = self.slots.entries.len() as u32;
        let end = first.saturating_add(DUE_PER_CALL).min(places);
        for i in first..end {
            let entry = self.slots.at(i);
            if entry.state != State::Idle {
                continue;
            }
            let until = entry.idle_until;
            if until <= now {
                self.evict_and_pump(now, i, Eviction::Expired);
            } else {
                self.expiry.bound = self.expiry.bound.min(until);
            }
        }
        let is_complete = end == places;
        self.expiry.round = (!is_complete).then_some(end);
        let next = if is_complete { self.expiry.bound } else { now };
        self.timers.reset(self.expiry.timer, next);
    }
}
