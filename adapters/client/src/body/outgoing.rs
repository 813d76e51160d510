//! A user's stream on its way out, by how often it can be sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fulmar_core::retry::Replay;
use fulmar_core::spool::{Allowance, Spool};
use futures_core::Stream;

use super::BoxError;
use crate::shared::Shared;

type BoxStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;
type Factory = Arc<dyn Fn() -> BoxStream + Send + Sync>;
type Chunk = Option<Result<Bytes, BoxError>>;

/// A stream, and its length where that is known.
pub(super) struct Outgoing {
    source: Source,
    pub(super) length: Option<u64>,
}

enum Source {
    Once(Running),
    /// Makes a fresh stream for each attempt, once that asks for it.
    Factory(Factory, Option<Running>),
    Spooled(Running, Kept),
}

impl Outgoing {
    pub(super) fn once<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Source::Once(Running::new(boxed(stream)));
        Self { source, length }
    }

    pub(super) fn factory<F, S, E>(make: F, length: Option<u64>) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Source::Factory(Arc::new(move || boxed(make())), None);
        Self { source, length }
    }

    pub(super) fn spooled<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Source::Spooled(Running::new(boxed(stream)), Kept::default());
        Self { source, length }
    }

    pub(super) fn replay(&self) -> Replay {
        match self.source {
            Source::Once(_) => Replay::OneShot,
            Source::Factory(..) => Replay::Factory,
            Source::Spooled(..) => Replay::Spooled,
        }
    }

    /// What one attempt sends, where it can be shared with later ones.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.source {
            Source::Factory(make, _) => Some(Self {
                source: Source::Factory(make.clone(), None),
                length: self.length,
            }),
            Source::Once(_) | Source::Spooled(..) => None,
        }
    }

    /// A client begins to send it: what is kept counts as that client's.
    pub(super) fn join(&mut self, shared: &Arc<Shared>) {
        if let Source::Spooled(_, kept) = &mut self.source
            && kept.owner.is_none()
        {
            kept.spool = Spool::new(shared.settings.spool.1);
            kept.owner = Some(shared.clone());
        }
    }

    /// Begins anew; says whether the whole can be sent again.
    pub(super) fn rewind(&mut self, pulled: bool) -> bool {
        match &mut self.source {
            Source::Once(_) => !pulled,
            Source::Factory(..) => false,
            Source::Spooled(_, kept) => kept.spool.rewind(),
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        matches!(&self.source, Source::Spooled(_, kept) if kept.spool.is_committed())
    }

    /// No other attempt will be made.
    pub(super) fn commit(&mut self) {
        if let Source::Spooled(_, kept) = &mut self.source {
            kept.with(Spool::commit);
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Chunk> {
        match &mut self.source {
            Source::Once(running) => running.poll_next(cx),
            Source::Factory(make, running) => running
                .get_or_insert_with(|| Running::new(make()))
                .poll_next(cx),
            Source::Spooled(running, kept) => {
                if kept.spool.is_behind()
                    && let Some(bytes) = kept.with(Spool::poll_replay).flatten()
                {
                    return Poll::Ready(Some(Ok(bytes)));
                }
                let next = ready!(running.poll_next(cx));
                if let Some(Ok(chunk)) = &next
                    && !kept.spool.is_committed()
                {
                    kept.with(|spool, allowance| spool.handle_chunk(chunk, allowance));
                }
                Poll::Ready(next)
            }
        }
    }
}

/// The mutex is never locked: it makes the body `Sync`, which a stream need not be. `None` once the
/// stream has ended: it is not asked again, whatever a later attempt does.
struct Running(Option<Mutex<BoxStream>>);

impl Running {
    fn new(stream: BoxStream) -> Self {
        Self(Some(Mutex::new(stream)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Chunk> {
        let Some(stream) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        let next = ready!(stream.as_mut().poll_next(cx));
        if next.is_none() {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

/// What is kept of a stream that a client sends. Wherever it is dropped, that is given back.
struct Kept {
    spool: Spool,
    /// Whose allowance it counts against; nobody's before a client sends it.
    owner: Option<Arc<Shared>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            spool: Spool::new(0),
            owner: None,
        }
    }
}

impl Kept {
    fn with<R>(&mut self, section: impl FnOnce(&mut Spool, &mut Allowance) -> R) -> Option<R> {
        let owner = self.owner.as_ref()?;
        Some(section(&mut self.spool, &mut lock(&owner.spooled)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.spool.is_empty() {
            self.with(Spool::release);
        }
    }
}

fn lock(allowance: &Mutex<Allowance>) -> MutexGuard<'_, Allowance> {
    // Every section leaves it whole, so a panic elsewhere does not spoil it.
    allowance.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boxed<S, E>(stream: S) -> BoxStream
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    Box::pin(MapErr(Box::pin(stream)))
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
