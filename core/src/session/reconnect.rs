//! When to connect again: the attempts since the last stable connection, and the delay of each.

use std::time::Duration;

use rand_core::Rng;

use super::close_table::Pace;
use super::config::Config;
use crate::backoff::{Backoff, uniform};
use crate::time::{Instant, saturating_nanos};

#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Since the last stable connection.
    count: u32,
    /// When the first of them followed its loss.
    since: Instant,
    previous: Duration,
    /// Credentials were refreshed since the last stable connection.
    refreshed: bool,
    /// A message that was too big was dropped since then.
    shrunk: bool,
    /// A response that a proxy may have mangled was forgiven since then.
    mangled: bool,
    not_found: u32,
}

/// How a connection went that was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) uptime: Duration,
    pub(super) was_open: bool,
    /// The server sent a frame.
    pub(super) heard: bool,
}

impl Attempts {
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// A connection is lost: forgets what was before it if it was stable, and counts the attempt
    /// that would follow. Whether it was stable is decided now, without a timer, so that a server
    /// which accepts and drops is never taken for a working one.
    pub(super) fn lost(&mut self, now: Instant, past: Past, config: &Config) {
        let lasted = past.was_open && past.uptime >= config.stable_after;
        if lasted && past.heard {
            *self = Self {
                since: now,
                ..Self::default()
            };
        } else if lasted && self.count == 0 {
            // A server that has nothing to say is no working one for the count, but there was no
            // trouble before its loss either: the time for attempts begins with the trouble. Only
            // once, or a server that accepts, waits and drops would have all the time there is.
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether there may not be another attempt.
    pub(super) fn is_exhausted(&self, now: Instant, config: &Config) -> bool {
        config.max_attempts.is_some_and(|most| self.count > most)
            || config
                .max_elapsed
                .is_some_and(|most| now - self.since > most)
    }

    /// Whether credentials may be refreshed: once.
    pub(super) fn refresh(&mut self) -> bool {
        !std::mem::replace(&mut self.refreshed, true)
    }

    /// Whether a message may be dropped for being too big: once.
    pub(super) fn shrink(&mut self) -> bool {
        !std::mem::replace(&mut self.shrunk, true)
    }

    /// Whether a response that a proxy may have mangled is forgiven: once.
    pub(super) fn mangled(&mut self) -> bool {
        !std::mem::replace(&mut self.mangled, true)
    }

    /// Whether a 404 may be tried again.
    pub(super) fn not_found(&mut self, most: u32) -> bool {
        self.not_found = self.not_found.saturating_add(1);
        self.not_found <= most
    }

    /// How long to wait before the attempt that was counted last.
    pub(super) fn delay(
        &mut self,
        pace: Pace,
        was_open: bool,
        retry_after: Option<Duration>,
        config: &Config,
        rng: &mut dyn Rng,
    ) -> Duration {
        let between = |from: Duration, to: Duration, rng: &mut dyn Rng| {
            Duration::from_nanos(uniform(rng, saturating_nanos(from), saturating_nanos(to)))
        };
        let delay = match pace {
            Pace::First(from, to) => between(from, to, rng),
            Pace::Throttled | Pace::Elsewhere => self.backoff(config.throttled, config, rng),
            _ => match config.initial_spread {
                // RFC 6455 section 7.2.3.
                Some(spread) if self.count == 1 && was_open => between(Duration::ZERO, spread, rng),
                _ => self.backoff(config.backoff, config, rng),
            },
        };
        self.previous = delay;
        let Some(told) = retry_after else {
            return delay;
        };
        // Every client was told the same.
        let spread = (told / 10).max(Duration::from_secs(1));
        delay.max(told.saturating_add(between(Duration::ZERO, spread, rng)))
    }

    fn backoff(&self, backoff: Backoff, config: &Config, rng: &mut dyn Rng) -> Duration {
        backoff.delay_from(config.floor, self.count, self.previous, rng)
    }
}
