//! The simulated side: the same server, in a network that is a value.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fulmar_sim::{Fault, Sim};

use super::scenes::Places;
use crate::clock::Clock;
use crate::server::Server;

/// The client's host.
pub(crate) const LAPTOP: &str = "laptop";
const SERVER: &str = "tour.test";
const OTHER: &str = "other.test";
const HOLE: &str = "hole.test";
const NOBODY: &str = "name.invalid";

/// Bytes under way at most: as much as a system's sockets grow to.
const WINDOW: usize = 4 * 1024 * 1024;

/// What the resolver of the real machine made of a name that cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// It said so.
    Knows,
    /// It failed: most likely it is out of reach.
    Fails,
    /// It did not answer in time.
    Silent,
}

/// A network like loopback, but for the distance.
pub(crate) fn network(seed: u64, resolver: Resolver) -> Sim {
    let sim = Sim::seeded(seed);
    let server = Arc::new(Server::new(Clock::of(sim.net(SERVER))));
    for host in [SERVER, OTHER] {
        let latency = Duration::from_millis(8)..Duration::from_millis(12);
        sim.link(LAPTOP, host).latency(latency).window(WINDOW);
        let server = Arc::clone(&server);
        sim.serve(&format!("{host}:80"), move |conn| {
            let server = Arc::clone(&server);
            async move { server.serve(conn).await }
        });
    }
    sim.between(.., Fault::half_open(HOLE));
    sim.serve(&format!("{HOLE}:80"), |_| async { io::Result::Ok(()) });
    match resolver {
        Resolver::Knows => {}
        Resolver::Fails => sim.between(.., Fault::dns_error(NOBODY)),
        Resolver::Silent => sim.between(.., Fault::dns_silent(NOBODY)),
    }
    sim
}

/// Where things are in it.
pub(crate) fn places() -> Places {
    Places {
        server: format!("http://{SERVER}"),
        other: format!("http://{OTHER}"),
        refused: format!("http://{SERVER}:81"),
        hole: format!("http://{HOLE}"),
        nobody: format!("http://{NOBODY}"),
    }
}
