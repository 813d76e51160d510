//! Which faults are in force, when, and for whom.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::faults::{Fault, Kind};
use crate::queue::Event;
use crate::record::{Actor, What};
use crate::slab::Key;
use crate::target::{Ends, Target, Window};
use crate::world::State;

/// A fault with its time.
pub(crate) struct Scheduled {
    pub(crate) window: Window,
    pub(crate) target: Target,
    pub(crate) fault: Arc<Fault>,
}

impl State {
    pub(crate) fn schedule(&mut self, from: u64, to: u64, fault: Fault) {
        let window = Window {
            from: from.max(self.now),
            to,
            kind: fault.kind.clone(),
            ends: Ends::default(),
        };
        if window.from >= window.to {
            return;
        }
        let index = self.faults.len();
        let target = Target::parse(&fault.target);
        self.queue
            .push(window.from, Event::Fault(index as u32, true));
        if to != u64::MAX {
            self.queue.push(to, Event::Fault(index as u32, false));
        }
        self.faults.push(Scheduled {
            window,
            target,
            fault: Arc::new(fault),
        });
        // Connections carry the windows that concern them.
        for key in self.conns.keys() {
            if let Some(window) = self.window(index, key)
                && let Some(conn) = self.conns.get_mut(key)
            {
                conn.windows.push(window);
            }
        }
    }

    /// All faults that were ever planned.
    pub(crate) fn plan(&self) -> Vec<(Range<Duration>, Fault)> {
        let time = |at| match at {
            u64::MAX => Duration::MAX,
            at => Duration::from_nanos(at),
        };
        let entry = |scheduled: &Scheduled| {
            let Window { from, to, .. } = scheduled.window;
            (time(from)..time(to), Fault::clone(&scheduled.fault))
        };
        self.faults.iter().map(entry).collect()
    }

    pub(crate) fn handle_fault(&mut self, index: usize, begins: bool) {
        let Some(scheduled) = self.faults.get(index) else {
            return;
        };
        let fault = Arc::clone(&scheduled.fault);
        let kind = fault.kind.clone();
        self.record(Actor::World, What::Fault { fault, begins });
        if !begins || !matches!(kind, Kind::Reset | Kind::HalfOpen | Kind::Down) {
            return;
        }
        for key in self.conns.keys() {
            let Some(window) = self.window(index, key) else {
                continue;
            };
            if kind != Kind::Down {
                self.strike(key, &kind);
            } else if window.ends.has(1) {
                self.killed.push_back(key);
            }
        }
    }

    pub(crate) fn record_killed(&mut self, key: Key) {
        let actor = self.conns.get_mut(key).map(|conn| conn.actor);
        self.record(actor.unwrap_or(Actor::World), What::Killed);
    }

    /// A fault as a connection sees it, where it concerns that.
    fn window(&mut self, index: usize, key: Key) -> Option<Window> {
        let Scheduled { window, target, .. } = self.faults.get(index)?;
        let conn = self.conns.get_mut(key)?;
        if window.kind.is_dns() || target.port.is_some_and(|p| p != conn.server_addr.port()) {
            return None;
        }
        let is_named = |host: usize| {
            let host = self.hosts.get(host);
            host.is_some_and(|host| *host.name == *target.host)
        };
        let is_target = |host, ip| {
            target
                .addr
                .map_or_else(|| is_named(host), |addr| addr == ip)
        };
        let client = is_target(conn.client, conn.client_addr.ip());
        let server = is_target(conn.server, conn.server_addr.ip());
        (client || server).then(|| Window {
            ends: Ends(u8::from(client) | u8::from(server) << 1),
            ..window.clone()
        })
    }

    /// The windows that concern a connection.
    pub(crate) fn windows(&mut self, key: Key) -> Vec<Window> {
        let indexes = 0..self.faults.len();
        indexes
            .filter_map(|index| self.window(index, key))
            .collect()
    }

    /// Whether a host has no descriptor for another connection.
    pub(crate) fn is_out_of_descriptors(
        &self,
        client: usize,
        from: SocketAddr,
        to: SocketAddr,
    ) -> bool {
        let limits = self.faults.iter().filter_map(|scheduled| {
            let Scheduled { window, target, .. } = scheduled;
            let Kind::Descriptors(most) = window.kind else {
                return None;
            };
            let host = self.hosts.get(client)?;
            let is_named = || *host.name == *target.host;
            let is_its_own = target.addr.map_or_else(is_named, |addr| addr == from.ip());
            let is_its_port = target.port.is_none_or(|port| port == to.port());
            (window.contains(self.now) && is_its_own && is_its_port).then_some(most)
        });
        limits.min().is_some_and(|most| {
            let conns = self.conns.values();
            let open = conns.filter(|conn| conn.client == client && conn.is_open(0));
            open.count() >= most
        })
    }

    /// The faults in force for a name.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Kind> {
        let is_in_force = move |scheduled: &&Scheduled| {
            scheduled.window.contains(self.now) && scheduled.target.host == name
        };
        let in_force = self.faults.iter().filter(is_in_force);
        in_force.map(|scheduled| &scheduled.window.kind)
    }
}
