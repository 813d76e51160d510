//! A simulated network in virtual time, and the whole Fulmar client in it.
//!
//! A [`Sim`] is hosts, the links between them, servers, a plan of [`Fault`]s, and one clock. A
//! program that takes a [`Net`](net::Net), or a client built on one, runs in it unchanged: minutes of
//! bad network take milliseconds, and a seed decides everything, so what failed once fails again.
//!
//! ```
//! use std::time::Duration;
//! use fulmar_sim::net::{Family, Net};
//! use fulmar_sim::{Fault, Sim};
//!
//! let ms = Duration::from_millis;
//! let mut sim = Sim::seeded(0xC0FFEE);
//! sim.link("laptop", "api.test").latency(ms(20)..ms(80)).loss(0.03);
//! sim.serve("api.test:80", |mut conn| async move {
//!     while let Some(request) = conn.request().await? {
//!         conn.respond(200, request.path()).await?;
//!     }
//!     Ok(())
//! });
//! sim.between(ms(2000)..ms(4000), Fault::half_open("api.test"));
//!
//! // `net` is what a client is built on. Here, it is used by hand.
//! let net = sim.net("laptop");
//! let run = sim.run(async move { net.resolve("api.test", Family::Any).await });
//! assert!(run.expect().is_ok());
//! assert!(run.elapsed() < ms(10)); // virtual
//! println!("{}", run.trace());
//! ```
//!
//! The [`guide`] has five worked examples, and tells how to use this from your own crate's tests.
//!
//! # Time
//!
//! There are no ticks. Tasks run until none is ready, in the order in which they were woken; then
//! the earliest event happens (of several at one instant, the one that was scheduled first) and time
//! is what it says. Running code takes no time.
//!
//! A run ends when its future completes, and then nothing else happens. It fails
//! ([`Failure`]) when it cannot complete:
//!
//! * no event is left ([`Failure::Deadlock`]);
//! * **idle timers alone do not keep it going** ([`Failure::Stalled`]): the future waits without a
//!   timer of its own, was not woken, and no packet moved, for 5 minutes ([`Sim::patience`]) in which
//!   timers of background tasks went off and led to nothing but more timers;
//! * the hour is over ([`Sim::limit`]);
//! * a task, a server or the future itself panicked, so assertions may be anywhere.
//!
//! # What decides
//!
//! The seed, the calls on the [`Sim`] and the program. There are no threads, no other clock, no
//! entropy and no hash order. Every actor (a direction of a link, a host's resolver, its servers, the
//! entropy of its clients) draws from a random stream of its own, derived from the seed and its
//! name: adding one does not shift what the others draw. The trace is the same text, byte for byte,
//! for the same input; run a seed twice and compare to know that a program is as deterministic.
//!
//! # What is simulated
//!
//! Streams as programs see them, not packets: bytes arrive in order, late, in pieces, or never;
//! loss is a delay, because TCP repeats what is lost; a handshake takes a round trip; a write to a
//! closed peer is answered by a reset; a close with something unread is a reset; what is written and
//! not read is at most a window (64 KiB), and then writes wait. Errors are `std::io::Error`s of the
//! kind that a system would give, without a system's number.
//!
//! Whether a fault concerns a packet is decided when it is sent, by the faults planned until then:
//! one under way when a partition begins still arrives.
//!
//! # User code and the lock
//!
//! The world is behind one lock. Futures, servers, wakers and what they own are polled, called,
//! woken and dropped while it is open, so all of them may use the simulation as they like, in `Drop`
//! too. When a run ends, what is left is dropped: its future, then the tasks in the order in which
//! they were spawned. Only then does [`Run::open_sockets`] count.
#![forbid(unsafe_code)]

mod conn;
mod drive;
mod executor;
mod explore;
mod faults;
mod force;
pub mod guide;
mod hosts;
mod invariants;
mod link;
mod listener;
mod picture;
mod plan;
mod queue;
mod random;
mod record;
mod request;
mod run;
mod schedule;
mod sim;
mod simnet;
mod slab;
mod socket;
#[cfg(feature = "proptest")]
pub mod strategy;
mod target;
mod tcp;
mod timer;
mod world;

pub use fulmar::*;

pub use conn::Conn;
pub use explore::{Divergence, Explored, check_determinism, explore, explore_randomly};
pub use faults::Fault;
pub use hosts::HostSetup;
pub use link::{Latency, Link};
pub use listener::Listener;
pub use plan::{Plan, plan_source};
pub use request::ServerRequest;
pub use run::{Failure, Run, Stats};
pub use schedule::Schedule;
pub use sim::Sim;
pub use simnet::{Handle, SimNet};
