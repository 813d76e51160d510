//! What all handles of one client share: the pool, the calls' deadlines, spare buffers, entropy.
//!
//! One lock, held for O(1) sections and never across IO. What follows from a section (wake-ups,
//! evicted connections, a driver to spawn) is collected inside and done after unlocking.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use chacha20::ChaCha8Rng;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::{Discard, Pool, Slot};
use fulmar_core::spool::Allowance;
use fulmar_core::time::Instant;
use fulmar_core::timer::{TimerKey, Timers};
use fulmar_core::trace::{Event, Record};
use fulmar_core::turnstile::Turnstile;
use rand_core::SeedableRng;

use crate::builder::Settings;
use crate::dns::Watched;
use crate::driver::{self, Drain};
use crate::exchange::StreamHandle;
use crate::h1::{Bufs, H1};
use crate::net::Net;
use crate::url::Url;
use crate::wake::wake_all;

/// Spare buffers kept: enough for a burst, not for its memory to stay.
const SPARE_BUFS: usize = 32;

/// The last driver that was spawned was dropped at once, and there is no other: no runtime runs.
const UNDRIVEN: u8 = 1;
/// The client is shut down: nothing new begins.
const CLOSED: u8 = 2;
/// And its deadline has passed.
const CUT: u8 = 4;

pub(crate) struct Shared {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) settings: Settings,
    /// The URL that was asked first. Most clients know one origin or few, and a URL of a known origin
    /// is quickly read; the same URL is shared.
    pub(crate) origin: OnceLock<Url>,
    #[cfg(feature = "websocket")]
    pub(crate) websockets: Arc<crate::websocket::Cap>,
    /// Handshakes of sockets under way.
    #[cfg(feature = "websocket")]
    pub(crate) handshakes: Arc<crate::websocket::Cap>,
    /// Whether there is a cap on the client's calls in flight.
    pub(crate) is_capped: AtomicBool,
    state: Mutex<State>,
    /// What may be kept of bodies that are sent.
    pub(crate) spooled: Mutex<Allowance>,
    calls: AtomicU64,
    /// Drivers that went away with their runtime: who registered with one registers anew.
    lost: AtomicU32,
    /// Why those who wait may not go on: nearly always nothing, and then that is all they look at.
    halt: AtomicU8,
}

pub(crate) struct State {
    pub(crate) pool: Pool<Box<H1>, StreamHandle>,
    /// Every call's nearest deadline, as a lower bound, and whom to wake.
    pub(crate) timers: Timers<Waker>,
    /// Of the client, and of profiles that have one: calls in flight.
    pub(crate) turnstiles: Vec<Turnstile>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) drivers: Drivers,
    /// Connections with a short rest of a body that nobody reads.
    pub(crate) drains: VecDeque<Drain>,
    #[expect(
        clippy::vec_box,
        reason = "they move between here and connections as pointers"
    )]
    bufs: Vec<Box<Bufs>>,
    /// Names on which connections depend.
    pub(crate) watched: Watched,
    /// The address that was connected to last: many connections have the same.
    peer: Option<Arc<SocketAddr>>,
    connections: u64,
}

/// The background task: one on each runtime from which the client is used, mostly one. They do the
/// same work; each sees to it that the calls of its own runtime do not depend on another's.
#[derive(Default)]
pub(crate) struct Drivers {
    list: Vec<Driver>,
    lost: u32,
    /// Until when one that can be woken sleeps; before all time, where none can. Every locked
    /// section ends by comparing it.
    latest: Instant,
}

struct Driver {
    runtime: u64,
    sleeps_until: Instant,
    waker: Option<Waker>,
}

impl Drivers {
    /// Notes that one runs there. False: it did already.
    fn start(&mut self, runtime: u64) -> bool {
        if self.list.iter().any(|driver| driver.runtime == runtime) {
            return false;
        }
        self.list.push(Driver {
            runtime,
            sleeps_until: Instant::ORIGIN,
            waker: None,
        });
        true
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.list.is_empty()
    }

    /// The one there sleeps until then.
    pub(crate) fn sleep(&mut self, runtime: u64, until: Instant, waker: Waker) {
        let here = |driver: &&mut Driver| driver.runtime == runtime;
        if let Some(driver) = self.list.iter_mut().find(here) {
            driver.sleeps_until = until;
            driver.waker = Some(waker);
        }
        self.compare();
    }

    /// All have to look again, whatever they sleep for.
    pub(crate) fn rouse(&mut self) {
        for driver in &mut self.list {
            driver.sleeps_until = Instant::MAX;
        }
        self.compare();
    }

    /// Whether one sleeps beyond `wake`.
    fn is_sleepy(&self, wake: Instant) -> bool {
        wake < self.latest
    }

    /// One that sleeps beyond `wake`.
    fn sleepy(&mut self, wake: Instant) -> Option<Waker> {
        let mut sleepy = self.list.iter_mut().filter(|one| wake < one.sleeps_until);
        let waker = sleepy.find_map(|driver| driver.waker.take());
        self.compare();
        waker
    }

    /// The one there ends.
    pub(crate) fn end(&mut self, runtime: u64) {
        self.list.retain(|driver| driver.runtime != runtime);
        self.compare();
    }

    fn compare(&mut self) {
        let asleep = self.list.iter().filter(|driver| driver.waker.is_some());
        let latest = asleep.map(|driver| driver.sleeps_until).max();
        self.latest = latest.unwrap_or(Instant::ORIGIN);
    }
}

impl Shared {
    pub(crate) fn new(net: Arc<dyn Net>, settings: Settings) -> Arc<Self> {
        let mut seed = [0; 48];
        net.entropy(&mut seed);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| seed[at + i]));
        let pool = Pool::new(settings.pool, [word(32), word(40)], net.now());
        let key = std::array::from_fn(|i| seed[i]);
        // The other one draws from a stream of its own.
        let mut fork = ChaCha8Rng::from_seed(key);
        fork.set_stream(1);
        let state = State {
            pool,
            timers: Timers::new(),
            turnstiles: settings.turnstiles(),
            rng: ChaCha8Rng::from_seed(key),
            drivers: Drivers::default(),
            drains: VecDeque::new(),
            bufs: Vec::new(),
            watched: Watched::default(),
            peer: None,
            connections: 0,
        };
        let shared = Arc::new(Self {
            net,
            #[cfg(feature = "websocket")]
            websockets: Arc::new(crate::websocket::Cap::new(
                settings.websockets,
                "the client has as many WebSockets as it may",
            )),
            #[cfg(feature = "websocket")]
            handshakes: Arc::new(crate::websocket::Cap::new(
                (usize::MAX, settings.handshakes),
                "another handshake with the server is under way",
            )),
            is_capped: AtomicBool::new(settings.in_flight.is_some()),
            spooled: Mutex::new(Allowance::new(settings.spool.0)),
            settings,
            origin: OnceLock::new(),
            state: Mutex::new(state),
            calls: AtomicU64::new(0),
            lost: AtomicU32::new(0),
            halt: AtomicU8::new(0),
        });
        shared.settings.dns.join(&shared, fork);
        shared
    }

    /// Runs `section` under the lock and sees to it that the driver runs: from where tasks may be
    /// spawned.
    pub(crate) fn locked_and_driven<R>(
        self: &Arc<Self>,
        section: impl FnOnce(&mut State) -> R,
    ) -> R {
        let runtime = self.net.runtime();
        let mut state = self.lock();
        let result = section(&mut state);
        let is_first = state.drivers.start(runtime);
        self.settle(state);
        if is_first {
            self.net.spawn(Box::pin(driver::run(
                Arc::downgrade(self),
                self.net.clone(),
                runtime,
            )));
            let state = self.lock();
            if state.drivers.is_running() {
                self.halt.fetch_and(!UNDRIVEN, Ordering::Relaxed);
            } else {
                self.halt.fetch_or(UNDRIVEN, Ordering::Relaxed);
            }
        }
        result
    }

    /// Runs `section` under the lock. Nothing is spawned, so a `Drop` may call it.
    pub(crate) fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = section(&mut state);
        self.settle(state);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every section leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver is gone, and with it its runtime. The next one who looks starts another.
    pub(crate) fn lose_driver(&self, state: &mut State, runtime: u64) {
        state.drivers.end(runtime);
        state.drivers.lost += 1;
        self.lost.store(state.drivers.lost, Ordering::Release);
    }

    /// How many runtimes went away while the client used them. What was opened before the last one
    /// did may have gone with it.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether there is any reason for those who wait not to go on.
    pub(crate) fn is_halted(&self) -> bool {
        self.halt.load(Ordering::Relaxed) != 0
    }

    /// Whether no runtime runs on which anybody could wait: it was so when the last driver was needed.
    pub(crate) fn is_undriven(&self) -> bool {
        self.halt.load(Ordering::Relaxed) & UNDRIVEN != 0
    }

    /// Whether nothing new begins.
    pub(crate) fn is_closed(&self) -> bool {
        self.halt.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Whether what is under way ends, too.
    pub(crate) fn is_cut(&self) -> bool {
        self.halt.load(Ordering::Relaxed) & CUT != 0
    }

    /// Nothing new begins, and who waits for his turn fails.
    pub(crate) fn close(&self, now: Instant) {
        self.halt.fetch_or(CLOSED, Ordering::Relaxed);
        self.locked(|state| state.pool.close(now));
        self.rouse_calls();
    }

    /// What is under way ends.
    pub(crate) fn cut(&self) {
        self.halt.fetch_or(CUT, Ordering::Relaxed);
        self.rouse_calls();
    }

    /// Has everybody look who is registered.
    fn rouse_calls(&self) {
        let calls = self.locked(|state| state.timers.values().cloned().collect::<Vec<_>>());
        wake_all(calls);
    }

    /// A random source of its own for a WebSocket.
    #[cfg(feature = "websocket")]
    pub(crate) fn fork_rng(&self) -> ChaCha8Rng {
        self.locked(|state| {
            let mut seed = [0; 32];
            rand_core::Rng::fill_bytes(&mut state.rng, &mut seed);
            ChaCha8Rng::from_seed(seed)
        })
    }

    /// A number for a call, for those who watch.
    pub(crate) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the observer. Without one it is one branch, and the event is not made.
    ///
    /// An observer that panics panics here: where this is called, nothing is held that would be
    /// lost.
    pub(crate) fn emit(&self, call: u64, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            let record = Record {
                at: self.net.now(),
                call,
                event: event(),
            };
            if std::thread::panicking() {
                // A call that is dropped by a panic: a second one would end the process.
                let _ = catch_unwind(AssertUnwindSafe(|| observer.event(&record)));
            } else {
                observer.event(&record);
            }
        }
    }

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
        h1.disown();
        self.emit(0, || Event::Closed {
            connection: h1.id,
            why,
        });
        let_go(h1);
    }
}

impl State {
    /// Whom to wake of the pool's waiters.
    pub(crate) fn waker_of(&self, tag: u64) -> Option<Waker> {
        self.timers.get(TimerKey::from_bits(tag)).cloned()
    }

    /// Whether a driver sleeps too long.
    fn is_driver_sleepy(&self) -> bool {
        self.drivers.is_sleepy(self.next_wake())
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

    /// The same address, in common with the connection before if that has it too.
    pub(crate) fn share(&mut self, peer: Arc<SocketAddr>) -> Arc<SocketAddr> {
        match &self.peer {
            Some(known) if *known == peer => known.clone(),
            _ => self.peer.insert(peer).clone(),
        }
    }

    /// A number for a connection, for those who watch.
    pub(crate) fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// Buffers that nobody has.
    pub(crate) fn spare(&self) -> &[Box<Bufs>] {
        &self.bufs
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

/// Drops a connection. Its transport is anybody's code: one that panics here has said so by the panic
/// hook, and must neither keep others from hearing of the end nor, within a `Drop` that unwinds, end
/// the process.
fn let_go(h1: Box<H1>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(h1)));
}

impl Shared {
    /// Takes a new connection out of use that ended before its first response.
    pub(crate) fn bury(&self, mut h1: Box<H1>) {
        let now = self.net.now();
        self.locked(|state| {
            let State { pool, rng, .. } = state;
            pool.handle_stillborn(now, h1.slot, rng);
        });
        h1.disown();
        if let Some(peer) = h1.peer.as_deref() {
            let fault = Fault::new(FaultKind::Eof, Phase::FirstByte);
            self.settings.dns.note_failed(*peer, &fault);
        }
        self.emit(0, || Event::Closed {
            connection: h1.id,
            why: "ended before its first response",
        });
        let_go(h1);
    }

    /// A connection is gone that had this place.
    #[cold]
    pub(crate) fn free(&self, slot: Slot) {
        let now = self.net.now();
        self.locked(|state| state.pool.discard(now, slot, Discard::Spent));
    }

    /// Ends a locked section: unlocks, and then does what follows from it. Mostly nothing does.
    // Every request ends two, and the call would cost as much as the rest.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn settle(&self, state: MutexGuard<'_, State>) {
        if state.pool.has_news() || state.is_driver_sleepy() {
            self.settle_slowly(state);
        }
    }

    #[cold]
    fn settle_slowly(&self, mut state: MutexGuard<'_, State>) {
        let wake = state.next_wake();
        let mut wakes = Vec::new();
        wakes.extend(std::iter::from_fn(|| state.drivers.sleepy(wake)));
        while let Some(tag) = state.pool.poll_wake() {
            wakes.extend(state.waker_of(tag));
        }
        let mut gone = Vec::new();
        while let Some((mut h1, why)) = state.pool.poll_evicted() {
            h1.disown();
            gone.push((h1, why));
        }
        drop(state);
        wake_all(wakes);
        for (h1, why) in gone {
            let connection = h1.id;
            drop(h1);
            let why = why.as_str();
            self.emit(0, || Event::Evicted { connection, why });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Dials and the driver hold no client alive: they are woken to find it gone.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        wake_all(
            state
                .drivers
                .list
                .drain(..)
                .filter_map(|driver| driver.waker),
        );
        wake_all(state.timers.values().cloned());
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
    driver: u32,
}

impl Registration {
    /// Registers the polling task; what the pool is told to wake is the same entry. The waker that
    /// it replaces is for the caller to drop once the lock is open, because that may run anybody's
    /// code.
    // Once a request, as above.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn register(
        &mut self,
        state: &mut State,
        waker: Waker,
        at: Instant,
    ) -> (u64, Option<Waker>) {
        self.at = at;
        self.task = task_of(&waker);
        self.driver = state.drivers.lost;
        if let Some(key) = self.key
            && let Some(known) = state.timers.get_mut(key)
        {
            let known = std::mem::replace(known, waker);
            state.timers.reset(key, at);
            return (key.to_bits(), Some(known));
        }
        let key = state.timers.insert(at, waker);
        self.key = Some(key);
        (key.to_bits(), None)
    }

    /// Sees to it that the polling task is woken by `at`, and sooner where the client ends; says
    /// whether it has ended for those who wait, or nobody is there to wake them. That is read last:
    /// what happens later finds the task registered.
    #[inline]
    pub(crate) fn ensure(
        &mut self,
        shared: &Arc<Shared>,
        cx: &Context<'_>,
        now: Instant,
        at: Instant,
    ) -> bool {
        if !self.covers(shared, cx, now, at) {
            self.enroll(shared, cx, at);
        }
        shared.is_halted()
    }

    #[inline(never)]
    fn enroll(&mut self, shared: &Arc<Shared>, cx: &Context<'_>, at: Instant) {
        let waker = cx.waker().clone();
        // What comes back is dropped here, outside the lock.
        shared.locked_and_driven(|state| self.register(state, waker, at));
    }

    /// Whether the polling task will be woken by `deadline`.
    #[inline]
    fn covers(&self, shared: &Shared, cx: &Context<'_>, now: Instant, deadline: Instant) -> bool {
        self.key.is_some()
            && self.driver == shared.lost()
            && self.at <= deadline
            && (now < self.at)
            && self.task == task_of(cx.waker())
    }

    /// Registers the polling task, if it is not, to be woken by a shutdown alone.
    #[cfg(feature = "websocket")]
    pub(crate) fn watch_shutdown(&mut self, shared: &Shared, cx: &Context<'_>) {
        if !self.covers(shared, cx, Instant::ORIGIN, Instant::MAX) {
            let waker = cx.waker().clone();
            // What comes back is dropped here, outside the lock.
            shared.locked(|state| self.register(state, waker, Instant::MAX));
        }
    }

    /// Takes the entry out. Its waker is for the caller to drop once the lock is open.
    #[must_use = "a waker is not dropped under the lock"]
    #[inline]
    pub(crate) fn remove(&mut self, state: &mut State) -> Option<Waker> {
        state.timers.remove(self.key.take()?)
    }

    /// What the pool is told to wake; of nobody, where nothing is registered.
    pub(crate) fn tag(&self) -> u64 {
        self.key.map_or(u64::MAX, TimerKey::to_bits)
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
