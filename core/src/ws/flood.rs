//! Pings without end.

use std::time::Duration;

use crate::time::Instant;

/// Seconds in a row, each with too many pings, that are a flood.
const SECONDS: u8 = 10;

/// Counts pings by the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flood {
    /// Pings in a second that are not too many.
    most: u32,
    since: Instant,
    count: u32,
    /// Seconds before this one that had too many.
    hot: u8,
}

impl Flood {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            since: Instant::ORIGIN,
            count: 0,
            hot: 0,
        }
    }

    /// Counts a ping, and says whether it is one too many.
    pub(super) fn ping(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        let gone = now - self.since;
        if gone >= second {
            let goes_on = self.count > self.most && gone < second * 2;
            self.hot = if goes_on { self.hot + 1 } else { 0 };
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.hot >= SECONDS
    }
}
