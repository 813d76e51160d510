//! A body in one piece, and how large that may get.

use bytes::Bytes;
use fulmar_core::deadline::Reading;
use fulmar_core::fault::{Fate, Phase};

use super::{Body, Inner};
use crate::error::{Error, Kind};
use crate::url::Url;

/// What a peer's word on the length reserves at most, before it is kept.
const RESERVE_MAX: u64 = 1 << 20;

/// A body that came whole and is larger than who asks for it in one piece would have it. As a
/// stream it is one like any other.
pub(super) struct Oversized {
    pub(super) bytes: Bytes,
    max: u64,
    url: Url,
}

impl Body {
    /// A response's body that came with the head.
    #[inline]
    pub(crate) fn whole(bytes: Bytes, max: u64, url: &Url) -> Self {
        if bytes.len() as u64 > max {
            return Self::oversized(bytes, max, url.clone());
        }
        bytes.into()
    }

    #[cold]
    fn oversized(bytes: Bytes, max: u64, url: Url) -> Self {
        Self(Inner::Oversized(Box::new(Oversized { bytes, max, url })))
    }

    /// The whole rest of the body in one piece. A body in one piece already is not copied.
    ///
    /// Of a response's body it takes as much as the call may
    /// ([`max_response_body`](crate::RequestBuilder::max_response_body), 64 MiB unless set).
    ///
    /// # Errors
    ///
    /// As [`Body::chunk`]; [`Kind::BodyTooLarge`] where the body is larger. A length that the peer
    /// announced is believed at once, and nothing more is read.
    ///
    /// # Cancel safety
    ///
    /// The body is consumed: dropping the future, or an error, gives the rest up. A short rest is
    /// drained, otherwise the connection is closed.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        match self.0 {
            Inner::Bytes(bytes) => Ok(bytes),
            // Boxed, so that the future of a body that is here already is small.
            _ => Box::pin(self.gather(None)).await,
        }
    }

    /// The same, of at most `max` bytes, whatever the call may take.
    ///
    /// # Errors
    ///
    /// As [`Body::bytes`].
    ///
    /// # Cancel safety
    ///
    /// As [`Body::bytes`].
    pub async fn bytes_capped(self, max: u64) -> Result<Bytes, Error> {
        Box::pin(self.gather(Some(max))).await
    }

    /// What the call may take in one piece.
    fn max(&self) -> u64 {
        match &self.0 {
            Inner::Incoming(incoming) => incoming.max,
            Inner::Oversized(oversized) => oversized.max,
            _ => u64::MAX,
        }
    }

    async fn gather(mut self, max: Option<u64>) -> Result<Bytes, Error> {
        let max = max.unwrap_or_else(|| self.max());
        if let Some(len) = self.len().filter(|len| *len > max) {
            let why = format!("{len} bytes, where at most {max} are taken");
            return Err(self.refuse(why));
        }
        if let Inner::Incoming(incoming) = &mut self.0 {
            incoming.reading = Reading::Whole;
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let mut came = first.len() as u64;
        if came > max {
            return Err(self.refuse(more(came, max)));
        }
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let rest = self.len().unwrap_or(0).min(RESERVE_MAX) as usize;
        let mut all = Vec::new();
        let mut next = Some(second);
        while let Some(chunk) = next {
            came += chunk.len() as u64;
            if came > max {
                return Err(self.refuse(more(came, max)));
            }
            if all.is_empty() {
                all.reserve(first.len() + chunk.len() + rest);
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(all.into())
    }

    /// Gives the rest up, because it is too much.
    fn refuse(self, why: String) -> Error {
        let error = Error::new(Kind::BodyTooLarge)
            .because(why)
            .at(Phase::Body)
            .with_fate(Fate::Processed);
        match self.0 {
            Inner::Incoming(mut incoming) => incoming.refuse(error),
            Inner::Oversized(oversized) => error.with_url(oversized.url.as_str()),
            _ => error,
        }
    }
}

fn more(came: u64, max: u64) -> String {
    format!("{came} bytes and not at its end, where at most {max} are taken")
}
