//! A limit on anything, in the order of asking: a semaphore with a limit that can change.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use fulmar_core::adaptive::{Adaptive, Sample};
use fulmar_core::time::Instant;
use fulmar_core::turnstile::{Entry, Ticket, Turnstile};

use crate::error::{Error, Kind};
use crate::wake::wake_all;

/// So many at a time, first come, first served.
///
/// A clone is the same limiter. It needs no runtime, no thread and no clock: whoever gives a permit
/// back wakes the one who has waited longest. What it limits is up to you: calls to one service
/// across clients, say, or the whole of a job that makes several. (A client's own calls are limited
/// by [`ClientBuilder::max_in_flight`](crate::ClientBuilder::max_in_flight).)
///
/// ```
/// # async fn example(client: fulmar::Client) -> Result<(), fulmar::Error> {
/// let exports = fulmar::Limiter::new(2);
/// // In each task:
/// let permit = exports.acquire().await;
/// client.post("http://api.test/exports").send().await?;
/// drop(permit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Limiter(Arc<Mutex<Gate>>);

struct Gate {
    turnstile: Turnstile,
    /// Of those who wait, by their tags.
    wakers: BTreeMap<u64, Waker>,
    tags: u64,
}

/// One of those who are let in at a time. Dropped, it lets in the next.
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit(Limiter);

/// The future of [`Limiter::acquire`]. Its place in the queue is taken by its first poll.
///
/// # Cancel safety
///
/// Dropping it gives up its place, or the permit that had come and was not seen yet: that goes to
/// the next.
#[must_use = "nobody waits until it is polled"]
pub struct Acquire {
    limiter: Limiter,
    queued: Option<(Ticket, u64)>,
}

impl Limiter {
    /// Lets in so many at a time. Zero lets in nobody until the limit is raised.
    pub fn new(limit: usize) -> Self {
        Self::of(Turnstile::new(limit, usize::MAX))
    }

    /// A limit that adapts itself to what [`observe`](Self::observe) is told.
    ///
    /// # Errors
    ///
    /// `Kind::Builder` where the settings contradict each other ([`Adaptive::validate`]).
    pub fn adaptive(settings: Adaptive) -> Result<Self, Error> {
        let wrong = |error| Error::new(Kind::Builder).caused_by(error);
        settings.validate().map_err(wrong)?;
        Ok(Self::of(Turnstile::adaptive(settings, usize::MAX)))
    }

    fn of(turnstile: Turnstile) -> Self {
        Self(Arc::new(Mutex::new(Gate {
            turnstile,
            wakers: BTreeMap::new(),
            tags: 0,
        })))
    }

    /// Waits for a permit behind all who wait already.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, and loses no permit.
    pub fn acquire(&self) -> Acquire {
        Acquire {
            limiter: self.clone(),
            queued: None,
        }
    }

    /// A permit at once, if there is one and nobody waits for it.
    pub fn try_acquire(&self) -> Option<Permit> {
        let entered = self.lock().turnstile.try_enter();
        entered.then(|| Permit(self.clone()))
    }

    /// Changes the limit. A lower one takes no permit away: nobody else is let in until enough are
    /// back. One that adapts itself goes on from there, within its bounds; zero stays zero.
    pub fn set_limit(&self, limit: usize) {
        self.change(|turnstile| turnstile.set_limit(limit));
    }

    /// Tells an adaptive limiter what one with a permit saw, best before that is dropped; of any
    /// other this is of no consequence. `now` counts from an origin of your choice, the same for all
    /// samples.
    pub fn observe(&self, now: Instant, sample: Sample) {
        self.change(|turnstile| turnstile.handle_sample(now, sample));
    }

    /// How many permits there may be.
    pub fn limit(&self) -> usize {
        self.lock().turnstile.limit()
    }

    /// How many there are, those included that have come and were not seen yet.
    pub fn in_use(&self) -> usize {
        self.lock().turnstile.inside()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().turnstile.waiting()
    }

    /// Changes something, and wakes who is let in for it.
    fn change(&self, change: impl FnOnce(&mut Turnstile)) {
        change(&mut self.lock().turnstile);
        loop {
            // Outside the lock: a waker may run anything.
            let next = self.lock().next_waker();
            let Some(waker) = next else { return };
            wake_all([waker]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        // The machine is whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn next_waker(&mut self) -> Option<Waker> {
        loop {
            let tag = self.turnstile.poll_wake()?;
            if let Some(waker) = self.wakers.remove(&tag) {
                return Some(waker);
            }
        }
    }

    /// Whether the one who asks is let in. The waker that this one replaces comes back.
    fn poll(
        &mut self,
        queued: &mut Option<(Ticket, u64)>,
        waker: Waker,
    ) -> (Poll<()>, Option<Waker>) {
        let tag = match *queued {
            Some((ticket, tag)) if self.turnstile.poll_pass(ticket) => {
                *queued = None;
                return (Poll::Ready(()), self.wakers.remove(&tag));
            }
            Some((_, tag)) => tag,
            None => {
                self.tags += 1;
                match self.turnstile.enter(self.tags) {
                    Entry::Pass => return (Poll::Ready(()), Some(waker)),
                    Entry::Wait(ticket) => *queued = Some((ticket, self.tags)),
                    // As many as there are numbers: memory ends first.
                    Entry::Full => {}
                }
                self.tags
            }
        };
        (Poll::Pending, self.wakers.insert(tag, waker))
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Self { limiter, queued } = &mut *self;
        let waker = cx.waker().clone();
        // What is replaced is dropped outside the lock: that may run anything.
        let (polled, _replaced) = limiter.lock().poll(queued, waker);
        polled.map(|()| Permit(limiter.clone()))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some((ticket, tag)) = self.queued.take() else {
            return;
        };
        let _waker = self.limiter.lock().wakers.remove(&tag);
        self.limiter.change(|turnstile| turnstile.cancel(ticket));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.change(Turnstile::leave);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = self.lock();
        f.debug_struct("Limiter")
            .field("limit", &gate.turnstile.limit())
            .field("in_use", &gate.turnstile.inside())
            .field("waiting", &gate.turnstile.waiting())
            .finish()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.0).finish()
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("is_queued", &self.queued.is_some())
            .finish_non_exhaustive()
    }
}
