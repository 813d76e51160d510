//! The events of a run, in the order of `(time, sequence)`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::call::{Call, Request, Verdict};
use fulmar_core::fault::{Fault as Below, FaultKind, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, HeadFacts, MethodClass, Retry};
use fulmar_core::time::Instant;
use rand_core::{Rng, SeedableRng};

use super::limit::Account;
use super::scenario::{Fault, Policy, Scenario};
use super::server::{Admission, Job, Server, exponential, unit};
use super::tally::Report;

/// Bytes of a request that the transport took: all of it.
const REQUEST_BYTES: u64 = 100;

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
    FaultBegins,
    FaultEnds,
    Arrival,
    /// A call's next attempt begins.
    Attempt(usize),
    /// A client has waited long enough for this attempt.
    GaveUp(Job),
    /// A worker has finished this attempt.
    Finished(Job),
}

/// A request of a caller.
struct Running {
    call: Call,
    client: usize,
    began: Instant,
    /// The attempt that the client waits for; none while it rests.
    awaits: Option<u64>,
    /// What its last retry took from another's budget.
    paid: f64,
}

struct World<'a> {
    scenario: &'a Scenario,
    policy: Arc<Retry>,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    server: Server,
    faulty: bool,
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
        let mut world = Self {
            scenario,
            policy: Arc::new(policy.retry.clone()),
            now: Instant::ORIGIN,
            events: BinaryHeap::new(),
            sequence: 0,
            server: Server::new(scenario.workers, scenario.queue, scenario.service),
            faulty: false,
            accounts: vec![Account::new(policy.limit); scenario.clients],
            calls: Vec::new(),
            free: Vec::new(),
            attempts: 0,
            arrivals: stream(1),
            service: stream(2),
            draws: stream(3),
            report: Report::new(scenario),
        };
        world.push(Instant::ORIGIN + scenario.before, Event::FaultBegins);
        let ends = Instant::ORIGIN + scenario.before + scenario.fault_for;
        world.push(ends, Event::FaultEnds);
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
            Event::FaultBegins => self.set_fault(true),
            Event::FaultEnds => self.set_fault(false),
            Event::Arrival => self.arrive(),
            Event::Attempt(id) => self.attempt(id),
            Event::GaveUp(job) => {
                if self.is_awaited(job) {
                    let cause = Cause::Timeout(Phase::FirstByte);
                    self.fail(job.0, cause, REQUEST_BYTES);
                }
            }
            Event::Finished(job) => {
                self.server.release();
                if self.is_awaited(job) {
                    self.respond(job.0, 200);
                } else {
                    self.report.count(self.now, |second| second.wasted += 1);
                }
                self.serve();
            }
        }
    }

    fn set_fault(&mut self, faulty: bool) {
        self.faulty = faulty;
        match self.scenario.fault {
            Fault::Slow(times) => self.server.slowness = if faulty { times } else { 1.0 },
            Fault::Stalled => self.server.stalled = faulty,
            Fault::None | Fault::Refused | Fault::Errors(_) => {}
        }
        self.serve();
    }

    /// A caller makes a request.
    fn arrive(&mut self) {
        self.push_arrival();
        self.report.count(self.now, |second| second.requests += 1);
        let client = (self.arrivals.next_u64() % self.scenario.clients as u64) as usize;
        self.accounts[client].handle_first_attempt(self.now);
        let running = Running {
            call: Call::new(Request::new(MethodClass::Safe), self.policy.clone()),
            client,
            began: self.now,
            awaits: None,
            paid: 0.0,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.calls[id] = Some(running);
        self.attempt(id);
    }

    fn attempt(&mut self, id: usize) {
        let now = self.now;
        let Some(running) = &mut self.calls[id] else {
            return;
        };
        running.call.begin_attempt(now);
        self.attempts += 1;
        let job = (id, self.attempts);
        running.awaits = Some(job.1);
        self.report.count_attempt(now);
        if unit(&mut self.service) < self.scenario.scattered {
            return self.respond(id, 502);
        }
        match self.scenario.fault {
            Fault::Refused if self.faulty => {
                let refused = Cause::Fault(Below::new(FaultKind::Refused, Phase::Connect));
                return self.fail(id, refused, 0);
            }
            Fault::Errors(share) if self.faulty && unit(&mut self.service) < share => {
                return self.respond(id, 503);
            }
            _ => {}
        }
        match self.server.admit(job) {
            Admission::Served => self.begin_service(job),
            Admission::Queued => {}
            Admission::Full => return self.respond(id, 503),
        }
        self.push(now + self.scenario.patience, Event::GaveUp(job));
    }

    /// Gives idle workers what waits.
    fn serve(&mut self) {
        while let Some(job) = self.server.next() {
            if self.scenario.drops_expired && !self.is_awaited(job) {
                self.server.release();
            } else {
                self.begin_service(job);
            }
        }
    }

    fn begin_service(&mut self, job: Job) {
        let at = self.now + self.server.service_time(&mut self.service);
        self.push(at, Event::Finished(job));
    }

    fn is_awaited(&self, (id, attempt): Job) -> bool {
        let running = self.calls.get(id).and_then(Option::as_ref);
        running.is_some_and(|running| running.awaits == Some(attempt))
    }

    /// The client gets a response head.
    fn respond(&mut self, id: usize, status: u16) {
        let Some(running) = &mut self.calls[id] else {
            return;
        };
        let account = &mut self.accounts[running.client];
        if status == 200 {
            account.handle_success(running.paid);
        } else {
            account.handle_failure();
        }
        let head = HeadFacts {
            body_pulled: false,
            body_committed: false,
            ..HeadFacts::new(status)
        };
        let (call, rng, now) = (&mut running.call, &mut self.draws, self.now);
        let verdict = account.ask(now, false, |budget| {
            call.handle_head(now, &head, None, budget, rng)
        });
        if let Verdict::Deliver { .. } = verdict
            && status == 200
        {
            self.report
                .count(running.began, |second| second.succeeded += 1);
        }
        self.follow(id, verdict, false);
    }

    /// The attempt fails without a response.
    fn fail(&mut self, id: usize, cause: Cause, accepted: u64) {
        let Some(running) = &mut self.calls[id] else {
            return;
        };
        let timed_out = matches!(cause, Cause::Timeout(_));
        let facts = AttemptFacts {
            accepted,
            ..AttemptFacts::new(cause)
        };
        let account = &mut self.accounts[running.client];
        account.handle_failure();
        let (call, rng, now) = (&mut running.call, &mut self.draws, self.now);
        let verdict = account.ask(now, timed_out, |budget| {
            call.handle_failure(now, &facts, None, budget, rng)
        });
        self.follow(id, verdict, timed_out);
    }

    fn follow(&mut self, id: usize, verdict: Verdict, timed_out: bool) {
        if let (Verdict::Retry(again), Some(running)) = (verdict, &mut self.calls[id]) {
            running.awaits = None;
            running.paid = self.accounts[running.client].handle_retry(self.now, timed_out);
            self.push(again.at, Event::Attempt(id));
        } else {
            self.calls[id] = None;
            self.free.push(id);
        }
    }
}
