//! Bodies of requests, by how they can be sent again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::{Body as RequestBody, BoxError, Handle};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    Bytes,
    Factory,
    /// A stream that has its bytes at once.
    OneShot,
    /// A stream whose bytes come after 50 ms.
    Late,
    /// A stream that is kept while it is sent.
    Spooled,
    /// One that is a byte longer than what is kept.
    Committed,
}

impl Body {
    pub(crate) const ALL: [Self; 7] = [
        Self::Empty,
        Self::Bytes,
        Self::Factory,
        Self::OneShot,
        Self::Late,
        Self::Spooled,
        Self::Committed,
    ];

    /// How many bytes of it are kept.
    pub(crate) fn kept(self) -> usize {
        if self == Self::Committed { 6 } else { 7 }
    }

    pub(crate) fn make(self, handle: &Handle) -> RequestBody {
        let handle = handle.clone();
        let stream = move |late| Chunk {
            wait: if late {
                Some(Box::pin(handle.sleep(Duration::from_millis(50))))
            } else {
                None
            },
            left: true,
        };
        match self {
            Self::Empty => RequestBody::empty(),
            Self::Bytes => "payload".into(),
            Self::Factory => RequestBody::factory(move || stream(false), Some(7)),
            Self::OneShot => RequestBody::stream(stream(false)),
            Self::Late => RequestBody::stream(stream(true)),
            Self::Spooled | Self::Committed => RequestBody::spooled(stream(false), None),
        }
    }
}

/// A stream of one chunk.
struct Chunk {
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    left: bool,
}

impl futures_core::Stream for Chunk {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        if !std::mem::replace(&mut self.left, false) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Bytes::from_static(b"payload"))))
    }
}
