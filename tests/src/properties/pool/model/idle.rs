//! Connections that come back, idle, are looked at and go.

use std::time::Duration;

use fulmar_core::time::Instant;

use super::{Conn, Got, Model, SECOND, State};

impl Model {
    /// Lends all that is idle.
    pub(in super::super) fn lend(&mut self) -> Vec<u32> {
        let idle = self.conns.iter_mut().filter(|c| c.state == State::Idle);
        let lent = idle.filter_map(|c| (!std::mem::replace(&mut c.lent, true)).then_some(c.id));
        lent.collect()
    }

    /// A lent one is dropped by who looked at it.
    pub(in super::super) fn lose(&mut self, now: Instant, id: u32) {
        if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) {
            conn.lent = false;
            self.drop_and_pump(now, id);
            self.evicted.retain(|evicted| *evicted != id);
        }
        self.serve_ring(now);
    }

    pub(in super::super) fn looked(&mut self, now: Instant, id: u32, is_quiet: bool) {
        let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) else {
            return self.evicted.push(id);
        };
        conn.lent = false;
        let conn = conn.clone();
        if !is_quiet {
            self.learn(now, conn.route, now - conn.since);
        }
        let first = self.queued().find(|w| w.route == conn.route && !w.fresh);
        let first = first.filter(|w| w.repeatable || now <= conn.shy_until);
        if now >= conn.idle_until || !is_quiet {
            self.drop_and_pump(now, id);
        } else if let Some(w) = first.map(|w| w.id) {
            self.hand_over(now, id, w);
        } else {
            self.pump(now, conn.route, None);
        }
        self.serve_ring(now);
    }

    pub(in super::super) fn evict_idle(&mut self, now: Instant, r: usize, idle_for: Duration) {
        if !self.routes[r].known {
            return;
        }
        let idle: Vec<_> = self
            .idle()
            .filter(|conn| conn.route == r)
            .cloned()
            .collect();
        for conn in idle.into_iter().filter(|conn| now - conn.since >= idle_for) {
            self.drop_conn(now, conn.id);
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    pub(super) fn settle(&mut self, now: Instant, id: u32) {
        let conn = self.conn(id).clone();
        let r = conn.route;
        let taker = self
            .queued()
            .find(|w| w.route == r && (conn.unused || !w.fresh));
        let taker = taker.map(|w| w.id);
        if !self.ring.is_empty() {
            let Some(w) = taker else {
                return self.drop_and_pump(now, id);
            };
            if !conn.unused {
                let had = |model: &Self| model.had.contains(&r);
                if had(self) && self.next_turn(now).is_some() && had(self) {
                    return self.drop_and_pump(now, id);
                }
                self.had.push(r);
                if let Some(place) = self.ring.iter().position(|other| *other == r) {
                    self.ring.remove(place);
                    self.ring.push(r);
                }
            }
            return self.hand_over(now, id, w);
        }
        let Some(w) = taker else {
            return self.rest(now, id);
        };
        self.hand_over(now, id, w);
    }

    pub(super) fn hand_over(&mut self, now: Instant, id: u32, w: u32) {
        self.conn(id).state = State::Busy;
        self.give(now, w, Got::Conn(id));
    }

    pub(super) fn rest(&mut self, now: Instant, id: u32) {
        self.serial += 1;
        let serial = self.serial;
        let conn = self.conn(id);
        conn.state = State::Idle;
        conn.unused = false;
        conn.parked = serial;
        let r = conn.route;
        if self.count(r, State::Idle) > self.n.idle_per_origin {
            let oldest = self.oldest_to_spare(Some(r)).expect("it idles itself");
            self.drop_conn(now, oldest);
        } else if self.idle().count() > self.n.idle {
            let oldest = self.oldest_to_spare(None).expect("it idles itself");
            self.drop_conn(now, oldest);
        }
        self.pump(now, r, None);
    }

    pub(super) fn limit(&mut self, now: Instant, id: u32, hint: Option<Duration>) {
        let n = self.n;
        let r = self.conn(id).route;
        let learned = self.learned(now, r).map(|age| age * 9 / 10);
        let hint = hint.map(|hint| hint.saturating_sub(SECOND).max(hint / 2));
        let server = [hint, learned].into_iter().flatten().min();
        let conn = self.conn(id);
        conn.since = now;
        let idle = server.map_or(n.idle_timeout, |server| server.min(n.idle_timeout));
        conn.idle_until = (now + idle).min(conn.retire_at);
        conn.shy_until = now + server.map_or(n.shy, |server| server / 2);
    }

    pub(super) fn learn(&mut self, now: Instant, r: usize, age: Duration) {
        if self.learned(now, r).is_none_or(|known| age <= known) {
            self.routes[r].learned = Some((age.max(SECOND), now));
        }
    }

    pub(super) fn learned(&self, now: Instant, r: usize) -> Option<Duration> {
        let learned = self.routes[r].learned;
        learned
            .filter(|(_, at)| now < *at + 3_600 * SECOND)
            .map(|(age, _)| age)
    }

    pub(super) fn drop_conn(&mut self, now: Instant, id: u32) {
        let conn = self.conn(id).clone();
        // A lent one comes back, and goes then.
        if conn.state != State::Connecting && !conn.lent {
            self.evicted.push(id);
        }
        self.conns.retain(|conn| conn.id != id);
        self.note(now, conn.route);
    }

    pub(super) fn drop_and_pump(&mut self, now: Instant, id: u32) {
        let r = self.conn(id).route;
        self.drop_conn(now, id);
        self.pump(now, r, None);
    }

    pub(super) fn oldest_idle(&self, route: Option<usize>) -> Option<u32> {
        let of_route = self
            .idle()
            .filter(|conn| route.is_none_or(|r| conn.route == r));
        of_route.min_by_key(|conn| conn.parked).map(|conn| conn.id)
    }

    /// The oldest but for those that are lent, and without which their route had to dial.
    pub(super) fn oldest_to_spare(&self, route: Option<usize>) -> Option<u32> {
        let is_spare = |conn: &&Conn| {
            let lent = self.idle().filter(|c| c.route == conn.route && c.lent);
            let coming = self.count(conn.route, State::Connecting) + lent.count();
            !conn.lent || self.waiting(conn.route) < coming
        };
        let own = self
            .idle()
            .filter(|conn| route.is_none_or(|r| conn.route == r));
        let oldest = own.filter(is_spare).min_by_key(|conn| conn.parked);
        oldest.map(|conn| conn.id)
    }

    pub(super) fn newest_idle(&self, r: usize) -> Option<u32> {
        let of_route = self.idle().filter(|conn| conn.route == r && !conn.lent);
        of_route.max_by_key(|conn| conn.parked).map(|conn| conn.id)
    }
}
