//! WebSocket connections and sessions, for any bytes cut anywhere, any silence and any network: the
//! invariants of POLICIES 5.11.

pub mod answers;
pub mod closing;
pub mod ends;
pub mod input;
pub mod life;
pub mod output;
pub mod reconnects;
pub mod session;
