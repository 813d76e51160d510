//! One server, or one shard of it: workers and a bounded queue.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::Rng;

use super::scenario::{Fault, Order, Scenario};

/// A request at the server: which call's, and which of all attempts.
pub(super) type Job = (usize, u64);

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// A worker takes it at once.
    Served,
    /// It waits.
    Queued,
    /// There is no room.
    Full,
}

#[derive(Debug)]
pub(super) struct Server {
    workers: usize,
    busy: usize,
    queue: VecDeque<Job>,
    room: usize,
    order: Order,
    mean: f64,
    reject_cost: Duration,
    /// Work that refusals have made, for the worker that begins next.
    debt: Duration,
    fault: Fault,
    faulty: bool,
}

impl Server {
    /// One of the scenario's shards.
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            workers: scenario.workers / scenario.shards,
            busy: 0,
            queue: VecDeque::new(),
            room: scenario.queue / scenario.shards,
            order: scenario.order,
            mean: scenario.service.as_secs_f64(),
            reject_cost: scenario.reject_cost,
            debt: Duration::ZERO,
            fault: scenario.fault,
            faulty: false,
        }
    }

    pub(super) fn set_faulty(&mut self, faulty: bool) {
        self.faulty = faulty;
    }

    /// What is wrong with it now.
    pub(super) fn fault(&self) -> Fault {
        if self.faulty { self.fault } else { Fault::None }
    }

    pub(super) fn admit(&mut self, job: Job) -> Admission {
        if self.has_idle() {
            self.busy += 1;
            Admission::Served
        } else if self.queue.len() < self.room {
            self.queue.push_back(job);
            Admission::Queued
        } else {
            // One that is stalled has nothing better to do.
            if self.fault() != Fault::Stalled {
                self.debt += self.reject_cost;
            }
            Admission::Full
        }
    }

    /// A worker has finished.
    pub(super) fn release(&mut self) {
        self.busy -= 1;
    }

    /// The next request for an idle worker.
    pub(super) fn next(&mut self) -> Option<Job> {
        if !self.has_idle() {
            return None;
        }
        let job = match self.order {
            Order::Fifo => self.queue.pop_front(),
            Order::Lifo => self.queue.pop_back(),
        }?;
        self.busy += 1;
        Some(job)
    }

    /// How long a request takes that begins now.
    pub(super) fn service_time(&mut self, rng: &mut dyn Rng) -> Duration {
        let slowness = match self.fault() {
            Fault::Slow(times) => times,
            _ => 1.0,
        };
        let debt = std::mem::take(&mut self.debt);
        Duration::from_secs_f64(exponential(self.mean * slowness, rng)) + debt
    }

    fn has_idle(&self) -> bool {
        let workers = match self.fault() {
            Fault::Stalled => 0,
            Fault::Cut(share) => share_of(self.workers, share).max(1),
            _ => self.workers,
        };
        self.busy < workers
    }
}

#[allow(clippy::cast_sign_loss, reason = "a share of a count is none below 0")]
fn share_of(count: usize, share: f64) -> usize {
    (count as f64 * share).round() as usize
}

/// A draw from the exponential distribution.
pub(super) fn exponential(mean: f64, rng: &mut dyn Rng) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

/// A draw from `[0, 1)`.
pub(super) fn unit(rng: &mut dyn Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
