//! Those who ask: each a client behind one trait, used as its own documentation has it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use crate::runtimes::Runtime;

pub mod bare;
pub mod hyper;
pub mod ours;
pub mod reqwest;

/// What a client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The status is checked and the body read.
    Body,
    /// Headers are looked at, too: one by its name, in the library's own map.
    Headers,
}

/// What any of them may fail with. It ends the run.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// One client under load. What has a pool is cloned, what has none holds one connection.
pub trait Client: Sized + Send + 'static {
    /// Where it runs.
    type Runtime: Runtime;

    /// What all of them share: the pool, where there is one.
    type Shared: Clone + Send + 'static;

    /// What holds a connection while it is idle, where that is not the pool.
    type Idle: Send + 'static;

    /// Sets up what is shared, without connecting.
    ///
    /// # Errors
    ///
    /// The library's own.
    fn shared(addr: SocketAddr) -> Result<Self::Shared, Error>;

    /// One that can ask for one thing at a time.
    fn open(shared: &Self::Shared) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Gets one path, checks the status, reads the body, and says how long it was.
    fn get(
        &mut self,
        path: &'static str,
        look: Look,
    ) -> impl Future<Output = Result<usize, Error>> + Send;

    /// Lets go of all that an idle connection does not need.
    fn into_idle(self) -> Self::Idle;
}

/// A response that was not what the server sends.
fn unexpected(what: impl std::fmt::Display) -> Error {
    io::Error::other(format!("unexpected response: {what}")).into()
}
