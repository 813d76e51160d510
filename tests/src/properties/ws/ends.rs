//! How a message may end, by what became of it.

use fulmar_core::lane::Lane;
use fulmar_core::session::{Delivery, DropReason, Outgoing};

/// How a message may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The transport took it.
    Flushed,
    /// The server acknowledged it.
    Acked,
    /// It was given up, with a reason.
    Dropped(DropReason),
    /// The session had it when it stopped.
    Returned,
}

/// What is known of a message.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) kept: bool,
    pub(super) lane: Lane,
    /// It takes another one's place, so that its own says nothing of the order.
    pub(super) keyed: bool,
    pub(super) ends: Vec<End>,
    /// It was sent for the resync of one connection.
    pub(super) is_resync: bool,
    /// On which connections the server got it whole.
    pub(super) got: Vec<u32>,
}

impl Known {
    pub(super) fn new(outgoing: &Outgoing) -> Self {
        Self {
            kept: outgoing.delivery == Delivery::AtLeastOnce,
            lane: outgoing.lane,
            keyed: outgoing.key.is_some(),
            ends: Vec::new(),
            is_resync: false,
            got: Vec::new(),
        }
    }

    /// Whether it may have ended so.
    pub(super) fn may_end(&self, end: End) -> bool {
        let was_heard = !self.got.is_empty();
        match end {
            End::Flushed => was_heard,
            End::Acked => self.kept && was_heard,
            End::Dropped(DropReason::MaybeDelivered) => !self.kept,
            End::Dropped(DropReason::TooBig) => self.kept,
            // What went out and may not again is not waiting.
            End::Dropped(_) | End::Returned => self.kept || !was_heard,
        }
    }
}
