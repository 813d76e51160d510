//! The response to a call.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "json")]
use fulmar_core::fault::Phase;
use fulmar_core::http::ResponseHead;
use fulmar_core::retry::StopReason;
use http::{HeaderMap, StatusCode, Version};

use crate::body::Body;
use crate::error::{Error, Kind};
use crate::summary::Summary;
use crate::upgraded::Upgraded;
use crate::url::Url;

/// A response: its head, and its body where it has not been read yet.
///
/// A small body that came with the head is here already, and its connection is back in the pool.
/// Otherwise the body holds the connection: read it to its end, or drop the response, which drains a
/// short rest and closes what is longer. A status of 4xx or 5xx is a response like any other until
/// [`Response::error_for_status`] is asked.
pub struct Response {
    head: ResponseHead,
    headers: OnceLock<HeaderMap>,
    body: Body,
    url: Url,
    summary: Summary,
}

impl Response {
    pub(crate) fn new(head: ResponseHead, body: Body, url: Url, summary: Summary) -> Self {
        Self {
            head,
            headers: OnceLock::new(),
            body,
            url,
            summary,
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// The protocol version that the peer spoke.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The header fields as a map, built when first asked for.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| self.head.to_header_map())
    }

    /// The first field of that name (in any case), without building the map.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// The URL that was asked.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The peer's address, where the transport has one.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.summary.peer.as_deref().copied()
    }

    /// The rest of the body in bytes, where it is known before the end.
    pub fn content_length(&self) -> Option<u64> {
        self.body.len()
    }

    /// Time from the first poll of the call to the response's head.
    pub fn elapsed(&self) -> Duration {
        self.summary.elapsed()
    }

    /// How many attempts it took; 1 where the first succeeded.
    pub fn attempts(&self) -> u32 {
        self.summary.attempts
    }

    /// Whether the connection had served another request before.
    pub fn is_reused(&self) -> bool {
        self.summary.reused
    }

    /// Whether the status would have been retried, had attempts, budget and time allowed.
    pub fn retry_exhausted(&self) -> bool {
        self.summary.stop.is_some_and(StopReason::is_exhausted)
    }

    /// Why a status that failed was not retried again.
    pub fn retry_stop_reason(&self) -> Option<StopReason> {
        self.summary.stop
    }

    /// The response, unless its status is 4xx or 5xx.
    ///
    /// # Errors
    ///
    /// `Kind::Status` for 4xx and 5xx.
    pub fn error_for_status(self) -> Result<Self, Error> {
        self.error_for_status_ref()?;
        Ok(self)
    }

    /// The same, with the response left as it is.
    ///
    /// # Errors
    ///
    /// `Kind::Status` for 4xx and 5xx.
    pub fn error_for_status_ref(&self) -> Result<&Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            let error = Error::of_status(status).with_retry_after(self.summary.retry_after());
            return Err(self.error(error));
        }
        Ok(self)
    }

    /// An error, with what is known of the call.
    pub(crate) fn error(&self, error: Error) -> Error {
        self.summary.error(&self.url, error)
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The next chunk of the body as it arrives, `None` at its end.
    ///
    /// # Errors
    ///
    /// `Kind::Io` where the connection fails before the body's end, `Kind::Timeout` where no byte
    /// comes for the between-bytes timeout or the deadline passes, `Kind::Protocol` where the
    /// framing is broken. Errors are sticky.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call goes on where this one stopped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }

    /// The whole body. One that came with the head is not copied, and nothing is waited for. It is of
    /// at most 64 MiB, unless that is set
    /// ([`max_response_body`](crate::RequestBuilder::max_response_body)).
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`]; [`Kind::BodyTooLarge`] where it is larger.
    ///
    /// # Cancel safety
    ///
    /// The response is consumed: dropping the future gives the rest of the body up.
    pub fn bytes(self) -> impl Future<Output = Result<Bytes, Error>> + Send {
        // Not `async`: the body moves into the future, and the head does not.
        self.body.bytes()
    }

    /// The whole body, of at most `max` bytes, whatever is set otherwise. A length that the peer
    /// announces is believed at once; without one the bytes are counted as they come.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`].
    ///
    /// # Cancel safety
    ///
    /// As [`Response::bytes`]. So is the rest of a body that is too large given up: up to 64 KiB are
    /// drained within 50 ms, and a longer rest closes its connection.
    pub async fn bytes_capped(self, max: u64) -> Result<Bytes, Error> {
        let url = self.url;
        let bytes = self.body.bytes_capped(max).await;
        bytes.map_err(|error| error.with_url(url.as_str()))
    }

    /// The whole body as text. It is taken as UTF-8, whatever `Content-Type` says; invalid sequences
    /// become U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`].
    ///
    /// # Cancel safety
    ///
    /// As [`Response::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8(bytes.into())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`]; `Kind::Decode` where the body is not the JSON that `T` asks for.
    ///
    /// # Cancel safety
    ///
    /// As [`Response::bytes`].
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let Self {
            body, url, summary, ..
        } = self;
        let bytes = body.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let error = Error::new(Kind::Decode).at(Phase::Body).caused_by(error);
            summary.error(&url, error)
        })
    }

    /// The connection itself, where the protocol changed: after 101 to what
    /// [`RequestBuilder::upgrade`](crate::RequestBuilder::upgrade) offered, or a 2xx to `CONNECT`.
    ///
    /// # Errors
    ///
    /// `Kind::Status` where the peer did neither: the response was one like any other.
    ///
    /// # Cancel safety
    ///
    /// The response is consumed: dropping the future closes the connection.
    #[expect(
        clippy::unused_async,
        reason = "HTTP/2's extended CONNECT has something to wait for"
    )]
    pub async fn upgrade(self) -> Result<Upgraded, Error> {
        let status = self.status();
        let (url, summary) = (self.url, self.summary);
        self.body.into_tunnel().ok_or_else(|| {
            let text = format!("{status} does not switch protocols");
            summary.error(&url, Error::new(Kind::Status).because(text))
        })
    }

    /// The body alone.
    pub fn into_body(self) -> Body {
        self.body
    }
}

/// The body, chunk by chunk as it arrives. Its clocks run as those of [`Body`] as a stream do: from a
/// poll that returns `Pending` on, until another answers it.
impl futures_core::Stream for Response {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("version", &self.version())
            .field("url", &self.url)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl From<Response> for Body {
    fn from(response: Response) -> Self {
        response.into_body()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_small_and_may_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Response>();
        assert!(size_of::<Response>() <= 256, "{}", size_of::<Response>());
        assert_eq!(size_of::<Error>(), 8);
    }
}
