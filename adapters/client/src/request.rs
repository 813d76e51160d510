//! Building a request.

use std::fmt;
use std::net::IpAddr;
#[cfg(feature = "websocket")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::call;
use fulmar_core::deadline::{PhaseLimits, Telling, Timeouts};
use fulmar_core::http::EncodedFields;
use fulmar_core::lane::Lane;
use fulmar_core::origin::{Origin, Route};
use fulmar_core::pool::Gauges;
#[cfg(feature = "websocket")]
use fulmar_core::retry::StopReason;
use fulmar_core::retry::{MethodClass, Retry};
use fulmar_core::time::Instant;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, UPGRADE};

use crate::body::Body;
use crate::builder::Settings;
use crate::client::Client;
#[cfg(feature = "websocket")]
use crate::dial::bare_host;
use crate::error::{Error, Kind};
use crate::explain::Explanation;
use crate::idempotency::IdempotencyKey;
use crate::profile::Manner;
use crate::response::Response;
use crate::sending::Sending;
use crate::shared::Shared;
use crate::url::{IntoUrl, Url};

/// A request as given.
pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Boxed, because mostly there are none of its own.
    pub(crate) headers: Option<Box<HeaderMap>>,
    pub(crate) body: Body,
    /// An attempt moves the body out, and may have to give it back.
    pub(crate) is_moved: bool,
    /// An attempt took some of the body.
    pub(crate) was_pulled: bool,
    /// What differs from the client's settings; boxed, because mostly nothing does.
    pub(crate) options: Option<Box<Options>>,
}

/// What a request says that differs from the client's settings and, from [`Parts::settle`] on, what
/// its profile says where the request itself says nothing.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) timeouts: Option<Timeouts>,
    /// The total, where the rest is as the profile or the client has it.
    #[expect(clippy::option_option, reason = "as it was, off, or a limit")]
    pub(crate) total: Option<Option<Duration>>,
    pub(crate) covers_body: Option<bool>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) retry: Option<Arc<Retry>>,
    pub(crate) idempotent: bool,
    pub(crate) lane: Lane,
    /// What the attempts told of the deadline.
    pub(crate) telling: Option<Telling>,
    /// Bytes; the largest number is no cap.
    pub(crate) max_response_body: Option<u64>,
    pub(crate) socket: Option<Arc<Path>>,
    /// Not over a connection that has served before.
    pub(crate) fresh: bool,
    /// Not to this address, where the host has another.
    pub(crate) avoid: Option<IpAddr>,
    /// `timeouts` as the clocks want them, once settled, like all that follows.
    pub(crate) limits: Option<PhaseLimits>,
    pub(crate) profile: Option<Arc<Manner>>,
    /// The pool's key, where it is more than the origin.
    pub(crate) route: Option<Arc<str>>,
}

impl Options {
    /// The timeouts in force, where they are not simply the client's.
    fn timeouts_in_force(&self, settings: &Settings, manner: Option<&Manner>) -> Option<Timeouts> {
        let profile = || manner?.timeouts;
        let base = self.timeouts.or_else(profile);
        if self.total.is_none() && self.covers_body.is_none() {
            return base;
        }
        let mut timeouts = base.unwrap_or(settings.timeouts);
        // Phases that are longer are fine: they end with the whole.
        timeouts.total = self.total.unwrap_or(timeouts.total);
        timeouts.total_covers_body = self.covers_body.unwrap_or(timeouts.total_covers_body);
        Some(timeouts)
    }
}

impl Parts {
    #[inline]
    fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: None,
            body: Body::empty(),
            is_moved: false,
            was_pulled: false,
            options: None,
        }
    }

    /// The request's own headers, to add to.
    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers.get_or_insert_default()
    }

    /// Whether the request has a header of its own by that lower-case name.
    #[inline]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers
            .as_ref()
            .is_some_and(|headers| headers.contains_key(name))
    }

    /// The pool's key.
    #[inline]
    pub(crate) fn route(&self) -> &str {
        let own = self.options.as_ref().and_then(|o| o.route.as_deref());
        own.unwrap_or(self.url.origin())
    }

    /// Whom it lets go first.
    pub(crate) fn lane(&self) -> Lane {
        self.options.as_ref().map_or(Lane::Normal, |o| o.lane)
    }

    /// Bytes of a response's body that are taken in one piece.
    #[inline]
    pub(crate) fn max_response_body(&self, shared: &Shared) -> u64 {
        let own = self.options.as_ref().and_then(|o| o.max_response_body);
        own.unwrap_or(shared.settings.max_response_body)
    }

    /// The profile that the request falls under.
    pub(crate) fn profile(&self) -> Option<&Manner> {
        self.options.as_ref()?.profile.as_deref()
    }

    /// The unix socket to connect to.
    pub(crate) fn socket(&self, settings: &Settings) -> Option<Arc<Path>> {
        let own = self.options.as_ref().and_then(|o| o.socket.as_ref());
        own.or(settings.unix_socket.as_ref()).cloned()
    }

    /// The fields that it is sent with unless it has its own.
    #[inline]
    pub(crate) fn defaults<'a>(&'a self, settings: &'a Settings) -> &'a EncodedFields {
        let own = self.profile().and_then(|manner| manner.defaults.as_ref());
        own.unwrap_or(&settings.defaults)
    }

    /// Brings together what the request says, what the first profile for its host says, and the
    /// client's settings. Once, where the call begins: only then does its URL stay.
    #[inline]
    pub(crate) fn settle(&mut self, settings: &Settings) -> Result<(), Error> {
        if self.url.has_login() {
            self.log_in();
        }
        if self.options.is_none() && settings.profiles.is_empty() {
            return Ok(());
        }
        self.settle_own(settings)
    }

    /// Adds the credentials that the URL's user information stands for, unless there are others.
    #[cold]
    fn log_in(&mut self) {
        if let Some(login) = self.url.take_login() {
            self.headers_mut().entry(AUTHORIZATION).or_insert(login);
        }
    }

    #[cold]
    fn settle_own(&mut self, settings: &Settings) -> Result<(), Error> {
        let manner = self.manner(settings).cloned();
        if manner.is_none() && self.options.is_none() {
            return Ok(());
        }
        let options = self.options.get_or_insert_default();
        options.timeouts = options.timeouts_in_force(settings, manner.as_deref());
        options.limits = options.timeouts.map(|timeouts| timeouts.limits());
        let manner = manner.as_ref();
        options.retry = options.retry.take().or_else(|| manner?.retry.clone());
        options.socket = options.socket.take().or_else(|| manner?.socket.clone());
        options.profile = manner.cloned();
        let number = manner.map_or(0, |manner| manner.number);
        if number == 0 && options.socket.is_none() && options.avoid.is_none() {
            return Ok(());
        }
        let origin: Origin = self.url.origin().parse().map_err(invalid)?;
        let mut route = Route::direct(origin).with_profile(number);
        if let Some(path) = &options.socket {
            route = route.with_unix_socket(path.clone());
        }
        if let Some(addr) = options.avoid {
            route = route.without(addr);
        }
        options.route = Some(route.key().into());
        Ok(())
    }

    /// The first profile that is for the host.
    fn manner<'a>(&self, settings: &'a Settings) -> Option<&'a Arc<Manner>> {
        let (host, port) = (self.url.host(), self.url.port());
        let mut profiles = settings.profiles.iter();
        profiles.find(|manner| manner.pattern.matches(host, port))
    }

    /// The same request without its body.
    fn sketch(&self) -> Self {
        Self {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: Body::empty(),
            is_moved: false,
            was_pulled: false,
            options: self.options.clone(),
        }
    }

    /// What decides about repeating the request.
    pub(crate) fn facts(&self) -> call::Request {
        call::Request {
            method: MethodClass::of(&self.method),
            keyed: self.has("idempotency-key") || self.has("x-idempotency-key"),
            declared_idempotent: self
                .options
                .as_ref()
                .is_some_and(|options| options.idempotent),
            replay: self.body.replay(),
        }
    }
}

/// Builds one request and sends it.
///
/// A mistake (an invalid URL or header) is kept and comes out of [`RequestBuilder::send`].
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    parts: Result<Parts, Error>,
}

impl RequestBuilder {
    #[inline]
    pub(crate) fn new(client: Client, method: Method, url: impl IntoUrl) -> Self {
        let url = url.into_url(client.shared.origin.get());
        Self::at(client, method, url)
    }

    #[inline]
    pub(crate) fn at(client: Client, method: Method, url: Result<Url, Error>) -> Self {
        let parts = url.map(|url| Parts::new(method, url));
        Self { client, parts }
    }

    /// Adds the credentials that the URL's user information stands for, which a call does by itself.
    #[cfg(feature = "websocket")]
    pub(crate) fn log_in(self) -> Self {
        self.edit(|parts| {
            parts.log_in();
            Ok(())
        })
    }

    fn edit(mut self, change: impl FnOnce(&mut Parts) -> Result<(), Error>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = change(parts)
        {
            let error = error.of_request(&parts.method, parts.url.as_str());
            self.parts = Err(error);
        }
        self
    }

    fn option(self, change: impl FnOnce(&mut Options)) -> Self {
        self.edit(|parts| {
            change(parts.options.get_or_insert_default());
            Ok(())
        })
    }

    /// Adds a header field. A field of the same name among the client's defaults is replaced by it,
    /// and `Authorization` also what the URL's user information stands for.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.edit(|parts| append(parts.headers_mut(), name, value))
    }

    /// Adds header fields, replacing those of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.edit(|parts| {
            let Some(own) = &mut parts.headers else {
                parts.headers = Some(Box::new(headers));
                return Ok(());
            };
            let mut last = None;
            for (name, value) in headers {
                match (name, &last) {
                    (Some(name), _) => {
                        own.insert(name.clone(), value);
                        last = Some(name);
                    }
                    (None, Some(name)) => {
                        own.append(name.clone(), value);
                    }
                    (None, None) => {}
                }
            }
            Ok(())
        })
    }

    /// Sends `Authorization: Bearer <token>`. The value is marked sensitive.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.edit(|parts| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(invalid)?;
            value.set_sensitive(true);
            parts.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Sends `Authorization: Basic` with a user's name and password (none is empty). The value is
    /// marked sensitive. A colon in the name or a control character in either fails the request.
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.edit(|parts| {
            let password = password.map_or_else(String::new, |password| password.to_string());
            let value = crate::basic::credentials(&user.to_string(), &password)
                .ok_or_else(|| Error::new(Kind::Request).because("credentials for Basic"))?;
            let mut value = HeaderValue::try_from(value).map_err(invalid)?;
            value.set_sensitive(true);
            parts.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Offers to switch to `protocol` (`Connection: upgrade`, `Upgrade: <protocol>`). Where the peer
    /// does (101), [`Response::upgrade`] has the connection; where not, the response is one like any
    /// other. A switch to anything that was not offered fails the call.
    pub fn upgrade<V>(self, protocol: V) -> Self
    where
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        // The machine adds the connection option.
        self.header(UPGRADE, protocol)
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.edit(|parts| {
            parts.body = body.into();
            parts.is_moved = parts.body.is_moved();
            Ok(())
        })
    }

    /// Appends `query`, form-encoded, to the URL's own query.
    #[cfg(feature = "json")]
    pub fn query<T: serde::Serialize + ?Sized>(self, query: &T) -> Self {
        self.edit(|parts| {
            let pairs = serde_html_form::to_string(query).map_err(invalid)?;
            if !pairs.is_empty() {
                let text = parts.url.as_str();
                let slash = if text.len() == parts.url.origin().len() {
                    "/"
                } else {
                    ""
                };
                let joint = if text.contains('?') { '&' } else { '?' };
                parts.url = Url::parse(&format!("{text}{slash}{joint}{pairs}"))?;
            }
            Ok(())
        })
    }

    /// Sets a form body, and `Content-Type` where it is not set.
    #[cfg(feature = "json")]
    pub fn form<T: serde::Serialize + ?Sized>(self, form: &T) -> Self {
        self.edit(|parts| {
            let form = serde_html_form::to_string(form).map_err(invalid)?;
            typed_body(parts, form.into(), "application/x-www-form-urlencoded");
            Ok(())
        })
    }

    /// Sets a JSON body, and `Content-Type` where it is not set.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Self {
        self.edit(|parts| {
            let json = serde_json::to_vec(value).map_err(invalid)?;
            typed_body(parts, json.into(), "application/json");
            Ok(())
        })
    }

    /// Limits the whole call, from its first poll to the last byte of the body, retries included.
    pub fn timeout(self, total: impl Into<Option<Duration>>) -> Self {
        let total = total.into();
        self.option(|options| options.total = Some(total))
    }

    /// Sets whether the [timeout](Self::timeout) covers the response's body where that is read in
    /// pieces: see [`ClientBuilder::total_covers_body`](crate::ClientBuilder::total_covers_body). A
    /// [deadline](Self::deadline) always does.
    pub fn total_covers_body(self, covers: bool) -> Self {
        self.option(|options| options.covers_body = Some(covers))
    }

    /// Ends the call at `deadline` at the latest: one budget for many calls. See
    /// [`Client::deadline`].
    pub fn deadline(self, deadline: Instant) -> Self {
        self.option(|options| options.deadline = Some(deadline))
    }

    /// Replaces every timeout of the client, "off" included. What the client's own build would
    /// refuse fails the request before anything is sent.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.edit(|parts| {
            timeouts.validate().map_err(invalid)?;
            let options = parts.options.get_or_insert_default();
            (options.timeouts, options.total) = (Some(timeouts), None);
            options.covers_body = None;
            Ok(())
        })
    }

    /// Replaces the client's retry policy; [`Retry::never`] turns it off.
    pub fn retry(self, retry: Retry) -> Self {
        self.edit(|parts| {
            retry.validate().map_err(invalid)?;
            parts.options.get_or_insert_default().retry = Some(Arc::new(retry));
            Ok(())
        })
    }

    /// Replaces the client's limit on a response's body that is taken in one piece, in bytes; `None`
    /// takes all. See [`ClientBuilder::max_response_body`](crate::ClientBuilder::max_response_body).
    pub fn max_response_body(self, bytes: impl Into<Option<u64>>) -> Self {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.option(|options| options.max_response_body = Some(bytes))
    }

    /// Sends an `Idempotency-Key`, the same on every attempt, by which the origin recognises a
    /// repeat: so a request with any method can be tried again. `IdempotencyKey::Auto` draws one.
    pub fn idempotency_key(self, key: impl Into<IdempotencyKey>) -> Self {
        let shared = self.client.shared.clone();
        self.edit(|parts| {
            let key = key.into();
            let value = shared.locked(|state| key.into_value(&mut state.rng))?;
            let name = HeaderName::from_static("idempotency-key");
            parts.headers_mut().insert(name, value);
            Ok(())
        })
    }

    /// Connects to the unix socket at `path`, whatever the host in the URL, as
    /// [`ClientBuilder::unix_socket`](crate::ClientBuilder::unix_socket) does for all requests.
    /// Connections of different sockets, and those over TCP, are never mixed.
    pub fn unix_socket(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.option(|options| options.socket = Some(path.into()))
    }

    /// Declares that repeating this request does no harm, whatever its method.
    pub fn idempotent(self) -> Self {
        self.option(|options| options.idempotent = true)
    }

    /// Sets which requests it goes before, and which before it, where several of one origin wait for
    /// a connection. Default [`Lane::Normal`]; while requests of all three lanes wait, connections go
    /// to them 8 to 4 to 1. Where as many wait as may, it takes the place of the last of the lowest
    /// lane below its own, which fails as if it had come later ([`Kind::PoolFull`]).
    pub fn lane(self, lane: Lane) -> Self {
        self.option(|options| options.lane = lane)
    }

    /// What [`send`](Self::send) would do now: see [`Client::explain`].
    ///
    /// # Errors
    ///
    /// The request is invalid.
    pub fn explain(&self) -> Result<Explanation, Error> {
        let (parts, settled) = self.settled()?;
        Ok(Explanation::of(
            &self.client.shared,
            &settled,
            parts.facts(),
        ))
    }

    /// Counts of the route that it would take.
    pub(crate) fn route_gauges(&self) -> Result<Gauges, Error> {
        let (_, settled) = self.settled()?;
        let shared = &self.client.shared;
        Ok(shared.locked(|state| state.pool.route_gauges(settled.route())))
    }

    /// As given, and as it would be sent now, but for the body.
    fn settled(&self) -> Result<(&Parts, Parts), Error> {
        let parts = self.parts.as_ref().map_err(Clone::clone)?;
        let mut settled = parts.sketch();
        settled.settle(&self.client.shared.settings)?;
        Ok((parts, settled))
    }

    /// Whom it is for, unless it is invalid.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.parts.as_ref().ok().map(|parts| parts.url.origin())
    }

    /// The client's shared parts, for what is more than a call.
    #[cfg(feature = "websocket")]
    pub(crate) fn shared(&self) -> &Arc<crate::shared::Shared> {
        &self.client.shared
    }

    /// The origin, the timeouts in force and the deadline, where the request is valid.
    #[cfg(feature = "websocket")]
    pub(crate) fn bounds(&self) -> Result<(Arc<str>, Timeouts, Option<Instant>), Error> {
        let (parts, settled) = self.settled()?;
        let own = settled.options.map(|own| (own.timeouts, own.deadline));
        let (timeouts, deadline) = own.unwrap_or_default();
        let timeouts = timeouts.unwrap_or(self.client.shared.settings.timeouts);
        Ok((parts.url.origin().into(), timeouts, deadline))
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        if let (Some(deadline), Ok(parts)) = (deadline, &mut self.parts) {
            parts.options.get_or_insert_default().deadline = Some(deadline);
        }
    }

    /// The lowest address that its host is known to have, which is the same for all its names.
    #[cfg(feature = "websocket")]
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let settings = &self.client.shared.settings;
        let (_, settled) = self.settled().ok()?;
        if settled.socket(settings).is_some() {
            return None;
        }
        let (dns, host) = (&settings.dns, bare_host(&settled.url));
        let known = dns.known_addresses(host);
        let addrs = known.unwrap_or_else(|| dns.addresses(host)).into_iter();
        let lowest = addrs.map(|addr| addr.to_canonical()).min()?;
        Some(SocketAddr::new(lowest, settled.url.port()))
    }

    /// Takes no connection that has served before.
    #[cfg(feature = "websocket")]
    pub(crate) fn fresh(self) -> Self {
        self.option(|options| options.fresh = true)
    }

    /// Connects to `addr` only where the host has no other address.
    #[cfg(feature = "websocket")]
    pub(crate) fn without(self, addr: IpAddr) -> Self {
        self.option(|options| options.avoid = Some(addr))
    }

    /// Why it was not even sent.
    #[cfg(feature = "websocket")]
    pub(crate) fn unsent(&self, error: Error) -> Error {
        let reason = if error.is_deadline() {
            StopReason::DeadlineExpired
        } else {
            StopReason::NotRetryable
        };
        let error = error.with_history(0, &[], Some(reason));
        match &self.parts {
            Ok(parts) => error.of_request(&parts.method, parts.url.as_str()),
            Err(_) => error,
        }
    }

    /// Another of the same method, URL, header fields and settings, without a body.
    #[cfg(feature = "websocket")]
    pub(crate) fn again(&self) -> Self {
        let parts = self.parts.as_ref().map_err(Clone::clone);
        Self {
            client: self.client.clone(),
            parts: parts.map(Parts::sketch),
        }
    }

    /// The same for another URL. To another origin go no credentials; `None` where the client would
    /// add some by itself.
    #[cfg(feature = "websocket")]
    pub(crate) fn redirected(&self, to: Url) -> Option<Self> {
        let settings = &self.client.shared.settings;
        let is_elsewhere = self.origin() != Some(to.origin());
        if is_elsewhere && settings.has_credentials {
            return None;
        }
        Some(self.again().edit(|parts| {
            parts.url = to;
            if is_elsewhere && let Some(headers) = &mut parts.headers {
                let kept = headers.iter().filter(|(n, v)| !is_credential(n, v));
                let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
                **headers = kept.collect();
            }
            Ok(())
        }))
    }

    /// Adds the fields of a handshake.
    #[cfg(feature = "websocket")]
    pub(crate) fn handshake(self, write: impl FnOnce(&mut HeaderMap)) -> Self {
        self.edit(|parts| {
            write(parts.headers_mut());
            Ok(())
        })
    }

    /// Sends the request and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// What [`Error`] can say: the request is invalid, no connection could be made, a timeout passed,
    /// the connection failed, the response is not HTTP.
    ///
    /// # Cancel safety
    ///
    /// See [`Sending`]: dropping it at any point ends the call at once and gives back all it held.
    pub fn send(self) -> Sending {
        Sending::new(self.client.shared, self.parts)
    }
}

impl std::future::IntoFuture for RequestBuilder {
    type Output = Result<Response, Error>;
    type IntoFuture = Sending;

    fn into_future(self) -> Sending {
        self.send()
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RequestBuilder");
        match &self.parts {
            Ok(parts) => debug
                .field("method", &parts.method)
                .field("url", &parts.url),
            Err(error) => debug.field("error", error),
        };
        debug.finish_non_exhaustive()
    }
}

#[cfg(feature = "json")]
fn typed_body(parts: &mut Parts, body: Body, content_type: &'static str) {
    parts.body = body;
    parts.is_moved = false;
    let value = HeaderValue::from_static(content_type);
    parts
        .headers_mut()
        .entry(http::header::CONTENT_TYPE)
        .or_insert(value);
}

/// A header field from what the caller gave.
pub(crate) fn field<K, V>(name: K, value: V) -> Result<(HeaderName, HeaderValue), Error>
where
    HeaderName: TryFrom<K>,
    <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
    HeaderValue: TryFrom<V>,
    <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
{
    let name = HeaderName::try_from(name).map_err(|error| invalid(error.into()))?;
    let value = HeaderValue::try_from(value).map_err(|error| {
        Error::new(Kind::Request).because(format!("header {name}: {}", error.into()))
    })?;
    Ok((name, value))
}

/// Adds a header field from what the caller gave.
pub(crate) fn append<K, V>(headers: &mut HeaderMap, name: K, value: V) -> Result<(), Error>
where
    HeaderName: TryFrom<K>,
    <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
    HeaderValue: TryFrom<V>,
    <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
{
    let (name, value) = field(name, value)?;
    headers.append(name, value);
    Ok(())
}

/// Whether only the origin that it was meant for may see a field.
#[cfg(feature = "websocket")]
pub(crate) fn is_credential(name: &HeaderName, value: &HeaderValue) -> bool {
    use http::header::{COOKIE, ORIGIN, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
    let names = [
        AUTHORIZATION,
        COOKIE,
        ORIGIN,
        PROXY_AUTHORIZATION,
        WWW_AUTHENTICATE,
    ];
    value.is_sensitive() || names.contains(name)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Request).caused_by(error)
}
