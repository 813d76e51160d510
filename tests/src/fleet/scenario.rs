//! What a run is of.

use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::retry::Retry;

use super::limit::Limit;

/// A fleet, its server, and what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// How many clients there are, each with a retry budget of its own.
    pub clients: usize,
    /// Requests a second of all clients together, as a Poisson process.
    pub rate: f64,
    /// Requests that the server works on at once.
    pub workers: usize,
    /// The mean of the exponential service time.
    pub service: Duration,
    /// Requests that wait for a worker, at most. One more is refused.
    pub queue: usize,
    /// Which of those that wait is next.
    pub order: Order,
    /// What it costs a worker to refuse one.
    pub reject_cost: Duration,
    /// The server is so many, each with its share of the workers and of the queue. A request is for
    /// one of them, and so is its retry.
    pub shards: usize,
    /// How long a client waits for a response. With layers each waits so much longer than the one
    /// below it.
    pub patience: Duration,
    /// Layers of calls: 1, the clients call the server; 2, they call a service that calls it; and
    /// so on. Each retries.
    pub layers: usize,
    /// Instances of each service between the clients and the server, each with a retry budget of
    /// its own.
    pub instances: usize,
    /// A retry says that it is one, and what is called on behalf of a retry is called once.
    pub marks_retries: bool,
    /// What goes wrong.
    pub fault: Fault,
    /// How long it does. With shards it rolls: each in turn has its share of that time.
    pub fault_for: Duration,
    /// Before the fault: long enough for the budgets to know their traffic.
    pub before: Duration,
    /// After the fault.
    pub after: Duration,
    /// The share of attempts that fail at once with 502, at any time.
    pub scattered: f64,
    /// The client's deadline travels with the request, and the server drops what has passed it.
    pub drops_expired: bool,
}

impl Default for Scenario {
    /// 1,000 clients of 1 request/s; 25 workers of 20 ms, hence a load of 0.8; 30 s at a tenth of
    /// the capacity.
    fn default() -> Self {
        Self {
            clients: 1_000,
            rate: 1_000.0,
            workers: 25,
            service: Duration::from_millis(20),
            queue: 5_000,
            order: Order::Fifo,
            reject_cost: Duration::ZERO,
            shards: 1,
            patience: Duration::from_secs(1),
            layers: 1,
            instances: 10,
            marks_retries: false,
            fault: Fault::Slow(10.0),
            fault_for: Duration::from_secs(30),
            before: Duration::from_secs(70),
            after: Duration::from_secs(120),
            scattered: 0.0,
            drops_expired: false,
        }
    }
}

impl Scenario {
    /// A tenth of the default: 100 clients, and a tenth of the capacity.
    pub fn small() -> Self {
        Self {
            clients: 100,
            rate: 100.0,
            workers: 5,
            service: Duration::from_millis(40),
            queue: 500,
            ..Self::default()
        }
    }

    /// Requests a second that the server can serve when all is well.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 / self.service.as_secs_f64()
    }

    /// The share of its capacity that the server needs when all is well.
    pub fn load(&self) -> f64 {
        self.rate / self.capacity()
    }

    /// The same with the rate that makes for this load.
    #[must_use]
    pub fn with_load(self, load: f64) -> Self {
        let rate = load * self.capacity();
        Self { rate, ..self }
    }
}

/// Which of the waiting requests a worker takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that has waited longest.
    Fifo,
    /// The one that came last.
    Lifo,
}

/// What goes wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each request takes so many times longer: the capacity shrinks by as much.
    Slow(f64),
    /// This share of the workers is left, one at least: the capacity shrinks, and a request that
    /// is served takes no longer.
    Cut(f64),
    /// Connections are refused at once.
    Refused,
    /// Requests are taken and not worked on.
    Stalled,
    /// This share of the requests is answered at once with 503.
    Errors(f64),
}

/// How the clients of a fleet retry.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the tables call it.
    pub name: &'static str,
    /// The policy as the client takes it.
    pub retry: Retry,
    /// What bounds retries beside the number of attempts.
    pub limit: Limit,
}

impl Policy {
    /// No retries at all: what the others are measured against.
    pub fn none() -> Self {
        Self::unbounded("no retries", Retry::never())
    }

    /// What this client does by default.
    pub fn ours() -> Self {
        Self {
            limit: Limit::Ours,
            ..Self::unbounded("fulmar", Retry::default())
        }
    }

    /// The default policy with another limit on retries.
    pub fn limited(name: &'static str, limit: Limit) -> Self {
        Self {
            limit,
            ..Self::unbounded(name, Retry::default())
        }
    }

    /// Attempts and backoff alone.
    pub fn unbounded(name: &'static str, retry: Retry) -> Self {
        Self {
            name,
            retry,
            limit: Limit::Unbounded,
        }
    }

    /// Three attempts, the second and third at once.
    pub fn immediate() -> Self {
        let at_once = Backoff::constant(Duration::ZERO);
        let retry = Retry::new(3).backoff(at_once).throttle(at_once);
        Self::unbounded("3 x immediate", retry)
    }

    /// The first source document: five attempts, 1 s doubling, plus or minus a quarter.
    pub fn five_attempts() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1))
            .max(Duration::from_secs(30))
            .jitter(Jitter::Proportional(0.25))
            .compat();
        Self::unbounded("5 x 1 s +-25 %", steady(5, backoff))
    }

    /// The second source document: three attempts, `min(0.2 s * 2^(i-1) + U(0, 0.2 s), 5 s)`.
    pub fn three_attempts() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(200))
            .jitter(Jitter::Additive)
            .compat();
        Self::unbounded("3 x 0.2 s additive", steady(3, backoff))
    }

    /// Three attempts from 100 ms with this jitter.
    pub fn jittered(name: &'static str, jitter: Jitter) -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(jitter);
        Self::unbounded(name, steady(3, backoff))
    }
}

/// The same delays whatever the failure.
fn steady(attempts: u32, backoff: Backoff) -> Retry {
    Retry::new(attempts).backoff(backoff).throttle(backoff)
}
