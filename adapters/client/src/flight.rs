//! Futures in flight together, in one task: each is polled only when it was woken.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

/// A set of futures with a key each. Dropping it drops them all.
pub(crate) struct Flight<F> {
    slots: Vec<Option<Slot<F>>>,
    free: Vec<usize>,
    ready: Arc<Mutex<Ready>>,
    /// Whose future is being made or polled.
    running: Option<usize>,
}

struct Slot<F> {
    key: usize,
    future: Pin<Box<F>>,
    child: Arc<Child>,
}

/// Who is to be polled, and whom to wake for it.
#[derive(Default)]
struct Ready {
    queue: VecDeque<Arc<Child>>,
    waker: Option<Waker>,
}

/// The waker of one future.
struct Child {
    slot: usize,
    is_queued: AtomicBool,
    /// Weak: the queue holds children.
    ready: Weak<Mutex<Ready>>,
}

impl<F: Future> Flight<F> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            running: None,
        }
    }

    /// The key of a future that panicked when it was made or polled last: it is gone.
    pub(crate) fn take_panicked(&mut self) -> Option<usize> {
        self.running.take()
    }

    /// As [`push`](Self::push), of a future that is made here.
    pub(crate) fn push_with(&mut self, key: usize, make: impl FnOnce() -> F) {
        self.running = Some(key);
        let future = make();
        self.running = None;
        self.push(key, future);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a future, to be polled by the next [`poll_next`](Self::poll_next).
    pub(crate) fn push(&mut self, key: usize, future: F) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let child = Arc::new(Child {
            slot,
            is_queued: AtomicBool::new(true),
            ready: Arc::downgrade(&self.ready),
        });
        lock(&self.ready).queue.push_back(child.clone());
        let future = Box::pin(future);
        self.slots[slot] = Some(Slot { key, future, child });
    }

    /// Drops every future, and returns their keys in the order in which they were placed.
    pub(crate) fn clear(&mut self) -> Vec<usize> {
        lock(&self.ready).queue.clear();
        self.free.clear();
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().flatten().map(|slot| slot.key).collect()
    }

    /// Polls those that were woken, until one is ready. `Ready(None)`: there is none at all.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, F::Output)>> {
        self.listen(cx);
        let mut turns = lock(&self.ready).queue.len();
        while turns > 0 {
            turns -= 1;
            let Some(child) = lock(&self.ready).queue.pop_front() else {
                break;
            };
            if let Some(done) = self.poll_child(&child) {
                return Poll::Ready(Some(done));
            }
        }
        if self.len() == 0 {
            return Poll::Ready(None);
        }
        // Those woken meanwhile have their turn after everybody else in this thread.
        if !lock(&self.ready).queue.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn listen(&self, cx: &Context<'_>) {
        let is_same = |waker: &Waker| waker.will_wake(cx.waker());
        let is_known = lock(&self.ready).waker.as_ref().is_some_and(is_same);
        if !is_known {
            let waker = cx.waker().clone();
            // The former one is dropped outside the lock: that may run anything.
            let _replaced = lock(&self.ready).waker.replace(waker);
        }
    }

    fn poll_child(&mut self, child: &Arc<Child>) -> Option<(usize, F::Output)> {
        let place = self.slots.get_mut(child.slot)?;
        // Its future may be over, and another in its place.
        let mut slot = place.take_if(|slot| Arc::ptr_eq(&slot.child, child))?;
        // Acquired, so that the poll sees what a wake before it published.
        child.is_queued.swap(false, Ordering::AcqRel);
        let waker = Waker::from(child.clone());
        // Out of its place while it runs: one that panics is gone, and nobody waits for it.
        self.free.push(child.slot);
        self.running = Some(slot.key);
        let polled = slot.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.running = None;
        match polled {
            Poll::Ready(output) => Some((slot.key, output)),
            Poll::Pending => {
                self.free.pop();
                *place = Some(slot);
                None
            }
        }
    }
}

impl Wake for Child {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(ready) = self.ready.upgrade() else {
            return;
        };
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let waker = {
            let mut ready = lock(&ready);
            ready.queue.push_back(self.clone());
            ready.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock(ready: &Mutex<Ready>) -> std::sync::MutexGuard<'_, Ready> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A future that is ready when told, counts its polls, and shows its waker.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<(bool, usize, Option<Waker>)>>);

    impl Told {
        fn wake(&self) {
            let waker = self.0.lock().unwrap().2.clone();
            waker.unwrap().wake();
        }

        fn polls(&self) -> usize {
            self.0.lock().unwrap().1
        }
    }

    impl Future for Told {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            state.2 = Some(cx.waker().clone());
            if state.0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }
    }

    fn three() -> (Flight<Told>, [Told; 3]) {
        let futures = [Told::default(), Told::default(), Told::default()];
        let mut flight = Flight::new();
        for (key, future) in futures.iter().enumerate() {
            flight.push(key, future.clone());
        }
        (flight, futures)
    }

    #[test]
    fn each_future_is_polled_only_when_it_was_woken() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut flight, futures) = three();
        assert_eq!(flight.poll_next(cx), Poll::Pending);
        futures[1].wake();
        futures[1].wake();
        assert_eq!(flight.poll_next(cx), Poll::Pending);
        assert_eq!(flight.poll_next(cx), Poll::Pending);
        assert_eq!(futures.each_ref().map(Told::polls), [1, 2, 1]);
        futures[2].0.lock().unwrap().0 = true;
        futures[2].wake();
        assert_eq!(flight.poll_next(cx), Poll::Ready(Some((2, ()))));
        assert_eq!(flight.len(), 2);
    }

    #[test]
    fn a_wake_after_the_end_disturbs_nobody_in_the_same_place() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut flight, futures) = three();
        futures[0].0.lock().unwrap().0 = true;
        assert_eq!(flight.poll_next(cx), Poll::Ready(Some((0, ()))));
        let next = Told::default();
        flight.push(7, next.clone());
        assert_eq!(flight.poll_next(cx), Poll::Pending);
        futures[0].wake();
        assert_eq!(flight.poll_next(cx), Poll::Pending);
        assert_eq!(next.polls(), 1);
        assert_eq!(flight.clear(), [7, 1, 2]);
        assert_eq!(flight.poll_next(cx), Poll::Ready(None));
    }

    #[test]
    fn one_that_wakes_itself_does_not_keep_the_thread() {
        struct Restless;
        impl Future for Restless {
            type Output = ();
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
        let mut flight = Flight::new();
        flight.push(0, Restless);
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(flight.poll_next(cx), Poll::Pending);
    }

    #[test]
    fn one_that_panics_is_gone_and_the_others_go_on() {
        struct Panics(bool);
        impl Future for Panics {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                assert!(!self.0, "as it was told to");
                Poll::Ready(())
            }
        }
        let cx = &mut Context::from_waker(Waker::noop());
        let mut flight = Flight::new();
        flight.push(0, Panics(true));
        flight.push(1, Panics(false));
        let poll = std::panic::AssertUnwindSafe(|| flight.poll_next(cx));
        assert!(std::panic::catch_unwind(poll).is_err());
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(flight.len(), 1);
        assert_eq!(flight.poll_next(cx), Poll::Ready(Some((1, ()))));
        assert_eq!(flight.poll_next(cx), Poll::Ready(None));
    }

    #[test]
    fn nothing_is_kept_alive_by_what_is_queued() {
        let (flight, futures) = three();
        drop(flight);
        for future in futures {
            assert_eq!(Arc::strong_count(&future.0), 1);
        }
        let (mut flight, [first, ..]) = three();
        assert!(
            flight
                .poll_next(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        first.wake();
        let ready = Arc::downgrade(&flight.ready);
        drop(flight);
        assert!(ready.upgrade().is_none());
        first.wake();
    }
}
