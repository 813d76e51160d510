//! Looking at idle connections: they are lent out for it, because a look may read and decrypt, and
//! that is not for a pool that is locked.
//!
//! A lent connection idles on in its place: it counts, ages, and may be evicted meanwhile. It is not
//! given out, and its route dials as if it were about to come back, which it is.

use crate::time::Instant;

use super::lease::{Eviction, Slot};
use super::pool::Pool;
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

    /// Evicts the connection that has idled longest of all. Where it was lent, somebody may have
    /// counted on it: his route takes its turn.
    pub(super) fn evict_oldest(&mut self, now: Instant, why: Eviction) {
        let oldest = self.lru.head;
        let entry = self.slots.at(oldest);
        let (r, was_lent) = (entry.route, entry.stage == Stage::Lent);
        self.evict(now, oldest, why);
        if was_lent && self.routes.at(r).wants_dial() {
            self.join_ring(r);
        }
    }
}
