//! Dials that are on their way: granted and not begun, begun, and no longer needed.
//!
//! ```text
//!   pump ---> Granted ---- its asker takes it, or another who comes ----> Begun
//!                |                                                          |    '-- TLS begins:
//!                | fewer wait than dials                                    |        it goes on
//!                v                                                          v
//!            (nothing) <---- fewer wait, and it would not be kept idle: the youngest first
//! ```

use crate::time::Instant;

use super::lease::Slot;
use super::pool::Pool;
use super::slab::NONE;
use super::slot::{Stage, State};

/// Nobody is to be told.
const NOBODY: u64 = u64::MAX;

impl<U, S: Clone> Pool<U, S> {
    /// Asks whether a dial is still wanted; `false`: it was given up, and has no slot any more.
    /// Should it be later, `poll_wake` names the tag.
    pub fn watch_dial(&mut self, slot: Slot, tag: u64) -> bool {
        let Some(i) = self.dialled(slot) else {
            return false;
        };
        self.slots.at(i).mark = tag;
        true
    }

    /// A dial's transport is open, and the handshake on it begins: it is worth finishing, whoever
    /// waits, unless the pool closes.
    pub fn handle_opened(&mut self, slot: Slot) {
        if let Some(i) = self.dialled(slot) {
            self.unstage(i);
        }
    }

    /// Takes an entry out of what its stage has put it in.
    pub(super) fn unstage(&mut self, i: u32) {
        let entry = self.slots.at(i);
        let r = entry.route;
        let stage = std::mem::replace(&mut entry.stage, Stage::Plain);
        let route = self.routes.at(r);
        let list = match stage {
            Stage::Plain | Stage::Leaving => return,
            Stage::Lent => return route.lent -= 1,
            Stage::Granted => &mut route.granted,
            Stage::Begun => &mut route.begun,
        };
        list.remove(&mut self.slots.entries, i, |e| &mut e.siblings);
    }

    /// A dial is granted to an asker.
    pub(super) fn stage_granted(&mut self, i: u32, w: u32) {
        self.unstage(i);
        let entry = self.slots.at(i);
        entry.stage = Stage::Granted;
        entry.mark = u64::from(w);
        let granted = &mut self.routes.at(entry.route).granted;
        granted.push_back(&mut self.slots.entries, i, |e| &mut e.siblings);
    }

    /// A dial begins.
    pub(super) fn stage_begun(&mut self, i: u32) {
        self.unstage(i);
        let entry = self.slots.at(i);
        entry.stage = Stage::Begun;
        entry.mark = NOBODY;
        let begun = &mut self.routes.at(entry.route).begun;
        begun.push_back(&mut self.slots.entries, i, |e| &mut e.siblings);
    }

    /// The oldest dial that nobody has begun, taken from the asker to whom it was granted: he may
    /// not be polled for long, and it must not wait for that.
    pub(super) fn take_over(&mut self, r: u32) -> Option<u32> {
        let dial = self.routes.at(r).granted.head;
        if dial == NONE {
            return None;
        }
        self.withdraw(dial);
        self.stage_begun(dial);
        Some(dial)
    }

    /// Takes a granted dial from its asker, who may bear another.
    fn withdraw(&mut self, dial: u32) {
        let entry = self.slots.at(dial);
        let (r, w) = (entry.route, entry.mark as u32);
        self.waiters.at(w).dial = NONE;
        let bearers = &mut self.routes.at(r).bearers;
        bearers.push_back(&mut self.waiters.entries, w, |w| &mut w.bearer);
    }

    /// Fewer wait: gives up dials beyond their number, first those that nobody has begun, then the
    /// youngest, but for those whose connections could idle.
    pub(super) fn trim_dials(&mut self, now: Instant, r: u32) {
        loop {
            let route = self.routes.at(r);
            let connecting = route.connecting();
            if connecting <= route.waiting {
                break;
            }
            let may_idle = route.counts.of(State::Idle) + connecting
                <= self.settings.idle_per_origin
                && self.ring.is_empty();
            let (granted, youngest) = (route.granted.tail, route.begun.tail);
            if granted != NONE {
                self.withdraw(granted);
                self.free_slot(now, granted);
            } else if youngest == NONE || may_idle {
                break;
            } else {
                self.give_up(now, youngest);
            }
        }
    }

    /// Ends a dial that has begun, and has its dialler told.
    fn give_up(&mut self, now: Instant, i: u32) {
        let tag = self.slots.at(i).mark;
        self.free_slot(now, i);
        if tag != NOBODY {
            self.wakes.push_back(tag);
        }
    }

    /// Nothing is dialled for a closed pool.
    pub(super) fn give_up_all(&mut self, now: Instant) {
        for i in 0..self.slots.entries.len() as u32 {
            if self.slots.at(i).state == State::Connecting {
                self.give_up(now, i);
            }
        }
    }
}
