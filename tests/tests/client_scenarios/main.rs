//! The whole client in the simulator, where time is exact and faults are on order.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod support;

mod adaptive;
mod addresses;
mod batches;
mod bodies;
mod body_limits;
mod cancellation;
mod closing;
mod coverage;
mod deadlines;
mod dials;
mod ends;
mod errors;
mod expectations;
mod explain;
mod hostile;
mod idle_closes;
mod in_flight;
mod jumps;
mod kinds;
mod limits;
mod names;
mod pauses;
mod phases;
mod policies;
mod profiles;
mod records;
mod reentry;
mod replays;
mod requests;
mod retries;
mod scopes;
mod settings;
mod shutdown;
mod speeds;
mod spools;
mod stale;
mod stops;
mod storms;
mod surface;
mod timeouts;
mod tls;
mod uploads;
