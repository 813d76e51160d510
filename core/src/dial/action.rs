//! What a dial asks of its driver.

use std::net::SocketAddr;

#[cfg(doc)]
use super::Dial;
use crate::dns::Record;
use crate::fault::Fault;

/// How a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// AAAA, and A right behind it, each answered on its own.
    Split,
    /// One lookup for one record.
    Only(Record),
}

/// One connection attempt of a dial. Never used twice within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub(super) u32);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look the name up, and give the answer to [`Dial::handle_answer`].
    Resolve(Record),
    /// Begin to connect, and report with [`Dial::handle_connected`] or [`Dial::handle_failed`].
    Connect(AttemptId, SocketAddr),
    /// Drop this attempt, and close what it may have opened. It is not reported on any more.
    Abandon(AttemptId),
    /// Go on with the transport of this attempt. Keep the lookups that are not answered: if its
    /// handshake breaks, they may be needed.
    Won(AttemptId),
    /// Give up.
    Failed(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_small() {
        assert!(size_of::<Action>() <= 40, "{}", size_of::<Action>());
    }
}
