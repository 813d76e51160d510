//! The one error type: what failed, when, and what that says of the request.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use fulmar_core::call::AttemptRecord;
use fulmar_core::deadline::Clocks;
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::StopReason;
use fulmar_core::time::Instant;
use http::StatusCode;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The client was configured with settings that contradict each other.
    Builder,
    /// The request cannot be sent as it is: its URL, a header, its body.
    Request,
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
            Self::Connect => "cannot connect",
            Self::Timeout => "timed out",
            Self::PoolFull => "too many requests wait for a connection",
            Self::Io => "connection failed",
            Self::Protocol => "invalid response",
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
#[derive(Clone)]
pub struct Error(Arc<Detail>);

struct Detail {
    kind: Kind,
    phase: Option<Phase>,
    fate: Fate,
    cause: Cause,
    url: Option<Box<str>>,
    peer: Option<SocketAddr>,
    status: Option<StatusCode>,
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
            fate: Fate::NotProcessed,
            cause: Cause::None,
            url: None,
            peer: None,
            status: None,
            stop: None,
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
        match clocks.slowness(now) {
            Some(rate) => Self::timeout(phase).edit(|detail| detail.cause = Cause::Slow(rate)),
            None => Self::timeout(phase),
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

    pub(crate) fn with_fate(self, fate: Fate) -> Self {
        self.edit(|detail| detail.fate = fate)
    }

    pub(crate) fn with_url(self, url: &str) -> Self {
        self.edit(|detail| detail.url = Some(url.into()))
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

    /// The leaf cause alone.
    pub(crate) fn leaf(&self) -> String {
        match &self.0.cause {
            Cause::None => self.0.kind.as_str().to_owned(),
            Cause::Text(text) => text.to_string(),
            Cause::Slow(rate) => too_slow(*rate),
            Cause::Fault(fault) => fault.to_string(),
            Cause::Protocol(error) => error.to_string(),
            Cause::Other(error) => error.to_string(),
        }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the call was waiting for when it failed, or the limit that passed
    /// ([`Phase::Total`] for the deadline); `None` where it never began.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Whether the origin acted on the request, in any of its attempts, as far as this side can know.
    /// [`Fate`] has the table of which failure says what.
    ///
    /// ```
    /// # use fulmar::{Client, Error, Fate};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// if let Err(error) = client.post("http://api.test/orders").body("one").send().await {
    ///     match error.fate() {
    ///         Fate::NotProcessed => println!("not ordered: {error}"),
    ///         // To order again might order twice.
    ///         Fate::MaybeProcessed => println!("look whether it is there: {error}"),
    ///         Fate::Processed => println!("ordered, and the answer is lost: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// The attempts that failed, oldest first; of many, the first 4 and the last 12.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.0.attempts
    }

    /// How many attempts were made, transparent ones included.
    pub fn tries(&self) -> u32 {
        self.0.tried
    }

    /// Whether another attempt would have been made, had attempts, budget and time allowed.
    pub fn retry_exhausted(&self) -> bool {
        self.0.stop.is_some_and(StopReason::is_exhausted)
    }

    /// Why there was no further attempt.
    pub fn retry_stop_reason(&self) -> Option<StopReason> {
        self.0.stop
    }

    /// Whether a timeout or the deadline passed.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// Whether the overall deadline passed: the caller's, not a phase's.
    pub fn is_deadline(&self) -> bool {
        self.is_timeout() && self.0.phase == Some(Phase::Total)
    }

    /// Bytes a second, where a body moved more slowly than
    /// [`Timeouts::min_speed`](fulmar_core::deadline::Timeouts::min_speed) asks for.
    pub fn too_slow(&self) -> Option<u64> {
        match self.0.cause {
            Cause::Slow(rate) => Some(rate),
            _ => None,
        }
    }

    /// Whether no connection could be made (timeouts of the dial included).
    pub fn is_connect(&self) -> bool {
        let dialling = |phase| (Phase::Dns..=Phase::Tls).contains(&phase);
        self.0.kind == Kind::Connect || self.0.phase.is_some_and(dialling)
    }

    /// Whether the client's settings contradict each other.
    pub fn is_builder(&self) -> bool {
        self.0.kind == Kind::Builder
    }

    /// Whether the request cannot be sent as it is.
    pub fn is_request(&self) -> bool {
        self.0.kind == Kind::Request
    }

    /// Whether the response's body failed, by the connection, a timeout or its framing.
    pub fn is_body(&self) -> bool {
        self.0.phase == Some(Phase::Body) && self.0.kind != Kind::Decode
    }

    /// Whether the body came whole and is not what the caller asked for.
    pub fn is_decode(&self) -> bool {
        self.0.kind == Kind::Decode
    }

    /// Whether it is a status that the caller asked to be an error; [`Error::status`] has it.
    pub fn is_status(&self) -> bool {
        self.0.kind == Kind::Status
    }

    /// The status that is the error.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Whether the client was shut down.
    pub fn is_closed(&self) -> bool {
        self.0.kind == Kind::Closed
    }

    /// The URL of the request, without user information.
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The peer of the connection that failed.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// The failure below, where it was one.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.0.cause {
            Cause::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

fn too_slow(rate: u64) -> String {
    format!("too slow, {rate} bytes/s")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &*self.0;
        f.write_str(detail.kind.as_str())?;
        if let Some(phase) = detail.phase {
            write!(f, " in phase {phase}")?;
        }
        match &detail.cause {
            Cause::None => {}
            Cause::Text(text) => write!(f, ": {text}")?,
            Cause::Slow(rate) => write!(f, ": {}", too_slow(*rate))?,
            Cause::Fault(fault) => write!(f, ": {fault}")?,
            Cause::Protocol(error) => write!(f, ": {error}")?,
            Cause::Other(error) => write!(f, ": {error}")?,
        }
        if detail.phase.is_some() {
            write!(f, "; request {}", detail.fate)?;
        }
        match (detail.stop, detail.tried) {
            (Some(stop), 2..) => write!(f, " after {} attempts ({stop})", detail.tried)?,
            // What ended it is worth a word only where it could have gone on.
            (Some(stop), 1) if stop.is_exhausted() => write!(f, " after 1 attempt ({stop})")?,
            _ => {}
        }
        if let Some(url) = &detail.url {
            write!(f, " [{url}]")?;
        }
        if f.alternate() {
            for attempt in &detail.attempts {
                write!(f, "\n  {attempt}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("phase", &self.0.phase)
            .field("fate", &self.0.fate)
            .field("message", &format_args!("{self}"))
            .field("attempts", &self.0.attempts)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.cause {
            Cause::None | Cause::Text(_) | Cause::Slow(_) => None,
            Cause::Fault(fault) => Some(fault),
            Cause::Protocol(error) => Some(error),
            Cause::Other(error) => Some(&**error),
        }
    }
}
