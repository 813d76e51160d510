//! A message on its way out, and what becomes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::lane::Lane;
use crate::time::Instant;
use crate::ws::{Compress, Message};

/// The number of a message, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// What happens to a message when its connection is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It is not sent again: the server may have it. The default.
    #[default]
    AtMostOnce,
    /// It is sent again, under the same number, until it is acknowledged. The server may get it
    /// twice and has to notice.
    AtLeastOnce,
}

/// What happens to a message that finds the outbox full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFull {
    /// It is given back, and the sender may wait. The default.
    #[default]
    Refuse,
    /// It is dropped.
    DropNew,
    /// The oldest of its lane are dropped for it.
    DropOldest,
}

/// What messages of one subject have in common, so that the newest replaces those before it.
pub type Key = Arc<str>;

/// A message to be sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// Which goes first.
    pub lane: Lane,
    /// Whether it is sent again after a loss.
    pub delivery: Delivery,
    /// What happens when the outbox is full.
    pub on_full: OnFull,
    /// How long it may wait before it is dropped.
    pub ttl: Option<Duration>,
    /// It replaces a waiting message of the same key, in that one's place.
    pub key: Option<Key>,
    /// Whether it is dropped, not kept, when the connection is lost while it waits.
    pub drop_on_reconnect: bool,
    /// Whether it may be compressed.
    pub compress: Compress,
}

impl<M: Into<Message>> From<M> for Outgoing {
    /// The defaults: the normal lane, at most once, refused when the outbox is full.
    fn from(message: M) -> Self {
        Self {
            message: message.into(),
            lane: Lane::default(),
            delivery: Delivery::default(),
            on_full: OnFull::default(),
            ttl: None,
            key: None,
            drop_on_reconnect: false,
            compress: Compress::default(),
        }
    }
}

/// Why a message was not taken. It is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The outbox is full, or too much is unacknowledged.
    Full(Outgoing),
    /// It is larger than the whole outbox, than what may be unacknowledged, or than
    /// [`Config::max_bulk_message`](super::Config::max_bulk_message).
    TooBig(Outgoing),
    /// The session closes or has stopped.
    Closed(Outgoing),
}

impl SendError {
    /// The message.
    pub fn into_outgoing(self) -> Outgoing {
        match self {
            Self::Full(outgoing) | Self::TooBig(outgoing) | Self::Closed(outgoing) => outgoing,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the outbox is full",
            Self::TooBig(_) => "the message is larger than may be queued",
            Self::Closed(_) => "the session is closed",
        })
    }
}

impl std::error::Error for SendError {}

/// How far a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The transport took its last byte.
    Flushed,
    /// The server read it: it answered a ping that was sent behind it.
    PeerSeen,
    /// The application says that the server acknowledged it.
    Acked,
}

/// Why a message will not be sent, or not again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It waited for longer than it may.
    Expired,
    /// A newer one of the same key took its place.
    Replaced,
    /// The outbox was full.
    Overflow,
    /// The connection was lost while it waited, and it said so.
    Reconnect,
    /// The connection was lost while it was written. The server may have it.
    MaybeDelivered,
    /// The server said that a message was too big, and this was the largest.
    TooBig,
}

/// A message in the outbox.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    pub(super) outgoing: Outgoing,
    pub(super) expires: Instant,
    /// How many times it was sent before.
    pub(super) redelivery: u32,
}

impl Entry {
    pub(super) fn len(&self) -> usize {
        self.outgoing.message.len()
    }

    pub(super) fn is_kept(&self) -> bool {
        self.outgoing.delivery == Delivery::AtLeastOnce
    }
}
