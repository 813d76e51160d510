//! The way that nearly every request takes: an idle connection out, and back again.

use crate::time::Instant;

use super::idle::later;
use super::lease::{Ask, Eviction, Lease};
use super::pool::Pool;
use super::slot::{Stage, State};

impl<U, S: Clone> Pool<U, S> {
    /// The newest idle connection that is alive, if it will do.
    #[inline]
    pub(super) fn take_idle(&mut self, now: Instant, r: u32, ask: Ask) -> Option<Lease<U, S>> {
        if ask.fresh {
            return None;
        }
        let mut newest = self.routes.at(r).idle.tail;
        loop {
            let Self {
                slots,
                routes,
                lru,
                counts,
                ..
            } = self;
            let route = routes.at(r);
            let i = newest;
            // With nothing idle the index is out of range.
            let entry = slots.entries.get_mut(i as usize)?;
            if entry.held.is_none() {
                // It is being looked at.
                newest = entry.siblings.prev;
                continue;
            }
            if now >= entry.idle_until {
                newest = entry.siblings.prev;
                self.evict(now, i, Eviction::Expired);
                continue;
            }
            if !ask.repeatable && now > entry.shy_until() {
                return None;
            }
            let conn = entry.held.take()?;
            entry.change_hands();
            entry.set_leased(now);
            entry.state = State::Busy;
            let lease = Lease::Idle(entry.slot(i), conn, now - entry.since);
            counts.shift(State::Idle, State::Busy);
            route.counts.shift(State::Idle, State::Busy);
            route
                .idle
                .remove(&mut slots.entries, i, |e| &mut e.siblings);
            lru.remove(&mut slots.entries, i, |e| &mut e.lru);
            return Some(lease);
        }
    }

    /// What nearly every connection does that comes back: nobody waits, nothing is full, and the
    /// server has said nothing, hence it idles. `false`: not so, and nothing has changed.
    #[inline]
    pub(super) fn rest_at_once(&mut self, now: Instant, i: u32) -> bool {
        let Self {
            slots,
            routes,
            lru,
            counts,
            settings,
            expiry,
            ..
        } = self;
        let entry = slots.at(i);
        let route = routes.at(entry.route);
        let until = later(now, settings.idle_nanos).min(entry.retire_at);
        let is_plain = route.waiting == 0
            && self.ring.is_empty()
            && !self.is_closed
            && until >= expiry.bound
            && now < entry.retire_at
            && entry.stage == Stage::Plain
            && !route.has_learned()
            && route.stillborn == 0
            && route.counts.of(State::Idle) < settings.idle_per_origin
            && counts.of(State::Idle) < settings.idle;
        if !is_plain {
            return false;
        }
        entry.since = now;
        entry.idle_until = until;
        entry.set_shy_until(later(now, settings.shy_nanos));
        entry.unused = false;
        let from = std::mem::replace(&mut entry.state, State::Idle);
        counts.shift(from, State::Idle);
        route.counts.shift(from, State::Idle);
        route
            .idle
            .push_back(&mut slots.entries, i, |e| &mut e.siblings);
        lru.push_back(&mut slots.entries, i, |e| &mut e.lru);
        true
    }
}
