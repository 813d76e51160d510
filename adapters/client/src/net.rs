//! The runtime's side: what an adapter provides, and all that it provides.

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;

pub use crate::transport::FromFuturesIo;
pub use crate::window::{Window, gather};
pub use fulmar_core::buf::WriteBuf;
pub use fulmar_core::fault::{Fault, FaultKind};

/// A boxed future. One is made per connection made, never per request.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A stream on its way.
pub type Connecting = BoxFuture<io::Result<Box<dyn Stream>>>;

/// A runtime and its network: sockets, timers, tasks, clocks, entropy.
///
/// It is object-safe, so a client holds an `Arc<dyn Net>` and needs no type parameter: the same
/// program runs on every runtime and in the simulator. An implementation holds no logic; what to do
/// and when is decided by the machines of `fulmar-core`.
pub trait Net: Send + Sync + 'static {
    /// The monotonic clock. All instants of one `Net` share one origin. A paused or simulated clock
    /// is fine.
    fn now(&self) -> Instant;

    /// The wall clock: certificates, HTTP dates, cookies.
    fn wall(&self) -> SystemTime;

    /// Fills `dst` with entropy, to seed a generator: asked once per client, never per request.
    fn entropy(&self, dst: &mut [u8]);

    /// Resolves a host name. Literals never get here.
    ///
    /// # Errors
    ///
    /// `NameNotFound` where the name does not exist or has no address of that family,
    /// `NameFailed` where another try may succeed.
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>>;

    /// Opens a stream. Dropping the future abandons the attempt and closes what it opened.
    ///
    /// # Errors
    ///
    /// What the system said.
    fn connect(&self, to: &Endpoint, options: &SocketOptions) -> Connecting;

    /// A timer that is ready at `until` or later. Where there is no runtime it may never be. One that
    /// is ready while [`now`](Self::now) says that it is earlier is set again, and decides nothing.
    fn sleep(&self, until: Instant) -> Box<dyn Sleep>;

    /// Runs a task to its end, detached. Where the runtime is gone or not there, it drops the task.
    fn spawn(&self, task: BoxFuture<()>);

    /// Names the runtime that polls this very moment, on which [`Net::spawn`] would start a task. A
    /// client that is used from several at once runs its background task on each, because one may
    /// stand still while another is driven. Default: 0, the only one.
    fn runtime(&self) -> u64 {
        0
    }

    /// Runs blocking work (files, platform certificates) where it blocks nobody; the simulator runs
    /// it inline.
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()>;
}

/// A number for an id that tells what it is to hashers only, as a runtime's does.
pub fn number(id: impl Hash) -> u64 {
    struct Number(u64);

    impl Hasher for Number {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0 << 8 | u64::from(*byte);
            }
        }

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut number = Number(0);
    id.hash(&mut number);
    number.finish()
}

/// A timer: ready at an absolute instant, and movable.
pub trait Sleep: Future<Output = ()> + Send + Sync + Unpin {
    /// Moves the timer to `until`, fired or not. The waker is taken at the next poll.
    fn reset(&mut self, until: Instant);
}

/// A byte stream of the runtime: a socket.
///
/// A reader and a writer may be polled from one task only.
pub trait Stream: Send + Sync + Unpin + 'static {
    /// Reads into the spare capacity of `buf` (the caller has reserved some), and says by how much
    /// that grew. `Ok(0)` is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Writes from `buf` and advances it by what the transport took. One call is at most one system
    /// call: plain for one chunk, vectored for several. `buf` is not empty, and one that is ready took
    /// at least a byte: the client takes anything else for a broken transport.
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>>;

    /// Says to the peer that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether there is nothing to read and the peer has not closed. It registers no waker, takes no
    /// byte, and makes no system call where the runtime remembers readiness. Streams whose runtime is
    /// gone are not asked.
    fn is_quiet(&mut self) -> bool;

    /// Called before the stream idles in the pool.
    fn park(&mut self) {}

    /// The peer's address, where there is one.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both, in the resolver's order.
    Any,
}

impl Family {
    /// Whether an address is of this family.
    pub const fn admits(self, addr: IpAddr) -> bool {
        match self {
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
            Self::Any => true,
        }
    }
}

/// What a resolver said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The addresses, in the resolver's order of preference.
    pub addrs: Vec<IpAddr>,
    /// How long the answer holds, where the resolver knows (`getaddrinfo` does not).
    pub ttl: Option<Duration>,
}

impl Answer {
    /// What the system's own resolver (`getaddrinfo`) found, as far as it is wanted.
    ///
    /// # Errors
    ///
    /// `NameNotFound`, or `NameFailed` where asking again could help.
    pub fn of_system(
        found: io::Result<impl Iterator<Item = SocketAddr>>,
        family: Family,
    ) -> Result<Self, Fault> {
        let addrs = found.map_err(|error| name_fault(&error))?;
        let addrs = addrs.map(|addr| addr.ip());
        Ok(Self {
            addrs: addrs.filter(|ip| family.admits(*ip)).collect(),
            ttl: None,
        })
    }
}

/// `getaddrinfo` says only in words whether asking again could help.
fn name_fault(error: &io::Error) -> Fault {
    let text = error.to_string();
    let passing = text.contains("emporary") || error.raw_os_error().is_some();
    let kind = if passing {
        FaultKind::NameFailed
    } else {
        FaultKind::NameNotFound
    };
    Fault::new(kind, Phase::Dns).with_detail(text)
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// What a runtime answers that has no such transport.
    pub fn unsupported(&self) -> io::Error {
        let text = format!("this runtime has no transport for {self:?}");
        io::Error::new(io::ErrorKind::Unsupported, text)
    }
}

/// How to set up a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Disables Nagle's algorithm (`TCP_NODELAY`). Default: true.
    pub nodelay: bool,
    /// The local address to bind to. Default: the system's choice.
    pub bind: Option<IpAddr>,
    /// TCP keepalive: idle time before the first probe. Default: off.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            bind: None,
            keepalive: None,
        }
    }
}
