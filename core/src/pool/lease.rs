//! The words that the pool and its callers exchange.

use std::fmt;
use std::time::Duration;

use crate::fault::Fault;
use crate::lane::Lane;

/// One connection's place in the pool, as long as its bearer holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// One asker's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What an asker needs of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Takes no connection that has served before: the last resort against stale ones.
    pub fresh: bool,
    /// The request may be sent twice, hence a connection that has idled long will do.
    pub repeatable: bool,
    /// The route may turn out to be shared (HTTP/2): while that is unknown, one dial probes it.
    pub probe: bool,
    /// Whom it lets go first, and who lets it, among those who wait on the route.
    pub lane: Lane,
    /// How many connections the route may have, at least 1, instead of what
    /// [`Limits`](super::Limits) say for all routes; the total holds as well. In force from the first
    /// request that finds none idle, until one says otherwise or the empty route is forgotten.
    pub per_origin: Option<u32>,
    /// The caller's own number for itself, which `poll_wake` gives back.
    pub tag: u64,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            fresh: false,
            repeatable: true,
            probe: false,
            lane: Lane::Normal,
            per_origin: None,
            tag: 0,
        }
    }
}

/// What an asker gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Lease<U, S> {
    /// A connection of one's own, and how long it has idled. Give it back with `park` or `discard`.
    Idle(Slot, U, Duration),
    /// A part in a shared connection. Give it back with `release`.
    Share(Slot, S),
    /// Queued; and the bearer opens a connection for the pool, in this slot, and reports with
    /// `handle_connected` or `handle_dial_failed`, whatever becomes of the ticket meanwhile.
    Dial(Ticket, Slot),
    /// Queued; `poll_wake` will name the tag.
    Wait(Ticket),
}

/// A connection that a dial brought.
#[derive(Debug)]
pub enum Connection<U, S> {
    /// It serves one exchange at a time.
    Exclusive(U),
    /// It serves so many at once.
    Shared(S, u32),
}

/// Why an asker gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many wait already.
    QueueFull,
    /// The pool is closed, or the ticket is no longer valid.
    Closed,
    /// No connection could be opened.
    Dial(Fault),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str("too many requests wait for a connection"),
            Self::Closed => f.write_str("the client is closed"),
            Self::Dial(fault) => write!(f, "could not connect: {fault}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why the pool gave a connection up that it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// It idled as long as it may, or reached its lifetime.
    Expired,
    /// The peer closed it, or sent what nobody asked for.
    NotQuiet,
    /// One that had idled no longer turned out closed.
    Suspect,
    /// As many idle already as may.
    Full,
    /// Its room was needed for another.
    RoomNeeded,
    /// Its address is no longer among those of its name.
    Moved,
    /// The pool is closed, or knew nothing of it any more.
    Closed,
}

impl Eviction {
    /// It in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotQuiet => "closed by the peer while idle",
            Self::Suspect => "as old as one that was closed by the peer",
            Self::Full => "too many idle connections",
            Self::RoomNeeded => "its room was needed",
            Self::Moved => "its address left the name",
            Self::Closed => "the client is closed",
        }
    }
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// It cannot serve another exchange, or is no longer wanted.
    Spent,
    /// It has answered, and cannot serve another exchange.
    Answered,
    /// It turned out, when it was taken, that the peer had closed it while it idled. The route
    /// learns from it how long its server lets connections idle.
    Stale,
}

/// How many connections there are in each state, and how many askers wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Being dialled.
    pub connecting: u32,
    /// At work.
    pub busy: u32,
    /// Kept for the next.
    pub idle: u32,
    /// Finishing what nobody waits for.
    pub draining: u32,
    /// Askers in the queue.
    pub waiting: u32,
    /// All connections.
    pub total: u32,
}
