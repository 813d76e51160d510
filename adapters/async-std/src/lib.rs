//! Fulmar on async-std. All of [`fulmar`] is re-exported.
//!
//! async-std is discontinued (RUSTSEC-2025-0052), and this crate is for programs that have not moved
//! on yet: it is as thin as possible, its socket is one of async-io's, on which async-std's own are
//! built. The way out is `fulmar-smol`: a client differs in its one argument.
//!
//! ```no_run
//! use fulmar_async_std::{AsyncStd, Client};
//!
//! let client = Client::new(AsyncStd::new());
//! let text = async_std::task::block_on(async {
//!     client.get("http://example.test/").send().await?.text().await
//! });
//! # Ok::<(), fulmar_async_std::Error>(())
//! ```
#![forbid(unsafe_code)]

use std::time::SystemTime;

pub use fulmar::*;

use async_std::task;
use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, Net, Sleep, SocketOptions,
};
use fulmar_socket::{AsyncSocket, Clock, Timer};

/// Async-std as a [`Net`].
#[derive(Debug)]
pub struct AsyncStd {
    clock: Clock,
}

impl AsyncStd {
    /// Async-std's tasks, and the sockets and timers of its reactor.
    #[expect(clippy::new_without_default, reason = "it reads a clock")]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
        }
    }
}

impl Net for AsyncStd {
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
        let work = move || fulmar_socket::resolve(&name, family);
        Box::pin(task::spawn_blocking(work))
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
        // Its handle, dropped, lets it run.
        drop(task::spawn(task));
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        Box::pin(task::spawn_blocking(work))
    }
}
