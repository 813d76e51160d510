//! The events of a run, in the order of `(time, sequence)`.

mod calls;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::retry::Retry;
use fulmar_core::time::Instant;
use rand_core::SeedableRng;

use self::calls::Running;
use super::limit::Account;
use super::scenario::{Policy, Scenario};
use super::server::{Job, Server, exponential};
use super::tally::Report;

/// Runs a fleet under a policy. The same seed gives the same report, and every policy meets the
/// same arrivals.
pub fn simulate(scenario: &Scenario, policy: &Policy, seed: u64) -> Report {
    let mut world = World::new(scenario, policy, seed);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        world.handle(event);
    }
    world.report
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// .. in that shard.
    FaultBegins(usize),
    FaultEnds(usize),
    Arrival,
    /// A call's next attempt begins.
    Attempt(usize),
    /// A client has waited long enough for this attempt.
    GaveUp(Job),
    /// A worker of that shard has finished this attempt.
    Finished(usize, Job),
}

struct World<'a> {
    scenario: &'a Scenario,
    policy: Arc<Retry>,
    /// What calls on behalf of a retry have, if retries are marked.
    once: Arc<Retry>,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    shards: Vec<Server>,
    /// One per client, then one per instance of each service below.
    accounts: Vec<Account>,
    calls: Vec<Option<Running>>,
    free: Vec<usize>,
    /// How many attempts have begun: what tells them apart.
    attempts: u64,
    arrivals: ChaCha8Rng,
    service: ChaCha8Rng,
    draws: ChaCha8Rng,
    report: Report,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, policy: &Policy, seed: u64) -> Self {
        let stream = |number| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        let accounts = scenario.clients + (scenario.layers - 1) * scenario.instances;
        let mut world = Self {
            scenario,
            policy: Arc::new(policy.retry.clone()),
            once: Arc::new(policy.retry.clone().serving(2)),
            now: Instant::ORIGIN,
            events: BinaryHeap::new(),
            sequence: 0,
            shards: (0..scenario.shards)
                .map(|_| Server::new(scenario))
                .collect(),
            accounts: vec![Account::new(policy.limit); accounts],
            calls: Vec::new(),
            free: Vec::new(),
            attempts: 0,
            arrivals: stream(1),
            service: stream(2),
            draws: stream(3),
            report: Report::new(scenario),
        };
        let share = scenario.fault_for / scenario.shards as u32;
        let mut at = Instant::ORIGIN + scenario.before;
        for shard in 0..scenario.shards {
            world.push(at, Event::FaultBegins(shard));
            at = at + share;
            world.push(at, Event::FaultEnds(shard));
        }
        world.push_arrival();
        world
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn push_arrival(&mut self) {
        let gap = exponential(1.0 / self.scenario.rate, &mut self.arrivals);
        let at = self.now + Duration::from_secs_f64(gap);
        let scenario = self.scenario;
        if at < Instant::ORIGIN + scenario.before + scenario.fault_for + scenario.after {
            self.push(at, Event::Arrival);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::FaultBegins(shard) => self.set_fault(shard, true),
            Event::FaultEnds(shard) => self.set_fault(shard, false),
            Event::Arrival => self.arrive(),
            Event::Attempt(id) => self.attempt(id),
            Event::GaveUp(job) => self.give_up(job),
            Event::Finished(shard, job) => self.finish(shard, job),
        }
    }

    fn set_fault(&mut self, shard: usize, faulty: bool) {
        self.shards[shard].set_faulty(faulty);
        self.serve(shard);
    }

    fn finish(&mut self, shard: usize, job: Job) {
        self.shards[shard].release();
        let wanted = self.is_wanted(job);
        self.report.count(self.now, |second| {
            second.served += 1;
            second.wasted += u32::from(!wanted);
        });
        if self.is_awaited(job) {
            self.respond(job.0, 200);
        }
        self.serve(shard);
    }

    /// Gives idle workers what waits.
    fn serve(&mut self, shard: usize) {
        while let Some(job) = self.shards[shard].next() {
            if self.scenario.drops_expired && !self.is_wanted(job) {
                self.shards[shard].release();
            } else {
                self.begin_service(shard, job);
            }
        }
    }

    fn begin_service(&mut self, shard: usize, job: Job) {
        let takes = self.shards[shard].service_time(&mut self.service);
        self.push(self.now + takes, Event::Finished(shard, job));
    }
}
