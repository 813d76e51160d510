//! The one error type: what failed, when, and what that says of the request.

mod asked;
mod text;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::call::AttemptRecord;
use fulmar_core::deadline::Clocks;
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::StopReason;
use fulmar_core::time::Instant;
use http::{Method, StatusCode};

pub use asked::TimeoutLimit;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The client was configured with settings that contradict each other.
    Builder,
    /// The request cannot be sent as it is: its URL, a header, its body.
    Request,
    /// A [factory](crate::Body::factory) made a body of another length than it promised, which an
    /// attempt before had begun to send. There is no other attempt.
    BodyReplayMismatch,
    /// No connection could be made: name resolution, transport, TLS.
    Connect,
    /// A timeout or the deadline passed; [`Error::phase`] says which.
    Timeout,
    /// The pool's queue is full.
    PoolFull,
    /// The connection failed under the request or the response.
    Io,
    /// The peer sent something that is not HTTP, or more than the limits allow.
    Protocol,
    /// The response body is larger than it may be where it is taken in one piece
    /// ([`max_response_body`](crate::RequestBuilder::max_response_body),
    /// [`Response::bytes_capped`](crate::Response::bytes_capped)).
    BodyTooLarge,
    /// The response body is not what the caller asked for: not JSON, not text.
    Decode,
    /// The status is an error, and the caller asked for that to be one.
    Status,
    /// The client was shut down.
    Closed,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Builder => "invalid settings",
            Self::Request => "invalid request",
            Self::BodyReplayMismatch => "the request body is not the same again",
            Self::Connect => "cannot connect",
            Self::Timeout => "timed out",
            Self::PoolFull => "too many requests wait for a connection",
            Self::Io => "connection failed",
            Self::Protocol => "invalid response",
            Self::BodyTooLarge => "response body too large",
            Self::Decode => "cannot decode the body",
            Self::Status => "error status",
            Self::Closed => "the client is closed",
        }
    }
}

/// Why a call failed. One pointer wide; the rest is behind it.
///
/// `Display` names the kind, the phase and the leaf cause on one line, and with `{:#}` every failed
/// attempt on a line of its own; [`Error::source`]
/// (`std::error::Error::source`) has the cause as a value.
///
/// What other clients have a type for is here a kind and a phase. For those who come from them, with
/// the names of httpx and aiohttp (`-`: it has none of its own for it):
///
/// | [`Kind`] | [`Phase`] | httpx | aiohttp |
/// |---|---|---|---|
/// | `Timeout` | `Pool` | `PoolTimeout` | `ConnectionTimeoutError` |
/// | `PoolFull` | `Pool` | - | - |
/// | `Timeout` | `Dns` | `ConnectTimeout` | `ConnectionTimeoutError` |
/// | `Timeout` | `Connect` | `ConnectTimeout` | `ConnectionTimeoutError` |
/// | `Timeout` | `Tls` | `ConnectTimeout` | `ConnectionTimeoutError` |
/// | `Timeout` | `Write` | `WriteTimeout` | - |
/// | `Timeout` | `FirstByte` | `ReadTimeout` | `SocketTimeoutError` |
/// | `Timeout` | `Head` | `ReadTimeout` | `SocketTimeoutError` |
/// | `Timeout` | `Body` | `ReadTimeout` | `SocketTimeoutError` |
/// | `Timeout` | `Attempt` | - | - |
/// | `Timeout` | `Total` | - | `TimeoutError` (asyncio's) |
/// | `Connect` | `Dns` | `ConnectError` | `ClientConnectorDNSError` |
/// | `Connect` | `Connect` | `ConnectError` | `ClientConnectorError` |
/// | `Connect` | `Tls` | `ConnectError` | `ClientConnectorSSLError`, `ClientConnectorCertificateError` |
/// | `Io` | `Write` | `WriteError` | `ClientOSError` |
/// | `Io` | `FirstByte` | `ReadError`, `RemoteProtocolError` | `ServerDisconnectedError` |
/// | `Io` | `Head` | `ReadError`, `RemoteProtocolError` | `ServerDisconnectedError` |
/// | `Io` | `Body` | `ReadError`, `RemoteProtocolError` | `ClientPayloadError` |
/// | `Protocol` | `Head` | `RemoteProtocolError` | `ClientResponseError` |
/// | `Protocol` | `Body` | `RemoteProtocolError` | `ClientPayloadError` |
/// | `Decode` | `Body` | `DecodingError` | `ContentTypeError` |
/// | `Status` | none | `HTTPStatusError` | `ClientResponseError` |
/// | `Request` | none | `InvalidURL`, `UnsupportedProtocol`, `LocalProtocolError` | `InvalidURL` |
/// | `Request` | `Write` | what the body raised | what the body raised |
/// | `Closed` | none | `RuntimeError` | `RuntimeError` |
/// | `Builder` | none | `ValueError` | `ValueError` |
///
/// aiohttp's `ServerTimeoutError` is above both of its timeouts, and
/// [`is_timeout`](Error::is_timeout) is true of all. Their `TooManyRedirects` has no counterpart:
/// redirects are not followed, and a response of 3xx is a response. The error of a WebSocket that was
/// led in circles is the `Status` of the last redirect.
#[derive(Clone)]
pub struct Error(Arc<Detail>);

struct Detail {
    kind: Kind,
    phase: Option<Phase>,
    /// What was waited for when a limit passed that is not that phase's alone.
    during: Option<Phase>,
    fate: Fate,
    cause: Cause,
    method: Option<Method>,
    url: Option<Box<str>>,
    peer: Option<SocketAddr>,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    stop: Option<StopReason>,
    attempts: Vec<AttemptRecord>,
    tried: u32,
}

enum Cause {
    None,
    Text(Cow<'static, str>),
    /// Bytes a second.
    Slow(u64),
    Fault(Fault),
    Protocol(fulmar_core::h1::Error),
    Other(Arc<dyn StdError + Send + Sync>),
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self(Arc::new(Detail {
            kind,
            phase: None,
            during: None,
            fate: Fate::NotProcessed,
            cause: Cause::None,
            method: None,
            url: None,
            peer: None,
            status: None,
            retry_after: None,
            // One that cannot be sent is not sent again either.
            stop: (kind == Kind::Request).then_some(StopReason::NotRetryable),
            attempts: Vec::new(),
            tried: 0,
        }))
    }

    /// Changes an error that was not handed out yet.
    fn edit(mut self, change: impl FnOnce(&mut Detail)) -> Self {
        if let Some(detail) = Arc::get_mut(&mut self.0) {
            change(detail);
        }
        self
    }

    pub(crate) fn because(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|detail| detail.cause = Cause::Text(text.into()))
    }

    pub(crate) fn caused_by(self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.edit(|detail| detail.cause = Cause::Other(Arc::from(error.into())))
    }

    pub(crate) fn of_body(error: Box<dyn StdError + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::new(Kind::Decode).at(Phase::Body).caused_by(error),
        }
    }

    pub(crate) fn of_fault(fault: Fault) -> Self {
        let kind = match fault.kind {
            FaultKind::TimedOut => Kind::Timeout,
            _ if fault.phase < Phase::Write => Kind::Connect,
            _ => Kind::Io,
        };
        let phase = fault.phase;
        Self::new(kind)
            .at(phase)
            .edit(|detail| detail.cause = Cause::Fault(fault))
    }

    pub(crate) fn of_protocol(cause: fulmar_core::h1::Error, phase: Phase) -> Self {
        let kind = if cause.is_eof() {
            Kind::Io
        } else {
            Kind::Protocol
        };
        Self::new(kind)
            .at(phase)
            .edit(|detail| detail.cause = Cause::Protocol(cause))
    }

    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self::new(Kind::Status)
            .because(status.to_string())
            .edit(|detail| detail.status = Some(status))
    }

    pub(crate) fn timeout(phase: Phase) -> Self {
        Self::new(Kind::Timeout).at(phase)
    }

    /// A limit that the clocks say has passed.
    pub(crate) fn expired(clocks: &Clocks, now: Instant, phase: Phase) -> Self {
        let error = Self::timeout(phase).during(clocks.phase());
        match clocks.slowness(now) {
            Some(rate) => error.edit(|detail| detail.cause = Cause::Slow(rate)),
            None => error,
        }
    }

    /// A dial that ran out of the client's own time: the system had no part in it.
    pub(crate) fn of_dial_timeout(fault: &Fault) -> Self {
        match &fault.detail {
            Some(detail) => Self::timeout(fault.phase).because(detail.to_string()),
            None => Self::timeout(fault.phase),
        }
    }

    pub(crate) fn of_kind(self, kind: Kind) -> Self {
        self.edit(|detail| detail.kind = kind)
    }

    pub(crate) fn at(self, phase: Phase) -> Self {
        self.edit(|detail| detail.phase = Some(phase))
    }

    pub(crate) fn during(self, phase: Option<Phase>) -> Self {
        self.edit(|detail| detail.during = phase)
    }

    pub(crate) fn with_fate(self, fate: Fate) -> Self {
        self.edit(|detail| detail.fate = fate)
    }

    /// Of which request. The URL is without user information.
    pub(crate) fn of_request(self, method: &Method, url: &str) -> Self {
        self.edit(|detail| {
            detail.method = Some(method.clone());
            detail.url = Some(url.into());
        })
    }

    pub(crate) fn with_url(self, url: &str) -> Self {
        self.edit(|detail| detail.url = Some(url.into()))
    }

    pub(crate) fn with_retry_after(self, wait: Option<Duration>) -> Self {
        self.edit(|detail| detail.retry_after = wait)
    }

    pub(crate) fn with_peer(self, peer: Option<&SocketAddr>) -> Self {
        self.edit(|detail| detail.peer = peer.copied())
    }

    pub(crate) fn with_history(
        self,
        tried: u32,
        attempts: &[AttemptRecord],
        stop: Option<StopReason>,
    ) -> Self {
        self.edit(|detail| {
            detail.tried = tried;
            detail.attempts = attempts.to_vec();
            detail.stop = stop;
        })
    }
}
