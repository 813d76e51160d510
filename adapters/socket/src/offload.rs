//! Blocking work on a thread of its own, for programs without a pool of such threads.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

enum Work<T> {
    Running(Option<Waker>),
    Done(io::Result<T>),
}

/// Runs `work` on a thread that ends with it, begun at once.
///
/// # Errors
///
/// The system has no thread to give, or the work panicked.
///
/// # Cancel safety
///
/// Dropping the future abandons the result; the work goes on.
pub fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send {
    let state = Arc::new(Mutex::new(Work::Running(None)));
    let theirs = state.clone();
    let thread = thread::Builder::new().name("fulmar-work".into());
    let spawned = thread.spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let result = result.map_err(|_| io::Error::other("the work panicked"));
        let mut state = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Work::Running(Some(waker)) = std::mem::replace(&mut *state, Work::Done(result)) {
            drop(state);
            waker.wake();
        }
    });
    let mut failed = spawned.err();
    poll_fn(move |cx| {
        if let Some(error) = failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = Work::Running(Some(cx.waker().clone()));
        match std::mem::replace(&mut *state, waiting) {
            Work::Done(result) => Poll::Ready(result),
            Work::Running(_) => Poll::Pending,
        }
    })
}
