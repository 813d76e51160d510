//! Sessions of the whole client, in the simulator. The server is written here, over bytes.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

#[path = "../websocket_scenarios/server.rs"]
#[expect(dead_code, reason = "not every scenario needs all of it")]
mod server;
#[path = "../client_scenarios/support.rs"]
#[expect(dead_code, reason = "not every scenario needs all of it")]
mod support;

mod delivery;
mod elsewhere;
mod ends;
mod handshakes;
mod life;
mod model;
mod plan;
mod pressure;
mod reconnecting;
mod resync;
mod town;
