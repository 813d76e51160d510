//! What a server may not send, and settings that contradict each other.

use std::fmt;
use std::time::Duration;

use super::close::CloseCode;

/// What a server did that RFC 6455, RFC 7692 or a limit forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A masked frame.
    Masked,
    /// A reserved bit that no extension gives a meaning.
    ReservedBits,
    /// The bit of a compressed message on a frame that does not begin one, or without compression.
    Compressed,
    /// A reserved opcode.
    Opcode(u8),
    /// A length in a longer form than it needs.
    LengthNotMinimal,
    /// A length of 2^63 or more.
    LengthTooLong,
    /// A control frame in fragments.
    ControlFragmented,
    /// A control frame of more than 125 bytes.
    ControlTooLong,
    /// A continuation of nothing.
    Continuation,
    /// A new message within another.
    Interleaved,
    /// A Close frame of one byte.
    CloseLength,
    /// A close code that must not be sent.
    CloseCode(u16),
    /// A close reason that is not UTF-8.
    CloseReason,
    /// A text that is not UTF-8.
    Utf8,
    /// Compressed bytes that are not DEFLATE.
    Deflate,
    /// A frame beyond [`Limits::frame`](super::Limits::frame).
    FrameTooLarge,
    /// A message beyond [`Limits::message`](super::Limits::message).
    MessageTooLarge,
    /// More fragments than [`Limits::fragments`](super::Limits::fragments).
    TooManyFragments,
    /// More empty fragments in a row than the limit.
    EmptyFragments,
    /// More pings than the limit, for ten seconds.
    PingFlood,
}

impl Violation {
    /// The code of the Close frame that answers it.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 | Self::CloseReason | Self::Deflate => CloseCode::PAYLOAD,
            Self::FrameTooLarge | Self::MessageTooLarge => CloseCode::TOO_BIG,
            Self::TooManyFragments | Self::EmptyFragments | Self::PingFlood => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL,
        }
    }

    /// Whether a limit was exceeded by what is otherwise sound.
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::FrameTooLarge
                | Self::MessageTooLarge
                | Self::TooManyFragments
                | Self::EmptyFragments
                | Self::PingFlood
        )
    }

    /// The violation as a lower-case clause.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "the server masked a frame",
            Self::ReservedBits => "a reserved bit is set",
            Self::Compressed => "a frame claims to begin a compressed message",
            Self::Opcode(_) => "a reserved opcode",
            Self::LengthNotMinimal => "a frame's length is not in its shortest form",
            Self::LengthTooLong => "a frame's length exceeds 63 bits",
            Self::ControlFragmented => "a control frame is fragmented",
            Self::ControlTooLong => "a control frame is longer than 125 bytes",
            Self::Continuation => "a continuation without a message",
            Self::Interleaved => "a message begins within another",
            Self::CloseLength => "a close frame of one byte",
            Self::CloseCode(_) => "a close code that must not be sent",
            Self::CloseReason => "a close reason is not UTF-8",
            Self::Utf8 => "a text is not UTF-8",
            Self::Deflate => "a compressed message is malformed",
            Self::FrameTooLarge => "a frame is larger than its limit",
            Self::MessageTooLarge => "a message is larger than its limit",
            Self::TooManyFragments => "a message has more fragments than the limit",
            Self::EmptyFragments => "more empty fragments in a row than the limit",
            Self::PingFlood => "pings without end",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Opcode(code) => write!(f, ": {code}"),
            Self::CloseCode(code) => write!(f, ": {code}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}

/// Settings of a connection that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A ping would be sent before the one before it could be missed.
    Keepalive {
        /// The interval.
        interval: Duration,
        /// The pong timeout.
        timeout: Duration,
    },
    /// Pings would follow each other within less than a millisecond.
    TooOften(Duration),
    /// No number of missed pongs is none.
    Missed,
    /// A frame may be larger than a message.
    Limits {
        /// Bytes of a frame.
        frame: usize,
        /// Bytes of a message.
        message: usize,
    },
    /// Fragments would be empty.
    Fragment,
    /// A setting is a number that it cannot be.
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What it was set to.
        value: u8,
        /// The least that it may be.
        least: u8,
        /// The most that it may be.
        most: u8,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keepalive { interval, timeout } => write!(
                f,
                "the ping interval of {interval:?} is not longer than the pong timeout of {timeout:?}"
            ),
            Self::TooOften(interval) => {
                write!(
                    f,
                    "a ping each {interval:?} is more than one in a millisecond"
                )
            }
            Self::Missed => f.write_str("the number of missed pongs must be at least 1"),
            Self::Limits { frame, message } => write!(
                f,
                "the frame limit of {frame} bytes is larger than the message limit of {message} bytes"
            ),
            Self::Fragment => f.write_str("outgoing fragments must have at least one byte"),
            Self::OutOfRange {
                setting,
                value,
                least,
                most,
            } => write!(f, "the {setting} of {value} is not from {least} to {most}"),
        }
    }
}

impl std::error::Error for ConfigError {}
