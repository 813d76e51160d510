//! What a session tells, and what it asks its driver to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::close_table::Pace;
use super::outgoing::{DropReason, MessageId, Receipt};
use crate::fault::{Fault, Phase};
use crate::ws::{CloseCode, Closed, HandshakeError};

/// Why a connection was lost, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// An open connection ended.
    Closed(Arc<Closed>),
    /// The server answered the handshake with another status.
    Status(u16),
    /// The answer to the handshake was no valid one.
    Handshake(HandshakeError),
    /// There was no connection to shake hands on.
    Fault(Fault),
    /// Redirects led nowhere that may be followed.
    Redirect,
    /// The URL, a header or a setting makes a connection impossible.
    Invalid,
    /// The application did not finish the resync in time.
    ResyncTimeout,
}

impl Loss {
    /// The close code: the server's, or the one that stands for what happened (RFC 6455 section
    /// 7.1.5): 1015 where TLS failed, 1006 where there was no connection for another reason.
    pub fn code(&self) -> CloseCode {
        match self {
            Self::Closed(closed) => closed.code,
            Self::Fault(fault) if fault.phase == Phase::Tls => CloseCode::TLS,
            _ => CloseCode::ABNORMAL,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::Status(status) => write!(f, "the server answered with status {status}"),
            Self::Handshake(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Redirect => f.write_str("the redirects cannot be followed"),
            Self::Invalid => f.write_str("the request cannot be sent"),
            Self::ResyncTimeout => f.write_str("the resync was not finished in time"),
        }
    }
}

/// Why a session stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The application closed it.
    Closed,
    /// The server ended it as it should.
    Ended(CloseCode),
    /// Trying again would not help.
    Fatal(Loss),
    /// It tried as often, or for as long, as it may.
    Exhausted {
        /// Attempts since the last stable connection.
        attempts: u32,
        /// The last failure.
        last: Loss,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the session was closed"),
            Self::Ended(code) => write!(f, "the server ended the session ({code})"),
            Self::Fatal(loss) => loss.fmt(f),
            Self::Exhausted { attempts, last } => {
                write!(f, "given up after {attempts} attempts: {last}")
            }
        }
    }
}

impl std::error::Error for StopReason {}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection opened.
    Opened {
        /// Which one, from 1.
        epoch: u32,
        /// How long there was none.
        downtime: Duration,
    },
    /// The application is to bring the server's view of it up to date with
    /// [`Session::resync_send`](super::Session::resync_send), and then to call
    /// [`Session::resync_done`](super::Session::resync_done).
    Resync {
        /// Which connection, from 1.
        epoch: u32,
        /// How the one before it was lost.
        previous: Option<Loss>,
        /// What the application last named to [`Session::saw`](super::Session::saw).
        last_seen: Option<u64>,
        /// Messages that were sent on the one before, and may not have been read.
        lost: Vec<MessageId>,
    },
    /// A message came that far.
    Receipt {
        /// The message.
        id: MessageId,
        /// How far.
        receipt: Receipt,
    },
    /// A message will not be sent, or not again.
    Dropped {
        /// The message.
        id: MessageId,
        /// Why.
        reason: DropReason,
    },
    /// A message that was sent on the connection before is sent once more.
    Redelivered {
        /// The message.
        id: MessageId,
        /// For which time: 1 for the first.
        count: u32,
    },
    /// A connection was lost, or could not be had.
    Lost {
        /// Why.
        loss: Loss,
        /// How long it was open.
        uptime: Duration,
        /// Its last round-trip time.
        rtt: Option<Duration>,
        /// Bytes of its frames that were read.
        received: u64,
        /// Bytes of frames that its transport took.
        sent: u64,
    },
    /// The connection that was just lost had been silent before, and for so long that it may have
    /// been cut for that: by the server, or by something on the way whose idle limit is shorter than
    /// the keepalive interval. It may be chance; told again and again, with about the same time, it is
    /// not.
    ///
    /// Choose [`Keepalive::every`](crate::ws::Keepalive::every) a bit below the shortest idle limit on
    /// the way: 60 s of AWS's ALB and of nginx, 100 s of Cloudflare, 4 min of Azure's load balancer,
    /// 30 s of some proxies.
    CutWhileSilent {
        /// How long nothing had come, and no message had gone.
        silent: Duration,
        /// The keepalive interval; `None` where it is off.
        interval: Option<Duration>,
    },
    /// The session waits before it connects again.
    Backoff {
        /// How long.
        delay: Duration,
        /// Which attempt follows, counted from the last stable connection.
        attempt: u32,
        /// Which rule the delay was drawn by.
        pace: Pace,
        /// What the server asked for, where it did: the delay is at least that.
        retry_after: Option<Duration>,
        /// How long there has been no connection.
        downtime: Duration,
    },
    /// The application does not take its messages: the socket is not read.
    Paused,
    /// The socket is read again.
    Resumed,
    /// The session has ended. What was not sent is in
    /// [`Session::take_unsent`](super::Session::take_unsent).
    Stopped {
        /// Why.
        reason: StopReason,
        /// How many messages that are.
        unsent: usize,
    },
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Get a connection: URL, headers and token are asked for anew. Tell
    /// [`Session::handle_connected`](super::Session::handle_connected) or
    /// [`Session::handle_connect_failed`](super::Session::handle_connect_failed).
    Connect(Connect),
    /// Drop the transport, or the attempt to get one.
    Disconnect,
}

/// How to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Which attempt since the last stable connection; 0 for the first of all.
    pub attempt: u32,
    /// The credentials of the last attempt were refused.
    pub refresh_auth: bool,
    /// Not over a connection that has served before.
    pub fresh: bool,
    /// Not to the address of the last connection, where the host has another.
    pub elsewhere: bool,
}
