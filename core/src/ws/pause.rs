//! Time that stands still while this side does not read: a silence that it causes itself is
//! nobody's fault.

use std::time::Duration;

use crate::time::Instant;

/// A clock that can be stopped. Deadlines on it are instants of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pausable {
    stopped: Option<Instant>,
    /// How long it stood still so far.
    lost: Duration,
}

impl Pausable {
    pub(super) fn pause(&mut self, now: Instant) {
        self.stopped.get_or_insert(now);
    }

    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.stopped.take() {
            self.lost = self.lost.saturating_add(now - since);
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.stopped.is_some()
    }

    /// What this clock shows at `now`.
    pub(super) fn at(&self, now: Instant) -> Instant {
        self.stopped.unwrap_or(now) - self.lost
    }

    /// When this clock shows `deadline`; never, while it stands still.
    pub(super) fn when(&self, deadline: Instant) -> Instant {
        if self.is_paused() || deadline == Instant::MAX {
            Instant::MAX
        } else {
            deadline + self.lost
        }
    }
}
