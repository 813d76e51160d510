//! One timer of the runtime's, and the clock, which decides.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::time::Instant;

use crate::net::{Net, Sleep};

/// How often a timer is set again in one poll. Each time it is set twice as far ahead, so that only
/// one that is always ready gets to the end.
const TRIES: u32 = 32;
/// The least that is added to a timer that fired early: more often than that nobody need look.
const LEAST: Duration = Duration::from_millis(1);

/// Waits until the clock says an instant.
///
/// The runtime's timers wake the task and decide nothing. One that fires while the clock is not there
/// (it rounds down, or the clock stood still or went back) is set again, further ahead each time: what
/// is due may then come later, but the task does not keep its thread.
pub(crate) struct Alarm {
    timer: Option<Box<dyn Sleep>>,
    until: Instant,
    /// What the timer is set to.
    at: Instant,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            timer: None,
            until: Instant::MAX,
            at: Instant::MAX,
        }
    }

    /// Ready where the clock says `until`, or later. At [`Instant::MAX`] there is no timer.
    pub(crate) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        net: &dyn Net,
        until: Instant,
    ) -> Poll<()> {
        let is_set = self.until == until;
        self.until = until;
        if until == Instant::MAX {
            self.timer = None;
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| net.sleep(until));
        if !is_set {
            self.at = until;
            timer.reset(until);
        }
        for tries in 0..TRIES {
            if Pin::new(&mut *timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            let left = until - net.now();
            if left.is_zero() {
                // A timer that has fired need not do so again.
                self.until = Instant::MAX;
                return Poll::Ready(());
            }
            self.at = self.at + left.max(LEAST).saturating_mul(1 << tries);
            timer.reset(self.at);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::SystemTime;

    use super::*;
    use crate::net::{Answer, BoxFuture, Connecting, Endpoint, Family, Fault, SocketOptions};

    /// A runtime whose clock stands still, and whose timers are always ready.
    struct Still;

    impl Net for Still {
        fn now(&self) -> Instant {
            Instant::ORIGIN
        }
        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn entropy(&self, _: &mut [u8]) {}
        fn resolve(&self, _: &str, _: Family) -> BoxFuture<Result<Answer, Fault>> {
            Box::pin(std::future::pending())
        }
        fn connect(&self, _: &Endpoint, _: &SocketOptions) -> Connecting {
            Box::pin(std::future::pending())
        }
        fn sleep(&self, _: Instant) -> Box<dyn Sleep> {
            Box::new(Ready)
        }
        fn spawn(&self, _: BoxFuture<()>) {}
        fn block(&self, _: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
            Box::pin(std::future::pending())
        }
    }

    struct Ready;

    impl Future for Ready {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Sleep for Ready {
        fn reset(&mut self, _: Instant) {}
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_timer_that_is_always_ready_does_not_keep_the_thread() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let (mut alarm, mut cx) = (Alarm::new(), Context::from_waker(&waker));
        let later = Instant::ORIGIN + Duration::from_secs(1);
        assert!(alarm.poll_until(&mut cx, &Still, later).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "it looks again");
        assert!(alarm.poll_until(&mut cx, &Still, Instant::MAX).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "there is no timer");
        let due = alarm.poll_until(&mut cx, &Still, Instant::ORIGIN);
        assert!(due.is_ready());
    }
}
