//! Whether bytes move fast enough: the guard against a peer that never stalls and never ends.
//!
//! ```text
//!   active time   0    1    2    3    4 s      (time for which the clock stands still is left out)
//!   bytes           900  200    0    0
//!   window of 3 s                 ^ 1,100      first looked at after one whole window
//!                                      ^ 200   .. and then after every second
//! ```
//!
//! It fires at the first whole second at which the last window brought fewer bytes than the limit
//! asks for. That second is known beforehand, and only bytes move it.

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// The least average speed of a body, over a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MinSpeed {
    /// Bytes a second. Zero is no limit.
    pub bytes_per_second: u64,
    /// Over how long the average is taken; whole seconds, from 1 s to 1 h.
    pub window: Duration,
}

impl MinSpeed {
    /// The longest window.
    pub const LONGEST: Duration = Duration::from_secs(3_600);

    /// Whether the window is one that can be measured.
    pub(super) fn is_valid(&self) -> bool {
        let window = self.window;
        window.subsec_nanos() == 0 && !window.is_zero() && window <= Self::LONGEST
    }

    fn seconds(&self) -> u64 {
        self.window.as_secs().clamp(1, Self::LONGEST.as_secs())
    }
}

/// Bytes of one phase by second of its active time, and when they will have been too few.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    /// Bytes by second, a ring of one window.
    slots: Box<[u128]>,
    /// What a window must bring.
    least: u128,
    /// The second that fires: the window before it brings too little, as far as is known.
    fires: u64,
    /// Bytes in that window.
    sum: u128,
    /// The second that the ring has reached.
    second: u64,
    /// Active nanoseconds.
    active: u64,
}

impl Speed {
    /// Nothing has moved yet. `None`: there is no limit.
    pub(super) fn new(limit: MinSpeed) -> Option<Self> {
        let window = limit.seconds();
        let least = u128::from(limit.bytes_per_second) * u128::from(window);
        (least > 0).then(|| Self {
            slots: vec![0; window as usize].into(),
            least,
            fires: window,
            sum: 0,
            second: 0,
            active: 0,
        })
    }

    /// Starts anew, for another phase.
    pub(super) fn restart(&mut self) {
        self.slots.fill(0);
        self.fires = self.window();
        self.sum = 0;
        (self.second, self.active) = (0, 0);
    }

    /// Active time passed.
    pub(super) fn pass(&mut self, nanos: u64) {
        self.active = self.active.saturating_add(nanos);
    }

    /// Bytes moved.
    ///
    /// Found late, they count as in time; and if they were enough, the time since in which nobody
    /// looked does not count.
    pub(super) fn add(&mut self, bytes: u64) {
        let due = self.fires;
        self.roll();
        let slot = self.slot(self.second);
        self.slots[slot] += u128::from(bytes);
        if self.second + self.window() >= self.fires {
            self.sum += u128::from(bytes);
        }
        while self.sum >= self.least {
            self.sum -= self.oldest();
            self.fires += 1;
        }
        if self.fires > due {
            self.active = self.active.min(due.saturating_mul(SECOND));
        }
    }

    /// In how many nanoseconds of active time it fires, if no other byte moves.
    pub(super) fn fires_in(&self) -> u64 {
        let at = self.fires.saturating_mul(SECOND);
        at.saturating_sub(self.active)
    }

    /// Bytes a second over the window that was too slow, or that would be next.
    pub(super) fn rate(&self) -> u64 {
        u64::try_from(self.sum / u128::from(self.window())).unwrap_or(u64::MAX)
    }

    /// The window, in nanoseconds: the least time in which it fires.
    pub(super) fn shortest(&self) -> u64 {
        self.window() * SECOND
    }

    fn window(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Bytes of the first second of the window that fires.
    fn oldest(&self) -> u128 {
        let oldest = self.fires - self.window();
        if oldest > self.second {
            return 0;
        }
        self.slots[self.slot(oldest)]
    }

    /// Empties the slots of the seconds that have passed, but none that is still to be judged.
    fn roll(&mut self) {
        let now = (self.active / SECOND).min(self.fires - 1);
        for second in (self.second + 1..=now).take(self.slots.len()) {
            let slot = self.slot(second);
            self.slots[slot] = 0;
        }
        self.second = self.second.max(now);
    }

    fn slot(&self, second: u64) -> usize {
        (second % self.window()) as usize
    }
}
