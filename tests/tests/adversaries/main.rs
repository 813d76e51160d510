//! What a client does among those that break their contracts: wakers that panic or use the client,
//! tasks that are woken and never polled, timers that fire early, late or for nothing, clocks that
//! stand still or go backwards, and transports that lie.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

#[path = "../websocket_scenarios/server.rs"]
#[expect(dead_code, reason = "not every test needs all of it")]
mod server;
#[path = "../client_scenarios/support.rs"]
#[expect(dead_code, reason = "not every test needs all of it")]
mod support;

mod callbacks;
mod clocks;
mod crowds;
mod firehose;
mod net;
mod observers;
mod transports;
mod wakers;
