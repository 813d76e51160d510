//! Bodies, both ways: bytes, or a stream of bytes.

mod gather;
mod outgoing;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_core::h1::BodyLength;
use fulmar_core::retry::Replay;
use futures_core::Stream;

use crate::error::Error;
use crate::incoming::Incoming;
use crate::shared::Shared;
use crate::upgraded::Upgraded;

use gather::Oversized;
use outgoing::Outgoing;

/// What a user's own stream fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request or a response.
///
/// As a request's body it says how it can be repeated, which decides what a retry may do: nothing
/// and bytes always can, a factory makes a fresh stream each time, a spooled stream can while what was
/// sent is kept, a plain stream can be sent once.
/// As a response's body it is a [`Stream`] of chunks, each a part of what the socket delivered.
#[derive(Default)]
pub struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Bytes(Bytes),
    Oversized(Box<Oversized>),
    Outgoing(Box<Outgoing>),
    Incoming(Box<Incoming>),
    /// No body: the connection is no longer HTTP's.
    Tunnel(Box<Upgraded>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A stream that can be sent once. Its length is not known, so it is sent in chunks.
    pub fn stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Inner::Outgoing(Box::new(Outgoing::once(stream, None))))
    }

    /// A stream of known length that can be sent once. More or fewer bytes fail the request.
    pub fn sized_stream<S, E>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Inner::Outgoing(Box::new(Outgoing::once(
            stream,
            Some(length),
        ))))
    }

    /// Streams on demand: `make` is called once an attempt, so that a retry sends the whole again.
    /// With a `length`, each must yield exactly so many bytes: more or fewer fail the request, and
    /// where an attempt before had begun to send them, with [`Kind::BodyReplayMismatch`].
    ///
    /// [`Kind::BodyReplayMismatch`]: crate::Kind::BodyReplayMismatch
    pub fn factory<F, S, E>(make: F, length: Option<u64>) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Inner::Outgoing(Box::new(Outgoing::factory(make, length))))
    }

    /// A stream of which what is sent is kept, so that a retry can send it again: up to 64 KiB, and
    /// 16 MiB for all such bodies of a client ([`ClientBuilder::spool_limits`]). Once a chunk does
    /// not fit, nothing is kept any more, and the body is as one of [`Body::stream`] that was begun:
    /// no other attempt follows. With a `length`, more or fewer bytes fail the request; without, it
    /// is sent in chunks.
    ///
    /// The limit is the "committed" of gRPC's retries (gRFC A6).
    ///
    /// [`ClientBuilder::spool_limits`]: crate::ClientBuilder::spool_limits
    pub fn spooled<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Inner::Outgoing(Box::new(Outgoing::spooled(stream, length))))
    }

    pub(crate) fn incoming(incoming: Box<Incoming>) -> Self {
        Self(Inner::Incoming(incoming))
    }

    pub(crate) fn tunnel(upgraded: Upgraded) -> Self {
        Self(Inner::Tunnel(Box::new(upgraded)))
    }

    pub(crate) fn into_tunnel(self) -> Option<Upgraded> {
        match self.0 {
            Inner::Tunnel(upgraded) => Some(*upgraded),
            _ => None,
        }
    }

    /// The length in bytes, where it is known before the end.
    pub fn len(&self) -> Option<u64> {
        match &self.0 {
            Inner::Empty | Inner::Tunnel(_) => Some(0),
            Inner::Bytes(bytes) => Some(bytes.len() as u64),
            Inner::Oversized(oversized) => Some(oversized.bytes.len() as u64),
            Inner::Outgoing(outgoing) => outgoing.length,
            Inner::Incoming(incoming) => incoming.body_left(),
        }
    }

    /// Whether the body is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The next chunk, `None` at the end.
    ///
    /// # Errors
    ///
    /// What failed the response, or the user's own stream. Errors are sticky.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call goes on where this one stopped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let reader = Reader(self);
        poll_fn(|cx| reader.0.poll_chunk(cx)).await.transpose()
    }

    /// Says that nobody asks for more of a response's body until it is polled again: its clocks stand
    /// still (the one between bytes, and that of the least speed), and the overall deadline goes on.
    /// For who polls the body as a stream, was told to wait, and turns to something else: see its
    /// [`Stream`]. To drop the future of [`chunk`](Self::chunk) says so by itself. Other bodies have no
    /// clocks.
    pub fn pause(&mut self) {
        if let Inner::Incoming(incoming) = &mut self.0 {
            incoming.pause();
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match &mut self.0 {
            Inner::Incoming(incoming) => incoming.poll_chunk(cx),
            _ => self
                .poll_outgoing(cx)
                .map(|next| next.map(|chunk| chunk.map_err(Error::of_body))),
        }
    }

    /// Pulls the next chunk of a body that is sent.
    pub(crate) fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.0 {
            Inner::Empty | Inner::Tunnel(_) => Poll::Ready(None),
            Inner::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(bytes)).filter(|chunk| !matches!(chunk, Ok(b) if b.is_empty())))
            }
            Inner::Oversized(oversized) => {
                let bytes = std::mem::take(&mut oversized.bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(bytes)))
            }
            Inner::Outgoing(outgoing) => outgoing.poll_next(cx),
            Inner::Incoming(incoming) => incoming
                .poll_chunk(cx)
                .map(|next| next.map(|chunk| chunk.map_err(Into::into))),
        }
    }

    /// What one attempt sends: bytes and factories are shared with later attempts, a stream moves.
    pub(crate) fn attempt(&mut self, shared: &Arc<Shared>) -> Self {
        match &mut self.0 {
            Inner::Empty | Inner::Tunnel(_) => Self::empty(),
            Inner::Bytes(bytes) => Self(Inner::Bytes(bytes.clone())),
            Inner::Oversized(oversized) => Self(Inner::Bytes(oversized.bytes.clone())),
            Inner::Outgoing(outgoing) => {
                if let Some(again) = outgoing.share() {
                    return Self(Inner::Outgoing(Box::new(again)));
                }
                outgoing.join(shared);
                std::mem::take(self)
            }
            Inner::Incoming(_) => std::mem::take(self),
        }
    }

    /// Whether [`Body::attempt`] moves the body out, so that an attempt may have to give it back.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self.replay(), Replay::OneShot | Replay::Spooled)
    }

    /// Of a body that was moved: begins anew, and says whether the whole can be sent again.
    pub(crate) fn rewind(&mut self, pulled: bool) -> bool {
        match &mut self.0 {
            Inner::Outgoing(outgoing) => outgoing.rewind(pulled),
            Inner::Incoming(_) => !pulled,
            Inner::Empty | Inner::Bytes(_) | Inner::Oversized(_) | Inner::Tunnel(_) => false,
        }
    }

    /// Whether some of it was sent that was to be kept and is not.
    pub(crate) fn is_committed(&self) -> bool {
        matches!(&self.0, Inner::Outgoing(outgoing) if outgoing.is_committed())
    }

    /// No other attempt will be made: nothing need be kept for one.
    pub(crate) fn commit(&mut self) {
        if let Inner::Outgoing(outgoing) = &mut self.0 {
            outgoing.commit();
        }
    }

    pub(crate) fn replay(&self) -> Replay {
        match &self.0 {
            Inner::Empty | Inner::Tunnel(_) => Replay::Empty,
            Inner::Bytes(_) | Inner::Oversized(_) => Replay::Bytes,
            Inner::Outgoing(outgoing) => outgoing.replay(),
            Inner::Incoming(_) => Replay::OneShot,
        }
    }

    pub(crate) fn framing(&self) -> BodyLength {
        match &self.0 {
            Inner::Empty | Inner::Tunnel(_) => BodyLength::Empty,
            _ => self.len().map_or(BodyLength::Unknown, BodyLength::Known),
        }
    }
}

/// Somebody who waits for a chunk. Gone before it came, the body's clock stands still.
struct Reader<'a>(&'a mut Body);

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

/// The chunks as they come.
///
/// A poll that returns `Pending` is a request for the next chunk which stands until another poll
/// answers it: the stream is not told whether anybody still waits for the wake-up. So the clocks of a
/// response's body run from there, also while the task that polled it does something else; what
/// arrives meanwhile is not lost, and is handed out rather than the timeout. After `Ready` nobody asks,
/// and they stand still. Who turns away after `Pending` for longer than the peer may be silent calls
/// [`Body::pause`], or awaits [`Body::chunk`] and drops its future.
impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Empty => "Empty",
            Inner::Bytes(_) | Inner::Oversized(_) => "Bytes",
            Inner::Outgoing(_) => "Outgoing",
            Inner::Incoming(_) => "Incoming",
            Inner::Tunnel(_) => "Tunnel",
        };
        f.debug_struct("Body")
            .field("kind", &kind)
            .field("len", &self.len())
            .finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
