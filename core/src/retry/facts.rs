//! What a call is told: the request's traits, and how an attempt went.

use std::fmt;
use std::time::Duration;

use ::http::Method;

use crate::fault::{Fault, Phase};

/// What a method promises about repeating it.
///
/// RFC 9110 sections 9.2.1 and 9.2.2. Names are case-sensitive; an unknown method promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodClass {
    /// It only reads: `GET`, `HEAD`, `OPTIONS`, `TRACE`, `QUERY`.
    Safe,
    /// Repeating it has the effect of doing it once: `PUT`, `DELETE`.
    Idempotent,
    /// Neither.
    Unsafe,
}

impl MethodClass {
    /// The class of a method.
    pub fn of(method: &Method) -> Self {
        match method.as_str() {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" => Self::Safe,
            "PUT" | "DELETE" => Self::Idempotent,
            _ => Self::Unsafe,
        }
    }
}

/// How the body of a request can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replay {
    /// There is none.
    Empty,
    /// It is in memory.
    Bytes,
    /// It can be made anew.
    Factory,
    /// It can be read once, and what was sent is kept as far as it fits.
    Spooled,
    /// It cannot, once a byte of it was taken.
    OneShot,
}

/// What the decision needs to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the method promises.
    pub method: MethodClass,
    /// Whether it carries an `Idempotency-Key` (or `X-Idempotency-Key`).
    pub keyed: bool,
    /// Whether the user declared it idempotent.
    pub declared_idempotent: bool,
    /// How its body can be sent again.
    pub replay: Replay,
}

impl Request {
    /// A request of a method, without key, declaration or body.
    pub const fn new(method: MethodClass) -> Self {
        Self {
            method,
            keyed: false,
            declared_idempotent: false,
            replay: Replay::Empty,
        }
    }

    /// Whether a repeat is harmless even if the origin has acted on the request.
    pub const fn repeat_ok(self) -> bool {
        !matches!(self.method, MethodClass::Unsafe) || self.keyed || self.declared_idempotent
    }
}

/// How a failed attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFacts {
    /// Whether its connection had served another exchange before.
    pub reused: bool,
    /// How long that connection had been idle.
    pub idle_for: Duration,
    /// Bytes of the request that the transport took.
    pub accepted: u64,
    /// Bytes of the response that arrived, interim responses included.
    pub response_bytes: u64,
    /// Bytes of the response body that the caller got.
    pub delivered: u64,
    /// Whether a byte of the request body was taken from the user.
    pub body_pulled: bool,
    /// Whether some of a spooled body was sent that is not kept
    /// ([`Spool::is_committed`](crate::spool::Spool::is_committed)).
    pub body_committed: bool,
    /// What ended it.
    pub cause: Cause,
}

impl AttemptFacts {
    /// An attempt that ended for that cause before it had a connection.
    pub const fn new(cause: Cause) -> Self {
        Self {
            reused: false,
            idle_for: Duration::ZERO,
            accepted: 0,
            response_bytes: 0,
            delivered: 0,
            body_pulled: false,
            body_committed: false,
            cause,
        }
    }
}

/// What ended an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Something below failed, in the fault's phase.
    Fault(Fault),
    /// A clock ran out.
    Timeout(Phase),
    /// The body moved in that phase, and too slowly.
    TooSlow(Phase),
    /// The response broke the protocol or a limit.
    Protocol(Violation),
    /// The stream of a shared connection failed.
    Stream(StreamFault),
    /// Too many calls wait for a connection already.
    QueueFull,
    /// The client is shut down.
    Closed,
    /// The user's request body failed, or was not the same the second time.
    RequestBody,
    /// The response body is larger than the caller takes.
    BodyTooLarge,
}

impl Cause {
    /// The phase that failed, where the cause belongs to one.
    pub const fn phase(&self) -> Option<Phase> {
        Some(match self {
            Self::Fault(fault) => fault.phase,
            Self::Timeout(phase) | Self::TooSlow(phase) => *phase,
            Self::Protocol(Violation::Malformed | Violation::Limit | Violation::Incomplete) => {
                Phase::Head
            }
            Self::Protocol(_) | Self::BodyTooLarge => Phase::Body,
            Self::QueueFull => Phase::Pool,
            Self::RequestBody => Phase::Write,
            Self::Stream(_) | Self::Closed => return None,
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Timeout(phase) => write!(f, "{phase} timeout"),
            Self::TooSlow(phase) => write!(f, "too slow in phase {phase}"),
            Self::Protocol(violation) => violation.fmt(f),
            Self::Stream(fault) => fault.fmt(f),
            Self::QueueFull => f.write_str("too many calls wait for a connection"),
            Self::Closed => f.write_str("the client is shut down"),
            Self::RequestBody => f.write_str("the request body failed"),
            Self::BodyTooLarge => f.write_str("the response body is too large"),
        }
    }
}

/// How a response broke the protocol. The first three are of its head, the rest of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The head is malformed.
    Malformed,
    /// The head exceeds a limit.
    Limit,
    /// The stream ended before the head did; where no byte came, before the response did.
    Incomplete,
    /// A chunk or a content coding is malformed.
    BodyMalformed,
    /// The body exceeds a limit.
    BodyLimit,
    /// The stream ended before the body did.
    BodyIncomplete,
    /// The body has another digest than it should.
    Digest,
}

impl Violation {
    /// The same violation, found in the body.
    #[must_use]
    pub const fn in_body(self) -> Self {
        match self {
            Self::Malformed => Self::BodyMalformed,
            Self::Limit => Self::BodyLimit,
            Self::Incomplete => Self::BodyIncomplete,
            body => body,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed response head",
            Self::Limit => "response head beyond a limit",
            Self::Incomplete => "response ended within its head",
            Self::BodyMalformed => "malformed response body",
            Self::BodyLimit => "response body beyond a limit",
            Self::BodyIncomplete => "response ended within its body",
            Self::Digest => "response body of another digest",
        })
    }
}

/// How the stream of a shared (h2) connection failed. RFC 9113 sections 6.8, 7 and 8.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamFault {
    /// `RST_STREAM(REFUSED_STREAM)`: not processed at all.
    Refused,
    /// GOAWAY, and the stream is beyond the last that the peer looked at.
    GoAwayBeyond {
        /// Whether it was the first stream of its connection: another connection may fare alike.
        first_stream: bool,
        /// The code that came with it.
        code: GoAwayCode,
    },
    /// GOAWAY, the stream is not beyond the last, and then the connection ended.
    GoAwayWithin,
    /// The connection was lost before the stream's head went out.
    Unsent,
    /// The connection was lost without GOAWAY.
    ConnectionLost,
    /// `RST_STREAM(INTERNAL_ERROR)` or `RST_STREAM(CONNECT_ERROR)`.
    Internal,
    /// `RST_STREAM(ENHANCE_YOUR_CALM)`.
    EnhanceYourCalm,
    /// `RST_STREAM(HTTP_1_1_REQUIRED)`.
    Http11Required,
    /// `RST_STREAM` with another code, or a stream error found on this side.
    Protocol,
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "stream refused",
            Self::GoAwayBeyond { .. } => "connection going away before the stream",
            Self::GoAwayWithin => "connection went away during the stream",
            Self::Unsent => "connection lost before the stream was opened",
            Self::ConnectionLost => "connection lost",
            Self::Internal => "stream failed inside the peer",
            Self::EnhanceYourCalm => "peer asks to slow down",
            Self::Http11Required => "peer requires HTTP/1.1",
            Self::Protocol => "stream error",
        })
    }
}

/// Why a connection goes away, as far as the decision looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoAwayCode {
    /// `NO_ERROR`: an orderly end.
    NoError,
    /// `ENHANCE_YOUR_CALM`.
    EnhanceYourCalm,
    /// Any other.
    Other,
}

/// What a call is told of a response head.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadFacts {
    /// The status code.
    pub status: u16,
    /// The wait that the origin asked for, from now.
    pub retry_after: Option<Duration>,
    /// Whether the connection had served another exchange before.
    pub reused: bool,
    /// Bytes of the request that the transport took.
    pub accepted: u64,
    /// Bytes of the response that arrived, as far as its head.
    pub response_bytes: u64,
    /// Whether the request carried `Expect: 100-continue`.
    pub expected: bool,
    /// Whether a byte of the request body was taken from the user.
    pub body_pulled: bool,
    /// Whether some of a spooled body was sent that is not kept
    /// ([`Spool::is_committed`](crate::spool::Spool::is_committed)).
    pub body_committed: bool,
}

impl HeadFacts {
    /// A head with that status and nothing else of note, except that the body was taken and not kept:
    /// whoever knows better says so.
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            retry_after: None,
            reused: false,
            accepted: 0,
            response_bytes: 0,
            expected: false,
            body_pulled: true,
            body_committed: true,
        }
    }
}

/// Why a call is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// Another attempt would fail the same way, or may not be made silently.
    NotRetryable,
    /// The origin may have acted on the request, and repeating it could do harm.
    MaybeProcessed,
    /// The body cannot be sent again.
    BodyNotReplayable,
    /// All attempts are used.
    MaxAttempts,
    /// Retries to this origin are at their limit.
    BudgetEmpty,
    /// The origin asks for a longer wait than the policy allows.
    RetryAfterTooLong,
    /// The call's deadline would pass before another attempt could succeed.
    DeadlineWouldExpire,
    /// The call's deadline has passed.
    DeadlineExpired,
    /// The caller gave up.
    Cancelled,
}

impl StopReason {
    /// Whether the failure was one to retry, and retries ran out.
    pub const fn is_exhausted(self) -> bool {
        matches!(
            self,
            Self::MaxAttempts
                | Self::BudgetEmpty
                | Self::RetryAfterTooLong
                | Self::DeadlineWouldExpire
        )
    }

    /// The reason as a label for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::MaybeProcessed => "maybe_processed",
            Self::BodyNotReplayable => "body_not_replayable",
            Self::MaxAttempts => "max_attempts",
            Self::BudgetEmpty => "budget_empty",
            Self::RetryAfterTooLong => "retry_after_too_long",
            Self::DeadlineWouldExpire => "deadline_would_expire",
            Self::DeadlineExpired => "deadline_expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "not a failure to retry",
            Self::MaybeProcessed => "the request may have been processed",
            Self::BodyNotReplayable => "the request body cannot be sent again",
            Self::MaxAttempts => "all attempts are used",
            Self::BudgetEmpty => "the retry budget is empty",
            Self::RetryAfterTooLong => "the origin asks for too long a wait",
            Self::DeadlineWouldExpire => "the deadline would pass before the next attempt",
            Self::DeadlineExpired => "the deadline has passed",
            Self::Cancelled => "cancelled",
        })
    }
}
