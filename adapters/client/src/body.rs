//! Bodies, both ways: bytes, or a stream of bytes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_core::h1::BodyLength;
use fulmar_core::retry::Replay;
use futures_core::Stream;

use crate::error::Error;
use crate::incoming::Incoming;
use crate::upgraded::Upgraded;

/// What a user's own stream fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

type BoxStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;
type Factory = Arc<dyn Fn() -> BoxStream + Send + Sync>;

/// The body of a request or a response.
///
/// As a request's body it says how it can be repeated, which decides what a retry may do: nothing
/// and bytes always can, a factory makes a fresh stream each time, a plain stream can be sent once.
/// As a response's body it is a [`Stream`] of chunks, each a part of what the socket delivered.
#[derive(Default)]
pub struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Bytes(Bytes),
    Outgoing(Box<Outgoing>),
    Incoming(Box<Incoming>),
    /// No body: the connection is no longer HTTP's.
    Tunnel(Box<Upgraded>),
}

/// A user's stream. The mutex is never locked: it makes the body `Sync`, which a stream need not be.
struct Outgoing {
    /// Makes a fresh stream for each attempt; without it there is one stream, for one attempt.
    make: Option<Factory>,
    running: Option<Mutex<BoxStream>>,
    length: Option<u64>,
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
        Self::outgoing(None, Some(boxed(stream)), None)
    }

    /// A stream of known length that can be sent once. More or fewer bytes fail the request.
    pub fn sized_stream<S, E>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::outgoing(None, Some(boxed(stream)), Some(length))
    }

    /// Streams on demand: `make` is called once an attempt, so that a retry sends the whole again.
    /// With a `length`, each must yield exactly so many bytes.
    pub fn factory<F, S, E>(make: F, length: Option<u64>) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::outgoing(Some(Arc::new(move || boxed(make()))), None, length)
    }

    fn outgoing(make: Option<Factory>, running: Option<BoxStream>, length: Option<u64>) -> Self {
        let running = running.map(Mutex::new);
        Self(Inner::Outgoing(Box::new(Outgoing {
            make,
            running,
            length,
        })))
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

    /// The whole rest of the body in one piece. A body in one piece already is not copied.
    ///
    /// # Errors
    ///
    /// As [`Body::chunk`].
    ///
    /// # Cancel safety
    ///
    /// The body is consumed: dropping the future gives the rest up and drains or closes its
    /// connection.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        match self.0 {
            Inner::Bytes(bytes) => Ok(bytes),
            // Boxed, so that the future of a body that is here already is small.
            _ => Box::pin(self.gather()).await,
        }
    }

    async fn gather(mut self) -> Result<Bytes, Error> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        // A peer's word on the length reserves at most this much before it is kept.
        let rest = self.len().unwrap_or(0).min(1 << 20) as usize;
        let mut all = Vec::with_capacity(first.len() + second.len() + rest);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
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
            Inner::Outgoing(outgoing) => outgoing.poll_next(cx),
            Inner::Incoming(incoming) => incoming
                .poll_chunk(cx)
                .map(|next| next.map(|chunk| chunk.map_err(Into::into))),
        }
    }

    /// What one attempt sends: bytes and factories are shared with later attempts, a stream moves.
    pub(crate) fn attempt(&mut self) -> Self {
        match &self.0 {
            Inner::Empty | Inner::Tunnel(_) => Self::empty(),
            Inner::Bytes(bytes) => Self(Inner::Bytes(bytes.clone())),
            Inner::Outgoing(outgoing) if outgoing.make.is_some() => {
                Self::outgoing(outgoing.make.clone(), None, outgoing.length)
            }
            Inner::Outgoing(_) | Inner::Incoming(_) => std::mem::take(self),
        }
    }

    /// Whether [`Body::attempt`] moves the body out, so that an attempt that did not pull from it
    /// gives it back.
    pub(crate) fn is_one_shot(&self) -> bool {
        self.replay() == Replay::OneShot
    }

    pub(crate) fn replay(&self) -> Replay {
        match &self.0 {
            Inner::Empty | Inner::Tunnel(_) => Replay::Empty,
            Inner::Bytes(_) => Replay::Bytes,
            Inner::Outgoing(outgoing) if outgoing.make.is_some() => Replay::Factory,
            Inner::Outgoing(_) | Inner::Incoming(_) => Replay::OneShot,
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

fn boxed<S, E>(stream: S) -> BoxStream
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    Box::pin(MapErr(Box::pin(stream)))
}

impl Outgoing {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let (None, Some(make)) = (&self.running, &self.make) {
            self.running = Some(Mutex::new(make()));
        }
        let Some(stream) = &mut self.running else {
            return Poll::Ready(None);
        };
        stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .poll_next(cx)
    }
}

struct MapErr<S>(Pin<Box<S>>);

impl<S, E> Stream for MapErr<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(cx)
            .map(|next| next.map(|chunk| chunk.map_err(Into::into)))
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
            Inner::Bytes(_) => "Bytes",
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
