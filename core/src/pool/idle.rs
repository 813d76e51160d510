//! Connections that nobody holds: to whom they go, how long they stay, and which go first.

use std::time::Duration;

use crate::time::Instant;

use super::lease::Eviction;
use super::pool::Pool;
use super::slab::{List, NONE};
use super::slot::{Stage, State};
use super::waiters::Grant;

impl<U, S: Clone> Pool<U, S> {
    /// Evicts the route's connections that have idled for so long: one of that age was stale.
    pub fn evict_idle(&mut self, now: Instant, route: &str, idle_for: Duration) {
        if let Some(&r) = self.index.get(route) {
            self.evict_older(now, r, idle_for);
            self.serve_ring(now);
        }
    }

    /// Evicts the connection that has idled longest, whatever its route, of those that nobody counts
    /// on: this side ran out of descriptors or ports.
    pub fn give_up_oldest(&mut self, now: Instant) {
        if let Some(oldest) = self.oldest_to_spare(None) {
            self.evict_and_pump(now, oldest, Eviction::RoomNeeded);
            self.serve_ring(now);
        }
    }

    /// Sets until when a connection that is parked now may idle, and serve what cannot be sent
    /// twice: as long as this side allows, and less than the server does.
    pub(super) fn set_idle_limits(&mut self, now: Instant, i: u32, hint: Option<Duration>) {
        let entry = self.slots.at(i);
        entry.since = now;
        let learned = self.routes.at(entry.route).learned(now);
        if hint.is_none() && learned.is_none() {
            entry.idle_until = later(now, self.settings.idle_nanos).min(entry.retire_at);
            entry.set_shy_until(later(now, self.settings.shy_nanos));
            return;
        }
        // A second of slack for the way there, or half of it all where it is shorter still.
        let hinted = hint.map_or(Duration::MAX, |n| n.saturating_sub(SLACK).max(n / 2));
        let learned = learned.map_or(Duration::MAX, |age| age.saturating_mul(9) / 10);
        let server = hinted.min(learned);
        entry.idle_until = (now + server)
            .min(later(now, self.settings.idle_nanos))
            .min(entry.retire_at);
        entry.set_shy_until(now + server / 2);
    }

    /// Gives the connection in a slot, of which the limits are set, to the first waiter whom it
    /// fits, or makes it idle, or evicts it where room is needed elsewhere.
    pub(super) fn settle(&mut self, now: Instant, i: u32) {
        if !self.ring.is_empty() {
            return self.settle_contended(now, i);
        }
        match self.taker(i) {
            Some(w) => self.grant_connection(now, i, w),
            None => self.make_idle(now, i),
        }
    }

    /// The first waiter whom the connection fits.
    pub(super) fn taker(&mut self, i: u32) -> Option<u32> {
        let entry = self.slots.at(i);
        let (r, unused) = (entry.route, entry.unused);
        self.first(r, unused)
    }

    pub(super) fn adopt(&mut self, now: Instant, i: u32, conn: U) {
        self.slots.at(i).held = Some(conn);
        self.set_idle_limits(now, i, None);
        let r = self.slots.at(i).route;
        let idle = State::Idle;
        let is_full = self.routes.at(r).counts.of(idle) >= self.settings.idle_per_origin
            || self.counts.of(idle) >= self.settings.idle;
        if self.routes.at(r).waiting == 0 && is_full {
            // Nobody wants it: it pushes nothing out that has proved its use.
            self.evict(now, i, Eviction::Full);
        } else {
            self.settle(now, i);
        }
    }

    /// A grant comes back that nobody took. It has been unattended since it was written.
    pub(super) fn settle_again(&mut self, now: Instant, i: u32) {
        let entry = self.slots.at(i);
        if now >= entry.idle_until || now > entry.shy_until() || self.is_closed {
            let why = if self.is_closed {
                Eviction::Closed
            } else {
                Eviction::Expired
            };
            self.evict_and_pump(now, i, why);
        } else {
            self.settle(now, i);
        }
    }

    pub(super) fn grant_connection(&mut self, now: Instant, i: u32, w: u32) {
        self.shift(i, State::Busy);
        self.slots.at(i).change_hands();
        self.grant(now, w, Grant::Connection(i));
    }

    fn make_idle(&mut self, now: Instant, i: u32) {
        if self.slots.at(i).stage == Stage::Leaving {
            return self.evict_and_pump(now, i, Eviction::Moved);
        }
        self.shift(i, State::Idle);
        let entry = self.slots.at(i);
        entry.unused = false;
        let r = entry.route;
        let until = entry.idle_until;
        self.note_expiry(until);
        let route = self.routes.at(r);
        route
            .idle
            .push_back(&mut self.slots.entries, i, |e| &mut e.siblings);
        self.lru
            .push_back(&mut self.slots.entries, i, |e| &mut e.lru);
        let (idle, waiting) = (route.counts.of(State::Idle), route.waiting);
        if idle > self.settings.idle_per_origin {
            // There is one: the connection itself.
            let oldest = self.own_to_spare(r).unwrap_or(i);
            self.evict(now, oldest, Eviction::Full);
        } else if self.counts.of(State::Idle) > self.settings.idle {
            self.evict_oldest(now, Eviction::Full);
        }
        if waiting > 0 {
            // They wait for a new one, and may use the room of this one.
            self.pump(now, r, None);
        }
    }

    /// Takes an idle connection out of the lists.
    pub(super) fn unlink_idle(&mut self, i: u32) {
        let entry = self.slots.at(i);
        let (r, is_shared) = (entry.route, entry.is_shared);
        self.lru.remove(&mut self.slots.entries, i, |e| &mut e.lru);
        if !is_shared {
            let idle = &mut self.routes.at(r).idle;
            idle.remove(&mut self.slots.entries, i, |e| &mut e.siblings);
        }
    }

    /// Gives up a connection that the pool holds.
    pub(super) fn evict(&mut self, now: Instant, i: u32, why: Eviction) {
        if self.slots.at(i).state == State::Idle {
            self.unlink_idle(i);
        }
        self.free_held(now, i, why);
    }

    /// As [`evict`](Self::evict), and lets its route use the room.
    pub(super) fn evict_and_pump(&mut self, now: Instant, i: u32, why: Eviction) {
        let r = self.slots.at(i).route;
        self.evict(now, i, why);
        self.pump(now, r, None);
    }

    /// Evicts a route's idle connections that have idled for so long. They are looked at one by one:
    /// a grant that nobody took comes back to the end of the list, and has idled all the while.
    fn evict_older(&mut self, now: Instant, r: u32, idle_for: Duration) {
        let mut next = self.routes.at(r).idle.head;
        while next != NONE {
            let i = next;
            next = List::after(&mut self.slots.entries, i, |e| &mut e.siblings);
            if now - self.slots.at(i).since >= idle_for {
                self.evict(now, i, Eviction::Suspect);
            }
        }
        self.pump(now, r, None);
    }

    /// Everything goes: nothing is reused after a close.
    pub(super) fn evict_all(&mut self, now: Instant) {
        while !self.lru.is_empty() {
            self.evict(now, self.lru.head, Eviction::Closed);
        }
    }
}

/// As addition, of nanoseconds.
#[inline]
pub(super) fn later(at: Instant, nanos: u64) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(nanos))
}

/// What a hinted idle timeout is shortened by.
const SLACK: Duration = Duration::from_secs(1);
