//! Which faults are in force, when, and for whom.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::faults::{Fault, Kind, Target, Window};
use crate::queue::Event;
use crate::record::{Actor, What};
use crate::slab::Key;
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
            kind: fault.kind,
        };
        if window.from >= window.to {
            return;
        }
        let index = self.faults.len() as u32;
        let target = Target::parse(&fault.target);
        self.faults.push(Scheduled {
            window,
            target,
            fault: Arc::new(fault),
        });
        self.queue.push(window.from, Event::Fault(index, true));
        if to != u64::MAX {
            self.queue.push(to, Event::Fault(index, false));
        }
        // Connections carry the windows that concern them.
        for key in self.conns.keys() {
            if self.concerns(index as usize, key)
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
        let (kind, fault) = (scheduled.window.kind, scheduled.fault.clone());
        self.record(Actor::World, What::Fault { fault, begins });
        if !begins || !matches!(kind, Kind::Reset | Kind::HalfOpen) {
            return;
        }
        for key in self.conns.keys() {
            if self.concerns(index, key) {
                self.strike(key, kind);
            }
        }
    }

    /// Whether a fault concerns a connection.
    fn concerns(&mut self, index: usize, key: Key) -> bool {
        let (Some(scheduled), Some(conn)) = (self.faults.get(index), self.conns.get_mut(key))
        else {
            return false;
        };
        let target = &scheduled.target;
        let ends = [
            (conn.client, conn.client_addr),
            (conn.server, conn.server_addr),
        ];
        let port = target
            .port
            .is_none_or(|port| port == conn.server_addr.port());
        let mut hosts = ends
            .iter()
            .filter_map(|(host, addr)| Some((self.hosts.get(*host)?, addr)));
        port && hosts.any(|(host, addr)| match target.addr {
            Some(ip) => ip == addr.ip(),
            None => *host.name == *target.host,
        })
    }

    /// The windows that concern a connection.
    pub(crate) fn windows(&mut self, key: Key) -> Vec<Window> {
        (0..self.faults.len())
            .filter(|index| self.concerns(*index, key))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|index| Some(self.faults.get(index)?.window))
            .collect()
    }

    /// Whether a fault of that kind is in force for a name.
    pub(crate) fn is_named(&self, name: &str, kind: Kind) -> bool {
        self.faults.iter().any(|scheduled| {
            scheduled.window.kind == kind
                && scheduled.window.contains(self.now)
                && scheduled.target.host == name
        })
    }
}
