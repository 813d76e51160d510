//! The simulator on its own: raw streams, faults, runs, traces. What the client does in it is
//! tested elsewhere.

mod faults;
mod runs;
mod streams;
mod support;
mod sweeps;
mod traces;
