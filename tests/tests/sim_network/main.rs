//! The simulator on its own: raw streams, faults, runs, traces. What the client does in it is
//! tested elsewhere.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod determinism;
mod faults;
mod invariants;
mod links;
mod listeners;
mod names;
mod one_way;
mod orders;
mod plans;
mod restarts;
mod runs;
mod slow_readers;
mod streams;
mod support;
mod sweeps;
mod timelines;
mod traces;
