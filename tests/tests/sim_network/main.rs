//! The simulator on its own: raw streams, faults, runs, traces. What the client does in it is
//! tested elsewhere.

mod determinism;
mod faults;
mod invariants;
mod links;
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
mod traces;
