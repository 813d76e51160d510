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

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

pub use fulmar::*;

use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream,
    number,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
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
    #[expect(clippy::new_without_default, reason = "it reads a clock")]
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
        *last = Handle::try_current().ok().or(last.take());
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

    fn connect(&self, to: &Endpoint, options: &SocketOptions) -> Connecting {
        Box::pin(connect(to.clone(), options.clone()))
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        let (handle, until) = (self.handle(), self.origin + until.since_origin());
        let _context = handle.as_ref().map(Handle::enter);
        let timer = handle
            .is_some()
            .then(|| Box::pin(tokio::time::sleep_until(until)));
        Box::new(Timer(self.origin, timer))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        let _ = self.handle().map(|handle| handle.spawn(task));
    }

    fn runtime(&self) -> u64 {
        Handle::try_current().map_or(0, |handle| number(handle.id()))
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let running = self.handle().map(|handle| handle.spawn_blocking(work));
        Box::pin(async move {
            if let Some(running) = running {
                // A panic inside has been reported by its thread.
                let _ = running.await;
            }
        })
    }
}

/// The clock's origin, and the timer: none where there was never a runtime, and nothing then comes.
struct Timer(tokio::time::Instant, Option<Pin<Box<tokio::time::Sleep>>>);

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.1.as_mut().map(|timer| timer.as_mut().poll(cx));
        timer.unwrap_or(Poll::Pending)
    }
}

impl Sleep for Timer {
    fn reset(&mut self, until: Instant) {
        let until = self.0 + until.since_origin();
        self.1.iter_mut().for_each(|t| t.as_mut().reset(until));
    }
}

async fn connect(to: Endpoint, options: SocketOptions) -> io::Result<Box<dyn Stream>> {
    let stream = match to {
        Endpoint::Tcp(to) => {
            let socket = match to {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(local) = options.bind {
                socket.bind((local, 0).into())?;
            }
            socket.set_nodelay(options.nodelay)?;
            if let Some(idle) = options.keepalive {
                SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
            }
            socket.connect(to).await?
        }
        // Once connected, a stream is a stream: what is asked of one type works for the other.
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
            TcpStream::from_std(std::os::fd::OwnedFd::from(stream).into())?
        }
        other => return Err(other.unsupported()),
    };
    Ok(Box::new(socket::Socket(stream)))
}
