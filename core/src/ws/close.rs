//! Close codes and reasons (RFC 6455 section 7.4), and how a connection ended.

use std::fmt;

use bytes::Bytes;

use super::error::Violation;
use super::frame;
use super::message::Text;
use crate::fault::FaultKind;

/// Bytes that a reason may have: a control frame's 125, less the code.
const MAX_REASON: usize = 123;

/// Why a connection closes, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server goes down, or a page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: data of a kind that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the Close frame had no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: there was no Close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that is not what it claims, such as text that is not UTF-8.
    pub const PAYLOAD: Self = Self(1007);
    /// 1008: a policy forbids it.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: an extension is missing.
    pub const EXTENSION: Self = Self(1010);
    /// 1011: the server failed.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the server restarts.
    pub const RESTART: Self = Self(1012);
    /// 1013: the server is overloaded.
    pub const TRY_AGAIN: Self = Self(1013);
    /// 1014: a gateway got an invalid answer.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: TLS failed. Never sent.
    pub const TLS: Self = Self(1015);

    /// Whether this side may send it: 1000 to 1003, 1007 to 1011, 3000 to 4999.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1011 | 3000..=4999)
    }

    /// Whether it may come in a Close frame.
    pub fn is_receivable(self) -> bool {
        frame::is_close_code(self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A Close frame cannot be sent as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseError {
    /// The code must not be sent.
    Code(CloseCode),
    /// The reason has more than 123 bytes.
    Reason(usize),
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "the close code {code} must not be sent"),
            Self::Reason(len) => {
                write!(
                    f,
                    "a close reason of {len} bytes is longer than {MAX_REASON}"
                )
            }
        }
    }
}

impl std::error::Error for CloseError {}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code; [`CloseCode::NO_STATUS`] where there was none.
    pub code: CloseCode,
    /// The reason, often empty.
    pub reason: Text,
}

impl CloseFrame {
    /// What this side may send.
    ///
    /// # Errors
    ///
    /// A code that is not [sendable](CloseCode::is_sendable), or a reason of more than 123 bytes.
    pub fn new(code: CloseCode, reason: &str) -> Result<Self, CloseError> {
        if !code.is_sendable() {
            return Err(CloseError::Code(code));
        }
        if reason.len() > MAX_REASON {
            return Err(CloseError::Reason(reason.len()));
        }
        Ok(Self::of(code, reason))
    }

    /// Of a code and a reason of this file's callers, which fit.
    pub(super) fn of(code: CloseCode, reason: &str) -> Self {
        Self {
            code,
            reason: Text::from(reason),
        }
    }

    /// Reads the payload of a Close frame.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(Self::of(CloseCode::NO_STATUS, "")),
                _ => Err(Violation::CloseLength),
            };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_receivable() {
            return Err(Violation::CloseCode(code.0));
        }
        let reason =
            Text::try_from(Bytes::copy_from_slice(reason)).map_err(|_| Violation::CloseReason)?;
        Ok(Self { code, reason })
    }

    /// The payload that says it: nothing where there is no code that may be sent.
    pub(super) fn payload(&self) -> Vec<u8> {
        if self.code == CloseCode::NO_STATUS {
            return Vec::new();
        }
        [&self.code.0.to_be_bytes(), self.reason.as_bytes()].concat()
    }
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// This side asked for it, and the server answered.
    Local,
    /// The server asked for it.
    Peer,
    /// The server ended the transport without a Close frame, or before it answered ours.
    Eof,
    /// The transport failed.
    Fault(FaultKind),
    /// The server did not answer our Close frame in time.
    CloseTimeout,
    /// The server was silent, or answered no ping.
    KeepaliveTimeout {
        /// Pings without a pong.
        missed: u32,
    },
    /// No message came for as long as [`Config::message_idle`](super::Config::message_idle).
    ReadIdle,
    /// A message began, and its rest did not come in time.
    Stalled,
    /// The server broke the protocol or a limit.
    Violation(Violation),
    /// This side did not read for too long.
    Lagged,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed by this side"),
            Self::Peer => f.write_str("closed by the server"),
            Self::Eof => f.write_str("the server ended the connection"),
            Self::Fault(kind) => f.write_str(kind.as_str()),
            Self::CloseTimeout => f.write_str("the server did not answer the close"),
            Self::KeepaliveTimeout { missed } => {
                write!(f, "the server is silent, {missed} pings unanswered")
            }
            Self::ReadIdle => f.write_str("no message within the read deadline"),
            Self::Stalled => f.write_str("the rest of a message did not come"),
            Self::Violation(violation) => violation.fmt(f),
            Self::Lagged => f.write_str("messages were not taken in time"),
        }
    }
}

/// How a connection ended. Sticky: the connection says the same ever after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code that the server sent, or that stands for what happened.
    pub code: CloseCode,
    /// The server's reason, often empty.
    pub reason: Text,
    /// Whether Close frames went both ways before the transport ended.
    pub clean: bool,
    /// What ended it.
    pub cause: Cause,
}

impl Closed {
    pub(super) fn abnormal(cause: Cause) -> Self {
        Self {
            code: CloseCode::ABNORMAL,
            reason: Text::default(),
            clean: false,
            cause,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cause, self.code)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", &*self.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for Closed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_sent_are_those_of_the_policy() {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999,
        ] {
            assert!(CloseCode(code).is_sendable(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1012, 1013, 1014, 1015, 2999, 5000] {
            let error = CloseFrame::new(CloseCode(code), "").unwrap_err();
            assert_eq!(error, CloseError::Code(CloseCode(code)));
        }
        assert!(CloseFrame::new(CloseCode::NORMAL, &"x".repeat(123)).is_ok());
        assert_eq!(
            CloseFrame::new(CloseCode::NORMAL, &"x".repeat(124)),
            Err(CloseError::Reason(124))
        );
    }

    #[test]
    fn close_frames_of_the_vectors() {
        let parse = |code: u16| CloseFrame::parse(&code.to_be_bytes());
        assert_eq!(CloseFrame::parse(b"").unwrap().code, CloseCode::NO_STATUS);
        assert_eq!(CloseFrame::parse(b"\x03"), Err(Violation::CloseLength));
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert_eq!(parse(code), Err(Violation::CloseCode(code)));
            assert_eq!(Violation::CloseCode(code).close_code(), CloseCode::PROTOCOL);
        }
        for code in [1000, 1012, 1013, 1014, 3000, 4999] {
            assert_eq!(parse(code).unwrap().code, CloseCode(code));
        }
        let bad = CloseFrame::parse(b"\x03\xe8\xff").unwrap_err();
        assert_eq!(bad.close_code(), CloseCode::PAYLOAD);
    }
}
