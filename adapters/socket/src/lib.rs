//! What the adapters share whose runtime has no sockets of its own kind: `fulmar-smol`,
//! `fulmar-async-std` and `fulmar-blocking`. A program uses one of those, not this crate.
//!
//! ```text
//! socket       a non-blocking socket as a `Stream`, over any source of readiness
//! connect      from an endpoint to such a socket
//! clock        `std`'s monotonic clock, and the system's resolver
//! async_io     readiness and timers of async-io, the reactor of smol and async-std
//! reactor      readiness of a poller of our own, for programs without a runtime ..
//! helper       .. and the thread that turns it, runs tasks and keeps time
//! task         one of those tasks
//! offload      blocking work on a thread of its own
//! ```
#![deny(unsafe_code)]

#[cfg(feature = "async-io")]
mod async_io;
mod clock;
mod connect;
mod helper;
mod offload;
mod reactor;
mod socket;
mod task;

#[cfg(feature = "async-io")]
pub use async_io::{AsyncSocket, Timer};
pub use clock::{Clock, resolve};
pub use connect::connect;
pub use helper::{Alarm, Helper, Registry, relieve};
pub use offload::offload;
pub use reactor::{Polled, Reactor};
pub use socket::{Socket, Source};
