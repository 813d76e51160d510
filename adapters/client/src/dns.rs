//! Names and their addresses: what a client asks, and what clients share.

mod addresses;
mod handle;
mod query;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::dns::Config;
use fulmar_core::fault::Fault;

pub use handle::Dns;
pub(crate) use query::{Asker, Search};
pub(crate) use watch::Watched;

use crate::error::{Error, Kind};
use crate::net::{Answer, BoxFuture, Family};

/// A resolver of the user's own, in place of the system's.
pub trait Resolve: Send + Sync + 'static {
    /// Looks a name up. Literals and `localhost` never get here, and with a cache in front no name
    /// twice at once. The future runs as a task of the runtime that asked, and is dropped where
    /// the answer takes longer than the client's DNS timeout, and than 3 s.
    ///
    /// [`Answer::ttl`] says how long the answer holds. An answer without addresses says that the
    /// name has none (NXDOMAIN, NODATA), for the same time.
    ///
    /// # Errors
    ///
    /// `NameNotFound` as an answer without addresses; any other where another try may succeed.
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>>;

    /// Whether IPv6 and IPv4 addresses are asked for at once but apart, so that a slow answer to one
    /// does not hold back the other (RFC 8305 section 3). Default: false, and both are asked for
    /// together, with [`Family::Any`].
    fn is_split(&self) -> bool {
        false
    }
}

/// Configures a [`Dns`].
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct DnsBuilder {
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) is_uncached: bool,
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    pub(crate) fixed: Vec<(String, Vec<IpAddr>)>,
}

impl DnsBuilder {
    /// Sets for how long addresses are believed at most, whatever their TTL. Default 300 s, at least
    /// 1 s. Where the resolver names no TTL (the system's never does) it is 30 s.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = Some(ttl);
        self
    }

    /// Asks the resolver for each connection, and keeps nothing.
    pub fn uncached(mut self) -> Self {
        self.is_uncached = true;
        self
    }

    /// Sets the resolver. Default: that of the client's runtime, which asks the system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Names the addresses of a host, which is then never looked up.
    pub fn resolve(mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) -> Self {
        let name = name.to_ascii_lowercase();
        self.fixed.push((name, addrs.into_iter().collect()));
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `Kind::Builder` where the longest TTL is below a second, or set where nothing is kept.
    pub fn build(self) -> Result<Dns, Error> {
        if self.is_uncached && self.max_ttl.is_some() {
            let text = "a DNS TTL is set, and the DNS cache is off";
            return Err(Error::new(Kind::Builder).caused_by(text));
        }
        let config = self.config();
        config
            .validate()
            .map_err(|e| Error::new(Kind::Builder).caused_by(e))?;
        Ok(Dns::with(self))
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.max_ttl = self.max_ttl.unwrap_or(config.max_ttl);
        config
    }

    pub(crate) fn is_default(&self) -> bool {
        let is_set = self.max_ttl.is_some() || self.resolver.is_some() || self.is_uncached;
        !is_set && self.fixed.is_empty()
    }
}
