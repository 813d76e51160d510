//! Properties: plain functions of bytes that panic where one is violated. `tests/` calls them
//! through proptest, `fuzz/` from its targets.

pub mod attempts;
pub mod backoff;
pub mod budget;
pub mod call;
pub mod clocks;
pub mod deadlines;
pub mod dial;
pub mod dns;
pub mod h1;
pub mod head;
pub mod jumps;
pub mod limiter;
pub mod pool;
pub mod retry_after;
pub mod script;
pub mod speed;
pub mod timer;
pub mod ws;
