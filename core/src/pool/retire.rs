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
        let place = i as usize;
        if place < self.addresses.len() {
            self.addresses[place] = addr;
        } else if addr.is_some() {
            self.addresses.resize(place + 1, None);
            self.addresses[place] = addr;
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
                }
                _ => {}
            }
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }
}
