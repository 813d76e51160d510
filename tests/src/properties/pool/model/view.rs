//! What can be seen of the model, and what time alone brings about in it.

use fulmar_core::pool::Gauges;
use fulmar_core::time::Instant;

use super::{Conn, Model, Route, SECOND, State};

impl Model {
    pub(super) fn is_known(&self, id: u32) -> bool {
        self.conns.iter().any(|conn| conn.id == id)
    }

    /// What time alone brings about, and when: several at one instant are in no order.
    pub(in super::super) fn due(&self, now: Instant) -> Vec<Instant> {
        let mut due: Vec<_> = self.idle().map(|conn| conn.idle_until).collect();
        for r in 0..self.routes.len() {
            due.extend(self.forget_at(r));
            let at = self.dial_at(now, r).filter(|at| *at > now);
            due.extend(at.filter(|_| self.wants(r)));
        }
        due.sort();
        due
    }

    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        let idle: Vec<_> = self.idle().cloned().collect();
        for conn in idle.into_iter().filter(|conn| now >= conn.idle_until) {
            self.drop_and_pump(now, conn.id);
        }
        for r in 0..self.routes.len() {
            if self.forget_at(r).is_some_and(|at| now >= at) {
                self.routes[r] = Route::default();
            } else {
                self.pump(now, r, None);
            }
        }
        self.serve_ring(now);
    }

    /// A route that wants a dial, may begin one, and has the room: somebody has been forgotten.
    pub(in super::super) fn forgotten(&self, now: Instant) -> Option<usize> {
        let has_room = |r| {
            let is_full = self.of_route(r) >= self.n.per_origin;
            self.has_room() && (!is_full || self.oldest_to_spare(Some(r)).is_some())
        };
        let is_free = |r| self.dial_at(now, r) == Some(Instant::ORIGIN);
        (0..self.routes.len()).find(|&r| self.wants(r) && is_free(r) && has_room(r))
    }

    pub(in super::super) fn routes(&self) -> usize {
        self.routes.iter().filter(|route| route.known).count()
    }

    pub(in super::super) fn gauges(&self, route: Option<usize>) -> Gauges {
        let of = |state| {
            let is = |c: &&Conn| c.state == state && route.is_none_or(|r| c.route == r);
            self.conns.iter().filter(is).count() as u32
        };
        let waiting = self
            .queued()
            .filter(|w| route.is_none_or(|r| w.route == r))
            .count() as u32;
        let (connecting, busy) = (of(State::Connecting), of(State::Busy));
        let (idle, draining) = (of(State::Idle), of(State::Draining));
        let total = connecting + busy + idle + draining;
        Gauges {
            connecting,
            busy,
            idle,
            draining,
            waiting,
            total,
        }
    }

    pub(super) fn forget_at(&self, r: usize) -> Option<Instant> {
        let route = &self.routes[r];
        (route.known && self.is_empty(r)).then(|| route.empty_since + 60 * SECOND)
    }

    pub(super) fn is_empty(&self, r: usize) -> bool {
        self.waiting(r) == 0 && self.conns.iter().all(|conn| conn.route != r)
    }

    pub(super) fn note(&mut self, now: Instant, r: usize) {
        if self.is_empty(r) {
            self.routes[r].empty_since = now;
        }
    }

    pub(super) fn next(&mut self) -> u32 {
        self.serial += 1;
        self.serial as u32
    }

    pub(super) fn count(&self, r: usize, state: State) -> usize {
        self.conns
            .iter()
            .filter(|conn| conn.route == r && conn.state == state)
            .count()
    }

    pub(super) fn of_route(&self, r: usize) -> usize {
        self.conns.iter().filter(|conn| conn.route == r).count()
    }

    pub(super) fn idle(&self) -> impl Iterator<Item = &Conn> {
        self.conns.iter().filter(|conn| conn.state == State::Idle)
    }

    pub(super) fn conn(&mut self, id: u32) -> &mut Conn {
        self.conns
            .iter_mut()
            .find(|conn| conn.id == id)
            .expect("a known connection")
    }
}
