//! One server: workers, a bounded queue, first come first served.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::Rng;

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
    idle: usize,
    queue: VecDeque<Job>,
    room: usize,
    mean: f64,
    /// Times longer than usual.
    pub(super) slowness: f64,
    /// Takes requests and works on none.
    pub(super) stalled: bool,
}

impl Server {
    pub(super) fn new(workers: usize, room: usize, mean: Duration) -> Self {
        Self {
            idle: workers,
            queue: VecDeque::new(),
            room,
            mean: mean.as_secs_f64(),
            slowness: 1.0,
            stalled: false,
        }
    }

    pub(super) fn admit(&mut self, job: Job) -> Admission {
        if self.idle > 0 && !self.stalled {
            self.idle -= 1;
            Admission::Served
        } else if self.queue.len() < self.room {
            self.queue.push_back(job);
            Admission::Queued
        } else {
            Admission::Full
        }
    }

    /// A worker has finished.
    pub(super) fn release(&mut self) {
        self.idle += 1;
    }

    /// The next request for an idle worker.
    pub(super) fn next(&mut self) -> Option<Job> {
        if self.idle == 0 || self.stalled {
            return None;
        }
        let job = self.queue.pop_front()?;
        self.idle -= 1;
        Some(job)
    }

    /// How long a request takes that begins now.
    pub(super) fn service_time(&self, rng: &mut dyn Rng) -> Duration {
        Duration::from_secs_f64(exponential(self.mean * self.slowness, rng))
    }
}

/// A draw from the exponential distribution.
pub(super) fn exponential(mean: f64, rng: &mut dyn Rng) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

/// A draw from `[0, 1)`.
pub(super) fn unit(rng: &mut dyn Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
