//! Routes by name: how one is found, made, and forgotten once nothing is left of it.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::time::Instant;

use super::expiry::Due;
use super::lease::Slot;
use super::pool::Pool;
use super::route::Route;

/// How long a route with nothing in it is remembered.
const UNUSED: Duration = Duration::from_secs(60);
/// The same, where its budget is not what a new one is: one that never refills must not keep its
/// route for ever.
const UNUSED_FOR_LONG: Duration = Duration::from_secs(600);

impl<U, S: Clone> Pool<U, S> {
    /// The route's retry budget.
    pub fn budget(&mut self, now: Instant, route: &str) -> &mut Budget {
        let r = match self.index.get(route) {
            Some(&r) => r,
            None => self.make_route(now, route),
        };
        self.note_empty(now, r);
        &mut self.routes.at(r).budget
    }

    /// The retry budget of the route of a connection that the bearer holds, or has just parked.
    pub fn slot_budget(&mut self, slot: Slot) -> Option<&mut Budget> {
        let r = self.slots.at(self.current(slot)?).route;
        Some(&mut self.routes.at(r).budget)
    }

    /// How many routes are remembered.
    pub fn routes(&self) -> usize {
        self.index.len()
    }

    /// The index of a known route.
    #[inline]
    pub(super) fn find(&mut self, key: &str) -> Option<u32> {
        // Requests come in runs: to compare with the last is a sixth of a hash.
        let last = self.routes.get(self.last);
        if last.is_some_and(|route| route.key.as_deref() == Some(key)) {
            return Some(self.last);
        }
        self.search(key)
    }

    #[inline(never)]
    fn search(&mut self, key: &str) -> Option<u32> {
        let r = *self.index.get(key)?;
        self.last = r;
        Some(r)
    }

    pub(super) fn make_route(&mut self, now: Instant, key: &str) -> u32 {
        let budget = Budget::with_config(&self.settings.budget, now);
        let timers = &mut self.timers;
        let r = self
            .routes
            .take(|r| Route::new(timers.insert(Instant::MAX, Due::Route(r)), Budget::new(now)));
        let key: Arc<str> = key.into();
        let timer = self.routes.at(r).timer;
        let route = self.routes.at(r);
        *route = Route::new(timer, budget);
        route.key = Some(Arc::clone(&key));
        route.limit = self.settings.per_origin;
        self.index.insert(key, r);
        self.note_empty(now, r);
        r
    }

    /// Sets a route's timer, unless it goes off earlier.
    pub(super) fn arm_route(&mut self, r: u32, at: Instant) {
        let route = self.routes.at(r);
        if at < route.armed {
            route.armed = at;
            let timer = route.timer;
            self.timers.reset(timer, at);
        }
    }

    /// Remembers when a route became empty, to forget it later.
    pub(super) fn note_empty(&mut self, now: Instant, r: u32) {
        let route = self.routes.at(r);
        if route.is_empty() {
            route.empty_since = now;
            self.arm_route(r, now + UNUSED);
        }
    }

    /// The timer of a route went off: time for a dial that had to wait, or to forget the route.
    pub(super) fn handle_route_timer(&mut self, now: Instant, r: u32) {
        let route = self.routes.at(r);
        route.armed = Instant::MAX;
        if !route.is_empty() {
            self.pump(now, r, None);
            return;
        }
        let due = route.empty_since + UNUSED;
        if now < due {
            self.arm_route(r, due);
        } else if now < route.empty_since + UNUSED_FOR_LONG && !route.budget.is_initial(now) {
            self.arm_route(r, now + UNUSED);
        } else if let Some(key) = route.key.take() {
            self.index.remove(&key);
            self.routes.give_back(r);
        }
    }
}
