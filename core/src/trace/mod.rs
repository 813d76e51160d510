//! What happened, in order: events as plain data, and a bounded ring that keeps the last of them.
//!
//! An event is made where something happens and formatted only where it is shown. With tracing off
//! nothing is made at all: the client holds an `Option<Box<Ring>>`, and asks that one branch first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Method;

use crate::fault::{Fate, Fault, Phase};

mod display;
mod ring;

pub use ring::{Record, Ring};

/// One thing that happened to a call, or in the pool.
///
/// Its `Display` is one line, whatever it quotes: control characters in what a peer or the system
/// said become blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A call began.
    CallStarted {
        /// The request's method.
        method: Method,
        /// The request's URL, without credentials.
        url: Arc<str>,
    },
    /// An attempt began.
    AttemptStarted {
        /// Its number; the first is 1.
        attempt: u32,
    },
    /// The call waits in the pool: no connection is idle, and none may be opened for it now.
    Waiting,
    /// The pool opens a connection for the call.
    DialStarted,
    /// The name was resolved, wholly or for one address family.
    Resolved {
        /// How many addresses the answer had.
        addresses: u16,
    },
    /// A connection to one address began.
    Connecting {
        /// The address.
        addr: SocketAddr,
    },
    /// A connection to one address failed; the dial may go on with others.
    ConnectFailed {
        /// The address.
        addr: SocketAddr,
        /// What failed.
        fault: Fault,
    },
    /// The transport is open.
    Connected {
        /// The connection's number, unique within the client.
        connection: u64,
        /// Where it leads, if that is an internet address.
        peer: Option<SocketAddr>,
    },
    /// The TLS handshake is complete.
    TlsDone {
        /// The connection's number.
        connection: u64,
        /// The application protocol agreed on.
        alpn: Option<Arc<str>>,
    },
    /// No connection could be opened.
    DialFailed {
        /// The most telling of the failures.
        fault: Fault,
    },
    /// The call got a connection.
    Leased {
        /// The connection's number.
        connection: u64,
        /// Whether it has served an exchange before.
        reused: bool,
        /// How long it was idle, zero for a new one.
        idle_for: Duration,
    },
    /// The last byte of the request was accepted by the transport.
    RequestWritten {
        /// Bytes of the request, head and body.
        bytes: u64,
    },
    /// An interim response came.
    Informational {
        /// Its status, 100 to 199.
        status: u16,
    },
    /// The head of the final response is complete.
    HeadReceived {
        /// Its status.
        status: u16,
    },
    /// An attempt failed, or its response is to be retried.
    AttemptFailed {
        /// Its number.
        attempt: u32,
        /// Where it was.
        phase: Phase,
        /// Whether the origin acted on it.
        fate: Fate,
        /// What went wrong, as a clause.
        cause: Arc<str>,
    },
    /// Another attempt will follow.
    RetryScheduled {
        /// The number of the attempt that will follow.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
        /// Which rule asked for it.
        reason: &'static str,
        /// Whether it is free of charge: it costs neither an attempt nor budget.
        transparent: bool,
    },
    /// The response body is complete.
    BodyEnded {
        /// Bytes of the body as they came.
        bytes: u64,
    },
    /// A connection went idle.
    Parked {
        /// The connection's number.
        connection: u64,
    },
    /// A connection was closed after use.
    Closed {
        /// The connection's number.
        connection: u64,
        /// Why it serves no other exchange.
        why: &'static str,
    },
    /// An idle connection was closed.
    Evicted {
        /// The connection's number.
        connection: u64,
        /// Why it was not kept.
        why: &'static str,
    },
    /// A call ended.
    CallEnded {
        /// How.
        outcome: Outcome,
        /// Its whole duration.
        elapsed: Duration,
        /// How many attempts it took.
        attempts: u32,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// With a response of this status.
    Status(u16),
    /// With an error.
    Failed {
        /// Where the call was.
        phase: Phase,
        /// Whether the origin acted on it.
        fate: Fate,
    },
    /// The caller gave it up: neither a success nor an error.
    Cancelled,
    /// Its deadline passed.
    Deadline,
}

impl Event {
    /// The kind of event in a word, as a label for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CallStarted { .. } => "call_started",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::Waiting => "waiting",
            Self::DialStarted => "dial_started",
            Self::Resolved { .. } => "resolved",
            Self::Connecting { .. } => "connecting",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::Connected { .. } => "connected",
            Self::TlsDone { .. } => "tls_done",
            Self::DialFailed { .. } => "dial_failed",
            Self::Leased { .. } => "leased",
            Self::RequestWritten { .. } => "request_written",
            Self::Informational { .. } => "informational",
            Self::HeadReceived { .. } => "head_received",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::BodyEnded { .. } => "body_ended",
            Self::Parked { .. } => "parked",
            Self::Closed { .. } => "closed",
            Self::Evicted { .. } => "evicted",
            Self::CallEnded { .. } => "call_ended",
        }
    }
}
