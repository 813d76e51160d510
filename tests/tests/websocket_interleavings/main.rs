//! A WebSocket over a transport that blocks, takes little, and wakes early, late, twice or within a
//! poll, in orders that are drawn: whoever waits for what is there is woken for it.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod orders;
mod rig;
mod sessions;
mod threads;
