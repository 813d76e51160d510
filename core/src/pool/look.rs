//! Looking at idle connections: they are lent out for it, because a look may read and decrypt, and
//! that is not for a pool that is locked.
//!
//! A lent connection idles on in its place: it counts, ages, and may be evicted meanwhile. It is not
//! given out, and its route dials as if it were about to come back, which it is.
//!
//! Hence somebody may count on it: where a route had to dial for it if it were lost, it makes no room
//! for others. A place is on its way to that waiter already, and to evict it would cost a dial there
//! and gain one here.

use crate::time::Instant;

use super::lease::{Eviction, Slot};
use super::pool::Pool;
use super::route::Route;
use super::slot::{Stage, State};

impl<U, S: Clone> Pool<U, S> {
    /// Goes over `max` places, from where the last call stopped, and lends the idle connections
    /// that it finds. Each comes back by [`handle_look`](Self::handle_look), or ends
    /// with [`discard`](Self::discard). `false` when a round is complete.
    pub fn poll_look(&mut self, max: usize, lent: &mut Vec<(Slot, U)>) -> bool {
        let places = self.slots.entries.len() as u32;
        let first = self.looked.min(places);
        let end = first
            .saturating_add(u32::try_from(max).unwrap_or(u32::MAX))
            .min(places);
        for i in first..end {
            lent.extend(self.lend(i));
        }
        let is_more = end < places;
        self.looked = if is_more { end } else { 0 };
        is_more
    }

    /// A lent connection comes back: the next waiter's, or idle as before; or evicted, where it was
    /// not quiet, is expired, or its place is no longer its own.
    pub fn handle_look(&mut self, now: Instant, slot: Slot, conn: U, is_quiet: bool) {
        let Some(i) = self.current(slot).filter(|&i| self.is_lent(i)) else {
            return self.evicted.push_back((conn, Eviction::RoomNeeded));
        };
        self.unstage(i);
        let entry = self.slots.at(i);
        entry.held = Some(conn);
        let (r, age, is_expired) = (entry.route, now - entry.since, entry.idle_until <= now);
        if !is_quiet {
            self.routes.at(r).learn(now, age);
        }
        if is_expired || !is_quiet {
            let why = if is_quiet {
                Eviction::Expired
            } else {
                Eviction::NotQuiet
            };
            self.evict_and_pump(now, i, why);
        } else if let Some(w) = self.rested_taker(now, i) {
            self.unlink_idle(i);
            self.grant_connection(now, i, w);
        } else {
            self.pump(now, r, None);
        }
        self.serve_ring(now);
    }

    fn lend(&mut self, i: u32) -> Option<(Slot, U)> {
        let entry = self.slots.at(i);
        if entry.state != State::Idle {
            return None;
        }
        let conn = entry.held.take()?;
        // Who bore it before it idled must not be taken for who looks at it.
        entry.change_hands();
        entry.stage = Stage::Lent;
        let (slot, r) = (entry.slot(i), entry.route);
        self.routes.at(r).lent += 1;
        Some((slot, conn))
    }

    fn is_lent(&self, i: u32) -> bool {
        let entry = self.slots.get(i);
        entry.is_some_and(|entry| entry.stage == Stage::Lent)
    }

    /// Who has come while it was lent and takes it: the first, unless it has idled too long for him.
    fn rested_taker(&mut self, now: Instant, i: u32) -> Option<u32> {
        let entry = self.slots.at(i);
        let (r, is_shy) = (entry.route, now > entry.shy_until());
        let w = self.first(r, false)?;
        let first = self.waiters.get(w)?;
        (first.repeatable || !is_shy).then_some(w)
    }

    /// Whether the total limit leaves a place, or can be made to.
    pub(super) fn has_room(&self) -> bool {
        self.counts.total() < self.settings.total || self.oldest_to_spare(None).is_some()
    }

    /// Makes a place under the total limit where there is none, by one eviction; `false`: nothing
    /// can be spared.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if self.counts.total() < self.settings.total {
            return true;
        }
        self.evict_oldest(now, Eviction::RoomNeeded)
    }

    /// Evicts the connection that has idled longest of those that nobody counts on, if there is one.
    pub(super) fn evict_oldest(&mut self, now: Instant, why: Eviction) -> bool {
        let oldest = self.oldest_to_spare(None);
        if let Some(i) = oldest {
            self.evict(now, i, why);
        }
        oldest.is_some()
    }

    /// The connection that has idled longest of those that nobody counts on, nor would with one more
    /// asker on the route `asking`. What is passed over is lent, hence never more than is looked at
    /// in one go.
    pub(super) fn oldest_to_spare(&self, asking: Option<&Route>) -> Option<u32> {
        let mut i = self.lru.head;
        while let Some(entry) = self.slots.get(i) {
            let route = self.routes.get(entry.route)?;
            let is_own = asking.is_some_and(|asking| asking.key == route.key);
            if entry.stage != Stage::Lent || !route.counts_on_lent(u32::from(is_own)) {
                return Some(i);
            }
            i = entry.lru.next;
        }
        None
    }

    /// The same, among the connections of one route.
    pub(super) fn own_to_spare(&self, r: u32) -> Option<u32> {
        let route = self.routes.get(r)?;
        let counts_on_lent = route.counts_on_lent(0);
        let mut i = route.idle.head;
        while let Some(entry) = self.slots.get(i) {
            if entry.stage != Stage::Lent || !counts_on_lent {
                return Some(i);
            }
            i = entry.siblings.next;
        }
        None
    }
}
