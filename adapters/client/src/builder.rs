//! Configuring a client.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::adaptive::Adaptive;
use fulmar_core::deadline::{DeadlineHeader, PhaseLimits, Timeouts};
use fulmar_core::http::EncodedFields;
use fulmar_core::retry::Retry;
use fulmar_core::tls::Connector;
use fulmar_core::turnstile::Turnstile;
use fulmar_core::{h1, pool};
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::client::Client;
use crate::dns::{Dns, DnsBuilder, Resolve};
use crate::error::{Error, Kind};
use crate::in_flight::Cap;
use crate::net::{Net, SocketOptions};
use crate::observer::Observer;
use crate::profile::{Manner, Profile};
use crate::propagation::Propagation;
use crate::request::{append, field};
use crate::shared::Shared;
use crate::url::IntoUrl;

/// What a client's calls have in common.
pub(crate) struct Settings {
    pub(crate) timeouts: Timeouts,
    /// `timeouts` as the clocks want them.
    pub(crate) phase_limits: PhaseLimits,
    pub(crate) retry: Arc<Retry>,
    pub(crate) pool: pool::Config,
    pub(crate) defaults: EncodedFields,
    /// What a request without headers of its own has.
    pub(crate) no_headers: HeaderMap,
    pub(crate) h1: h1::Limits,
    pub(crate) socket: SocketOptions,
    pub(crate) unix_socket: Option<Arc<Path>>,
    /// The first that matches is the one.
    pub(crate) profiles: Vec<Arc<Manner>>,
    pub(crate) in_flight: Option<Cap>,
    pub(crate) dns: Dns,
    pub(crate) tls: Option<Arc<dyn Connector>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) propagation: Propagation,
    /// What is kept of bodies that are sent, in all and of one.
    pub(crate) spool: (usize, usize),
    /// Bytes; the largest number is no cap.
    pub(crate) max_response_body: u64,
    /// How many there may be, in all and of one origin.
    #[cfg(feature = "websocket")]
    pub(crate) websockets: (usize, usize),
    /// Of one origin at once.
    #[cfg(feature = "websocket")]
    pub(crate) handshakes: usize,
    /// Whether the defaults hold credentials, which only the origins that were asked for may see.
    #[cfg(feature = "websocket")]
    pub(crate) has_credentials: bool,
}

impl Settings {
    /// The client's, and those of profiles by their numbers.
    pub(crate) fn turnstiles(&self) -> Vec<Turnstile> {
        let profiles = self.profiles.iter().filter_map(|manner| manner.in_flight);
        let client = self.in_flight.unwrap_or(Cap::Fixed(usize::MAX));
        let waiters = self.pool.effective_limits().waiters.unwrap_or(u32::MAX) as usize;
        std::iter::once(client)
            .chain(profiles.map(|(_, cap)| cap))
            .map(|cap| cap.turnstile(waiters))
            .collect()
    }
}

/// Configures a [`Client`]. Every setting has a default; contradictory ones fail
/// [`ClientBuilder::build`] with an error that names both.
#[must_use = "a builder does nothing until it builds"]
pub struct ClientBuilder {
    net: Arc<dyn Net>,
    timeouts: Timeouts,
    retry: Retry,
    pool: pool::Config,
    headers: HeaderMap,
    h1: h1::Limits,
    socket: SocketOptions,
    unix_socket: Option<PathBuf>,
    dns: DnsBuilder,
    shared_dns: Option<Dns>,
    profiles: Vec<(String, Profile)>,
    in_flight: Option<Cap>,
    tls: Option<Arc<dyn Connector>>,
    observer: Option<Arc<dyn Observer>>,
    propagation: Propagation,
    spool: (usize, usize),
    max_response_body: u64,
    #[cfg(feature = "websocket")]
    websockets: (usize, usize),
    #[cfg(feature = "websocket")]
    handshakes: usize,
    mistake: Option<Error>,
}

impl ClientBuilder {
    pub(crate) fn new(net: Arc<dyn Net>) -> Self {
        Self {
            net,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            pool: pool::Config::default(),
            headers: HeaderMap::new(),
            h1: h1::Limits::default(),
            socket: SocketOptions::default(),
            unix_socket: None,
            dns: DnsBuilder::default(),
            shared_dns: None,
            profiles: Vec::new(),
            in_flight: None,
            tls: None,
            observer: None,
            propagation: Propagation::default(),
            spool: (16 << 20, 64 << 10),
            max_response_body: 64 << 20,
            #[cfg(feature = "websocket")]
            websockets: (64, 8),
            #[cfg(feature = "websocket")]
            handshakes: 1,
            mistake: None,
        }
    }

    /// Sets the timeouts of every phase. Default: pool 5 s, connect 5 s (of it name resolution 3 s
    /// and TLS 3 s), write without progress 10 s, first byte 15 s, between bytes 15 s, total off.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Limits every call, from its first poll to the last byte of the body, retries included: the
    /// `total` of [`timeouts`](Self::timeouts). Default: no limit. See
    /// [`total_covers_body`](Self::total_covers_body) for bodies that go on for longer.
    pub fn timeout(mut self, total: impl Into<Option<Duration>>) -> Self {
        self.timeouts = self.timeouts.total(total);
        self
    }

    /// Sets whether the [timeout](Self::timeout) of a call covers its response's body where that is
    /// read in pieces ([`Response::chunk`](crate::Response::chunk), and as a stream). Default true.
    /// Without, it ends with the head. A body that is taken in one piece is covered in either case.
    pub fn total_covers_body(mut self, covers: bool) -> Self {
        self.timeouts = self.timeouts.total_covers_body(covers);
        self
    }

    /// Sets the retry policy. Default: 3 attempts, full jitter from 100 ms to 5 s.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the pool's limits and ages. Default: 512 connections, 64 an origin, 256 and 16 idle.
    pub fn pool(mut self, config: pool::Config) -> Self {
        self.pool = config;
        self
    }

    /// Sets the pool's limits alone.
    pub fn limits(mut self, limits: pool::Limits) -> Self {
        self.pool.limits = limits;
        self
    }

    /// Sets what a response's head and framing may cost.
    pub fn h1(mut self, limits: h1::Limits) -> Self {
        self.h1 = limits;
        self
    }

    /// Sends a header field with every request that does not set it itself.
    pub fn default_header<K, V>(mut self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        if let Err(error) = append(&mut self.headers, name, value) {
            self.mistake = self.mistake.or(Some(error));
        }
        self
    }

    /// Sends header fields with every request that does not set them itself.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sends `User-Agent` with every request. Default: none.
    pub fn user_agent<V>(self, value: V) -> Self
    where
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.default_header(USER_AGENT, value)
    }

    /// Sets how sockets are set up.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }

    /// Connects to the unix socket at `path`, whatever the host in a URL: that still is in `Host`, in
    /// the certificate asked for, and keeps pools apart. Nothing is resolved. Where the runtime has no
    /// unix sockets, calls fail.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix_socket = Some(path.into());
        self
    }

    /// Shares a cache of names with the other clients that have it. Default: one of its own.
    pub fn dns(mut self, dns: &Dns) -> Self {
        self.shared_dns = Some(dns.clone());
        self
    }

    /// Sets for how long addresses are believed at most, whatever their TTL. Default 300 s, at least
    /// 1 s; where the resolver names no TTL, 30 s. See [`Dns`].
    pub fn dns_ttl(mut self, most: Duration) -> Self {
        self.dns = self.dns.max_ttl(most);
        self
    }

    /// Asks the resolver for each connection, and keeps nothing.
    pub fn no_dns_cache(mut self) -> Self {
        self.dns = self.dns.uncached();
        self
    }

    /// Sets who looks names up. Default: the runtime, which asks the system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.dns = self.dns.resolver(resolver);
        self
    }

    /// Names the addresses of a host, which is then never looked up: for tests, and for a server
    /// that no resolver knows yet. What is in `Host` and in the certificate stays the name.
    pub fn resolve(mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) -> Self {
        self.dns = self.dns.resolve(name, addrs);
        self
    }

    /// Treats the hosts of `pattern` in another manner. Of several the first that matches is the one,
    /// in the order in which they were added. Connections of two profiles are never mixed, nor are
    /// their retry budgets.
    ///
    /// | pattern | matches |
    /// |---|---|
    /// | `*` | every host |
    /// | `api.test` | that host alone |
    /// | `*.corp.test` | every host below `corp.test`, and not `corp.test` itself |
    /// | `10.0.0.1`, `[::1]` | that address, where a URL is written with it |
    /// | `10.0.0.0/8`, `[fd00::]/8` | every address that begins with so many of its bits |
    ///
    /// Each may end in `:port`, and matches that port alone then. What is none of these fails
    /// [`build`](Self::build), which names it.
    pub fn profile(mut self, pattern: impl Into<String>, profile: Profile) -> Self {
        self.profiles.push((pattern.into(), profile));
        self
    }

    /// Sets how many calls are in flight at a time, of all handles of the client. Others wait, in
    /// their order, for as long as for a connection of the pool. Default: no cap. Zero lets none
    /// begin until the cap is raised ([`Client::set_max_in_flight`]).
    ///
    /// A call is in flight from its first poll until its response's body ends or is dropped, in its
    /// rests before another attempt, too; so one that holds a response and sends another request may
    /// wait for itself. A connection that was upgraded is no longer in flight. As many may wait as
    /// for connections ([`Limits::waiters`](pool::Limits::waiters)).
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(Cap::Fixed(calls));
        self
    }

    /// Has the cap on calls in flight find itself, instead of [`max_in_flight`](Self::max_in_flight):
    /// whichever is set last. Default: no cap.
    ///
    /// An attempt's latency is from its start to its response's head; 429, 503 and the timeouts
    /// from the dial to the head are overloads, as are those of the system. Where hosts differ, a
    /// [`Profile`] for each pattern has a cap of its own.
    pub fn adaptive_in_flight(mut self, settings: Adaptive) -> Self {
        self.in_flight = Some(Cap::Adaptive(settings));
        self
    }

    /// Sets what makes `https` connections secure. Without it `https` URLs fail.
    pub fn tls(mut self, connector: impl Connector + 'static) -> Self {
        self.tls = Some(Arc::new(connector));
        self
    }

    /// Sets who hears what the client does.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Tells this origin with each attempt how much of the call's deadline is left, so that it can
    /// drop work that nobody waits for. Default: nobody is told. A call without a deadline sends
    /// nothing; a field of that name that a request set itself is replaced. Kept back for the way is
    /// half the round-trip time that connecting to the peer's address took (smoothed), and at least
    /// 2 ms.
    pub fn propagate_deadline(mut self, origin: impl IntoUrl, header: DeadlineHeader) -> Self {
        match origin.into_url(None) {
            Ok(origin) => self.propagation.add(origin, header),
            Err(error) => self.mistake = self.mistake.or(Some(error)),
        }
        self
    }

    /// Sends with every attempt which one of its call it is, from 1, transparent ones included, in
    /// the field `name`. Default: not sent. A field of that name that a request set itself is
    /// replaced.
    pub fn attempt_header<K>(mut self, name: K) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
    {
        match field(name, "1") {
            Ok((name, _)) => self.propagation.count_attempts(name),
            Err(error) => self.mistake = self.mistake.or(Some(error)),
        }
        self
    }

    /// Limits a response's body that is taken in one piece, in bytes:
    /// [`bytes`](crate::Response::bytes), [`text`](crate::Response::text),
    /// `json`. Default 64 MiB; `None` takes all. A body that is larger fails
    /// with [`Kind::BodyTooLarge`], at once where its length is announced, and otherwise when more
    /// has come. What is read [chunk by chunk](crate::Response::chunk) has no limit.
    pub fn max_response_body(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_response_body = bytes.into().unwrap_or(u64::MAX);
        self
    }

    /// Sets how many bytes of [spooled bodies](crate::Body::spooled) are kept for another attempt,
    /// in all and of one body. Default 16 MiB and 64 KiB. With 0 of either nothing is kept: a body
    /// of which a byte was sent is not sent again. What a call keeps it gives back when it ends,
    /// with a response, an error, or because it was dropped.
    pub fn spool_limits(mut self, total: usize, per_body: usize) -> Self {
        self.spool = (total, per_body);
        self
    }

    /// Sets how many [`WebSocket`](crate::WebSocket)s there may be, in all and to one origin.
    /// Default 64 and 8; both at least 1, and no more to one origin than in all. Who opens another
    /// waits for one to end, for as long as for a connection of the pool. Each is also one of the
    /// pool's busy connections.
    #[cfg(feature = "websocket")]
    pub fn websocket_limits(mut self, total: usize, per_origin: usize) -> Self {
        self.websockets = (total, per_origin);
        self
    }

    /// Sets how many handshakes of [`WebSocket`](crate::WebSocket)s with one origin there may be at
    /// once, and with one address under several names that were looked up before: at least 1. Default
    /// 1, as RFC 6455 section 4.1 has it; others wait for their turn.
    #[cfg(feature = "websocket")]
    pub fn websocket_handshakes(mut self, per_origin: usize) -> Self {
        self.handshakes = per_origin;
        self
    }

    /// Builds the client. No runtime need be there.
    ///
    /// # Errors
    ///
    /// `Kind::Builder` where settings contradict each other or a default header is invalid.
    pub fn build(mut self) -> Result<Client, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake.of_kind(Kind::Builder));
        }
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Builder).caused_by(error)
        };
        self.timeouts.validate().map_err(|e| wrong(e.into()))?;
        self.retry.validate().map_err(|e| wrong(e.into()))?;
        self.pool.validate().map_err(|e| wrong(e.into()))?;
        let cap = self.in_flight.map_or(Ok(()), Cap::validate);
        cap.map_err(|e| wrong(e.into()))?;
        #[cfg(feature = "websocket")]
        crate::websocket::check_caps(self.websockets, self.handshakes)
            .map_err(|text| wrong(text.into()))?;
        if self.shared_dns.is_none() {
            let dns = std::mem::take(&mut self.dns).build()?;
            self.shared_dns = Some(dns);
        } else if !self.dns.is_default() {
            let text = "a shared Dns is set, and a DNS setting of this client's own";
            return Err(wrong(text.into()));
        }
        let defaults = EncodedFields::new(&self.headers).map_err(|e| wrong(e.into()))?;
        let profiles = self.manners()?;
        Ok(self.with(defaults, profiles))
    }

    /// Builds a client of which nothing was set: the defaults are valid.
    pub(crate) fn build_valid(self) -> Client {
        self.with(EncodedFields::default(), Vec::new())
    }

    /// The profiles, checked and numbered.
    fn manners(&mut self) -> Result<Vec<Arc<Manner>>, Error> {
        let total = self.pool.effective_limits().total.unwrap_or(u32::MAX);
        let mut turnstile = 1;
        let mut manners = Vec::new();
        for (number, (pattern, profile)) in (1..).zip(std::mem::take(&mut self.profiles)) {
            let headers = &self.headers;
            let manner = Manner::new(&pattern, profile, number, turnstile, headers, total)?;
            turnstile += usize::from(manner.in_flight.is_some());
            manners.push(Arc::new(manner));
        }
        Ok(manners)
    }

    fn with(self, defaults: EncodedFields, profiles: Vec<Arc<Manner>>) -> Client {
        let settings = Settings {
            phase_limits: self.timeouts.limits(),
            timeouts: self.timeouts,
            retry: Arc::new(self.retry),
            pool: self.pool,
            defaults,
            no_headers: HeaderMap::new(),
            h1: self.h1,
            socket: self.socket,
            unix_socket: self.unix_socket.map(Arc::from),
            profiles,
            in_flight: self.in_flight,
            dns: self.shared_dns.unwrap_or_default(),
            tls: self.tls,
            observer: self.observer,
            propagation: self.propagation,
            spool: self.spool,
            max_response_body: self.max_response_body,
            #[cfg(feature = "websocket")]
            websockets: self.websockets,
            #[cfg(feature = "websocket")]
            handshakes: self.handshakes,
            #[cfg(feature = "websocket")]
            has_credentials: self
                .headers
                .iter()
                .any(|(name, value)| crate::request::is_credential(name, value)),
        };
        Client {
            shared: Shared::new(self.net, settings),
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
