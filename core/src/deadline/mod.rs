//! How long each part of a call may take, and which limit ran out first.

mod clocks;
mod timeouts;

pub use clocks::Clocks;
pub use timeouts::{PhaseLimits, Timeouts, TimeoutsError};
