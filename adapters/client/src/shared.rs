//! What all handles of one client share: the pool, the calls' deadlines, spare buffers, entropy.
//!
//! One lock, held for O(1) sections and never across IO. What follows from a section (wake-ups,
//! evicted connections, a driver to spawn) is collected inside and done after unlocking.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use chacha20::ChaCha8Rng;
use fulmar_core::pool::{Discard, Pool};
use fulmar_core::time::Instant;
use fulmar_core::timer::{TimerKey, Timers};
use fulmar_core::trace::{Event, Record};
use rand_core::SeedableRng;

use crate::builder::Settings;
use crate::driver::{self, Drain};
use crate::exchange::StreamHandle;
use crate::h1::{Bufs, H1};
use crate::net::Net;
use crate::url::Url;

/// Spare buffers kept: enough for a burst, not for its memory to stay.
const SPARE_BUFS: usize = 32;

pub(crate) struct Shared {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) settings: Settings,
    /// A URL of the origin that was asked first. Most clients know one or few, and a URL of a known
    /// origin is quickly read.
    pub(crate) origin: OnceLock<Url>,
    state: Mutex<State>,
    calls: AtomicU64,
    /// Drivers that went away with their runtime: who registered with one registers anew.
    lost: AtomicU64,
}

pub(crate) struct State {
    pub(crate) pool: Pool<Box<H1>, StreamHandle>,
    /// Every call's nearest deadline, as a lower bound, and whom to wake.
    pub(crate) timers: Timers<Waker>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) driver: Driver,
    /// Connections with a short rest of a body that nobody reads.
    pub(crate) drains: VecDeque<Drain>,
    #[expect(
        clippy::vec_box,
        reason = "they move between here and connections as pointers"
    )]
    bufs: Vec<Box<Bufs>>,
    connections: u64,
}

/// The one background task.
#[derive(Default)]
pub(crate) struct Driver {
    pub(crate) running: bool,
    pub(crate) sleeps_until: Instant,
    pub(crate) waker: Option<Waker>,
    lost: u64,
}

impl Shared {
    pub(crate) fn new(net: Arc<dyn Net>, settings: Settings) -> Self {
        let mut seed = [0; 48];
        net.entropy(&mut seed);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| seed[at + i]));
        let pool = Pool::new(settings.pool, [word(32), word(40)], net.now());
        let state = State {
            pool,
            timers: Timers::new(),
            rng: ChaCha8Rng::from_seed(std::array::from_fn(|i| seed[i])),
            driver: Driver::default(),
            drains: VecDeque::new(),
            bufs: Vec::new(),
            connections: 0,
        };
        Self {
            net,
            settings,
            origin: OnceLock::new(),
            state: Mutex::new(state),
            calls: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Runs `section` under the lock and sees to it that the driver runs: from where tasks may be
    /// spawned.
    pub(crate) fn locked_and_driven<R>(
        self: &Arc<Self>,
        section: impl FnOnce(&mut State) -> R,
    ) -> R {
        let mut state = self.lock();
        let result = section(&mut state);
        let idle = !std::mem::replace(&mut state.driver.running, true);
        settle(state);
        if idle {
            self.net.spawn(Box::pin(driver::run(
                Arc::downgrade(self),
                self.net.clone(),
            )));
        }
        result
    }

    /// Runs `section` under the lock. Nothing is spawned, so a `Drop` may call it.
    pub(crate) fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = section(&mut state);
        settle(state);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every section leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver is gone, and with it its runtime. The next one who looks starts another.
    pub(crate) fn lose_driver(&self, state: &mut State) {
        state.driver = Driver {
            lost: state.driver.lost + 1,
            ..Driver::default()
        };
        self.lost.store(state.driver.lost, Ordering::Release);
    }

    /// A number for a call, for those who watch.
    pub(crate) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the observer. Without one it is one branch, and the event is not made.
    pub(crate) fn emit(&self, call: u64, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            observer.event(&Record {
                at: self.net.now(),
                call,
                event: event(),
            });
        }
    }

    #[expect(clippy::boxed_local, reason = "a connection moves as a pointer")]
    /// Takes a connection out of use. It closes when it is dropped, here, outside the lock.
    pub(crate) fn discard(&self, mut h1: Box<H1>, how: Discard, why: &'static str) {
        let now = self.net.now();
        let bufs = h1.take_bufs();
        self.locked(|state| {
            state.pool.discard(now, h1.slot, how);
            if let Some(bufs) = bufs {
                state.give_back(bufs);
            }
        });
        self.emit(0, || Event::Closed {
            connection: h1.id,
            why,
        });
    }
}

impl State {
    /// Whom to wake of the pool's waiters.
    fn waker_of(&self, tag: u64) -> Option<Waker> {
        self.timers.get(TimerKey::from_bits(tag)).cloned()
    }

    /// Whether the driver sleeps too long.
    fn is_driver_sleepy(&self) -> bool {
        self.driver.waker.is_some() && self.next_wake() < self.driver.sleeps_until
    }

    /// When the driver has to look again, at the latest.
    pub(crate) fn next_wake(&self) -> Instant {
        let timers = self.timers.poll_timeout().unwrap_or(Instant::MAX);
        let pool = self.pool.poll_timeout().unwrap_or(Instant::MAX);
        let next = timers.min(pool);
        if self.drains.is_empty() {
            return next;
        }
        self.drains
            .iter()
            .map(Drain::wake_at)
            .fold(next, Instant::min)
    }

    /// A number for a connection, for those who watch.
    pub(crate) fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    pub(crate) fn lend(&mut self) -> Option<Box<Bufs>> {
        self.bufs.pop()
    }

    /// Takes back reset buffers.
    pub(crate) fn give_back(&mut self, bufs: Box<Bufs>) {
        if self.bufs.len() < SPARE_BUFS {
            self.bufs.push(bufs);
        }
    }
}

/// Ends a locked section: unlocks, and then does what follows from it. Mostly nothing does.
fn settle(state: MutexGuard<'_, State>) {
    if state.pool.has_news() || state.is_driver_sleepy() {
        settle_slowly(state);
    }
}

#[cold]
fn settle_slowly(mut state: MutexGuard<'_, State>) {
    let mut wakes = Vec::new();
    if state.is_driver_sleepy() {
        wakes.extend(state.driver.waker.take());
    }
    while let Some(tag) = state.pool.poll_wake() {
        wakes.extend(state.waker_of(tag));
    }
    let mut gone = Vec::new();
    while let Some(h1) = state.pool.poll_evicted() {
        gone.push(h1);
    }
    drop(state);
    drop(gone);
    wakes.into_iter().for_each(Waker::wake);
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Dials and the driver hold no client alive: they are woken to find it gone.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = state.driver.waker.take() {
            waker.wake();
        }
        while let Some(key) = state.timers.expire(Instant::MAX) {
            if let Some(waker) = state.timers.remove(key) {
                waker.wake();
            }
        }
    }
}

/// One call's entry among the client's deadlines.
///
/// The instant registered is a lower bound: a deadline that moves later is not moved here, and the
/// call that is woken early reads the clock and registers anew.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    key: Option<TimerKey>,
    at: Instant,
    /// The task that is registered, to see without a lock that it is still the one that polls.
    task: (usize, usize),
    driver: u64,
}

impl Registration {
    /// Registers the polling task; what the pool is told to wake is the same entry.
    pub(crate) fn register(&mut self, state: &mut State, cx: &Context<'_>, at: Instant) -> u64 {
        let waker = cx.waker();
        self.at = at;
        self.task = task_of(waker);
        self.driver = state.driver.lost;
        if let Some(key) = self.key
            && let Some(known) = state.timers.get_mut(key)
        {
            known.clone_from(waker);
            state.timers.reset(key, at);
            return key.to_bits();
        }
        let key = state.timers.insert(at, waker.clone());
        self.key = Some(key);
        key.to_bits()
    }

    /// Whether the polling task will be woken by `deadline`.
    pub(crate) fn covers(
        &self,
        shared: &Shared,
        cx: &Context<'_>,
        now: Instant,
        deadline: Instant,
    ) -> bool {
        self.key.is_some()
            && self.driver == shared.lost.load(Ordering::Acquire)
            && self.at <= deadline
            && (now < self.at)
            && self.task == task_of(cx.waker())
    }

    /// Takes the entry out.
    pub(crate) fn remove(&mut self, state: &mut State) {
        if let Some(key) = self.key.take() {
            state.timers.remove(key);
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.key.is_some()
    }
}

/// A task's identity. It cannot be reused while registered, because the registered clone of its
/// waker keeps it.
fn task_of(waker: &Waker) -> (usize, usize) {
    (
        waker.data().addr(),
        std::ptr::from_ref(waker.vtable()).addr(),
    )
}
