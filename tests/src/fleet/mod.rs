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

mod limit;
mod scenario;
mod server;
mod tally;
mod world;

pub use limit::Limit;
pub use scenario::{Fault, Policy, Scenario};
pub use tally::{Report, Second};
pub use world::simulate;
