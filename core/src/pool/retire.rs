//! Connections to addresses that are no longer those of their name.

use std::net::IpAddr;
use std::time::Duration;

use crate::backoff::uniform;
use crate::rand_core::Rng;
use crate::time::Instant;

use super::lease::{Eviction, Slot};
use super::pool::Pool;
use super::slot::{Stage, State};

/// How long one that is busy may still go straight from bearer to waiter, in nanoseconds: drawn from
/// this range, so that not all end at one moment.
const LEAVES_WITHIN: (u64, u64) = (5_000_000_000, 30_000_000_000);

impl<U, S: Clone> Pool<U, S> {
    /// Notes to which of its name's addresses a dial has connected; of one that looked no name up,
    /// none. To be told before [`handle_connected`](Self::handle_connected).
    pub fn note_address(&mut self, slot: Slot, addr: Option<IpAddr>) {
        let Some(i) = self.dialled(slot) else { return };
        self.unfollow(i);
        let Some(addr) = addr else { return };
        let place = i as usize;
        if place >= self.addresses.len() {
            self.addresses.resize(place + 1, None);
        }
        self.addresses[place] = Some(addr);
        let r = self.slots.at(i).route;
        self.routes.at(r).followers += 1;
    }

    /// Whether the addresses of a route's name concern any of its connections: whether
    /// [`handle_addresses`](Self::handle_addresses) could retire one.
    pub fn is_following(&self, route: &str) -> bool {
        let route = self.index.get(route).and_then(|&r| self.routes.get(r));
        route.is_some_and(|route| route.followers > 0)
    }

    /// A connection at work is no longer HTTP's. It stays with its bearer until he discards it: it
    /// comes back to nobody, and need not leave an address that is no longer its name's.
    pub fn handle_upgraded(&mut self, slot: Slot) {
        if let Some(i) = self.borne(slot) {
            self.unfollow(i);
        }
    }

    /// A route's name now has these addresses, which are in order. Connections to others that idle are
    /// evicted. Those that are busy close after their response, or serve waiters first, for 5 to
    /// 30 s.
    ///
    /// It goes over all places: addresses change seldom.
    pub fn handle_addresses(
        &mut self,
        now: Instant,
        route: &str,
        addrs: &[IpAddr],
        rng: &mut dyn Rng,
    ) {
        let Some(r) = self.find(route) else { return };
        for place in 0..self.addresses.len() {
            let has_left = self.addresses[place].is_some_and(|a| addrs.binary_search(&a).is_err());
            let i = place as u32;
            if !has_left || self.slots.at(i).route != r {
                continue;
            }
            let entry = self.slots.at(i);
            match entry.state {
                State::Idle if !entry.is_shared => self.evict(now, i, Eviction::Moved),
                State::Busy | State::Draining | State::Idle if entry.stage != Stage::Leaving => {
                    let (lo, hi) = LEAVES_WITHIN;
                    let leaves_at = now + Duration::from_nanos(uniform(rng, lo, hi));
                    entry.retire_at = entry.retire_at.min(leaves_at);
                    entry.stage = Stage::Leaving;
                    self.unfollow(i);
                }
                _ => {}
            }
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// What becomes of its name is nothing to a connection any more.
    pub(super) fn unfollow(&mut self, i: u32) {
        let noted = self.addresses.get_mut(i as usize).and_then(Option::take);
        if noted.is_some() {
            let r = self.slots.at(i).route;
            self.routes.at(r).followers -= 1;
        }
    }
}
