//! When a connection is opened, and for whom: never more than waiters.

use std::time::Duration;

use crate::backoff::uniform;
use crate::fault::{Fault, FaultKind};
use crate::rand_core::Rng;
use crate::time::{Instant, saturating_nanos};

use super::lease::{Eviction, Refusal, Slot};
use super::pool::Pool;
use super::route::{Protocol, Route};
use super::slab::NONE;
use super::slot::{Entry, State};
use super::waiters::Grant;

/// Connect backoff: at most this after the first failure, doubling to the cap.
const BACKOFF_BASE: u64 = 100_000_000;
const BACKOFF_CAP: u64 = 5_000_000_000;
/// A probe that takes longer than this no longer holds a second one back.
const PROBE_STALLED: Duration = Duration::from_secs(1);
/// So long the first in the queue waits for room in a full shared connection, before another one
/// is opened.
const SHARED_PATIENCE: Duration = Duration::from_millis(20);

/// Whether a route may begin a dial.
enum Permit {
    Now,
    /// At this instant, if nothing changes.
    At(Instant),
    /// Once something changes.
    No,
}

impl<U, S: Clone> Pool<U, S> {
    /// Serves a route's waiters as far as that goes: from shared connections, then by dials. The
    /// first dial goes to the newcomer, if there is one, and is returned.
    pub(super) fn pump(&mut self, now: Instant, r: u32, newcomer: Option<u32>) -> Option<u32> {
        self.deliver_shares(now, r);
        let mut newcomer = newcomer;
        let mut begun = None;
        while self.may_dial_or_arm(now, r) {
            if self.routes.at(r).is_full() {
                // What idles here fits nobody who waits here, or it would not idle.
                let Some(own) = self.own_to_spare(r) else {
                    break;
                };
                self.evict(now, own, Eviction::RoomNeeded);
                continue;
            }
            // A place that is free, or can be made so, is the next in the ring's.
            if !self.ring.is_empty() || !self.make_room(now) {
                self.join_ring(r);
                break;
            }
            let dial = self.begin_dial(now, r);
            match newcomer.take() {
                Some(_) => {
                    self.stage_begun(dial);
                    begun = Some(dial);
                }
                None => self.give_dial(r, dial),
            }
        }
        begun
    }

    pub(super) fn begin_dial(&mut self, now: Instant, r: u32) -> u32 {
        let i = self.slots.take(|_| Entry::new());
        let entry = self.slots.at(i);
        entry.route = r;
        entry.since = now;
        entry.unused = true;
        entry.is_shared = false;
        self.routes.at(r).dialed_at = now;
        self.shift(i, State::Connecting);
        i
    }

    pub(super) fn give_dial(&mut self, r: u32, dial: u32) {
        // There are fewer dials than waiters, hence one has none to take.
        let bearer = self.routes.at(r).bearers.head;
        debug_assert_ne!(bearer, NONE);
        self.grant_dial(r, bearer, dial);
    }

    /// Whether a route may dial; sets its timer where time alone will allow it.
    pub(super) fn may_dial_or_arm(&mut self, now: Instant, r: u32) -> bool {
        match self.may_dial(now, r) {
            Permit::Now => true,
            Permit::At(at) => {
                self.arm_route(r, at);
                false
            }
            Permit::No => false,
        }
    }

    fn may_dial(&mut self, now: Instant, r: u32) -> Permit {
        let limit = self.settings.shared;
        let head = self.oldest(r).map(|w| self.waiters.at(w).since);
        let route = self.routes.at(r);
        let Some(head) = head.filter(|_| route.wants_dial()) else {
            return Permit::No;
        };
        if route.failures > 0 {
            if route.connecting() > 0 {
                return Permit::No;
            }
            if now < route.backoff_until {
                return Permit::At(route.backoff_until);
            }
        }
        if !route.probes {
            return Permit::Now;
        }
        match route.protocol(now) {
            Protocol::Exclusive => Permit::Now,
            Protocol::Unknown => probe(now, route),
            Protocol::Shared if route.shared.is_empty() => probe(now, route),
            // All are full, or the waiters would have been served from them.
            Protocol::Shared if self.shared_count(r) < limit => {
                second(now, self.routes.at(r), head)
            }
            Protocol::Shared => Permit::No,
        }
    }

    /// A dial failed: who pays, and when the next one may begin.
    pub(super) fn fail_dial(&mut self, now: Instant, i: u32, fault: Fault, rng: &mut dyn Rng) {
        let entry = self.slots.at(i);
        let (r, started) = (entry.route, entry.since);
        self.free_slot(now, i);
        let route = self.routes.at(r);
        // A runtime that went away says nothing of the origin.
        let is_origins = fault.kind != FaultKind::RuntimeGone;
        if is_origins && route.handle_failed(now, started) {
            back_off(route, now, rng);
        }
        let refuse_all = is_fatal(fault.kind);
        let refusal = Refusal::Dial(fault);
        while let Some(w) = self.oldest(r) {
            self.grant(now, w, Grant::Refused(refusal.clone()));
            if !refuse_all {
                break;
            }
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// A connection ended under its first request, before any response: a server that accepts and
    /// closes is as good as one that does not accept (POLICIES 1.11). As `discard`, and the next dial
    /// of its route waits as after a failed one.
    pub fn handle_stillborn(&mut self, now: Instant, slot: Slot, rng: &mut dyn Rng) {
        let Some(i) = self.borne(slot) else { return };
        let entry = self.slots.at(i);
        let (r, made) = (entry.route, entry.since);
        let route = self.routes.at(r);
        if route.handle_stillborn(now, made) {
            back_off(route, now, rng);
        }
        self.free_slot(now, i);
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// When a connection made now is to retire: a tenth of its lifetime at most is taken off, so
    /// that connections made together do not all go together.
    pub(super) fn draw_retirement(&self, now: Instant, rng: &mut dyn Rng) -> Instant {
        let lifetime = saturating_nanos(self.settings.max_lifetime);
        if lifetime == u64::MAX {
            return Instant::MAX;
        }
        now + Duration::from_nanos(lifetime - uniform(rng, 0, lifetime / 10))
    }
}

/// Draws how long the next dial of a route has to wait, after so many failures.
fn back_off(route: &mut Route, now: Instant, rng: &mut dyn Rng) {
    let doublings = route.failures.saturating_sub(1).min(16);
    let most = (BACKOFF_BASE << doublings).min(BACKOFF_CAP);
    route.backoff_until = now + Duration::from_nanos(uniform(rng, 0, most));
}

/// While it is unknown what a connection will be, one dial finds out for all who wait.
fn probe(now: Instant, route: &Route) -> Permit {
    match route.connecting() {
        0 => Permit::Now,
        1 if now >= route.dialed_at + PROBE_STALLED => Permit::Now,
        1 => Permit::At(route.dialed_at + PROBE_STALLED),
        _ => Permit::No,
    }
}

/// Whether another shared connection is due beside full ones.
fn second(now: Instant, route: &Route, head: Instant) -> Permit {
    let due = head + SHARED_PATIENCE;
    match route.connecting() {
        0 if now >= due => Permit::Now,
        0 => Permit::At(due),
        _ => Permit::No,
    }
}

/// What no other dial of the same route can get past.
fn is_fatal(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Certificate
            | FaultKind::Handshake
            | FaultKind::NameNotFound
            | FaultKind::InvalidAddress
            | FaultKind::Forbidden
            | FaultKind::TunnelRefused
    )
}
