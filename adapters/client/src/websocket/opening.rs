//! The handshake: a request like any other, until its 101. Redirects are followed, and what else
//! the server may answer is told in two ways: to the application, and to a session's machine.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::retry::parse_retry_after;
use fulmar_core::session::ConnectFailure;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Config, Handshake, HandshakeAction, HandshakeError, MAX_REDIRECTS, Negotiated, Offer,
    is_redirect_allowed,
};

use super::builder::WebSocketBuilder;
use super::cap::Pass;
use super::refused::Refused;
use super::transport::Transport;
use crate::alarm::Alarm;
use crate::error::{Error, Kind};
use crate::net::Net;
use crate::request::RequestBuilder;
use crate::response::Response;
use crate::shared::Shared;

/// What is kept of the body of a refusal, and how long it is waited for: the status is known, and a
/// session has to go on.
const BODY_MAX: usize = 16 * 1024;
const BODY_TIME: Duration = Duration::from_secs(5);

/// A connection that switched protocols, and what was agreed on.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) negotiated: Negotiated,
    pub(crate) transport: Transport,
}

/// Why there is none: for the application, and for the machine of a session.
pub(crate) struct OpenError {
    pub(crate) error: Error,
    pub(crate) failure: ConnectFailure,
}

impl OpenError {
    /// The request cannot be sent as it is.
    pub(crate) fn invalid(
        kind: Kind,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::from(Error::new(kind).caused_by(error))
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        let phase = error.phase().unwrap_or(Phase::Connect);
        let fault = |kind| Fault::new(kind, phase).with_detail(error.to_string());
        let failure = match (error.kind(), error.fault()) {
            (Kind::Builder | Kind::Request, _) => ConnectFailure::Invalid,
            (_, Some(known)) => ConnectFailure::Fault(known.clone()),
            (Kind::Timeout, _) => ConnectFailure::Fault(fault(FaultKind::TimedOut)),
            (Kind::Closed, _) => ConnectFailure::Fault(fault(FaultKind::Aborted)),
            _ => ConnectFailure::Fault(fault(FaultKind::Other)),
        };
        Self { error, failure }
    }
}

impl WebSocketBuilder {
    /// Gets a connection and upgrades it.
    pub(crate) async fn open(self) -> Result<Opened, OpenError> {
        let Self {
            request,
            config,
            protocols,
            handshakes,
        } = self;
        let mut request = request.log_in();
        config
            .validate()
            .map_err(|error| OpenError::invalid(Kind::Builder, error))?;
        let shared = request.shared().clone();
        let mut redirects = 0;
        loop {
            let offer = Offer {
                protocols: protocols.clone(),
                compression: config.offered_compression(),
            };
            let handshake = shared.locked(|state| Handshake::new(offer, &mut state.rng));
            let handshake = handshake.map_err(|error| OpenError::invalid(Kind::Request, error))?;
            let pass = enter(&mut request, &shared).await?;
            let turns = take_turns(&request, &shared).await?;
            let sending = request.again().handshake(|fields| handshake.write(fields));
            let response = sending.send().await?;
            drop(turns);
            match handshake.verify(response.head()) {
                Ok(negotiated) => {
                    let missing = response.error(Error::new(Kind::Io));
                    let parts = response.upgrade().await?.into_parts();
                    let (h1, shared) = parts.ok_or(missing)?;
                    let transport = Transport { h1, shared, pass };
                    return Ok(Opened {
                        config,
                        negotiated,
                        transport,
                    });
                }
                Err(HandshakeError::Status(status)) => {
                    let is_redirect = handshakes.action(status) == HandshakeAction::Redirect;
                    redirects += 1;
                    let next = is_redirect.then(|| follow(&request, &response, redirects));
                    match next.flatten() {
                        Some(next) => request = next,
                        None => return Err(refused(response, is_redirect, &shared).await),
                    }
                }
                Err(error) => return Err(mangled(&response, error)),
            }
        }
    }
}

/// Waits for a pass; the whole opening has one deadline.
async fn enter(request: &mut RequestBuilder, shared: &Arc<Shared>) -> Result<Pass, Error> {
    let now = shared.net.now();
    let (origin, timeouts, deadline) = request.bounds()?;
    let total = timeouts.total.map(|total| now + total);
    let deadline = total.into_iter().chain(deadline).min();
    request.set_deadline(deadline);
    let limit = match timeouts.pool.map(|pool| now + pool) {
        Some(pool) if deadline.is_none_or(|deadline| pool < deadline) => (pool, Phase::Pool),
        _ => (deadline.unwrap_or(Instant::MAX), Phase::Total),
    };
    let entered = shared.websockets.enter(shared, &origin, limit).await;
    entered.map_err(|error| request.unsent(error))
}

/// RFC 6455 section 4.1, step 2: handshakes with one address follow each other, whatever its names.
/// Who waits for an address has his origin's turn, which those who have that need no more.
async fn take_turns(
    request: &RequestBuilder,
    shared: &Arc<Shared>,
) -> Result<(Pass, Option<Pass>), Error> {
    let (origin, _, deadline) = request.bounds()?;
    let limit = (deadline.unwrap_or(Instant::MAX), Phase::Total);
    let enter = async |key: &str| {
        let entered = shared.handshakes.enter(shared, key, limit).await;
        entered.map_err(|error| request.unsent(error))
    };
    let of_origin = enter(&origin).await?;
    // Before it was looked up, each name counts as a server of its own.
    let of_address = match request.address() {
        Some(addr) => Some(enter(&addr.to_string()).await?),
        None => None,
    };
    Ok((of_origin, of_address))
}

/// The request to where the response sends it, unless it may not go there. RFC 6455 section 4.1
/// lets a client follow.
fn follow(request: &RequestBuilder, response: &Response, redirects: u32) -> Option<RequestBuilder> {
    if redirects > MAX_REDIRECTS {
        return None;
    }
    let mut locations = response.head().fields().filter_map(|(name, value)| {
        let is_location = name.eq_ignore_ascii_case(b"location");
        is_location.then_some(value)
    });
    let location = locations.next()?;
    // Several that differ say nothing.
    if locations.any(|other| other != location) {
        return None;
    }
    let from = response.url();
    let to = from
        .join_websocket(std::str::from_utf8(location).ok()?)
        .ok()?;
    if !is_redirect_allowed(from.is_secure(), to.scheme().as_str()) {
        return None;
    }
    request.redirected(to)
}

fn mangled(response: &Response, error: HandshakeError) -> OpenError {
    let failure = ConnectFailure::Handshake {
        error,
        through_proxy: false,
    };
    let error = Error::new(Kind::Protocol).at(Phase::Head).caused_by(error);
    OpenError {
        error: response.error(error),
        failure,
    }
}

/// The server said something else than 101, and perhaps why.
async fn refused(mut response: Response, is_redirect: bool, shared: &Shared) -> OpenError {
    let status = response.status();
    let fields = response.head().fields();
    let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"retry-after"));
    let retry_after = parse_retry_after(
        values.map(|(_, value)| value),
        response.header("date"),
        shared.net.wall(),
    );
    let error = Error::of_status(status).with_retry_after(retry_after);
    let error = response.error(error);
    let failure = if is_redirect {
        ConnectFailure::Redirect
    } else {
        ConnectFailure::Status {
            status: status.as_u16(),
            retry_after,
        }
    };
    let headers = response.headers().clone();
    let body = read_some(&mut response, &*shared.net).await;
    OpenError {
        error: error.caused_by(Refused::new(status, headers, body)),
        failure,
    }
}

/// The beginning of a body. Where it fails, the status is news enough.
async fn read_some(response: &mut Response, net: &dyn Net) -> Bytes {
    let until = net.now() + BODY_TIME;
    let mut alarm = Alarm::new();
    let mut body = BytesMut::new();
    while body.len() < BODY_MAX {
        let mut chunk = pin!(response.chunk());
        let piece = poll_fn(|cx| match chunk.as_mut().poll(cx) {
            Poll::Ready(chunk) => Poll::Ready(chunk.ok().flatten()),
            Poll::Pending => alarm.poll_until(cx, net, until).map(|()| None),
        });
        let Some(piece) = piece.await else { break };
        let room = BODY_MAX - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    body.freeze()
}
