//! A host's view of the simulated network: the `Net` that a client is built on.

use std::future::{Future, pending, poll_fn, ready};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulmar::net::{Answer, BoxFuture, Endpoint, Family, Net, Sleep, SocketOptions, Stream};
use fulmar_core::fault;
use fulmar_core::time::Instant;

use crate::faults::Fault;
use crate::link::nanos;
use crate::record::{Actor, What};
use crate::socket::{SimStream, Socket};
use crate::timer::SimSleep;
use crate::world::World;

/// The network and the clocks as one simulated host has them; made by [`Sim::net`](crate::Sim::net).
///
/// All hosts of a simulation share one clock. Its tasks run while [`Sim::run`](crate::Sim::run)
/// does; blocking work runs at once, inline.
#[derive(Clone)]
pub struct SimNet {
    pub(crate) world: Arc<World>,
    pub(crate) host: usize,
    pub(crate) name: Arc<str>,
}

impl SimNet {
    async fn open(self, addr: SocketAddr, bind: Option<IpAddr>) -> io::Result<Box<dyn Stream>> {
        let opened = self.world.with(|state| state.open(self.host, addr, bind));
        let key = match opened {
            Ok(key) => key,
            Err(error) if error.kind() == ErrorKind::HostUnreachable => {
                // What a router on the way answers takes its time, too.
                self.pause(self.now() + Duration::from_millis(1)).await;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        // From here on a drop closes it.
        let socket = Socket {
            world: self.world,
            key,
            end: 0,
        };
        poll_fn(|cx| socket.world.with(|state| state.poll_open(key, cx))).await?;
        Ok(Box::new(SimStream { socket, peer: addr }))
    }

    fn pause(&self, until: Instant) -> SimSleep {
        SimSleep::new(Arc::clone(&self.world), until)
    }
}

impl Net for SimNet {
    fn now(&self) -> Instant {
        self.world.now()
    }

    fn wall(&self) -> SystemTime {
        self.world.with(|state| {
            let elapsed = Duration::from_nanos(state.now);
            state.epoch.checked_add(elapsed).unwrap_or(state.epoch)
        })
    }

    fn entropy(&self, dst: &mut [u8]) {
        self.world.with(|state| {
            if let Some(host) = state.hosts.get_mut(self.host) {
                host.entropy.fill(dst);
            }
        });
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, fault::Fault>> {
        let (net, name) = (self.clone(), name.to_owned());
        Box::pin(async move {
            let at = net.world.with(|state| {
                let now = state.now;
                let host = state.hosts.get_mut(net.host);
                let latency = host.map_or(0, |host| {
                    host.dns.uniform(host.dns_latency.lo, host.dns_latency.hi)
                });
                let extra = state.dns_delay(&name);
                Instant::from_nanos(now.saturating_add(latency).saturating_add(extra))
            });
            net.pause(at).await;
            match net
                .world
                .with(|state| state.look_up(net.host, &name, family))
            {
                Some(answer) => answer,
                None => pending().await,
            }
        })
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        if let Endpoint::Tcp(addr) = to {
            return Box::pin(self.clone().open(*addr, options.bind));
        }
        let error = io::Error::new(ErrorKind::Unsupported, "a simulation has no unix sockets");
        Box::pin(ready(Err(error)))
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        Box::new(self.pause(until))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.world.spawn(&self.name, task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        Box::pin(async move { work() })
    }
}

/// A handle on the simulation for use inside it: the clock, timers, tasks, the trace.
#[derive(Clone)]
pub struct Handle {
    pub(crate) world: Arc<World>,
}

impl Handle {
    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Waits for so long. Dropping the future is the way to stop waiting.
    pub fn sleep(
        &self,
        duration: Duration,
    ) -> impl Future<Output = ()> + Send + Sync + Unpin + use<> {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until then.
    pub fn sleep_until(
        &self,
        at: Instant,
    ) -> impl Future<Output = ()> + Send + Sync + Unpin + use<> {
        SimSleep::new(Arc::clone(&self.world), at)
    }

    /// Starts a task. It runs while [`Sim::run`](crate::Sim::run) does, and is dropped when that
    /// ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn("spawned", Box::pin(task));
    }

    /// Puts a fault in force for a range of virtual time; see [`Sim::between`](crate::Sim::between).
    /// What is past of the range has no effect.
    pub fn between(&self, range: impl RangeBounds<Duration>, fault: Fault) {
        let from = match range.start_bound() {
            Bound::Included(at) => nanos(*at),
            Bound::Excluded(at) => nanos(*at).saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => nanos(*at).saturating_add(1),
            Bound::Excluded(at) => nanos(*at),
            Bound::Unbounded => u64::MAX,
        };
        self.world.with(|state| state.schedule(from, to, fault));
    }

    /// Adds a line to the trace, as that actor's.
    pub fn trace_line(&self, actor: &str, text: impl Into<String>) {
        let text = text.into();
        self.world.with(|state| {
            let actor = Actor::Named(state.trace.name(actor));
            state.record(actor, What::Note(text.into()));
        });
    }
}
