//! Fulmar on smol: native sockets, timers and tasks. All of [`fulmar`] is re-exported.
//!
//! ```no_run
//! use fulmar_smol::{Client, Smol};
//!
//! let client = Client::new(Smol::new());
//! let text = smol::block_on(async { client.get("http://example.test/").send().await?.text().await });
//! # Ok::<(), fulmar_smol::Error>(())
//! ```
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};
use std::time::SystemTime;

pub use fulmar::*;

use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, Net, Sleep, SocketOptions,
};
use fulmar_socket::{AsyncSocket, Clock, Timer};
use smol::Executor;

/// Smol as a [`Net`]. A client's calls may be polled by any executor, or by `smol::block_on`.
#[derive(Debug)]
pub struct Smol {
    clock: Clock,
    /// Where the client's own tasks run, if not on smol's global executor.
    executor: Option<Weak<Executor<'static>>>,
}

impl Smol {
    /// Smol's sockets and timers. The client's own tasks run on smol's global executor.
    #[expect(clippy::new_without_default, reason = "it reads a clock")]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            executor: None,
        }
    }

    /// The same, with the client's own tasks on `executor`, which somebody runs. They end with it.
    pub fn on(executor: &Arc<Executor<'static>>) -> Self {
        Self {
            executor: Some(Arc::downgrade(executor)),
            ..Self::new()
        }
    }
}

impl Net for Smol {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn entropy(&self, dst: &mut [u8]) {
        getrandom::fill(dst).expect("the system has entropy");
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let name = name.to_owned();
        Box::pin(smol::unblock(move || fulmar_socket::resolve(&name, family)))
    }

    fn connect(&self, to: &Endpoint, options: &SocketOptions) -> Connecting {
        let (to, options) = (to.clone(), options.clone());
        let register = AsyncSocket::new_nonblocking;
        Box::pin(async move { fulmar_socket::connect(&to, &options, register).await })
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        Box::new(Timer::new(self.clock, until))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        match &self.executor {
            None => smol::spawn(task).detach(),
            Some(executor) => {
                if let Some(executor) = executor.upgrade() {
                    executor.spawn(task).detach();
                }
            }
        }
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        Box::pin(smol::unblock(work))
    }
}
