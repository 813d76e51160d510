//! The words that the cache and its driver exchange.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::Fault;
use crate::time::Instant;

/// What to ask a resolver for, and what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    /// IPv4 addresses: A.
    V4,
    /// IPv6 addresses: AAAA.
    V6,
    /// Both in one answer, in the resolver's order of preference (`getaddrinfo`).
    Any,
}

/// Who wants addresses, of what, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The host's name.
    pub name: &'a str,
    /// Which addresses.
    pub record: Record,
    /// When this asker asked first. What a query brought since then is his, however short-lived: so
    /// he may ask again as often as he likes.
    pub since: Instant,
    /// Until when he can wait.
    pub until: Instant,
}

/// What an asker gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Addresses, in the resolver's order.
    Found(Arc<[IpAddr]>),
    /// The name does not exist, or has no such address (NXDOMAIN, NODATA).
    Missing,
    /// The resolver failed, and there is nothing older to give.
    Failed(Fault),
    /// Ask again at this instant, or once this query has ended.
    Wait(Instant, Option<QueryId>),
}

/// Names one query of one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(super) u64);

/// A question for the resolver. The cache owns it: it goes on whoever loses interest, and its
/// outcome is reported with [`Cache::handle_outcome`](super::Cache::handle_outcome).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The query's own name.
    pub id: QueryId,
    /// The host's name.
    pub name: Arc<str>,
    /// Which addresses.
    pub record: Record,
}

/// How a query ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With addresses, in the resolver's order, and how long they hold, where it knows. At most
    /// [`MAX_ADDRS`](super::MAX_ADDRS) are kept. No address at all means what `Missing` does.
    Found(Vec<IpAddr>, Option<Duration>),
    /// There is no such name or no such address, and how long that holds, where it is known: the
    /// lesser of the SOA record's TTL and its `MINIMUM` (RFC 2308 section 5).
    Missing(Option<Duration>),
    /// The resolver failed (SERVFAIL), or did not answer in time. `RuntimeGone` says nothing of the
    /// resolver, and holds nobody back.
    Failed(Fault),
    /// Who ran it went away. Those who wait ask again.
    Abandoned,
}

/// A name has other addresses than before, their order aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The host's name.
    pub name: Arc<str>,
    /// Which set of addresses this is, counted from the first one, 1.
    pub generation: u64,
    /// All that it has now, in order: never none. Connections to others are to be retired.
    pub addrs: Arc<[IpAddr]>,
}
