//! A response body on its way in: the connection itself.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_core::call::{Call, Via};
use fulmar_core::deadline::{Clocks, Reading};
use fulmar_core::fault::{Fate, Phase};
use fulmar_core::retry::{AttemptFacts, Cause};
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;
use http::Method;

use crate::body::Body;
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
    /// Of the request.
    target: (Method, Url),
    delivered: u64,
    pub(crate) reading: Reading,
    /// Bytes that are taken in one piece at most.
    pub(crate) max: u64,
    /// It is in flight until the body ends.
    pub(crate) pass: Option<Box<Pass>>,
    failure: Option<Error>,
    /// What was decided so far, and whether the response came on a connection that had served.
    history: (Call, bool),
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
        target: (Method, Url),
        history: (Call, bool),
    ) -> Self {
        let exchange = Some(exchange);
        Self {
            shared,
            exchange,
            upload,
            clocks,
            registration,
            call,
            target,
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
            Poll::Ready(Ok(Data::Chunk(_))) if self.clocks.is_overdue(now) => {
                let cause = Cause::Timeout(Phase::Total);
                let error = Error::timeout(Phase::Total).during(Some(Phase::Body));
                self.fail(now, cause, error)
            }
            // So does the deadline of a shutdown.
            Poll::Ready(Ok(Data::Chunk(_))) if self.shared.is_cut() => self.cut(now),
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
                // Whoever keeps the response keeps nothing of the request's.
                self.upload = Upload::new(Body::empty());
                self.shared.emit(self.call, || Event::BodyEnded {
                    bytes: self.delivered,
                });
                Poll::Ready(None)
            }
            Poll::Ready(Err(failure)) => {
                let (cause, error) = read(failure);
                self.fail(now, cause, error)
            }
            Poll::Pending => self.wait(cx, now),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(phase) = self.clocks.expired(now) {
            let error = Error::expired(&self.clocks, now, phase);
            let cause = match error.too_slow() {
                Some(_) => Cause::TooSlow(phase),
                None => Cause::Timeout(phase),
            };
            return self.fail(now, cause, error);
        }
        let next = self
            .clocks
            .poll_timeout()
            .map_or(Instant::MAX, |(at, _)| at);
        if self.registration.ensure(&self.shared, cx, now, next) && self.shared.is_cut() {
            return self.cut(now);
        }
        Poll::Pending
    }

    /// The client is shut down, and its deadline has passed.
    fn cut(&mut self, now: Instant) -> Poll<Option<Result<Bytes, Error>>> {
        self.fail(now, Cause::Closed, Error::new(Kind::Closed).at(Phase::Body))
    }

    fn fail(
        &mut self,
        now: Instant,
        cause: Cause,
        error: Error,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let end = |exchange: Exchange, shared: &Shared| exchange.discard(shared, "failed");
        Poll::Ready(Some(Err(self.end(now, cause, error, end))))
    }

    /// The reader will have no more of it: a short rest is drained, a longer one closed.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        let end = |exchange: Exchange, shared: &Shared| exchange.cancel(shared, true);
        let now = self.shared.net.now();
        self.end(now, Cause::BodyTooLarge, error, end)
    }

    fn end(
        &mut self,
        now: Instant,
        cause: Cause,
        error: Error,
        end: impl FnOnce(Exchange, &Shared),
    ) -> Error {
        let (call, reused) = &mut self.history;
        let mut facts = AttemptFacts {
            reused: *reused,
            delivered: self.delivered,
            ..AttemptFacts::new(cause)
        };
        let mut via = Via::default();
        if let Some(exchange) = self.exchange.take() {
            via = exchange.via();
            (facts.accepted, facts.response_bytes) =
                (exchange.accepted(), exchange.response_bytes());
            end(exchange, &self.shared);
        }
        self.shared.locked(|state| self.registration.remove(state));
        self.pass = None;
        self.upload = Upload::new(Body::empty());
        let peer = via.peer.clone();
        let reason = call.handle_lost_body(now, &facts, self.clocks.overall());
        call.annotate(via, self.clocks.spent_by(now));
        let error = error
            .with_fate(call.fate())
            .with_peer(peer.as_deref())
            .of_request(&self.target.0, self.target.1.as_str())
            .with_history(call.attempt(), call.attempts(), Some(reason));
        let (attempt, last) = (call.attempt(), call.attempts().last());
        let fate = last.map_or(Fate::Processed, |record| record.fate);
        self.shared.emit(self.call, || Event::AttemptFailed {
            attempt,
            phase: error.phase().unwrap_or(Phase::Body),
            fate,
            cause: error.leaf().into(),
        });
        self.failure = Some(error.clone());
        error
    }
}

/// What a failure is to the decision, and to the caller.
fn read(failure: Failure) -> (Cause, Error) {
    match failure {
        Failure::Cause(cause, violation) => {
            let error = match (&cause, violation) {
                (Cause::Fault(fault), _) => Error::of_fault(fault.clone()),
                (_, Some(violation)) => Error::of_protocol(violation, Phase::Body),
                _ => Error::new(Kind::Io).at(Phase::Body),
            };
            (cause, error)
        }
        Failure::Request(error) => (Cause::RequestBody, unsent().caused_by(error)),
        Failure::Mismatch(error) => {
            let mismatch = Error::new(Kind::BodyReplayMismatch).at(Phase::Write);
            (Cause::RequestBody, mismatch.caused_by(error))
        }
        Failure::Body(error) => (Cause::RequestBody, unsent().caused_by(error)),
    }
}

fn unsent() -> Error {
    Error::new(Kind::Request).at(Phase::Write)
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
