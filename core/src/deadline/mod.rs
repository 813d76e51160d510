//! How long each part of a call may take, and which limit ran out first.

mod clocks;
mod propagate;
mod speed;
mod spent;
mod timeouts;

pub use clocks::{Clocks, Reading};
pub use propagate::{DeadlineHeader, Telling};
pub use speed::MinSpeed;
pub use spent::Spent;
pub use timeouts::{PhaseLimits, Timeouts, TimeoutsError};
