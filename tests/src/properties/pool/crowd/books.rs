//! What the crowd does with connections that idle, and how it keeps its books.

use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::Discard;

use super::{Crowd, Place, ROUTES, Shared};
use crate::properties::pool::Draw;

impl Crowd<'_> {
    pub(super) fn lend(&mut self) {
        let before = self.lent.len();
        let most = 1 + self.script.below(3);
        while self.pool.poll_look(most, &mut self.lent) {}
        let ids: Vec<_> = self.lent[before..].iter().map(|(_, t)| t.0).collect();
        for id in ids {
            self.moves(id, Place::Looker);
        }
    }

    /// One that was lent comes back, or does not.
    pub(super) fn look(&mut self) {
        let Some((slot, token)) = self.pick(|crowd| &mut crowd.lent) else {
            return;
        };
        let fate = self.script.below(8);
        if fate == 0 {
            self.moves(token.0, Place::Gone);
            self.pool.discard(self.now, slot, Discard::Spent);
        } else {
            self.moves(token.0, Place::Pool);
            self.pool.handle_look(self.now, slot, token, fate > 1);
        }
    }

    pub(super) fn evict(&mut self) {
        let route = ROUTES[self.script.below(ROUTES.len())];
        let age = Duration::from_secs(self.script.below(20) as u64);
        if self.script.below(2) == 0 {
            self.pool.give_up_oldest(self.now);
        } else {
            self.pool.evict_idle(self.now, route, age);
        }
    }

    /// A shared connection serves more, or fewer, or no more, or is gone.
    pub(super) fn change_shared(&mut self) {
        if self.shared.is_empty() {
            return;
        }
        let place = self.script.below(self.shared.len());
        let slot = self.shared[place].slot;
        match self.script.below(4) {
            0 => self.pool.handle_draining(self.now, slot),
            1 => {
                self.shared[place].is_open = false;
                self.pool.discard(self.now, slot, Discard::Spent);
            }
            _ => {
                let capacity = self.script.below(5) as u32;
                self.shared[place].capacity = capacity;
                self.pool.handle_capacity(self.now, slot, capacity);
            }
        }
    }

    /// Lets time pass as a driver does: by what is due.
    pub(super) fn pass(&mut self) {
        let millis = [1, 50, 1_000, 30_000][self.script.below(4)];
        let until = self.now + Duration::from_millis(millis * self.script.below(64) as u64);
        while let Some(at) = self.pool.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.pool.handle_timeout(self.now);
        }
        self.now = self.now.max(until);
    }

    /// Takes what the pool gives out.
    pub(super) fn collect(&mut self) {
        while let Some((token, _)) = self.pool.poll_evicted() {
            self.moves(token.0, Place::Gone);
        }
        while let Some(id) = self.pool.poll_evicted_shared() {
            self.of(id).is_open = false;
        }
        while self.pool.poll_wake().is_some() {}
        // Those that were given up are gone.
        let pool = &mut self.pool;
        self.dials
            .retain(|(slot, _)| pool.watch_dial(*slot, u64::from(u32::MAX)));
        let mut place = 0;
        while self.eager && place < self.waiting.len() {
            if !self.poll(place) {
                place += 1;
            }
        }
    }

    pub(super) fn of(&mut self, id: u32) -> &mut Shared {
        &mut self.shared[id as usize]
    }

    /// Books where a connection goes, and says where it was: where it can go there from.
    pub(super) fn moves(&mut self, id: u32, to: Place) -> Place {
        let was = self.places.insert(id, to).expect("it was connected once");
        let is_in = matches!(was, Place::New | Place::Pool);
        let may = match to {
            Place::Bearer | Place::Looker => is_in,
            Place::Pool => !is_in && was != Place::Gone,
            Place::Gone => was != Place::Gone,
            Place::New => false,
        };
        assert!(may, "{id} is in two places: {was:?}, then {to:?}");
        was
    }

    /// How many connections the pool holds, by these books.
    pub(in super::super) fn held(&self) -> usize {
        let is_held = |place: &&Place| matches!(place, Place::New | Place::Pool);
        let unused = |shared: &&Shared| shared.is_open && shared.out == 0;
        self.places.values().filter(is_held).count() + self.shared.iter().filter(unused).count()
    }

    /// Everybody leaves.
    pub(in super::super) fn leave(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        for (ticket, _) in std::mem::take(&mut self.waiting) {
            self.pool.cancel(self.now, ticket);
        }
        for (slot, token) in std::mem::take(&mut self.lent) {
            self.moves(token.0, Place::Pool);
            self.pool.handle_look(self.now, slot, token, true);
        }
        for (slot, id) in std::mem::take(&mut self.out) {
            self.moves(id, Place::Gone);
            self.pool.discard(self.now, slot, Discard::Spent);
        }
        for (slot, id) in std::mem::take(&mut self.parts) {
            self.of(id).out -= 1;
            self.pool.release(self.now, slot);
        }
        for (slot, _) in std::mem::take(&mut self.dials) {
            let fault = Fault::new(FaultKind::TimedOut, Phase::Connect);
            self.pool
                .handle_dial_failed(self.now, slot, fault, &mut Draw(0));
        }
        self.collect();
    }
}
