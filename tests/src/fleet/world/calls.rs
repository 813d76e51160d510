//! The calls of the clients, and of the services between them and the server.

use std::sync::Arc;

use fulmar_core::call::{Call, Request, Verdict};
use fulmar_core::fault::{Fault as Below, FaultKind, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, HeadFacts, MethodClass};
use fulmar_core::time::Instant;
use rand_core::Rng;

use super::{Event, World};
use crate::fleet::scenario::Fault;
use crate::fleet::server::{Admission, Job, unit};

/// Bytes of a request that the transport took: all of it.
const REQUEST_BYTES: u64 = 100;

/// A call, from its first attempt to its end.
pub(super) struct Running {
    call: Call,
    /// 0: a client's.
    layer: usize,
    /// Whose budget it asks.
    account: usize,
    /// The attempt of the layer above that it is made for.
    above: Option<Job>,
    /// It is made for a retry, in whichever layer.
    for_a_retry: bool,
    shard: usize,
    began: Instant,
    /// The attempt that its client waits for; none while it rests.
    awaits: Option<u64>,
    /// What its last retry took from another's budget.
    paid: f64,
}

impl World<'_> {
    /// A caller makes a request.
    pub(super) fn arrive(&mut self) {
        self.push_arrival();
        self.report.count(self.now, |second| second.requests += 1);
        let client = below(self.scenario.clients, &mut self.arrivals);
        let shard = match self.scenario.shards {
            1 => 0,
            shards => below(shards, &mut self.arrivals),
        };
        self.begin(Running {
            call: Call::new(Request::new(MethodClass::Safe), self.policy.clone()),
            layer: 0,
            account: client,
            above: None,
            for_a_retry: false,
            shard,
            began: self.now,
            awaits: None,
            paid: 0.0,
        });
    }

    fn begin(&mut self, running: Running) {
        self.accounts[running.account].handle_first_attempt(self.now);
        let id = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.calls[id] = Some(running);
        self.attempt(id);
    }

    pub(super) fn attempt(&mut self, id: usize) {
        let Some(running) = &mut self.calls[id] else {
            return;
        };
        running.call.begin_attempt(self.now);
        self.attempts += 1;
        let job = (id, self.attempts);
        running.awaits = Some(job.1);
        let (layer, shard) = (running.layer, running.shard);
        let layers_below = self.scenario.layers - 1 - layer;
        let patience = self.scenario.patience * (layers_below as u32 + 1);
        if layers_below > 0 {
            self.push(self.now + patience, Event::GaveUp(job));
            self.descend(job);
        } else if self.arrive_at(shard, job) {
            self.push(self.now + patience, Event::GaveUp(job));
        }
    }

    /// An instance of the service below takes the attempt, and makes a call of its own for it.
    fn descend(&mut self, job: Job) {
        let Some(above) = &self.calls[job.0] else {
            return;
        };
        let layer = above.layer + 1;
        let first = self.scenario.clients + (layer - 1) * self.scenario.instances;
        let for_a_retry = above.for_a_retry || above.call.attempt() > 1;
        let policy = if self.scenario.marks_retries && for_a_retry {
            &self.once
        } else {
            &self.policy
        };
        let running = Running {
            call: Call::new(Request::new(MethodClass::Safe), Arc::clone(policy)),
            layer,
            account: first + below(self.scenario.instances, &mut self.service),
            above: Some(job),
            for_a_retry,
            shard: above.shard,
            began: self.now,
            awaits: None,
            paid: 0.0,
        };
        self.begin(running);
    }

    /// The attempt is at the server. `false`: it is over already.
    fn arrive_at(&mut self, shard: usize, job: Job) -> bool {
        self.report.count_attempt(self.now);
        if unit(&mut self.service) < self.scenario.scattered {
            self.respond(job.0, 502);
            return false;
        }
        match self.shards[shard].fault() {
            Fault::Refused => {
                let refused = Cause::Fault(Below::new(FaultKind::Refused, Phase::Connect));
                self.fail(job.0, refused, 0);
                return false;
            }
            Fault::Errors(part) if unit(&mut self.service) < part => {
                self.respond(job.0, 503);
                return false;
            }
            _ => {}
        }
        match self.shards[shard].admit(job) {
            Admission::Served => self.begin_service(shard, job),
            Admission::Queued => {}
            Admission::Full => {
                self.respond(job.0, 503);
                return false;
            }
        }
        true
    }

    pub(super) fn is_awaited(&self, (id, attempt): Job) -> bool {
        let running = self.calls.get(id).and_then(Option::as_ref);
        running.is_some_and(|running| running.awaits == Some(attempt))
    }

    /// Whether somebody waits for this attempt in every layer.
    pub(super) fn is_wanted(&self, job: Job) -> bool {
        self.is_awaited(job) && self.is_wanted_above(job.0)
    }

    fn is_wanted_above(&self, id: usize) -> bool {
        let running = self.calls.get(id).and_then(Option::as_ref);
        let above = running.and_then(|running| running.above);
        above.is_none_or(|above| self.is_wanted(above))
    }

    /// The client has waited for this attempt long enough.
    pub(super) fn give_up(&mut self, job: Job) {
        if self.is_awaited(job) {
            let cause = Cause::Timeout(Phase::FirstByte);
            self.fail(job.0, cause, REQUEST_BYTES);
        }
    }

    /// The client gets a response head.
    pub(super) fn respond(&mut self, id: usize, status: u16) {
        let Some(running) = &mut self.calls[id] else {
            return;
        };
        let account = &mut self.accounts[running.account];
        if status == 200 {
            account.handle_success(running.paid);
        } else {
            account.handle_failure();
        }
        let head = HeadFacts {
            body_pulled: false,
            ..HeadFacts::new(status)
        };
        let (call, rng, now) = (&mut running.call, &mut self.draws, self.now);
        let verdict = account.ask(now, false, |budget| {
            call.handle_head(now, &head, None, budget, rng)
        });
        self.follow(id, verdict, status, false);
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
        let account = &mut self.accounts[running.account];
        account.handle_failure();
        let (call, rng, now) = (&mut running.call, &mut self.draws, self.now);
        let verdict = account.ask(now, timed_out, |budget| {
            call.handle_failure(now, &facts, None, budget, rng)
        });
        let status = if timed_out { 504 } else { 502 };
        self.follow(id, verdict, status, timed_out);
    }

    /// Does what the machine says; `status` is what the layer above hears if this is the end.
    fn follow(&mut self, id: usize, verdict: Verdict, status: u16, timed_out: bool) {
        if let (Verdict::Retry(again), Some(running)) = (verdict, &mut self.calls[id]) {
            running.awaits = None;
            running.paid = self.accounts[running.account].handle_retry(self.now, timed_out);
            // With deadlines that travel, a service stops where nobody waits for it.
            if !self.scenario.drops_expired || self.is_wanted_above(id) {
                self.push(again.at, Event::Attempt(id));
                return;
            }
        }
        let Some(running) = self.calls[id].take() else {
            return;
        };
        self.free.push(id);
        match running.above {
            Some(above) if self.is_awaited(above) => self.respond(above.0, status),
            Some(_) => {}
            None => self.report(&running, status),
        }
    }

    /// A client's call has ended.
    fn report(&mut self, running: &Running, status: u16) {
        let attempts = running.call.attempt();
        self.report.count_end(running.began, attempts);
        if status == 200 {
            self.report.count_success(running.began, self.now);
        }
    }
}

fn below(count: usize, rng: &mut dyn Rng) -> usize {
    (rng.next_u64() % count as u64) as usize
}
