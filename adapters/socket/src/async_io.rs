//! Readiness and timers of async-io, the reactor of smol and async-std.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::Async;
use fulmar::Instant;
use fulmar::net::Sleep;

use crate::clock::Clock;
use crate::socket::Source;

/// A socket of async-io's.
pub type AsyncSocket = Async<socket2::Socket>;

impl Source for AsyncSocket {
    fn socket(&self) -> &socket2::Socket {
        self.get_ref()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_readable(self, cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_writable(self, cx)
    }
}

/// A timer of async-io's.
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    timer: async_io::Timer,
}

impl Timer {
    /// A timer that is ready at `until` by `clock`.
    pub fn new(clock: Clock, until: Instant) -> Self {
        let timer = clock
            .at(until)
            .map_or_else(async_io::Timer::never, async_io::Timer::at);
        Self { clock, timer }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(cx).map(drop)
    }
}

impl Sleep for Timer {
    fn reset(&mut self, until: Instant) {
        match self.clock.at(until) {
            Some(until) => self.timer.set_at(until),
            None => self.timer.clear(),
        }
    }
}
