//! The simulation, as its user sees it.

use std::future::Future;
use std::io;
use std::ops::{Range, RangeBounds};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulmar::net::BoxFuture;
use fulmar_core::time::Instant;

use crate::conn::Conn;
use crate::executor::Executor;
use crate::faults::Fault;
use crate::hosts::HostSetup;
use crate::invariants::Invariant;
use crate::link::Link;
use crate::run::Stats;
use crate::schedule::Schedule;
use crate::simnet::{Handle, SimNet};
use crate::timer::SimSleep;
use crate::world::{Service, World};

/// A simulated network with its own time; see the [crate's documentation](crate).
pub struct Sim {
    pub(crate) world: Arc<World>,
    pub(crate) executor: Executor,
    pub(crate) seed: u64,
    pub(crate) limit: Duration,
    pub(crate) patience: Duration,
    pub(crate) stats: Stats,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) is_checked: bool,
    pub(crate) invariants: Vec<Invariant>,
}

impl Sim {
    /// An empty network. The seed, the calls on it and the program that runs in it are the whole
    /// input: the same ones lead to the same trace.
    pub fn seeded(seed: u64) -> Self {
        Self {
            world: Arc::new(World::new(seed)),
            executor: Executor::default(),
            seed,
            limit: Duration::from_secs(3600),
            patience: Duration::from_secs(300),
            stats: Stats::default(),
            schedule: None,
            is_checked: false,
            invariants: Vec::new(),
        }
    }

    /// The network as that host has it: what a client is built on. Clients of one host share its
    /// address, its links and its entropy.
    pub fn net(&self, host: &str) -> SimNet {
        let index = self.world.with(|state| state.host(host));
        SimNet {
            world: Arc::clone(&self.world),
            host: index,
            name: host.into(),
        }
    }

    /// The settings of a host: its addresses and its resolver. Hosts need no declaration: those that
    /// are named anywhere exist.
    pub fn host(&self, name: &str) -> HostSetup<'_> {
        HostSetup {
            world: &self.world,
            host: self.world.with(|state| state.host(name)),
        }
    }

    /// The settings of the link between two hosts, for both directions. Without any, packets take
    /// 1 ms and none is lost. They hold for what is sent after the call.
    pub fn link(&self, a: &str, b: &str) -> Link<'_> {
        let wire = self.world.with(|state| {
            let (a, b) = (state.host(a), state.host(b));
            state.wire(a, b)
        });
        Link {
            world: &self.world,
            wire,
        }
    }

    /// Serves an address (`"api.test:80"`; port 80 where none is named) with a future for each
    /// connection. The connection is closed when its future ends; an error that it ends with is
    /// only noted in the trace. It replaces a service that was there; existing connections go on.
    pub fn serve<F, Fut>(&self, addr: &str, service: F)
    where
        F: Fn(Conn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.install(addr, move |conn| Box::pin(service(conn)));
    }

    /// Serves an address, and drops the service that was there.
    pub(crate) fn install(
        &self,
        addr: &str,
        service: impl Fn(Conn) -> BoxFuture<io::Result<()>> + Send + Sync + 'static,
    ) -> Arc<Service> {
        let (host, port) = split(addr);
        let service: Arc<Service> = Arc::new(service);
        let installed = Arc::clone(&service);
        let before = self.world.with(|state| {
            let index = state.host(host);
            state
                .hosts
                .get_mut(index)
                .and_then(|host| host.listeners.insert(port, installed))
        });
        drop(before);
        service
    }

    /// Stops serving an address: attempts to connect are refused, existing connections go on.
    pub fn close(&self, addr: &str) {
        let (host, port) = split(addr);
        let before = self.world.with(|state| {
            let index = state.host(host);
            state
                .hosts
                .get_mut(index)
                .and_then(|host| host.listeners.remove(&port))
        });
        drop(before);
    }

    /// Puts a fault in force for a range of virtual time, counted from the beginning of the
    /// simulation: `2.s()..4.s()`, or `2.s()..` for ever.
    pub fn between(&self, range: impl RangeBounds<Duration>, fault: Fault) {
        self.handle().between(range, fault);
    }

    /// Puts a fault in force for the one instant: it strikes what exists then, and nothing after.
    /// That is of use for [`Fault::reset`] and [`Fault::half_open`].
    pub fn at(&self, at: Duration, fault: Fault) {
        self.between(at..=at, fault);
    }

    /// Puts all faults of a plan in force.
    pub fn plan(&self, plan: &[(Range<Duration>, Fault)]) {
        for (range, fault) in plan {
            self.between(range.clone(), fault.clone());
        }
    }

    /// Sets what the wall clock shows at the beginning of the simulation. Default: 2026-01-01
    /// 00:00:00 UTC.
    pub fn wall(&self, epoch: SystemTime) {
        self.world.with(|state| state.epoch = epoch);
    }

    /// Sets how much virtual time one run may take. Default: 1 h.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Sets for how long only idle timers may go off until a run counts as stalled; see
    /// [`Failure::Stalled`](crate::Failure::Stalled). Default: 5 min.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sets the order in which tasks run that are ready at one instant; see
    /// [`explore`](crate::explore). Default: that in which they were woken.
    pub fn schedule(&mut self, schedule: &Schedule) {
        self.schedule = Some(schedule.clone());
    }

    /// The clock, timers, tasks and the trace, for use inside futures.
    pub fn handle(&self) -> Handle {
        Handle {
            world: Arc::clone(&self.world),
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Waits for so long from now. See [`Handle::sleep`] for one that counts from when it is called
    /// inside the run.
    pub fn sleep(
        &self,
        duration: Duration,
    ) -> impl Future<Output = ()> + Send + Sync + Unpin + use<> {
        SimSleep::new(Arc::clone(&self.world), self.now() + duration)
    }

    /// Starts a background task with the next run.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn("spawned", Box::pin(task));
    }

    /// Adds a line to the trace, as that actor's.
    pub fn trace_line(&self, actor: &str, text: impl Into<String>) {
        self.handle().trace_line(actor, text);
    }

    /// The trace from the beginning to now; see [`Run::trace`](crate::Run::trace).
    pub fn trace(&self) -> String {
        self.world
            .with(|state| state.trace.render(0, state.trace.end()))
    }
}

/// Host and port of an address.
pub(crate) fn split(addr: &str) -> (&str, u16) {
    match addr.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(80)),
        None => (addr, 80),
    }
}
