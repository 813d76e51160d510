//! The world: everything that is simulated, behind one lock.
//!
//! Nothing of the user's runs or is dropped while the lock is held: wakers are collected and woken
//! after it opens, accepted connections are queued for the executor, and tasks live outside.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use fulmar::net::BoxFuture;
use fulmar_core::time::Instant;

use crate::conn::Conn;
use crate::force::Scheduled;
use crate::hosts::Host;
use crate::link::Wire;
use crate::queue::{Event, Queue};
use crate::random::Stream;
use crate::record::{Actor, Trace, What};
use crate::slab::{Key, Slab};
use crate::tcp::Tcp;
use crate::timer::Alarm;

/// What the user gave to serve an address.
pub(crate) type Service = dyn Fn(Conn) -> BoxFuture<std::io::Result<()>> + Send + Sync;

/// A task that the executor has not seen yet.
pub(crate) struct Spawned {
    pub(crate) name: String,
    pub(crate) future: BoxFuture<()>,
}

pub(crate) struct World {
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) epoch: SystemTime,
    pub(crate) queue: Queue,
    pub(crate) trace: Trace,
    pub(crate) conns: Slab<Tcp>,
    pub(crate) alarms: Slab<Alarm>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) by_name: BTreeMap<Box<str>, usize>,
    pub(crate) by_addr: BTreeMap<IpAddr, usize>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) by_pair: BTreeMap<(usize, usize), usize>,
    pub(crate) faults: Vec<Scheduled>,
    pub(crate) spawned: VecDeque<Spawned>,
    pub(crate) accepted: VecDeque<(Key, Arc<Service>)>,
    /// Connections whose servers a fault kills.
    pub(crate) killed: VecDeque<Key>,
    /// Clients that were ever observed.
    pub(crate) clients: u32,
    /// Whether no task may start any more: the run is over, and what is left is being dropped.
    pub(crate) is_closing: bool,
    /// Whether it is the main future that is being polled.
    pub(crate) is_main: bool,
    /// Armed timers that the main future itself has polled.
    pub(crate) main_alarms: usize,
    /// Counts what happened on the network: what does not change shows a stall.
    pub(crate) activity: u64,
    /// Connections that were ever begun.
    pub(crate) opened: u64,
    /// Bytes that arrived.
    pub(crate) bytes: u64,
    wakes: Vec<Waker>,
    discarded: Vec<Waker>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State::new(seed)),
        }
    }

    /// Runs `f` under the lock, then wakes and drops what it collected.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // A panic under the lock leaves counters at worst; the state is plain data.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        if state.wakes.is_empty() && state.discarded.is_empty() {
            return result;
        }
        let wakes = mem::take(&mut state.wakes);
        let discarded = mem::take(&mut state.discarded);
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        drop(discarded);
        result
    }

    pub(crate) fn now(&self) -> Instant {
        self.with(|state| Instant::from_nanos(state.now))
    }

    /// Starts a task, or drops it where none may start.
    pub(crate) fn spawn(&self, name: &str, future: BoxFuture<()>) {
        let task = Spawned {
            name: name.to_owned(),
            future,
        };
        let rest = self.with(|state| {
            if state.is_closing {
                return Some(task);
            }
            state.spawned.push_back(task);
            None
        });
        drop(rest);
    }
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            now: 0,
            // 2026-01-01 00:00:00 UTC.
            epoch: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
            queue: Queue::default(),
            trace: Trace::default(),
            conns: Slab::new(),
            alarms: Slab::new(),
            hosts: Vec::new(),
            by_name: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            wires: Vec::new(),
            by_pair: BTreeMap::new(),
            faults: Vec::new(),
            spawned: VecDeque::new(),
            accepted: VecDeque::new(),
            killed: VecDeque::new(),
            clients: 0,
            is_closing: false,
            is_main: false,
            main_alarms: 0,
            activity: 0,
            opened: 0,
            bytes: 0,
            wakes: Vec::new(),
            discarded: Vec::new(),
        }
    }

    pub(crate) fn stream(&self, name: &str) -> Stream {
        Stream::named(self.seed, name)
    }

    pub(crate) fn record(&mut self, actor: Actor, what: What) {
        self.trace.push(self.now, actor, what);
    }

    /// Wakes after the lock opens.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wakes.extend(waker);
    }

    /// Drops a waker after the lock opens.
    pub(crate) fn discard(&mut self, waker: Option<Waker>) {
        self.discarded.extend(waker);
    }

    /// The instant of the next event that means something: stale ones are thrown away, so that they
    /// cannot move time.
    pub(crate) fn next_at(&mut self) -> Option<u64> {
        loop {
            let at = self.queue.next_at()?;
            if self
                .queue
                .peek_timer()
                .is_none_or(|key| self.is_due(key, at))
            {
                return Some(at);
            }
            self.queue.pop();
        }
    }

    /// Moves time to the next event and lets it happen.
    pub(crate) fn step(&mut self) {
        let Some((at, event)) = self.queue.pop() else {
            return;
        };
        self.now = self.now.max(at);
        match event {
            Event::Timer(key) => return self.fire(key),
            Event::Syn(key) => self.handle_syn(key),
            Event::Handshake(key, failure) => self.handle_handshake(key, failure),
            Event::Segment(key, end, segment) => self.handle_segment(key, end, segment),
            Event::Fin(key, end) => self.handle_fin(key, end),
            Event::Abort(key, end, kind) => self.handle_abort(key, end, kind),
            Event::Credit(key, end) => self.handle_credit(key, end),
            Event::Readable(key, end) => self.handle_readable(key, end),
            Event::Fault(index, begins) => self.handle_fault(index as usize, begins),
        }
        self.activity += 1;
    }
}

/// Stores the waker of whoever is polling. A waker that it replaces is returned, to be dropped
/// outside the lock.
pub(crate) fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => slot.replace(cx.waker().clone()),
    }
}
