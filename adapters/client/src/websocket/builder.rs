//! What a WebSocket is opened with.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::deadline::Timeouts;
use fulmar_core::retry::Retry;
use fulmar_core::time::Instant;
use fulmar_core::ws::{Config, Connection, HandshakeTable, Keepalive, Limits};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::halves::WebSocket;
use super::keeper::Keeper;
use super::opening::Opened;
use super::socket::Socket;
use crate::error::Error;
use crate::request::RequestBuilder;
use crate::shared::Shared;

/// Opens a WebSocket. See [`Client::websocket`](crate::Client::websocket).
///
/// A mistake (an invalid URL or header) is kept and comes out of [`connect`](Self::connect).
#[must_use = "nothing happens until it connects"]
pub struct WebSocketBuilder {
    pub(super) request: RequestBuilder,
    pub(super) config: Config,
    pub(super) protocols: Vec<String>,
    pub(super) handshakes: HandshakeTable,
}

impl WebSocketBuilder {
    pub(crate) fn new(request: RequestBuilder) -> Self {
        Self {
            request,
            config: Config::default(),
            protocols: Vec::new(),
            handshakes: HandshakeTable::default(),
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

    /// Which statuses are redirects to follow. What else the table says is a
    /// [session](Self::reconnect)'s to obey, whose own
    /// [table](crate::session::Config::handshakes) takes the place of this one.
    pub fn handshakes(mut self, table: HandshakeTable) -> Self {
        self.handshakes = table;
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
    /// for an answer. A duration is that interval; [`Keepalive::off`] turns it off. While messages
    /// are received the clock is read 4 times a second, so that a ping may come 250 ms later.
    pub fn keepalive(self, keepalive: impl Into<Keepalive>) -> Self {
        self.config(|config| config.keepalive(keepalive.into()))
    }

    /// How long there may be no complete message; pings and pongs do not count. Default: no limit.
    pub fn read_deadline(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config(|config| config.message_idle(timeout))
    }

    /// How long what was sent has to go out, and the server to answer the Close frame behind it.
    /// Default 5 s.
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

    /// How long a message that has begun to come may be without another byte of it. Default 30 s.
    pub fn message_progress(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config(|config| config.message_progress(timeout))
    }

    /// How long a message may take to come, from its first byte to its last. Default 120 s, which
    /// large messages over slow links exceed.
    pub fn message_total(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config(|config| config.message_total(timeout))
    }

    /// Sends messages of more than `above` bytes in frames of `size` bytes, so that pings, pongs and a
    /// close get in between. Default: in 16 KiB, above 64 KiB.
    pub fn fragments(self, size: usize, above: usize) -> Self {
        self.config(|config| config.fragments(size, above))
    }

    /// Offers to compress messages. Default: not.
    #[cfg(feature = "deflate")]
    pub fn compression(self, compression: impl Into<Option<super::Compression>>) -> Self {
        self.config(|config| config.compression(compression))
    }

    /// Opens the WebSocket: waits for a turn where the client has as many as it may
    /// ([`ClientBuilder::websocket_limits`](crate::ClientBuilder::websocket_limits)), and for
    /// other handshakes with the same server
    /// ([`ClientBuilder::websocket_handshakes`](crate::ClientBuilder::websocket_handshakes)), gets a
    /// connection as any request does, and upgrades it.
    ///
    /// # Errors
    ///
    /// `Kind::Builder` where settings contradict each other, `Kind::Status` where the server answers
    /// with a status other than 101 ([`Refused::of`](super::Refused::of) has its answer),
    /// `Kind::Protocol` where its answer is not the one to this request, and what
    /// [`RequestBuilder::send`] says.
    ///
    /// Redirects (301, 302, 303, 307, 308, or what the [table](Self::handshakes) says) are followed,
    /// five at most, and never from `wss` to `ws`. To another origin go no credentials: neither
    /// `Authorization` and `Cookie` nor what is marked sensitive; where the client has such a default header, such a redirect is not followed. One
    /// that is not followed is an error with its status.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point ends the attempt and gives back all it held. One that is not
    /// polled keeps that: its place among the client's sockets, too.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        let opened = self.open().await.map_err(|failed| failed.error)?;
        Ok(keep(opened))
    }

    /// Another of the same request and settings.
    pub(crate) fn again(&self) -> Self {
        Self {
            request: self.request.again(),
            config: self.config,
            protocols: self.protocols.clone(),
            handshakes: self.handshakes.clone(),
        }
    }

    /// Takes no connection that has served before.
    pub(crate) fn fresh(self) -> Self {
        self.request(RequestBuilder::fresh)
    }

    /// Connects to `addr` only where the host has no other address.
    pub(crate) fn without(self, addr: IpAddr) -> Self {
        self.request(|request| request.without(addr))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.request.shared()
    }
}

/// A connection that its keeper keeps.
fn keep(opened: Opened) -> WebSocket {
    let Opened {
        config,
        negotiated,
        transport,
    } = opened;
    let shared = transport.shared.clone();
    let now = shared.net.now();
    let mut rng = shared.fork_rng();
    let machine = Connection::new(now, &config, &negotiated, &mut rng);
    let agreed = (negotiated.protocol, negotiated.compression);
    let net = shared.net.clone();
    let socket = Socket::new(net, machine, rng, transport, agreed);
    let websocket = WebSocket::new(socket.clone());
    let keeper = Keeper::new(socket, shared.clone());
    shared.net.spawn(Box::pin(keeper));
    websocket
}

impl fmt::Debug for WebSocketBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketBuilder")
            .field("request", &self.request)
            .field("config", &self.config)
            .field("protocols", &self.protocols)
            .field("handshakes", &self.handshakes)
            .finish()
    }
}
