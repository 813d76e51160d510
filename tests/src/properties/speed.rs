//! The guard on a body's speed, against an oracle that remembers every byte and every nanosecond.

use std::time::Duration;

use fulmar_core::deadline::{Clocks, Timeouts};
use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;

use super::script::Script;

const SECOND: u64 = 1_000_000_000;

/// Bytes with the active time at which they moved.
struct Log {
    window: u64,
    least: u64,
    moved: Vec<(u64, u64)>,
    active: u64,
}

impl Log {
    /// Bytes in the window that ends with that second of active time.
    fn before(&self, second: u64) -> u64 {
        let window = (second - self.window) * SECOND..second * SECOND;
        let inside = self.moved.iter().filter(|(at, _)| window.contains(at));
        inside.map(|(_, bytes)| bytes).sum()
    }

    /// The first second whose window brought too little, as far as is known.
    fn fires(&self) -> u64 {
        let mut second = self.window;
        while self.before(second) >= self.least {
            second += 1;
        }
        second
    }
}

/// It fires at the very second at which the last window has brought too little, counts only time
/// in which the clock runs, and a pause moves it by its length.
///
/// # Panics
///
/// Where the clocks and the oracle differ.
pub fn min_speed(data: &[u8]) {
    let mut script = Script::new(data);
    let window = 1 + script.below(5) as u64;
    let rate = 1 + script.below(4) as u64;
    let timeouts = Timeouts::none().min_speed(rate, Duration::from_secs(window));
    let mut now = Instant::from_nanos(script.below(1_000) as u64);
    let mut clocks = Clocks::new(now, &timeouts, None);
    let phase = [Phase::Write, Phase::Body][script.below(2)];
    clocks.begin_attempt(now);
    clocks.entered(now, phase);
    let mut log = Log {
        window,
        least: rate * window,
        moved: Vec::new(),
        active: 0,
    };
    let mut runs = true;
    while !script.is_over() {
        let passes = script.below(256) as u64 * (SECOND / 100);
        // Whoever waits is woken when it fires: nothing is looked at late.
        let passes = passes.min(log.fires() * SECOND - log.active);
        now = now + Duration::from_nanos(passes);
        log.active += if runs { passes } else { 0 };
        let is_due = log.active == log.fires() * SECOND;
        assert_eq!(clocks.expired(now), (is_due && runs).then_some(phase));
        if is_due && runs {
            assert_eq!(clocks.slowness(now), Some(log.before(log.fires()) / window));
            return;
        }
        match script.below(4) {
            0 => {
                runs = !runs;
                clocks.suspended(now, !runs);
            }
            _ if !runs => {}
            bytes => {
                clocks.progress(now, bytes);
                log.moved.push((log.active, bytes as u64));
            }
        }
        let left = Duration::from_nanos(log.fires() * SECOND - log.active);
        let next = runs.then_some((now + left, phase));
        assert_eq!(clocks.poll_timeout(), next);
        assert!(
            clocks
                .lower_bound(now)
                .is_some_and(|bound| bound <= now + left)
        );
    }
}
