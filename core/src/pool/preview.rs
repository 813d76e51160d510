//! What a request would get, without asking for it.

use crate::budget::Budget;
use crate::time::Instant;

use super::lease::{Ask, Refusal};
use super::pool::Pool;
use super::route::Route;
use super::slab::NONE;
use super::slot::State;

/// What a [`checkout`](Pool::checkout) at the same instant would bring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preview {
    /// An idle connection. Only when it is taken is it looked at: the peer may have closed it.
    Idle,
    /// A part in a shared connection.
    Share,
    /// A dial; with this, an idle connection of this or another route closes to make room for it.
    Dial {
        /// Whether one has to make room.
        evicts: bool,
    },
    /// A place in the route's queue, from 1 and of all lanes, and why.
    Wait {
        /// How many wait before it, and it.
        position: u32,
        /// What it waits for.
        why: Held,
    },
    /// Nothing.
    Refused(Refusal),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// A connection on its way, or a dial that others wait for.
    Dialling,
    /// The route has as many connections as it may: so many.
    PerOrigin(u32),
    /// All routes together have: so many.
    Total(u32),
    /// Dials failed, and the next has to wait until then.
    Backoff(Instant),
}

impl<U, S: Clone> Pool<U, S> {
    /// What [`checkout`](Self::checkout) would bring now. Nothing changes.
    pub fn preview(&self, now: Instant, route: &str, ask: Ask) -> Preview {
        if self.is_closed {
            return Preview::Refused(Refusal::Closed);
        }
        let known = self.index.get(route).and_then(|&r| self.routes.get(r));
        if let Some(route) = known {
            if self.has_idle(now, route, ask) {
                return Preview::Idle;
            }
            if self.has_share(now, route) {
                return Preview::Share;
            }
        }
        let has_below = |route: &Route| route.has_waiters_below(ask.lane);
        let is_full = self.waiting >= self.settings.waiters;
        if is_full && !known.is_some_and(has_below) {
            return Preview::Refused(Refusal::QueueFull);
        }
        // What the last ask that said something has said is in force.
        let limit = known.map_or(self.settings.per_origin, |route| route.limit);
        let limit = ask.per_origin.map_or(limit, |limit| limit.max(1));
        let Some(route) = known else {
            return self.preview_dial(None, 1, limit);
        };
        // In a full queue it takes another's place.
        let position = route.waiting + u32::from(!is_full);
        // A dial that was granted and not begun goes to whoever comes next.
        if route.granted.head != NONE {
            return Preview::Dial { evicts: false };
        }
        let wait = |why| Preview::Wait { position, why };
        if position <= route.connecting() + route.lent {
            return wait(Held::Dialling);
        }
        if route.failures > 0 {
            if route.connecting() > 0 {
                return wait(Held::Dialling);
            }
            if now < route.backoff_until {
                return wait(Held::Backoff(route.backoff_until));
            }
        }
        self.preview_dial(Some(route), position, limit)
    }

    /// The retry budget of a route; `None` where the route is not known, and would begin with a new
    /// one.
    pub fn known_budget(&self, route: &str) -> Option<&Budget> {
        let route = self.routes.get(*self.index.get(route)?)?;
        Some(&route.budget)
    }

    /// Room for a dial, or what there is not enough of.
    fn preview_dial(&self, route: Option<&Route>, position: u32, limit: u32) -> Preview {
        let is_full = self.counts.total() >= self.settings.total;
        let (has, spare) = route.map_or((0, 0), |route| {
            // Who wants a dial counts on all that is lent.
            let spare = route.counts.of(State::Idle).saturating_sub(route.lent);
            (route.counts.total(), spare)
        });
        if has >= limit {
            // Those beyond a limit that is lowered close as well, and make no room.
            if has - spare >= limit {
                let why = Held::PerOrigin(limit);
                return Preview::Wait { position, why };
            }
            return Preview::Dial { evicts: true };
        }
        let has_room = !is_full || self.oldest_to_spare(route).is_some();
        if !has_room || !self.ring.is_empty() {
            let why = Held::Total(self.settings.total);
            return Preview::Wait { position, why };
        }
        Preview::Dial { evicts: is_full }
    }

    /// Whether the newest idle connection that is alive will do.
    fn has_idle(&self, now: Instant, route: &Route, ask: Ask) -> bool {
        let mut newest = route.idle.tail;
        while let (false, Some(entry)) = (ask.fresh, self.slots.get(newest)) {
            if entry.held.is_some() && now < entry.idle_until {
                return ask.repeatable || now <= entry.shy_until();
            }
            newest = entry.siblings.prev;
        }
        false
    }

    /// Whether a shared connection has room.
    fn has_share(&self, now: Instant, route: &Route) -> bool {
        let mut next = route.shared.head;
        while let Some(entry) = self.slots.get(next) {
            let load = entry.load();
            let is_over =
                now >= entry.retire_at || (entry.state == State::Idle && now >= entry.idle_until);
            if !is_over && load.active < load.capacity {
                return true;
            }
            next = entry.siblings.next;
        }
        false
    }
}
