//! The run: tasks while any is ready, then the next event.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use fulmar_core::time::Instant;

use crate::conn::Conn;
use crate::executor::{Polled, TaskWaker, poll_task};
use crate::link::nanos;
use crate::record::{Actor, What};
use crate::run::{Failure, Run};
use crate::sim::Sim;
use crate::world::State;

/// Polls without an event before the run is given up.
const SPINS: u64 = 1_000_000;

impl Sim {
    /// Runs until the future completes or the run fails; see the [crate's documentation](crate) for
    /// the rules. Everything that is left is dropped then: the future first, then all tasks in the
    /// order in which they were spawned, servers' connections among them. Time goes on with the
    /// next run, and services, links and faults stay.
    pub fn run<F: Future>(&mut self, main: F) -> Run<F::Output> {
        let start = self.now();
        let mut main = Box::pin(main);
        let outcome = self.drive(main.as_mut(), start);
        drop(main);
        self.clear();
        let (output, failure) = match outcome {
            Ok(output) => (Some(output), None),
            Err(failure) => (None, Some(failure)),
        };
        self.world.with(|state| {
            self.stats.connections = state.opened;
            self.stats.bytes = state.bytes;
            Run {
                output,
                failure,
                seed: self.seed,
                schedule: self.schedule.clone(),
                elapsed: Instant::from_nanos(state.now) - start,
                open: state.open_clients(),
                stats: self.stats,
                end: state.trace.end(),
                world: Arc::clone(&self.world),
                is_seen: Cell::new(false),
            }
        })
    }

    fn drive<F: Future>(
        &mut self,
        mut main: Pin<&mut F>,
        start: Instant,
    ) -> Result<F::Output, Failure> {
        let (signal, waker) = self.executor.main();
        let mut watch = Watch {
            activity: 0,
            since: start.as_nanos(),
        };
        let end = (start + self.limit).as_nanos();
        let mut spins = 0;
        loop {
            self.adopt();
            match self.executor.poll_next(self.schedule.as_ref()) {
                Some(Polled::Fine) => spins += 1,
                Some(Polled::Panicked(task, message)) => {
                    return Err(Failure::Panicked(task, message));
                }
                Some(Polled::Main) => {
                    spins += 1;
                    watch.activity = u64::MAX;
                    if let Poll::Ready(output) = self.poll_main(&signal, &waker, main.as_mut())? {
                        return Ok(output);
                    }
                }
                None => {
                    spins = 0;
                    self.stats.events += 1;
                    self.advance(&mut watch, end)?;
                }
            }
            self.stats.polls += u64::from(spins > 0);
            if spins > SPINS {
                return Err(Failure::Livelock);
            }
            self.check_invariants()?;
        }
    }

    fn poll_main<F: Future>(
        &self,
        signal: &TaskWaker,
        waker: &Waker,
        main: Pin<&mut F>,
    ) -> Result<Poll<F::Output>, Failure> {
        self.world.with(|state| state.is_main = true);
        let polled = poll_task(signal, waker, main);
        self.world.with(|state| state.is_main = false);
        polled.map_err(|message| Failure::Panicked("main".to_owned(), message))
    }

    /// Takes over tasks that were spawned and connections that were accepted, and drops servers
    /// that a fault kills.
    fn adopt(&mut self) {
        while let Some(key) = self.world.with(|state| state.killed.pop_front()) {
            self.world.with(|state| state.record_killed(key));
            self.executor.kill(key);
            // It may have given its connection away.
            self.world.with(|state| state.close(key, 1));
        }
        while let Some(task) = self.world.with(|state| state.spawned.pop_front()) {
            self.executor.spawn(task.name, None, task.future);
        }
        while let Some((key, service)) = self.world.with(|state| state.accepted.pop_front()) {
            let world = Arc::clone(&self.world);
            let (name, actor) = world.with(|state| {
                let actor = state
                    .conns
                    .get_mut(key)
                    .map_or(Actor::World, |conn| conn.actor);
                (format!("server of {}", state.trace.actor(actor)), actor)
            });
            let conn = Conn::new(Arc::clone(&world), key);
            let task = async move {
                let result = service(conn).await;
                let error = result.err().map(|error| error.to_string().into());
                world.with(|state| state.record(actor, What::Served(error)));
            };
            self.executor.spawn(name, Some(key), Box::pin(task));
        }
    }

    /// Lets the next event happen.
    fn advance(&self, watch: &mut Watch, end: u64) -> Result<(), Failure> {
        let names = || self.executor.names().map(str::to_owned).collect();
        let patience = nanos(self.patience);
        self.world.with(|state| {
            let Some(at) = state.next_at() else {
                return Err(Failure::Deadlock(names()));
            };
            if watch.is_stalled(state, patience) {
                return Err(Failure::Stalled(names()));
            }
            if at > end {
                state.now = end;
                return Err(Failure::TimeLimit(self.limit));
            }
            state.step();
            Ok(())
        })
    }

    /// Drops every task, and whatever they start while they are dropped.
    fn clear(&mut self) {
        self.world.with(|state| state.is_closing = true);
        loop {
            self.executor.clear();
            let (spawned, accepted) = self
                .world
                .with(|state| (state.spawned.pop_front(), state.accepted.pop_front()));
            if spawned.is_none() && accepted.is_none() {
                break;
            }
            drop(spawned);
            drop(accepted.map(|(key, _)| Conn::new(Arc::clone(&self.world), key)));
        }
        self.world.with(|state| state.is_closing = false);
    }
}

/// Watches for a stall.
struct Watch {
    /// As of the last look; `u64::MAX` when the main future was polled since.
    activity: u64,
    /// Since when nothing has happened.
    since: u64,
}

impl Watch {
    fn is_stalled(&mut self, state: &State, patience: u64) -> bool {
        if self.activity != state.activity || state.main_alarms > 0 {
            self.activity = state.activity;
            self.since = state.now;
        }
        state.now - self.since > patience
    }
}

impl Drop for Sim {
    /// Lets go of tasks and services: those may hold the world, which would then hold itself.
    fn drop(&mut self) {
        self.clear();
        let services = self.world.with(|state| {
            let hosts = state.hosts.iter_mut();
            hosts
                .map(|host| std::mem::take(&mut host.listeners))
                .collect::<Vec<_>>()
        });
        drop(services);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::time::Duration;

    use fulmar::net::{Endpoint, Net, SocketOptions};

    use crate::{Fault, Sim};

    #[test]
    fn the_world_keeps_nothing_of_connections_and_timers_that_are_gone() {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", |mut conn| async move {
            while !conn.read(100).await?.is_empty() {
                conn.write_all("hello").await?;
            }
            Ok(())
        });
        sim.between(.., Fault::refuse("api.test:81"));
        sim.at(Duration::from_millis(50), Fault::reset("api.test"));
        let net = sim.net("laptop");
        let run = sim.run(async move {
            for port in [80, 81, 82, 80, 80] {
                let to = Endpoint::Tcp(SocketAddr::from(([10, 0, 0, 1], port)));
                let stream = net.connect(&to, &SocketOptions::default()).await;
                net.sleep(net.now() + Duration::from_millis(20)).await;
                drop(stream);
            }
            io::Result::Ok(())
        });
        assert!(run.expect().is_ok());
        sim.world.with(|state| {
            assert_eq!(state.conns.values().count(), 0);
            assert_eq!(state.alarms.values().count(), 0);
            assert_eq!(state.main_alarms, 0);
        });
    }
}
