//! Waking those whom something concerns, once every lock is open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes them all. A waker is anybody's code: one that panics has said so by the panic hook, and must
/// neither keep those behind it from waking, nor end whoever made the wake due, nor, within a
/// `Drop` that unwinds, the process.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}
