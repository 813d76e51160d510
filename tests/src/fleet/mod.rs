//! A fleet of clients and one server that falls over: does the fleet let it get up again?
//!
//! ```text
//!   Poisson arrivals --> client: Call + Budget + Backoff --attempt--> [ queue ]--> k workers
//!                          ^            |  gave up after `patience`       |full        |
//!                          '--Retry(at)-'<-------- 503, 502, refused -----'<--- 200 ---'
//! ```
//!
//! Discrete events in virtual time. What decides about attempts is the client's own code: one
//! [`Call`](fulmar_core::call::Call) per request and one [`Budget`](fulmar_core::budget::Budget)
//! per client, with the policy under test. What is modelled is the rest: the server has `workers`,
//! exponential service times and a bounded queue, first come first served, and it does not notice
//! that a client has given up, so it works for nobody while the backlog lasts. That is what holds
//! a server down after its fault has ended: a metastable failure (Bronson et al., "Metastable
//! failures in distributed systems", 2021).
//!
//! A [`Scenario`] has variants of it: last come first served, a server that drops what its deadline
//! has passed, one whose refusals cost work, shards that fail in turn, and services between the
//! clients and the server, which answer at once but call the next layer, and retry, for each attempt
//! of the layer above.

mod latency;
mod limit;
mod scenario;
mod server;
mod tally;
mod world;

pub use latency::Latencies;
pub use limit::Limit;
pub use scenario::{Fault, Order, Policy, Scenario};
pub use tally::{Report, Second};
pub use world::simulate;
