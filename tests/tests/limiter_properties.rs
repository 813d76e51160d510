//! So many at a time, in the order of asking; and the limit that finds itself.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use fulmar::{Adaptive, Kind, Limiter};
use fulmar_tests::properties::limiter::{aimd_samples, limiter_ops};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn nobody_is_overtaken_no_limit_is_exceeded_and_no_wake_is_lost(data in prop::collection::vec(any::<u8>(), 0..600)) {
        limiter_ops(&data);
    }

    #[test]
    fn an_adaptive_limit_is_the_one_that_sorted_latencies_ask_for(data in prop::collection::vec(any::<u8>(), 0..3_000)) {
        aimd_samples(&data);
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = Box::pin(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn threads_without_a_runtime_share_a_limiter() {
    let limiter = Limiter::new(2);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..500 {
                    if round % 7 == 0 {
                        // One who asks and goes away.
                        let mut acquire = Box::pin(limiter.acquire());
                        let cx = &mut Context::from_waker(Waker::noop());
                        let _ = acquire.as_mut().poll(cx);
                        continue;
                    }
                    let permit = block_on(limiter.acquire());
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!((limiter.in_use(), limiter.waiting()), (0, 0));
}

#[test]
fn a_permit_outlives_the_handle_it_came_from_and_clones_are_one_limiter() {
    let limiter = Limiter::new(1);
    let permit = limiter.clone().try_acquire().unwrap();
    assert!(limiter.try_acquire().is_none());
    assert_eq!(
        format!("{limiter:?}"),
        "Limiter { limit: 1, in_use: 1, waiting: 0 }"
    );
    drop(permit);
    assert!(limiter.try_acquire().is_some());
    let wrong = Limiter::adaptive(Adaptive::new(Duration::ZERO)).unwrap_err();
    assert_eq!(wrong.kind(), Kind::Builder);
}
