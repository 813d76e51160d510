//! What a connection tells, and where it stands.

use std::fmt;
use std::time::Duration;

use super::keepalive::PingId;
use super::message::Message;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Message),
    /// The answer to a ping, and by it to all pings before.
    Pong {
        /// The last ping that it answers.
        id: PingId,
        /// How long that took.
        rtt: Duration,
        /// What [`Connection::written`](super::Connection::written) said when the last of them was sent: the server has read
        /// all of that.
        written: u64,
    },
}

const _: () = assert!(size_of::<Event>() <= 40);

/// Why a message was not taken. It is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Enough waits to be written already: once it is, [`Connection::is_ready`](super::Connection::is_ready).
    Full(Message),
    /// The connection closes or is closed.
    Closed(Message),
}

impl SendError {
    /// The message.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "messages wait to be written",
            Self::Closed(_) => "the connection is closed",
        })
    }
}

impl std::error::Error for SendError {}

/// Where the closing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not begun.
    Open,
    /// This side asked for it and waits for the answer.
    LocalClosing,
    /// The server asked for it, or answered, and our Close frame is not written yet.
    RemoteClosing,
    /// Both Close frames were sent; the server ends the transport, or this side soon does.
    WaitEof,
    /// The transport is to be dropped.
    Closed,
}
