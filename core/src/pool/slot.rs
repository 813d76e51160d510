//! One connection, as the pool knows it.

use crate::time::Instant;

use super::lease::{Eviction, Gauges, Slot};
use super::pool::Pool;
use super::slab::{Links, Place};

/// Where a connection is. The number is its counter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Connecting,
    Busy,
    Idle,
    Draining,
}

/// How many connections are in each state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([u32; 5]);

impl Counts {
    pub(super) fn shift(&mut self, from: State, to: State) {
        self.0[from as usize] = self.0[from as usize].wrapping_sub(1);
        self.0[to as usize] = self.0[to as usize].wrapping_add(1);
    }

    pub(super) fn of(&self, state: State) -> u32 {
        self.0[state as usize]
    }

    /// All connections: the free ones' counter runs below zero, and is not looked at.
    pub(super) fn total(&self) -> u32 {
        self.0[1] + self.0[2] + self.0[3] + self.0[4]
    }

    pub(super) fn gauges(&self, waiting: u32) -> Gauges {
        Gauges {
            connecting: self.of(State::Connecting),
            busy: self.of(State::Busy),
            idle: self.of(State::Idle),
            draining: self.of(State::Draining),
            waiting,
            total: self.total(),
        }
    }
}

/// What is under way in a place, beside its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Plain,
    /// It idles, and its connection is out to be looked at.
    Lent,
    /// A dial that its asker has not taken yet.
    Granted,
    /// A dial under way that may still be given up.
    Begun,
    /// Its address is no longer among its name's: once nobody takes it, it closes.
    Leaving,
}

/// A place for one connection. Its size is a good part of what an idle connection costs.
#[derive(Debug)]
pub(super) struct Entry<U, S> {
    /// Grows whenever the place changes hands, so that former bearers are told apart.
    pub(super) generation: u32,
    pub(super) route: u32,
    pub(super) state: State,
    /// It has served nobody, and has not idled.
    pub(super) unused: bool,
    pub(super) is_shared: bool,
    pub(super) stage: Stage,
    /// In the route's idle connections, newest last, or in its shared ones, oldest first.
    pub(super) siblings: Links,
    /// In all idle connections, oldest first.
    pub(super) lru: Links,
    /// Idle since; or, of a dial, begun.
    pub(super) since: Instant,
    pub(super) idle_until: Instant,
    pub(super) retire_at: Instant,
    /// One of those that exclude each other: [`shy_until`](Self::shy_until) of an exclusive
    /// connection that is here, [`leased`](Self::leased) of one that is out, [`load`](Self::load)
    /// of a shared one; of a dial the asker to whom it is granted, or the tag of who dials.
    pub(super) mark: u64,
    /// The connection while it is here: idle, or granted and not yet taken.
    pub(super) held: Option<U>,
    pub(super) shared: Option<S>,
}

impl<U, S> Entry<U, S> {
    pub(super) const fn new() -> Self {
        Self {
            generation: 0,
            route: 0,
            state: State::Free,
            unused: true,
            is_shared: false,
            stage: Stage::Plain,
            siblings: Links::new(),
            lru: Links::new(),
            since: Instant::ORIGIN,
            idle_until: Instant::MAX,
            retire_at: Instant::MAX,
            mark: 0,
            held: None,
            shared: None,
        }
    }

    pub(super) fn slot(&self, index: u32) -> Slot {
        Slot {
            index,
            generation: self.generation,
        }
    }

    /// Makes it another bearer's.
    pub(super) fn change_hands(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Until when it may serve what cannot be sent twice.
    pub(super) fn shy_until(&self) -> Instant {
        debug_assert!(!self.is_shared);
        Instant::from_nanos(self.mark)
    }

    pub(super) fn set_shy_until(&mut self, at: Instant) {
        self.mark = at.as_nanos();
    }

    /// When it was taken from the idle ones; `since`, where it never idled.
    pub(super) fn leased(&self) -> Instant {
        debug_assert!(!self.is_shared && self.held.is_none());
        Instant::from_nanos(self.mark)
    }

    pub(super) fn set_leased(&mut self, at: Instant) {
        self.mark = at.as_nanos();
    }

    pub(super) fn load(&self) -> Load {
        debug_assert!(self.is_shared);
        Load {
            active: self.mark as u32,
            capacity: (self.mark >> 32) as u32,
        }
    }

    pub(super) fn set_load(&mut self, load: Load) {
        self.mark = u64::from(load.capacity) << 32 | u64::from(load.active);
    }
}

/// How much of a shared connection is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) active: u32,
    pub(super) capacity: u32,
}

impl<U, S> Place for Entry<U, S> {
    fn next_free(&mut self) -> &mut u32 {
        &mut self.siblings.next
    }
}

impl<U, S: Clone> Pool<U, S> {
    /// The index of a slot that is not stale.
    pub(super) fn current(&self, slot: Slot) -> Option<u32> {
        let entry = self.slots.get(slot.index)?;
        (entry.generation == slot.generation).then_some(slot.index)
    }

    /// The index of a slot whose bearer holds an exclusive connection.
    #[inline]
    pub(super) fn borne(&self, slot: Slot) -> Option<u32> {
        let entry = self.slots.get(slot.index)?;
        let is_out = matches!(entry.state, State::Busy | State::Draining)
            && entry.generation == slot.generation
            && entry.held.is_none()
            && !entry.is_shared;
        is_out.then_some(slot.index)
    }

    /// The index of a slot in which a dial is under way.
    pub(super) fn dialled(&self, slot: Slot) -> Option<u32> {
        let i = self.current(slot)?;
        self.slots
            .get(i)
            .is_some_and(|entry| entry.state == State::Connecting)
            .then_some(i)
    }

    /// Moves a connection to another state, in its route's counters and the pool's.
    #[inline]
    pub(super) fn shift(&mut self, i: u32, to: State) {
        let entry = self.slots.at(i);
        let from = std::mem::replace(&mut entry.state, to);
        let r = entry.route;
        self.counts.shift(from, to);
        self.routes.at(r).counts.shift(from, to);
    }

    /// Ends one that holds nothing: a dial, a shared connection, one that is out.
    pub(super) fn free_slot(&mut self, now: Instant, i: u32) {
        self.free_held(now, i, Eviction::Closed);
    }

    /// Ends a connection that is in no list of idle ones; what is held comes out of `poll_evicted`.
    pub(super) fn free_held(&mut self, now: Instant, i: u32, why: Eviction) {
        self.unlist_shared(i);
        self.unstage(i);
        self.unfollow(i);
        self.shift(i, State::Free);
        let entry = self.slots.at(i);
        entry.change_hands();
        let (r, held) = (entry.route, entry.held.take());
        self.evicted.extend(held.map(|conn| (conn, why)));
        self.slots.give_back(i);
        self.note_empty(now, r);
        if self.is_closed && self.counts.total() == 0 {
            self.wakes.extend(self.closers.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_place_takes_at_most_72_bytes() {
        assert!(size_of::<Entry<Box<u8>, std::convert::Infallible>>() <= 72);
        assert!(size_of::<Entry<Box<u8>, ()>>() <= 72);
    }
}
