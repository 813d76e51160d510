//! Which names a client's connections depend on: those are kept up to date, and followed. What was
//! upgraded stays where it is whatever becomes of its name, and needs none renewed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::shared::{Shared, State};

/// So many names at least are looked after in one turn of the driver, each second, and this part of
/// all: who dials more new names than that in a second must not pile them up.
const PER_TURN: usize = 256;
const PART: usize = 16;

/// Names that were dialled, with the routes on which they were.
#[derive(Default)]
pub(crate) struct Watched {
    names: BTreeMap<String, Vec<Arc<str>>>,
    /// The last name that was looked after.
    last: String,
}

impl Watched {
    pub(crate) fn add(&mut self, name: &str, route: &str) {
        let routes = match self.names.get_mut(name) {
            Some(routes) => routes,
            None => self.names.entry(name.to_owned()).or_default(),
        };
        if routes.iter().all(|known| **known != *route) {
            routes.push(route.into());
        }
    }

    fn turn(&self) -> Vec<String> {
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let rest = self.names.range::<str, _>(after);
        let first = self
            .names
            .range::<str, _>((Bound::Unbounded, Bound::Included(self.last.as_str())));
        let turn = rest
            .chain(first)
            .take(PER_TURN.max(self.names.len() / PART));
        turn.map(|(name, _)| name.clone()).collect()
    }
}

impl State {
    /// Names of this turn that have connections which would follow. Those that have none are watched
    /// no more, until the next dial.
    fn names_in_use(&mut self) -> Vec<String> {
        let mut turn = self.watched.turn();
        if let Some(last) = turn.last() {
            self.watched.last.clone_from(last);
        }
        let Self { watched, pool, .. } = self;
        turn.retain(|name| {
            let Some(routes) = watched.names.get_mut(name) else {
                return false;
            };
            routes.retain(|route| pool.is_following(route));
            let is_used = !routes.is_empty();
            if !is_used {
                watched.names.remove(name);
            }
            is_used
        });
        turn
    }
}

impl Shared {
    /// Has the names renewed that connections depend on.
    pub(crate) fn renew_names(&self) {
        let names = self.locked(State::names_in_use);
        let limit = self.settings.timeouts.dns;
        self.settings.dns.renew(&self.net, limit, &names);
    }

    /// A name has other addresses: connections to those that are gone are retired.
    pub(crate) fn handle_addresses(&self, name: &str, addrs: &[IpAddr]) {
        let now = self.net.now();
        self.locked(|state| {
            let State {
                watched, pool, rng, ..
            } = state;
            for route in watched.names.get(name).into_iter().flatten() {
                pool.handle_addresses(now, route, addrs, rng);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_faster_than_a_turn_is_long_do_not_pile_up() {
        let mut watched = Watched::default();
        let mut most = 0;
        for second in 0..100 {
            for n in 0..1_000 {
                watched.add(&format!("{second}-{n}.test"), "route");
            }
            most = most.max(watched.names.len());
            // None of them has a connection left.
            for name in watched.turn() {
                watched.names.remove(&name);
                watched.last = name;
            }
        }
        assert!(most < 20_000, "{most}");
    }
}
