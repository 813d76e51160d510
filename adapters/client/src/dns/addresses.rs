//! What connections taught about addresses, from one dial to the next.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fulmar_core::dial::Known;
use fulmar_core::fault::Fault;

use super::Dns;

impl Dns {
    /// What is known of these addresses.
    pub(crate) fn known_of(&self, addrs: &[IpAddr], port: u16) -> Vec<Known> {
        let Some(live) = self.names.live() else {
            return Vec::new();
        };
        let now = live.clock.now();
        live.lock().memory.known(now, addrs, port)
    }

    /// How far it is, there and back.
    pub(crate) fn rtt(&self, addr: SocketAddr) -> Option<Duration> {
        self.names.live()?.lock().memory.rtt(addr)
    }

    /// A connection to it opened, within this time.
    pub(crate) fn note_connected(&self, addr: SocketAddr, took: Duration) {
        if let Some(live) = self.names.live() {
            let now = live.clock.now();
            live.lock().memory.handle_connected(now, addr, took);
        }
    }

    /// A connection to it failed, at the latest before its first response.
    pub(crate) fn note_failed(&self, addr: SocketAddr, fault: &Fault) {
        if let Some(live) = self.names.live() {
            let now = live.clock.now();
            let mut guard = live.lock();
            let state = &mut *guard;
            state.memory.handle_failed(now, addr, fault, &mut state.rng);
        }
    }
}
