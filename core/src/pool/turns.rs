//! Who gets the next place where the total limit holds several routes up: round robin.
//!
//! ```text
//!   a place comes free ---> had its route a turn in this round?
//!                             | no, and somebody waits there: it stays where it is
//!                             | yes
//!                             v
//!            the first of the ring, whose turns are [ not yet had .. | had .. ]
//!                             | all have had theirs: the next round begins
//! ```
//!
//! Invariant (POLICIES I3.4): of two routes that want a place all the time, neither is more than
//! one turn ahead of the other. Hence of `n` places that come free one after another each of `k`
//! such routes gets at least `floor(n / k) - 1`. Within a round the order is free: who has a
//! connection keeps it for his turn, and no more are closed than the turns demand.

use crate::time::Instant;

use super::lease::Eviction;
use super::pool::Pool;

impl<U, S: Clone> Pool<U, S> {
    /// As [`settle`](Self::settle), where the total limit holds routes up: the connection stays with
    /// its route while somebody waits for it there and the route has not had its turn.
    pub(super) fn settle_contended(&mut self, now: Instant, i: u32) {
        let Some(w) = self.taker(i) else {
            return self.evict_and_pump(now, i, Eviction::RoomNeeded);
        };
        let entry = self.slots.at(i);
        let (r, is_unused) = (entry.route, entry.unused);
        // A new connection is what this route's turn was for.
        if !is_unused {
            let is_anothers =
                self.has_had_turn(r) && self.next_turn(now).is_some() && self.has_had_turn(r);
            if is_anothers {
                return self.evict_and_pump(now, i, Eviction::RoomNeeded);
            }
            self.take_turn(r);
        }
        self.grant_connection(now, i, w);
    }

    /// Uses room under the total limit, and makes it where something idles, route by route in turn.
    ///
    /// To be called after whatever may free a place, or leave a connection that idles to nobody who
    /// counts on it.
    pub(super) fn serve_ring(&mut self, now: Instant) {
        while !self.ring.is_empty() && self.has_room() {
            let Some(r) = self.next_turn(now) else { break };
            self.make_room(now);
            self.leave_ring(r);
            let dial = self.begin_dial(now, r);
            self.give_dial(r, dial);
            self.routes.at(r).turn = self.round;
            if self.may_take_turn(now, r) {
                self.join_ring(r);
            }
        }
    }

    /// A route waits for its turn: in this round, where it has none behind it.
    pub(super) fn join_ring(&mut self, r: u32) {
        let round = self.round;
        let route = self.routes.at(r);
        if route.in_ring {
            return;
        }
        route.in_ring = true;
        let (ring, entries) = (&mut self.ring, &mut self.routes.entries);
        if entries[r as usize].turn == round {
            ring.push_back(entries, r, |route| &mut route.ring);
        } else {
            ring.push_front(entries, r, |route| &mut route.ring);
        }
    }

    pub(super) fn leave_ring_unless_wanted(&mut self, r: u32) {
        if !self.routes.at(r).wants_dial() {
            self.leave_ring(r);
        }
    }

    fn leave_ring(&mut self, r: u32) {
        if std::mem::take(&mut self.routes.at(r).in_ring) {
            self.ring
                .remove(&mut self.routes.entries, r, |route| &mut route.ring);
        }
    }

    /// The route whose turn is next; a new round begins where all have had theirs. Those that may
    /// not dial now leave the ring: what lets them dial again brings them back.
    fn next_turn(&mut self, now: Instant) -> Option<u32> {
        while !self.ring.is_empty() {
            let r = self.ring.head;
            if self.may_take_turn(now, r) {
                if self.has_had_turn(r) {
                    self.round = self.round.wrapping_add(1);
                }
                return Some(r);
            }
            self.leave_ring(r);
        }
        None
    }

    fn may_take_turn(&mut self, now: Instant, r: u32) -> bool {
        self.may_dial_or_arm(now, r) && !self.routes.at(r).is_full()
    }

    fn has_had_turn(&mut self, r: u32) -> bool {
        self.routes.at(r).turn == self.round
    }

    /// A route has its turn without a dial.
    fn take_turn(&mut self, r: u32) {
        let round = self.round;
        let route = self.routes.at(r);
        route.turn = round;
        if route.in_ring {
            self.leave_ring(r);
            self.join_ring(r);
        }
    }
}
