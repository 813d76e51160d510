//! A response body on its way in: the connection itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_core::call::AttemptRecord;
use fulmar_core::deadline::{Clocks, Reading};
use fulmar_core::fault::{Fate, Phase};
use fulmar_core::retry::{Cause, StopReason};
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;

use crate::error::{Error, Kind};
use crate::exchange::{Data, Exchange};
use crate::h1::{Failure, Upload};
use crate::in_flight::Pass;
use crate::shared::{Registration, Shared};
use crate::url::Url;

/// Reads one response body. At its end the connection goes back to the pool; dropped before, it is
/// drained where little is left, else closed.
pub(crate) struct Incoming {
    shared: Arc<Shared>,
    /// `None` once the body has ended, well or not.
    exchange: Option<Exchange>,
    upload: Upload,
    clocks: Clocks,
    registration: Registration,
    call: u64,
    url: Url,
    delivered: u64,
    pub(crate) reading: Reading,
    /// Bytes that are taken in one piece at most.
    pub(crate) max: u64,
    /// It is in flight until the body ends.
    pub(crate) pass: Option<Box<Pass>>,
    failure: Option<Error>,
    /// Attempts made, and those that had failed before this response came.
    history: (u32, Vec<AttemptRecord>),
}

impl Incoming {
    #[expect(
        clippy::too_many_arguments,
        reason = "it takes over what the call had, piece by piece"
    )]
    pub(crate) fn new(
        shared: Arc<Shared>,
        exchange: Exchange,
        upload: Upload,
        clocks: Clocks,
        registration: Registration,
        call: u64,
        url: Url,
        history: (u32, Vec<AttemptRecord>),
    ) -> Self {
        let exchange = Some(exchange);
        Self {
            shared,
            exchange,
            upload,
            clocks,
            registration,
            call,
            url,
            delivered: 0,
            reading: Reading::Pieces,
            max: u64::MAX,
            pass: None,
            failure: None,
            history,
        }
    }

    /// Bytes to come, where that is known. A body that failed is not an empty one.
    pub(crate) fn body_left(&self) -> Option<u64> {
        match &self.exchange {
            Some(exchange) => exchange.body_left(),
            None if self.failure.is_some() => None,
            None => Some(0),
        }
    }

    /// Nobody asks any more: until somebody does, time is not the peer's.
    pub(crate) fn pause(&mut self) {
        if self.exchange.is_some() && !self.clocks.is_suspended() {
            self.clocks.suspended(self.shared.net.now(), true);
        }
    }

    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(error) = &self.failure {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        let now = self.shared.net.now();
        self.clocks.suspended(now, false);
        self.clocks.reads(self.reading);
        match exchange.poll_data(cx, now, &mut self.clocks, &mut self.upload) {
            // A deadline that has passed ends the body even while bytes arrive.
            Poll::Ready(Ok(Data::Chunk(_))) if self.is_overdue(now) => {
                self.fail(Error::timeout(Phase::Total))
            }
            // So does the deadline of a shutdown.
            Poll::Ready(Ok(Data::Chunk(_))) if self.shared.is_cut() => {
                self.fail(Error::new(Kind::Closed).at(Phase::Body))
            }
            Poll::Ready(Ok(Data::Chunk(chunk))) => {
                self.clocks.suspended(now, true);
                self.delivered += chunk.len() as u64;
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Ok(Data::End(reuse))) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.finish(&self.shared, now, reuse, &mut self.registration);
                }
                self.pass = None;
                self.shared.emit(self.call, || Event::BodyEnded {
                    bytes: self.delivered,
                });
                Poll::Ready(None)
            }
            Poll::Ready(Err(failure)) => self.fail(error_of(failure)),
            Poll::Pending => self.wait(cx, now),
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.clocks.overall().is_some_and(|overall| now >= overall)
    }

    fn wait(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(phase) = self.clocks.expired(now) {
            return self.fail(Error::expired(&self.clocks, now, phase));
        }
        let next = self
            .clocks
            .poll_timeout()
            .map_or(Instant::MAX, |(at, _)| at);
        if self.registration.ensure(&self.shared, cx, now, next) && self.shared.is_cut() {
            return self.fail(Error::new(Kind::Closed).at(Phase::Body));
        }
        Poll::Pending
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Bytes, Error>>> {
        let exchange = self.exchange.take();
        let peer = exchange.as_ref().and_then(Exchange::peer);
        if let Some(exchange) = exchange {
            exchange.discard(&self.shared, "failed");
        }
        Poll::Ready(Some(Err(self.failed(error, peer.as_deref()))))
    }

    /// The reader will have no more of it: a short rest is drained, a longer one closed.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        let exchange = self.exchange.take();
        let peer = exchange.as_ref().and_then(Exchange::peer);
        if let Some(exchange) = exchange {
            exchange.cancel(&self.shared, true);
        }
        self.failed(error, peer.as_deref())
    }

    fn failed(&mut self, error: Error, peer: Option<&SocketAddr>) -> Error {
        self.shared.locked(|state| self.registration.remove(state));
        self.pass = None;
        let error = error
            .with_fate(Fate::Processed)
            .with_peer(peer)
            .with_url(self.url.as_str())
            // The caller has the head: there is no silent restart.
            .with_history(
                self.history.0,
                &self.history.1,
                Some(StopReason::NotRetryable),
            );
        self.shared.emit(self.call, || Event::AttemptFailed {
            attempt: 0,
            phase: error.phase().unwrap_or(Phase::Body),
            fate: Fate::Processed,
            cause: error.leaf().into(),
        });
        self.failure = Some(error.clone());
        error
    }
}

fn error_of(failure: Failure) -> Error {
    match failure {
        Failure::Cause(Cause::Fault(fault), _) => Error::of_fault(fault),
        Failure::Cause(_, Some(violation)) => Error::of_protocol(violation, Phase::Body),
        Failure::Cause(..) => Error::new(Kind::Io).at(Phase::Body),
        Failure::Request(error) => Error::new(Kind::Request).at(Phase::Write).caused_by(error),
        Failure::Mismatch(error) => Error::new(Kind::BodyReplayMismatch)
            .at(Phase::Write)
            .caused_by(error),
        Failure::Body(error) => Error::new(Kind::Request).at(Phase::Write).caused_by(error),
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.registration.is_registered() {
            self.shared.locked(|state| self.registration.remove(state));
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.cancel(&self.shared, true);
        }
    }
}
