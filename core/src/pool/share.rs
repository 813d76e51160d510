//! Connections that serve several at once: least loaded first, and who gets which part.

use crate::time::Instant;

use super::idle::later;
use super::lease::{Eviction, Slot};
use super::pool::Pool;
use super::slab::{List, NONE};
use super::slot::{Load, State};
use super::waiters::Grant;

impl<U, S: Clone> Pool<U, S> {
    /// Gives back one part in a shared connection.
    pub fn release(&mut self, now: Instant, slot: Slot) {
        let Some(i) = self.shared_slot(slot) else {
            return;
        };
        if self.slots.at(i).load().active == 0 {
            return;
        }
        self.give_part_back(now, i);
        self.serve_ring(now);
    }

    /// A shared connection now serves so many at once. Parts already given stay given; no new one
    /// is, until fewer are out.
    pub fn handle_capacity(&mut self, now: Instant, slot: Slot, capacity: u32) {
        let Some(i) = self.shared_slot(slot) else {
            return;
        };
        let entry = self.slots.at(i);
        let active = entry.load().active;
        entry.set_load(Load { active, capacity });
        let r = entry.route;
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// A shared connection takes no more (GOAWAY, or it is suspect for good). Parts that are out
    /// stay valid; it is gone once the last is released, or with `discard`.
    pub fn handle_draining(&mut self, now: Instant, slot: Slot) {
        let Some(i) = self.shared_slot(slot) else {
            return;
        };
        let r = self.slots.at(i).route;
        self.drain_shared(now, i);
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// Takes a part in the least loaded connection that has room; among equals, the oldest.
    pub(super) fn share(&mut self, now: Instant, r: u32) -> Option<(Slot, S)> {
        loop {
            let i = self.least_loaded(r)?;
            let entry = self.slots.at(i);
            if now >= entry.retire_at || (entry.state == State::Idle && now >= entry.idle_until) {
                self.drain_shared(now, i);
                continue;
            }
            let Load { active, capacity } = entry.load();
            entry.set_load(Load {
                active: active + 1,
                capacity,
            });
            if entry.state == State::Idle {
                self.unlink_idle(i);
                self.shift(i, State::Busy);
            }
            let entry = self.slots.at(i);
            return Some((entry.slot(i), entry.shared.clone()?));
        }
    }

    /// Serves the queue from shared connections.
    pub(super) fn deliver_shares(&mut self, now: Instant, r: u32) {
        if self.routes.at(r).shared.is_empty() {
            return;
        }
        while let Some(w) = self.first(r, true) {
            let Some((slot, shared)) = self.share(now, r) else {
                break;
            };
            self.grant(now, w, Grant::Share(slot, shared));
        }
    }

    /// A route has few of them: `shared_per_origin`, and a second probe's.
    fn least_loaded(&mut self, r: u32) -> Option<u32> {
        let mut next = self.routes.at(r).shared.head;
        let mut best: Option<(u32, u32)> = None;
        while next != NONE {
            let entry = self.slots.at(next);
            let Load { active, capacity } = entry.load();
            if active < capacity && best.is_none_or(|(least, _)| active < least) {
                best = Some((active, next));
            }
            next = List::after(&mut self.slots.entries, next, |e| &mut e.siblings);
        }
        best.map(|(_, i)| i)
    }

    pub(super) fn shared_count(&mut self, r: u32) -> u32 {
        let mut next = self.routes.at(r).shared.head;
        let mut count = 0;
        while next != NONE {
            count += 1;
            next = List::after(&mut self.slots.entries, next, |e| &mut e.siblings);
        }
        count
    }

    pub(super) fn adopt_shared(&mut self, now: Instant, i: u32, shared: S, capacity: u32) {
        let entry = self.slots.at(i);
        entry.is_shared = true;
        entry.set_load(Load {
            active: 0,
            capacity,
        });
        entry.shared = Some(shared);
        let r = entry.route;
        let list = &mut self.routes.at(r).shared;
        list.push_back(&mut self.slots.entries, i, |e| &mut e.siblings);
        self.deliver_shares(now, r);
        let entry = self.slots.at(i);
        // What has drained meanwhile is free, or another's.
        if entry.shared.is_some() && entry.load().active == 0 {
            self.rest(now, i);
        }
    }

    pub(super) fn give_part_back(&mut self, now: Instant, i: u32) {
        let entry = self.slots.at(i);
        let Load { active, capacity } = entry.load();
        entry.set_load(Load {
            active: active - 1,
            capacity,
        });
        let (r, is_last) = (entry.route, active == 1);
        if entry.state == State::Draining {
            if is_last {
                self.free_slot(now, i);
            }
        } else if now >= entry.retire_at {
            self.drain_shared(now, i);
        } else {
            self.deliver_shares(now, r);
            if self.slots.at(i).load().active == 0 {
                self.rest(now, i);
            }
        }
        self.pump(now, r, None);
    }

    /// Nobody has a part in it: it idles as others do, and goes as they do.
    fn rest(&mut self, now: Instant, i: u32) {
        if self.is_closed || !self.ring.is_empty() {
            return self.drain_shared(now, i);
        }
        self.shift(i, State::Idle);
        let entry = self.slots.at(i);
        entry.since = now;
        entry.idle_until = later(now, self.settings.idle_nanos).min(entry.retire_at);
        let (r, until) = (entry.route, entry.idle_until);
        self.note_expiry(until);
        self.lru
            .push_back(&mut self.slots.entries, i, |e| &mut e.lru);
        let idle = self.routes.at(r).counts.of(State::Idle);
        if idle > self.settings.idle_per_origin {
            self.evict(now, i, Eviction::Full);
        } else if self.counts.of(State::Idle) > self.settings.idle {
            self.evict_oldest(now, Eviction::Full);
        }
    }

    /// Gives out no more of it, and hands it to `poll_evicted_shared`.
    fn drain_shared(&mut self, now: Instant, i: u32) {
        let entry = self.slots.at(i);
        match (entry.state, entry.load().active) {
            (State::Idle, _) => self.evict(now, i, Eviction::Expired),
            (State::Busy, 0) => self.free_slot(now, i),
            (State::Busy, _) => {
                self.unlist_shared(i);
                self.shift(i, State::Draining);
            }
            (State::Free | State::Connecting | State::Draining, _) => {}
        }
    }

    /// Takes a shared connection from those that are given out.
    pub(super) fn unlist_shared(&mut self, i: u32) {
        let entry = self.slots.at(i);
        let r = entry.route;
        if let Some(shared) = entry.shared.take() {
            self.evicted_shared.push_back(shared);
            let list = &mut self.routes.at(r).shared;
            list.remove(&mut self.slots.entries, i, |e| &mut e.siblings);
        }
    }

    fn shared_slot(&mut self, slot: Slot) -> Option<u32> {
        self.current(slot).filter(|&i| self.slots.at(i).is_shared)
    }
}
