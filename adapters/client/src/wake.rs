//! Waking those whom something concerns, once every lock is open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes one. A waker is anybody's code: one that panics has said so by the panic hook, and must
/// neither keep those behind it from waking, nor end whoever made the wake due, nor, within a
/// `Drop` that unwinds, the process.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

/// Wakes them all.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(wake);
}
