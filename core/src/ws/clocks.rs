//! The deadlines of messages: that they come, and that one which began goes on.

use crate::time::Instant;

use super::close::Cause;
use super::config::Times;
use super::pause::Pausable;

/// When messages came, on a clock that stands still while nothing is read.
#[derive(Debug)]
pub(super) struct MessageClocks {
    clock: Pausable,
    last_message: Instant,
    /// Of the message that began: when, when its last byte came, and how many had come then.
    begun: Option<(Instant, Instant, u64)>,
    /// On the ordinary clock: when a pause becomes a lag.
    lag_at: Instant,
}

impl MessageClocks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            clock: Pausable::default(),
            last_message: now,
            begun: None,
            lag_at: Instant::MAX,
        }
    }

    pub(super) fn pause(&mut self, now: Instant, times: &Times) {
        if !self.clock.is_paused() {
            self.clock.pause(now);
            self.lag_at = times.slow_consumer.map_or(Instant::MAX, |most| now + most);
        }
    }

    pub(super) fn resume(&mut self, now: Instant) {
        self.clock.resume(now);
        self.lag_at = Instant::MAX;
    }

    #[inline]
    pub(super) fn message(&mut self, now: Instant) {
        self.last_message = self.clock.at(now);
        self.begun = None;
    }

    /// A message has begun and is not whole; so many bytes of messages were seen.
    pub(super) fn partial(&mut self, now: Instant, seen: u64) {
        let now = self.clock.at(now);
        match &mut self.begun {
            None => self.begun = Some((now, now, seen)),
            Some((_, last, count)) if *count != seen => (*last, *count) = (now, seen),
            Some(_) => {}
        }
    }

    pub(super) fn deadline(&self, times: &Times) -> Instant {
        self.idle_at(times)
            .min(self.stalled_at(times))
            .min(self.lag_at)
    }

    /// What is over at `now`.
    pub(super) fn expired(&self, now: Instant, times: &Times) -> Option<Cause> {
        if self.lag_at <= now {
            Some(Cause::Lagged)
        } else if self.stalled_at(times) <= now {
            Some(Cause::Stalled)
        } else if self.idle_at(times) <= now {
            Some(Cause::ReadIdle)
        } else {
            None
        }
    }

    fn idle_at(&self, times: &Times) -> Instant {
        let limit = times.message_idle;
        limit.map_or(Instant::MAX, |most| {
            self.clock.when(self.last_message + most)
        })
    }

    fn stalled_at(&self, times: &Times) -> Instant {
        let Some((begun, last, _)) = self.begun else {
            return Instant::MAX;
        };
        let progress = times
            .message_progress
            .map_or(Instant::MAX, |most| last + most);
        let total = times
            .message_total
            .map_or(Instant::MAX, |most| begun + most);
        self.clock.when(progress.min(total))
    }
}
