//! A toy in place of TLS: it protects nothing and has every trait of TLS that a driver can trip over.
//!
//! ```text
//!   client                              server
//!   Hello (nonce, name, ALPN)  ----->
//!                              <-----   Hello (nonce, name, expiry, ALPN)
//!                              <-----   Finished
//!   Finished                   ----->
//!   Data, KeyUpdate, Alert     <---->   Data, Ticket, KeyUpdate, Alert
//! ```
//!
//! A record is a type, a length in two bytes, and a payload. From the hellos on, payloads end with
//! a check sum and are mixed with a key stream. A `Ticket` carries no application data; a `KeyUpdate`
//! may ask for one in return; an `Alert` ends the connection, cleanly or not.

mod client;
mod record;
mod server;
mod session;
mod stream;

pub use client::{ToyClient, ToyConnector};
pub use record::MAX_PLAINTEXT;
pub use server::{ServerConfig, ToyServer};
pub use session::Alert;
pub use stream::ServerStream;
