//! What the examples of `adapters/{tokio,smol,async-std,blocking}` run: one body over any
//! [`Net`](fulmar::net::Net), so that they differ in their import and their `main` alone.
//!
//! [`tour`] tells how the client takes a server that misbehaves; [`download`] streams a large file to
//! disk. Both talk to one server, on threads of its own. [`ticker`] and [`chat`] are sessions over
//! `WebSocket`s whose server is restarted every second. [`autobahn`] is the client that the Autobahn
//! test suite tests.

mod autobahn;
mod clock;
mod download;
mod feed;
mod ledger;
mod loopback;
mod paint;
mod peer;
mod server;
mod tour;
mod units;

pub use autobahn::autobahn;
pub use download::download;
pub use feed::{chat, ticker};
pub use tour::tour;
