//! `std`'s monotonic clock, and the system's resolver.

use std::net::ToSocketAddrs;
use std::time::Instant as StdInstant;

use fulmar::Instant;
use fulmar::net::{Answer, Family, Fault};

/// The monotonic clock, told from an origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock(StdInstant);

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self(StdInstant::now())
    }

    /// The present instant.
    pub fn now(self) -> Instant {
        Instant::ORIGIN + self.0.elapsed()
    }

    /// An instant in the system's terms; `None` where it lies beyond them, which is never.
    pub fn at(self, instant: Instant) -> Option<StdInstant> {
        self.0.checked_add(instant.since_origin())
    }
}

/// Asks the system's resolver. It blocks, for seconds where the network is bad.
///
/// # Errors
///
/// `NameNotFound`, or `NameFailed` where asking again could help.
pub fn resolve(name: &str, family: Family) -> Result<Answer, Fault> {
    Answer::of_system((name, 0).to_socket_addrs(), family)
}
