//! The handle on a cache, and what is behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use chacha20::ChaCha8Rng;
use fulmar_core::dial::Memory;
use fulmar_core::dns::{self, Cache, QueryId};

use super::{DnsBuilder, Resolve};
use crate::net::Net;
use crate::shared::Shared;

/// A cache of names that clients may share, whatever else they are set to: clone it, and give it to
/// each by [`ClientBuilder::dns`](crate::ClientBuilder::dns). What one has looked up the others
/// know, and where a name's addresses change, all of them retire their connections to those that
/// are gone.
///
/// It holds 10,000 names, and forgets those used longest ago. Addresses are given out for their TTL,
/// from 1 s to 300 s; for 60 s more while they are renewed; and for an hour where the resolver fails
/// or does not answer within 1.8 s (RFC 8767). That a name has none is believed for 1 s to 30 s (RFC
/// 2308), a failure for 1 s, doubling to 60 s (RFC 9520).
///
/// It tells time by the clock of the client that first had it.
#[derive(Clone)]
pub struct Dns {
    pub(super) names: Arc<Names>,
}

pub(super) struct Names {
    settings: DnsBuilder,
    fixed: BTreeMap<String, Vec<IpAddr>>,
    live: OnceLock<Live>,
}

/// What there is once a client has it.
pub(super) struct Live {
    pub(super) clock: Arc<dyn Net>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) cache: Cache,
    pub(super) rng: ChaCha8Rng,
    pub(super) memory: Memory,
    /// Whom to wake when a query ends.
    pub(super) askers: BTreeMap<QueryId, Vec<Waker>>,
    pub(super) clients: Vec<Weak<Shared>>,
}

impl Dns {
    /// A cache with all defaults.
    pub fn new() -> Self {
        Self::with(DnsBuilder::default())
    }

    /// Begins to configure one.
    pub fn builder() -> DnsBuilder {
        DnsBuilder::default()
    }

    /// The settings should be valid.
    pub(crate) fn with(settings: DnsBuilder) -> Self {
        let fixed = settings.fixed.iter().cloned().collect();
        Self {
            names: Arc::new(Names {
                settings,
                fixed,
                live: OnceLock::new(),
            }),
        }
    }

    /// A client has it from now on.
    pub(crate) fn join(&self, client: &Arc<Shared>, rng: ChaCha8Rng) {
        let live = self.names.live.get_or_init(|| Live {
            clock: client.net.clone(),
            state: Mutex::new(State {
                cache: Cache::new(self.names.settings.config()),
                memory: Memory::new(),
                rng,
                askers: BTreeMap::new(),
                clients: Vec::new(),
            }),
        });
        let mut state = live.lock();
        state.clients.retain(|client| client.strong_count() > 0);
        state.clients.push(Arc::downgrade(client));
    }

    /// The addresses of a host that needs no resolver.
    pub(crate) fn known_addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        let fixed = self.names.fixed.get(host).cloned();
        fixed.or_else(|| dns::known_addresses(host))
    }

    /// Whether families are asked for apart.
    pub(crate) fn is_split(&self) -> bool {
        let resolver = self.names.settings.resolver.as_ref();
        resolver.is_some_and(|resolver| resolver.is_split())
    }
}

impl Names {
    pub(super) fn live(&self) -> Option<&Live> {
        self.live.get()
    }

    pub(super) fn is_cached(&self) -> bool {
        !self.settings.is_uncached
    }

    pub(super) fn resolver(&self) -> Option<&Arc<dyn Resolve>> {
        self.settings.resolver.as_ref()
    }
}

impl Live {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every section leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.live().map_or(0, |live| live.lock().cache.len());
        f.debug_struct("Dns")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}
