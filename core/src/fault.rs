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
/// RFC 9110 section 9.2.2 decides from it, with the method, whether a repeat is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The origin provably did not act on it.
    NotProcessed,
    /// It may have.
    MaybeProcessed,
    /// It did: a response began.
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
