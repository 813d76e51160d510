//! The sockets of the whole client, in the simulator. The server is written here, over bytes.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

#[path = "../client_scenarios/support.rs"]
#[expect(dead_code, reason = "not every scenario needs all of it")]
mod support;

mod drops;
mod ends;
mod extremes;
mod hostile;
mod liveness;
mod messages;
mod opening;
mod pressure;
mod redirects;
mod server;
mod shutdown;
mod turns;
