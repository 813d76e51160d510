//! When a request may be sent again: what a failure says of it, and the user's policy.

mod classifier;
mod classify;
pub(crate) mod facts;
mod policy;
mod retry_after;
mod status;

pub use classifier::{Ruling, Seen};
pub use classify::{Class, Once, Repeat, Retryable, classify};
pub use facts::{
    AttemptFacts, Cause, GoAwayCode, HeadFacts, MethodClass, Replay, Request, StopReason,
    StreamFault, Violation,
};
pub use policy::{Retry, RetryError};
pub use retry_after::parse_retry_after;
pub use status::{classify_status, is_plain};
