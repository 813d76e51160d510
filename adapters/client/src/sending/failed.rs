//! What follows from an attempt that failed: another one, or the error of the call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fulmar_core::call::{Again, Verdict};
use fulmar_core::fault::{Fate, FaultKind, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, Seen, StopReason};
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;

use super::{Live, Progress, Step};
use crate::body::Body;
use crate::error::{Error, Kind};
use crate::h1::{Failure, Upload};
use crate::request::Parts;
use crate::shared::{Shared, State};

/// A new connection that has idled so long may have been closed for that.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// Whether the connection ended, and not because this side gave it up.
fn is_death(cause: &Cause) -> bool {
    let ours = [FaultKind::TimedOut, FaultKind::RuntimeGone];
    matches!(cause, Cause::Fault(fault) if !ours.contains(&fault.kind))
}

impl Live {
    pub(super) fn handle_failure(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        failure: Failure,
    ) -> Progress {
        match failure {
            Failure::Cause(cause, violation) => {
                let error = match (&cause, violation) {
                    (Cause::Protocol(_), Some(violation)) => {
                        Error::of_protocol(violation, Phase::Head)
                    }
                    (Cause::Fault(fault), _) => Error::of_fault(fault.clone()),
                    _ => Error::new(Kind::Io),
                };
                self.attempt_failed(shared, parts, now, cause, error)
            }
            Failure::Request(error) => {
                let error = Error::new(Kind::Request).caused_by(error);
                self.refuse(shared, parts, error)
            }
            Failure::Body(error) => {
                let error = Error::new(Kind::Request).caused_by(error);
                self.refuse(shared, parts, error.at(Phase::Write))
            }
        }
    }

    /// The user's own request is at fault: no other attempt would do better.
    fn refuse(&mut self, shared: &Shared, parts: &Parts, mut error: Error) -> Progress {
        if self.is_begun() {
            error = error.at(Phase::Write).with_fate(Fate::MaybeProcessed);
        }
        self.give_up_exchange(shared, "request not sent");
        Poll::Ready(Err(self.error(
            error,
            parts,
            Some(StopReason::NotRetryable),
        )))
    }

    /// Whether the transport took a byte of the request.
    pub(super) fn is_begun(&self) -> bool {
        matches!(&self.step, Step::Exchanging(exchange) if exchange.accepted() > 0)
    }

    /// A limit passed. Only an attempt's or a phase's own may lead to another attempt.
    pub(super) fn expire(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        phase: Phase,
    ) -> Progress {
        let error = Error::expired(&self.clocks, now, phase);
        let cause = match error.too_slow() {
            Some(_) => Cause::TooSlow(phase),
            None => Cause::Timeout(phase),
        };
        self.attempt_failed(shared, parts, now, cause, error)
    }

    /// An attempt is over without a response that could be given to the caller.
    pub(super) fn attempt_failed(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        cause: Cause,
        error: Error,
    ) -> Progress {
        let upload = std::mem::replace(&mut self.upload, Upload::new(Body::empty()));
        let body_pulled = upload.pulled && parts.one_shot;
        parts.take_back(upload);
        let (facts, connection) = self.give_up(shared, now, cause, body_pulled);
        let peer = connection.1.clone();
        let verdict = self.decide(shared, parts, now, &facts);
        self.call.annotate(connection, self.clocks.spent_by(now));
        self.note_failure(shared, &error);
        match verdict {
            Verdict::Retry(again) => self.rest(shared, parts, now, &again, "failed attempt"),
            Verdict::Stop { reason, fate } => {
                let error = error.with_fate(fate).with_peer(peer.as_deref());
                Poll::Ready(Err(self.error(error, parts, Some(reason))))
            }
            Verdict::Deliver { .. } => Poll::Ready(Err(self.error(error, parts, None))),
        }
    }

    /// Gives back what the attempt held, and says what is known of it.
    fn give_up(
        &mut self,
        shared: &Shared,
        now: Instant,
        cause: Cause,
        body_pulled: bool,
    ) -> (AttemptFacts, (u64, Option<Arc<SocketAddr>>)) {
        let (mut accepted, mut response_bytes, mut connection) = (0, 0, (0, None));
        self.paid = None;
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Exchanging(exchange) => {
                accepted = exchange.accepted();
                response_bytes = exchange.response_bytes();
                connection = exchange.connection();
                let is_young = !self.reused && self.idle_for < STALE_AFTER;
                if is_young && response_bytes == 0 && is_death(&cause) {
                    exchange.bury(shared);
                } else {
                    exchange.discard(shared, "failed");
                }
            }
            Step::Queued(ticket) => shared.locked(|state| state.pool.cancel(now, ticket)),
            _ => {}
        }
        let facts = AttemptFacts {
            reused: self.reused,
            idle_for: self.idle_for,
            accepted,
            response_bytes,
            delivered: 0,
            body_pulled,
            cause,
        };
        (facts, connection)
    }

    /// Asks the machine, and has the pool forget what it now knows to be stale.
    fn decide(
        &mut self,
        shared: &Shared,
        parts: &Parts,
        now: Instant,
        facts: &AttemptFacts,
    ) -> Verdict {
        let route = parts.route();
        let overall = self.clocks.overall();
        self.call.consult(Seen::Failure(&facts.cause));
        shared.locked(|state| {
            let State { pool, rng, .. } = state;
            let budget = pool.budget(now, route);
            let verdict = self.call.handle_failure(now, facts, overall, budget, rng);
            if let Verdict::Retry(again) = verdict {
                if let Some(idle_for) = again.evict_idle_for {
                    state.pool.evict_idle(now, route, idle_for);
                }
                if again.evict_oldest {
                    state.pool.give_up_oldest(now);
                }
            }
            verdict
        })
    }

    fn note_failure(&self, shared: &Shared, error: &Error) {
        shared.emit(self.id, || Event::AttemptFailed {
            attempt: self.call.attempt(),
            phase: error.phase().unwrap_or(Phase::Total),
            fate: self
                .call
                .attempts()
                .last()
                .map_or(Fate::NotProcessed, |record| record.fate),
            cause: error.leaf().into(),
        });
    }

    /// Another attempt follows, at once or after a rest.
    pub(super) fn rest(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        again: &Again,
        reason: &'static str,
    ) -> Progress {
        parts.take_back(std::mem::replace(
            &mut self.upload,
            Upload::new(Body::empty()),
        ));
        self.clocks.end_attempt(now);
        self.fresh = again.fresh;
        self.paid = again.cost.map(|cost| Box::new((now, cost)));
        self.without_expect |= again.without_expect;
        self.reused = false;
        self.idle_for = Duration::ZERO;
        shared.emit(self.id, || Event::RetryScheduled {
            attempt: self.call.attempt() + 1,
            delay: again.at - now,
            reason,
            transparent: again.transparent,
        });
        self.step = Step::Resting(again.at);
        Poll::Ready(Ok(None))
    }

    pub(super) fn give_up_exchange(&mut self, shared: &Shared, why: &'static str) {
        if let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) {
            exchange.discard(shared, why);
        }
    }

    /// What ends a call says nothing of the attempts before: they may have been processed.
    pub(super) fn error(&self, error: Error, parts: &Parts, stop: Option<StopReason>) -> Error {
        let fate = error.fate().max(self.call.fate());
        error
            .with_fate(fate)
            .with_url(parts.url.as_str())
            .with_history(self.call.attempt(), self.call.attempts(), stop)
    }
}
