//! How far a dial has come: told by its task to the call that asked for it.

use std::sync::atomic::{AtomicU64, Ordering};

use fulmar_core::deadline::Clocks;
use fulmar_core::time::Instant;

/// Instants in nanoseconds, `u64::MAX` while they are ahead. A call that waits looks at them where
/// its wait ends, to tell where the time of the dial went.
#[derive(Debug)]
pub(crate) struct Milestones {
    resolved: AtomicU64,
    opened: AtomicU64,
}

impl Milestones {
    pub(crate) const fn new() -> Self {
        Self {
            resolved: AtomicU64::new(u64::MAX),
            opened: AtomicU64::new(u64::MAX),
        }
    }

    /// There is an address to connect to.
    pub(crate) fn resolved(&self, now: Instant) {
        self.resolved.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// The transport is open. Where its handshake fails, a later one may be.
    pub(crate) fn opened(&self, now: Instant) {
        self.opened.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Tells the clocks of the call.
    pub(crate) fn tell(&self, now: Instant, clocks: &mut Clocks) {
        let at = |mark: &AtomicU64| Instant::from_nanos(mark.load(Ordering::Relaxed));
        clocks.dialled(now, at(&self.resolved), at(&self.opened));
    }
}
