//! Properties: plain functions of bytes that panic where one is violated. `tests/` calls them
//! through proptest, `fuzz/` from its targets.

pub mod script;
pub mod timer;
