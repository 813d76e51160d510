//! What a server answered that opened no WebSocket.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// A response to a handshake with another status than 101.
///
/// It is the [source](std::error::Error::source) of the error of
/// [`connect`](super::WebSocketBuilder::connect); [`Refused::of`] finds it there.
#[derive(Clone, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Refused {
    pub(super) fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }

    /// The response behind an error, where there is one.
    pub fn of(error: &crate::Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The header fields: `WWW-Authenticate`, `Location`, `Retry-After` among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body, of which the first 16 KiB are kept, as far as they came within 5 s.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.fmt(f)
    }
}

/// Header values are not shown: some are secrets.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("status", &self.status)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Refused {}
