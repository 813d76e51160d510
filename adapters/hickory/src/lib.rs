//! Names for [Fulmar](fulmar) from DNS servers themselves, by [`hickory_resolver`].
//!
//! What the system's resolver says comes without a TTL, and Fulmar believes it for 30 s, whatever the
//! zone says. This one says for how long an answer holds, that a name has no address included (RFC
//! 2308), and is asked for IPv6 and IPv4 addresses apart, so that a slow answer to one does not hold
//! back the other (RFC 8305 section 3).
//!
//! ```no_run
//! use fulmar_hickory::Hickory;
//! use fulmar_hickory::hickory_resolver::Resolver;
//! use fulmar_hickory::hickory_resolver::config::{CLOUDFLARE, ResolverConfig};
//! use fulmar_hickory::hickory_resolver::net::runtime::TokioRuntimeProvider;
//! use fulmar_tokio::{Client, Tokio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let servers = ResolverConfig::udp_and_tcp(&CLOUDFLARE);
//! let builder = Resolver::builder_with_config(servers, TokioRuntimeProvider::default());
//! let client = Client::builder(Tokio::new()).resolver(Hickory::new(builder)?).build()?;
//! # Ok(()) }
//! ```
//!
//! With the feature `system-config` there is `Resolver::builder_tokio`, which asks the servers that
//! the system is set to. What else hickory can do (DNS over TLS, HTTPS and QUIC, DNSSEC) its own
//! features turn on: name `hickory-resolver` beside this crate, in the version that is re-exported
//! here.

use std::sync::Arc;
use std::time::Duration;

use fulmar::net::{Answer, BoxFuture, Family, Fault, FaultKind};
use fulmar::{Phase, Resolve};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::runtime::Handle;

pub use hickory_resolver;

/// Hickory as a [`Resolve`].
///
/// It runs on tokio: a lookup from another runtime fails. That an answer is kept, and renewed ahead
/// of its end, is Fulmar's [`Dns`](fulmar::Dns) to do, so hickory's own cache is off: it would answer
/// a renewal with what is to be renewed.
///
/// Fulmar gives a lookup 3 s, or its DNS timeout if that is longer. Hickory waits 5 s for a server by
/// default, and asks three times: where there is more than one server, set its `timeout` to less.
#[derive(Clone, Debug)]
pub struct Hickory {
    resolver: TokioResolver,
}

impl Hickory {
    /// Builds hickory's resolver, with its cache off.
    ///
    /// # Errors
    ///
    /// What hickory says of its settings.
    pub fn new(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NetError> {
        builder.options_mut().cache_size = 0;
        let resolver = builder.build()?;
        Ok(Self { resolver })
    }
}

impl Resolve for Hickory {
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let resolver = self.resolver.clone();
        let name = Name::from_utf8(name);
        Box::pin(async move {
            let Ok(name) = name else {
                // No zone has a name that cannot be written down.
                return Ok(Answer::default());
            };
            if Handle::try_current().is_err() {
                return Err(fault(
                    FaultKind::RuntimeGone,
                    "hickory needs a tokio runtime",
                ));
            }
            let found = match family {
                Family::V4 => resolver.lookup(name, RecordType::A).await,
                Family::V6 => resolver.lookup(name, RecordType::AAAA).await,
                _ => resolver.lookup_ip(name).await.map(Lookup::from),
            };
            match found {
                Ok(lookup) => Ok(answer_of(&lookup)),
                Err(error) => failed(error),
            }
        })
    }

    fn is_split(&self) -> bool {
        true
    }
}

/// The addresses in the server's order. They hold as long as each record on the way to them does: a
/// `CNAME` that ends sooner leads elsewhere then.
fn answer_of(lookup: &Lookup) -> Answer {
    let records = lookup.answers();
    let ttl = records.iter().map(|record| record.ttl).min();
    Answer {
        addrs: records
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect(),
        ttl: ttl.map(seconds),
    }
}

/// NXDOMAIN and NODATA are answers: the name has no address, for as long as its zone says.
fn failed(error: NetError) -> Result<Answer, Fault> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(nothing)) => Ok(Answer {
            addrs: Vec::new(),
            ttl: nothing.negative_ttl.map(seconds),
        }),
        NetError::Timeout => Err(fault(FaultKind::TimedOut, "no name server answered")),
        NetError::Dns(DnsError::ResponseCode(code)) => Err(fault(
            FaultKind::NameFailed,
            format!("the name server says {code}"),
        )),
        other => Err(fault(FaultKind::NameFailed, other.to_string())),
    }
}

fn fault(kind: FaultKind, detail: impl Into<Arc<str>>) -> Fault {
    Fault::new(kind, Phase::Dns).with_detail(detail)
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(u64::from(ttl))
}
