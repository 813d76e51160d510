//! Fulmar on tokio: native sockets, timers and tasks. All of [`fulmar`] is re-exported.
//!
//! ```no_run
//! # async fn run() -> Result<(), fulmar_tokio::Error> {
//! use fulmar_tokio::{Client, Tokio};
//!
//! let client = Client::new(Tokio::new());
//! let text = client.get("http://example.test/").send().await?.text().await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

pub use fulmar::*;

use fulmar::net::{Answer, BoxFuture, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

mod socket;

/// Tokio as a [`Net`].
///
/// It needs no runtime to be made. Each call runs on the runtime from which it is polled; where a
/// future is polled outside of any, on the one seen last.
#[derive(Debug)]
pub struct Tokio {
    origin: tokio::time::Instant,
    last: Mutex<Option<Handle>>,
}

impl Tokio {
    /// Tokio's sockets, timers and tasks.
    #[expect(
        clippy::new_without_default,
        reason = "a clock's origin is no default value"
    )]
    pub fn new() -> Self {
        let now = tokio::time::Instant::now();
        // A paused clock may lag behind the real one that is read here.
        let origin = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        Self {
            origin,
            last: Mutex::new(None),
        }
    }

    fn handle(&self) -> Option<Handle> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(current) = Handle::try_current() {
            *last = Some(current);
        }
        last.clone()
    }
}

impl Net for Tokio {
    fn now(&self) -> Instant {
        let since = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Instant::ORIGIN + since
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn entropy(&self, dst: &mut [u8]) {
        getrandom::fill(dst).expect("the system has entropy");
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let name = name.to_owned();
        Box::pin(async move { Answer::of_system(tokio::net::lookup_host((name, 0)).await, family) })
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (to, options) = (to.clone(), options.clone());
        Box::pin(async move { connect(to, options).await })
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        let handle = self.handle();
        let _context = handle.as_ref().map(Handle::enter);
        let timer = tokio::time::sleep_until(self.origin + until.since_origin());
        Box::new(Timer {
            origin: self.origin,
            timer: Box::pin(timer),
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        if let Some(handle) = self.handle() {
            handle.spawn(task);
        }
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let handle = self.handle();
        Box::pin(async move {
            if let Some(handle) = handle {
                // A panic inside has been reported by its thread.
                let _ = handle.spawn_blocking(work).await;
            }
        })
    }
}

struct Timer {
    origin: tokio::time::Instant,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }
}

impl Sleep for Timer {
    fn reset(&mut self, until: Instant) {
        let until = self.origin + until.since_origin();
        self.timer.as_mut().reset(until);
    }
}

async fn connect(to: Endpoint, options: SocketOptions) -> io::Result<Box<dyn Stream>> {
    match to {
        Endpoint::Tcp(to) => {
            let socket = if to.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(local) = options.bind {
                socket.bind((local, 0).into())?;
            }
            socket::set_up(&socket, &options)?;
            Ok(Box::new(socket::Tcp(socket.connect(to).await?)))
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => Ok(Box::new(socket::Unix(
            tokio::net::UnixStream::connect(path).await?,
        ))),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{other:?}"),
        )),
    }
}
