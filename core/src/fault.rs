//! What fails below the machines, in which phase, and what that says of the request.

use std::fmt;
use std::sync::Arc;

/// Where a call is: what it waits for, and the clock that runs meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Waiting for a connection or a free slot.
    Pool,
    /// Resolving the name.
    Dns,
    /// Opening the transport (the whole dial counts here, where no narrower phase is named).
    Connect,
    /// Opening a tunnel through a proxy.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Write,
    /// The request is sent, and no byte of the final response is there.
    FirstByte,
    /// The response head has begun and is not complete.
    Head,
    /// The response body.
    Body,
    /// One attempt as a whole, up to its complete head.
    Attempt,
    /// The call as a whole.
    Total,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = 11;

    /// Every phase, in the order in which a call meets them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Pool,
        Self::Dns,
        Self::Connect,
        Self::Proxy,
        Self::Tls,
        Self::Write,
        Self::FirstByte,
        Self::Head,
        Self::Body,
        Self::Attempt,
        Self::Total,
    ];

    /// The phase in a word or two, for messages and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Write => "write",
            Self::FirstByte => "first byte",
            Self::Head => "head",
            Self::Body => "body",
            Self::Attempt => "attempt",
            Self::Total => "total",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the origin acted on the request, as far as this side can know.
///
/// RFC 9110 section 9.2.2 decides from it, with the method, whether a repeat is safe. A call's is the
/// furthest that any of its attempts came.
///
/// | where the attempt ended | how | fate | another attempt |
/// |---|---|---|---|
/// | wait for a connection | too long, or too many wait | not | no: it would be the same wait ([`Retry::retry_pool`]) |
/// | name | there is none, or it has no address | not | no ([`Retry::retry_nxdomain`]) |
/// | name | the resolver failed or was silent | not | yes |
/// | transport | refused, unreachable, silent | not | yes |
/// | transport | this side is out of descriptors or ports | not | yes, 250 ms later at the earliest |
/// | transport | forbidden by the system, or no address at all | not | no |
/// | tunnel | the proxy said 502, 503 or 504 | not | yes |
/// | tunnel | the proxy said anything else | not | no |
/// | TLS | the connection ended or was silent, or the peer gave up for a passing reason | not | yes |
/// | TLS | its certificate, its version, or what it spoke is not acceptable | not | no |
/// | request | no byte of it was taken | not | yes |
/// | request | some of it was, then an end or silence | maybe | if harmless |
/// | wait for the head | an end, or silence | maybe | if harmless |
/// | head | an end or silence within it | maybe | if harmless |
/// | head | malformed, or beyond a limit | maybe | no |
/// | body | an end or silence before the caller had any of the response | processed | if it only reads |
/// | body | the same later | processed | no: nobody is given the same part twice |
/// | body | malformed, or beyond a limit | processed | no |
/// | anywhere | slower than the least speed | as far as it came | no |
/// | anywhere | the caller's: its deadline, its body, its shutdown | as far as it came | no |
///
/// "If harmless" is for methods that are idempotent (`GET`, `HEAD`, `OPTIONS`, `TRACE`, `QUERY`,
/// `PUT`, `DELETE`), requests with an idempotency key, and those that the caller declared so; "yes" is
/// for any, `POST` without a key included. All of it as long as the body can be sent again, and
/// attempts, time and the retry budget last. Where a connection that had served before ends without a
/// byte of a response, it was stale: then the next attempt is at once and free, twice in a call at
/// most. A client that hands out the head as soon as it is there has given a part of the response.
///
/// A status can disclaim as well: after 408, 421, 425, 429, 417 to a request that expected, and 503
/// that says when to come again, the request was not processed; after 409 to one with a key, 502, 503
/// and 504 it may have been. That holds where the body of such a response fails, too.
///
/// [`Retry::retry_pool`]: crate::retry::Retry::retry_pool
/// [`Retry::retry_nxdomain`]: crate::retry::Retry::retry_nxdomain
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The origin provably did not act on it: sending it again cannot do it twice.
    NotProcessed,
    /// It may have: a byte of the request left, and nothing tells what became of it.
    MaybeProcessed,
    /// It did: it answered.
    Processed,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotProcessed => "not processed",
            Self::MaybeProcessed => "maybe processed",
            Self::Processed => "processed",
        })
    }
}

/// What kind of thing failed below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The name does not exist, or has no address (NXDOMAIN, NODATA).
    NameNotFound,
    /// The resolver failed (SERVFAIL, no answer): another time it may not.
    NameFailed,
    /// Nobody listens there.
    Refused,
    /// No route to the host or its network.
    Unreachable,
    /// The system gave up waiting for the peer.
    TimedOut,
    /// This process or system is out of descriptors or buffers (`EMFILE`, `ENFILE`, `ENOBUFS`).
    OutOfDescriptors,
    /// No local address or port is free (`EADDRNOTAVAIL`).
    AddressExhausted,
    /// The system forbids it (`EACCES`, `EPERM`).
    Forbidden,
    /// The address cannot be connected to at all.
    InvalidAddress,
    /// The peer ended the stream before its message did.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// The stream was closed for writing.
    BrokenPipe,
    /// The connection was aborted locally.
    Aborted,
    /// The certificate is invalid, expired, of another name, or not the pinned one.
    Certificate,
    /// The handshake cannot succeed: no common version or cipher, or a fatal alert.
    Handshake,
    /// The peer gave up the handshake for a passing reason (`internal_error`, `user_canceled`).
    HandshakeAborted,
    /// A TLS record was malformed or failed authentication.
    Record,
    /// A tunnel was refused for a passing reason (502, 503, 504).
    TunnelUnavailable,
    /// A tunnel was refused.
    TunnelRefused,
    /// The async runtime that drove the connection is gone.
    RuntimeGone,
    /// Something else.
    Other,
}

impl FaultKind {
    /// The kind as a lower-case clause.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NameNotFound => "no such host",
            Self::NameFailed => "name resolution failed",
            Self::Refused => "connection refused",
            Self::Unreachable => "host or network unreachable",
            Self::TimedOut => "timed out by the system",
            Self::OutOfDescriptors => "out of file descriptors or socket buffers",
            Self::AddressExhausted => "no free local address or port",
            Self::Forbidden => "not permitted by the system",
            Self::InvalidAddress => "not an address to connect to",
            Self::Eof => "connection closed by the peer",
            Self::Reset => "connection reset by the peer",
            Self::BrokenPipe => "connection closed for writing",
            Self::Aborted => "connection aborted",
            Self::Certificate => "certificate rejected",
            Self::Handshake => "handshake failed",
            Self::HandshakeAborted => "handshake given up by the peer",
            Self::Record => "malformed record",
            Self::TunnelUnavailable => "tunnel unavailable at the proxy",
            Self::TunnelRefused => "tunnel refused by the proxy",
            Self::RuntimeGone => "the runtime that drove the connection is gone",
            Self::Other => "input/output failure",
        }
    }
}

/// A failure below the machines: what the transport, the resolver or the system said, and when.
///
/// The adapter turns what it got into one of these, once; everything above decides from the kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What failed.
    pub kind: FaultKind,
    /// What was being waited for.
    pub phase: Phase,
    /// The system's error number, where there was one.
    pub code: Option<i32>,
    /// What the layer below said, where that adds to the kind.
    pub detail: Option<Arc<str>>,
}

impl Fault {
    /// A fault without the system's word on it.
    pub const fn new(kind: FaultKind, phase: Phase) -> Self {
        Self {
            kind,
            phase,
            code: None,
            detail: None,
        }
    }

    /// The same fault, seen in another phase.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// The same fault with the lower layer's own words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(code) = self.code {
            write!(f, " (os error {code})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
