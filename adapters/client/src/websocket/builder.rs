//! Opening a WebSocket: a request like any other, until its 101.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::deadline::Timeouts;
use fulmar_core::retry::Retry;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Config, Connection, Handshake, HandshakeError, Keepalive, Limits, Negotiated, Offer,
};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use rand_core::SeedableRng;

use super::cap::Pass;
use super::halves::WebSocket;
use super::keeper;
use super::socket::Socket;
use super::state::Transport;
use crate::error::{Error, Kind};
use crate::request::RequestBuilder;
use crate::response::Response;
use crate::shared::Shared;

/// Opens a WebSocket. See [`Client::websocket`](crate::Client::websocket).
///
/// A mistake (an invalid URL or header) is kept and comes out of [`connect`](Self::connect).
#[must_use = "nothing happens until it connects"]
pub struct WebSocketBuilder {
    request: RequestBuilder,
    config: Config,
    protocols: Vec<String>,
}

impl WebSocketBuilder {
    pub(crate) fn new(request: RequestBuilder) -> Self {
        Self {
            request,
            config: Config::default(),
            protocols: Vec::new(),
        }
    }

    fn request(mut self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    fn config(mut self, change: impl FnOnce(Config) -> Config) -> Self {
        self.config = change(self.config);
        self
    }

    /// Adds a header field to the request, as [`RequestBuilder::header`].
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.request(|request| request.header(name, value))
    }

    /// Adds header fields, replacing those of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.request(|request| request.headers(headers))
    }

    /// Sends `Authorization: Bearer <token>`.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.request(|request| request.bearer_auth(token))
    }

    /// Sends `Authorization: Basic` with a user's name and password.
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.request(|request| request.basic_auth(user, password))
    }

    /// Offers a sub-protocol; the one offered first is preferred.
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
        self
    }

    /// Limits the opening, from the first poll of [`connect`](Self::connect) to the 101.
    pub fn timeout(self, total: impl Into<Option<Duration>>) -> Self {
        self.request(|request| request.timeout(total))
    }

    /// Ends the opening at `deadline` at the latest. The open connection has none.
    pub fn deadline(self, deadline: Instant) -> Self {
        self.request(|request| request.deadline(deadline))
    }

    /// Replaces every timeout of the client for the opening.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.request(|request| request.timeouts(timeouts))
    }

    /// Replaces the client's retry policy for the opening.
    pub fn retry(self, retry: Retry) -> Self {
        self.request(|request| request.retry(retry))
    }

    /// How the server's silence is noticed: by default a ping after 20 s without a byte, and 10 s
    /// for an answer. A duration is that interval; [`Keepalive::off`] turns it off.
    pub fn keepalive(self, keepalive: impl Into<Keepalive>) -> Self {
        self.config(|config| config.keepalive(keepalive.into()))
    }

    /// How long there may be no complete message; pings and pongs do not count. Default: no limit.
    pub fn read_deadline(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config(|config| config.message_idle(timeout))
    }

    /// How long the server has to answer a Close frame. Default 5 s.
    pub fn close_timeout(self, timeout: Duration) -> Self {
        self.config(|config| config.close_timeout(timeout))
    }

    /// How long messages may wait, with no room for more, until the connection ends as
    /// [lagging](super::Cause::Lagged). Default 30 s.
    pub fn slow_consumer(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config(|config| config.slow_consumer(timeout))
    }

    /// How much the server may send. Default: messages of 4 MiB.
    pub fn limits(self, limits: Limits) -> Self {
        self.config(|config| config.limits(limits))
    }

    /// Offers to compress messages. Default: not.
    #[cfg(feature = "deflate")]
    pub fn compression(self, compression: impl Into<Option<super::Compression>>) -> Self {
        self.config(|config| config.compression(compression))
    }

    /// Opens the WebSocket: waits for a turn where the client has as many as it may
    /// ([`ClientBuilder::websocket_limits`](crate::ClientBuilder::websocket_limits)), gets a
    /// connection as any request does, and upgrades it.
    ///
    /// # Errors
    ///
    /// `Kind::Builder` where settings contradict each other, `Kind::Status` where the server answers
    /// with a status other than 101 ([`Error::status`]; redirects are not followed), `Kind::Protocol`
    /// where its answer is not the one to this request, and what [`RequestBuilder::send`] says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point ends the attempt and gives back all it held.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        let Self {
            mut request,
            config,
            protocols,
        } = self;
        let wrong = |kind, error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(kind).caused_by(error)
        };
        config
            .validate()
            .map_err(|error| wrong(Kind::Builder, error.into()))?;
        let shared = request.shared().clone();
        let offer = Offer {
            protocols,
            compression: config.offered_compression(),
        };
        let handshake = shared.locked(|state| Handshake::new(offer, &mut state.rng));
        let handshake = handshake.map_err(|error| wrong(Kind::Request, error.into()))?;
        let pass = enter(&mut request, &shared).await?;
        let response = request.handshake(|headers| handshake.write(headers)).send();
        let response = response.await?;
        let negotiated = handshake
            .verify(response.head())
            .map_err(|error| refused(&response, error))?;
        let missing = response.error(Error::new(Kind::Io));
        let parts = response.upgrade().await?.into_parts();
        let (h1, shared) = parts.ok_or(missing)?;
        let transport = Transport { h1, shared, pass };
        Ok(open(&config, negotiated, transport))
    }
}

/// Waits for a pass; the whole opening has one deadline.
async fn enter(request: &mut RequestBuilder, shared: &Arc<Shared>) -> Result<Pass, Error> {
    let now = shared.net.now();
    let (origin, timeouts, deadline) = request.bounds()?;
    let total = timeouts.total.map(|total| now + total);
    let deadline = total.into_iter().chain(deadline).min();
    request.set_deadline(deadline);
    let pool = timeouts.pool.map(|pool| now + pool);
    let until = pool.into_iter().chain(deadline).min();
    let until = until.unwrap_or(Instant::MAX);
    shared.websockets.enter(&shared.net, &origin, until).await
}

fn refused(response: &Response, error: HandshakeError) -> Error {
    response.error(match error {
        HandshakeError::Status(_) => Error::of_status(response.status()),
        error => Error::new(Kind::Protocol)
            .at(fulmar_core::fault::Phase::Head)
            .caused_by(error),
    })
}

fn open(config: &Config, negotiated: Negotiated, transport: Transport) -> WebSocket {
    let shared = transport.shared.clone();
    let now = shared.net.now();
    let seed = shared.locked(|state| {
        let mut seed = [0; 32];
        rand_core::Rng::fill_bytes(&mut state.rng, &mut seed);
        seed
    });
    let mut rng = ChaCha8Rng::from_seed(seed);
    let machine = Connection::new(now, config, &negotiated, &mut rng);
    let agreed = (negotiated.protocol, negotiated.compression);
    let net = shared.net.clone();
    let socket = Arc::new(Socket::new(net, machine, rng, transport, agreed));
    let websocket = WebSocket::new(socket.clone());
    shared.net.spawn(Box::pin(keeper::run(socket)));
    websocket
}

impl fmt::Debug for WebSocketBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketBuilder")
            .field("request", &self.request)
            .field("config", &self.config)
            .field("protocols", &self.protocols)
            .finish()
    }
}
