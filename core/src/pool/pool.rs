//! The pool itself: what callers ask of it, and the few steps that all of it shares.

#[allow(clippy::disallowed_types, reason = "keyed SipHash, never iterated")]
use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::Fault;
use crate::rand_core::Rng;
use crate::time::Instant;
use crate::timer::Timers;

use super::config::{Config, Settings};
use super::expiry::{Due, Expiry};
use super::lease::{Ask, Connection, Discard, Eviction, Gauges, Lease, Refusal, Slot, Ticket};
use super::route::{Protocol, Route, Seeded};
use super::slab::{List, NONE, Slab};
use super::slot::{Counts, Entry, State};
use super::waiters::{Grant, Waiter};

/// Of what came in a burst, so much memory is kept.
pub(super) const KEPT: usize = 64;

/// So many bodies that nobody reads are read to their end at once, in one route.
const DRAINS: u32 = 4;

/// Connections by route: exclusive ones (`U`), which move, and shared ones (`S`), which are
/// cloned. It looks at neither.
///
/// Deadlines of waiters belong to their callers, who [`cancel`](Self::cancel). After any call,
/// drain [`poll_evicted`](Self::poll_evicted) and [`poll_wake`](Self::poll_wake), and act on them
/// once the pool is unlocked.
#[derive(Debug)]
pub struct Pool<U, S> {
    #[allow(clippy::disallowed_types, reason = "keyed SipHash, never iterated")]
    pub(super) index: HashMap<Arc<str>, u32, Seeded>,
    pub(super) slots: Slab<Entry<U, S>>,
    pub(super) routes: Slab<Route>,
    pub(super) waiters: Slab<Waiter<S>>,
    pub(super) counts: Counts,
    pub(super) waiting: u32,
    /// All idle connections, oldest first.
    pub(super) lru: List,
    /// The routes that the total limit holds up, in turn.
    pub(super) ring: List,
    /// The round of turns under way among them.
    pub(super) round: u32,
    pub(super) settings: Settings,
    pub(super) timers: Timers<Due>,
    pub(super) expiry: Expiry,
    pub(super) evicted: VecDeque<(U, Eviction)>,
    pub(super) evicted_shared: VecDeque<S>,
    pub(super) wakes: VecDeque<u64>,
    pub(super) serial: u64,
    /// The route that was asked for last.
    pub(super) last: u32,
    /// Where the next look begins.
    pub(super) looked: u32,
    pub(super) is_closed: bool,
    /// Where connections lead that were dialled by name, by place.
    pub(super) addresses: Vec<Option<IpAddr>>,
    /// Whom to wake once nothing is left of a closed pool.
    pub(super) closers: Vec<u64>,
}

impl<U, S: Clone> Pool<U, S> {
    /// An empty pool. The seed keys its hashes, and should be secret: names come from peers.
    ///
    /// The configuration should be [valid](Config::validate).
    pub fn new(config: Config, seed: [u64; 2], now: Instant) -> Self {
        let mut timers = Timers::new();
        let expiry = Expiry::new(now, &mut timers);
        Self {
            #[allow(clippy::disallowed_types, reason = "keyed SipHash, never iterated")]
            index: HashMap::with_hasher(Seeded::new(seed)),
            slots: Slab::new(),
            routes: Slab::new(),
            waiters: Slab::new(),
            counts: Counts::default(),
            waiting: 0,
            lru: List::new(),
            ring: List::new(),
            round: 0,
            settings: config.resolve(),
            timers,
            expiry,
            evicted: VecDeque::new(),
            evicted_shared: VecDeque::new(),
            wakes: VecDeque::new(),
            serial: 0,
            last: NONE,
            looked: 0,
            is_closed: false,
            addresses: Vec::new(),
            closers: Vec::new(),
        }
    }

    /// Asks for a connection on a route, named by [`Route::key`](crate::origin::Route::key).
    ///
    /// # Errors
    ///
    /// The queue is full, or the pool is closed.
    pub fn checkout(
        &mut self,
        now: Instant,
        route: &str,
        ask: Ask,
    ) -> Result<Lease<U, S>, Refusal> {
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if let Some(r) = self.find(route) {
            if let Some(lease) = self.take_idle(now, r, ask) {
                return Ok(lease);
            }
            return self.checkout_cold(now, r, ask);
        }
        let r = self.make_route(now, route);
        self.checkout_cold(now, r, ask)
    }

    /// What a ticket has got; `None` while it waits. Anything but a dial ends the ticket.
    pub fn poll_lease(
        &mut self,
        now: Instant,
        ticket: Ticket,
    ) -> Option<Result<Lease<U, S>, Refusal>> {
        let Some(w) = self.asker(ticket) else {
            return Some(Err(Refusal::Closed));
        };
        if matches!(self.waiters.at(w).grant, Grant::Queued) {
            return self.take_dial(w, ticket).map(Ok);
        }
        Some(match self.end_ticket(w) {
            Grant::Connection(i) => {
                let entry = self.slots.at(i);
                entry.unused = false;
                let idle_for = now - entry.since;
                let slot = entry.slot(i);
                // It is there: the grant is its only way out.
                let held = entry.held.take();
                entry.set_leased(entry.since);
                match held {
                    Some(conn) => Ok(Lease::Idle(slot, conn, idle_for)),
                    None => Err(Refusal::Closed),
                }
            }
            Grant::Share(slot, shared) => Ok(Lease::Share(slot, shared)),
            Grant::Refused(refusal) => Err(refusal),
            Grant::Vacant | Grant::Queued => Err(Refusal::Closed),
        })
    }

    /// Gives a ticket up, with all that it has been granted: a connection goes to the next waiter
    /// or is idle, a dial not begun goes to the next waiter. A dial that has begun goes on.
    pub fn cancel(&mut self, now: Instant, ticket: Ticket) {
        let Some(w) = self.asker(ticket) else { return };
        if matches!(self.waiters.at(w).grant, Grant::Queued) {
            self.unqueue(now, w);
        }
        match self.end_ticket(w) {
            Grant::Connection(i) => self.settle_again(now, i),
            Grant::Share(slot, _) => self.release(now, slot),
            Grant::Refused(_) | Grant::Queued | Grant::Vacant => {}
        }
        self.serve_ring(now);
    }

    /// Gives back a connection that can serve another exchange: to the first waiter, else it is
    /// idle. `hint` is the server's `Keep-Alive: timeout`, as it is.
    pub fn park(&mut self, now: Instant, slot: Slot, conn: U, hint: Option<Duration>) {
        let Some(i) = self.borne(slot) else {
            return self.evicted.push_back((conn, Eviction::Closed));
        };
        let entry = self.slots.at(i);
        let is_retired = now >= entry.retire_at;
        entry.held = Some(conn);
        if hint.is_none() && self.rest_at_once(now, i) {
            return;
        }
        let r = self.slots.at(i).route;
        self.routes.at(r).stillborn = 0;
        if self.is_closed {
            self.evict_and_pump(now, i, Eviction::Closed);
        } else if is_retired {
            self.evict_and_pump(now, i, Eviction::Expired);
        } else {
            self.set_idle_limits(now, i, hint);
            self.settle(now, i);
        }
        self.serve_ring(now);
    }

    /// A connection is gone, or a dial is given up without a fault to report: its room is free.
    pub fn discard(&mut self, now: Instant, slot: Slot, why: Discard) {
        let Some(i) = self.current(slot) else { return };
        let entry = self.slots.at(i);
        if entry.held.is_some() {
            return;
        }
        let is_leased = entry.state == State::Busy && !entry.is_shared;
        if why == Discard::Answered {
            let r = entry.route;
            self.routes.at(r).stillborn = 0;
        }
        let entry = self.slots.at(i);
        if why == Discard::Stale && is_leased {
            let (r, age) = (entry.route, entry.leased() - entry.since);
            if age > Duration::ZERO {
                self.routes.at(r).learn(now, age);
            }
        }
        self.evict_and_pump(now, i, Eviction::Closed);
        self.serve_ring(now);
    }

    /// A connection goes on for a while with nobody waiting for it: the rest of its response is
    /// read and dropped. `false` where the route has enough of these; then close it.
    pub fn drain(&mut self, slot: Slot) -> bool {
        let Some(i) = self.borne(slot) else {
            return false;
        };
        let r = self.slots.at(i).route;
        if self.routes.at(r).counts.of(State::Draining) >= DRAINS {
            return false;
        }
        self.shift(i, State::Draining);
        true
    }

    /// A dial brought a connection: to the oldest waiter, whoever dialled; with none, it is idle
    /// where the limits leave room, and evicted otherwise.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        slot: Slot,
        conn: Connection<U, S>,
        rng: &mut dyn Rng,
    ) {
        let Some(i) = self.dialled(slot).filter(|_| !self.is_closed) else {
            if let Some(i) = self.dialled(slot) {
                self.free_slot(now, i);
            }
            return match conn {
                Connection::Exclusive(conn) => self.evicted.push_back((conn, Eviction::Closed)),
                Connection::Shared(conn, _) => self.evicted_shared.push_back(conn),
            };
        };
        let retire_at = self.draw_retirement(now, rng);
        let entry = self.slots.at(i);
        entry.retire_at = retire_at;
        let r = entry.route;
        self.unstage(i);
        self.shift(i, State::Busy);
        let route = self.routes.at(r);
        route.handle_connected();
        match conn {
            Connection::Exclusive(conn) => {
                route.handle_protocol(now, Protocol::Exclusive);
                self.adopt(now, i, conn);
            }
            Connection::Shared(shared, capacity) => {
                route.handle_protocol(now, Protocol::Shared);
                self.adopt_shared(now, i, shared, capacity);
            }
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// A dial failed. The oldest waiter pays, or all do where no dial of this route can succeed;
    /// the others stay queued, and the next dial waits for a while.
    pub fn handle_dial_failed(
        &mut self,
        now: Instant,
        slot: Slot,
        fault: Fault,
        rng: &mut dyn Rng,
    ) {
        if let Some(i) = self.dialled(slot) {
            self.fail_dial(now, i, fault, rng);
        }
    }

    /// A connection that the pool has given up, and why, to be dropped once the pool is unlocked.
    pub fn poll_evicted(&mut self) -> Option<(U, Eviction)> {
        pop(&mut self.evicted)
    }

    /// A shared connection that the pool gives out no more, to be closed once its streams end.
    pub fn poll_evicted_shared(&mut self) -> Option<S> {
        pop(&mut self.evicted_shared)
    }

    /// Whether [`poll_wake`](Self::poll_wake) or [`poll_evicted`](Self::poll_evicted) has something.
    #[inline]
    pub fn has_news(&self) -> bool {
        !(self.wakes.is_empty() && self.evicted.is_empty())
    }

    /// The tag of an asker who has been granted or refused something.
    pub fn poll_wake(&mut self) -> Option<u64> {
        pop(&mut self.wakes)
    }

    /// Ends it: refuses all who wait and all who come, gives up dials, and evicts what is idle. Connections that
    /// are out are evicted as they come back. To close it twice is to close it once.
    pub fn close(&mut self, now: Instant) {
        self.is_closed = true;
        for r in 0..self.routes.entries.len() as u32 {
            self.refuse_all(now, r);
        }
        self.give_up_all(now);
        self.evict_all(now);
    }

    /// Whether nothing is left of a closed pool. Where something is, `poll_wake` names the tag once
    /// it is gone.
    pub fn poll_closed(&mut self, tag: u64) -> bool {
        let is_over = self.is_closed && self.counts.total() == 0;
        if !is_over && !self.closers.contains(&tag) {
            self.closers.push(tag);
        }
        is_over
    }

    /// Whoever asked [`poll_closed`](Self::poll_closed) with the tag no longer waits.
    pub fn cancel_closed(&mut self, tag: u64) {
        self.closers.retain(|closer| *closer != tag);
    }

    /// Counts of all routes.
    pub fn gauges(&self) -> Gauges {
        self.counts.gauges(self.waiting)
    }
}

/// The next of a queue, which gives back most of its memory once a burst is over.
#[inline]
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front()?;
    if queue.is_empty() && queue.capacity() > KEPT {
        queue.shrink_to(KEPT);
    }
    Some(next)
}
