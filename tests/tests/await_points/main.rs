//! Cancel safety, at every await point of every operation.
//!
//! An operation runs in the simulator and is dropped: before its first poll, right after each poll,
//! and after each wake instead of the poll that would follow. Afterwards no place in the pool, no
//! waiter, no socket on either side, no registered waker or deadline, no place in flight and none of a
//! WebSocket is taken, buffers are back, and the same client, which may have one connection, does the
//! next thing. What a retry that was not begun cost is checked apart: see [`tokens`]. Each poll brings another
//! waker, and only the last one wakes: whoever keeps an older one hangs.
//!
//! Places in the pool, waiters and wakers are back within a second of virtual time, except for a
//! dial that hangs, which is the pool's. Sockets are looked for when the client has gone. Each
//! operation runs under several seeds, which schedule differently.
//!
//! A new operation is a line in a table: see [`harness::Operation`].
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

#[path = "../websocket_scenarios/server.rs"]
#[expect(dead_code, reason = "not every operation needs all of it")]
mod server;
#[path = "../client_scenarios/support.rs"]
#[expect(dead_code, reason = "not every operation needs all of it")]
mod support;

mod groups;
mod harness;
mod holdings;
mod requests;
mod sessions;
mod sockets;
mod threads;
mod tokens;
mod waiters;
mod world;
