//! What follows from an attempt that failed: another one, or the error of the call.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fulmar_core::call::{Again, Verdict, Via};
use fulmar_core::fault::{Fate, FaultKind, Phase};
use fulmar_core::retry::{AttemptFacts, Cause, Seen, StopReason};
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;

use super::{Live, Progress, Step, paid_for};
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

/// For those who watch connections.
const fn why(cause: &Cause) -> &'static str {
    match cause {
        Cause::Closed => "the client is closed",
        Cause::RequestBody => "request not sent",
        _ => "failed",
    }
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
                self.refuse(shared, parts, now, error)
            }
            Failure::Mismatch(error) => {
                let error = Error::new(Kind::BodyReplayMismatch).caused_by(error);
                self.refuse(shared, parts, now, error.at(Phase::Write))
            }
            Failure::Body(error) => {
                let error = Error::new(Kind::Request).caused_by(error);
                self.refuse(shared, parts, now, error.at(Phase::Write))
            }
        }
    }

    /// The user's own request is at fault: no other attempt would do better.
    fn refuse(
        &mut self,
        shared: &Shared,
        parts: &mut Parts,
        now: Instant,
        mut error: Error,
    ) -> Progress {
        if matches!(&self.step, Step::Exchanging(exchange) if exchange.accepted() > 0) {
            error = error.at(Phase::Write);
        }
        self.break_off(shared, parts, now, Cause::RequestBody, error)
    }

    /// This side ends the attempt that runs, and the call with it.
    pub(super) fn break_off(
        &mut self,
        shared: &Shared,
        parts: &mut Parts,
        now: Instant,
        cause: Cause,
        error: Error,
    ) -> Progress {
        let (facts, via) = self.give_up(shared, parts, now, cause);
        let peer = via.peer.clone();
        let overall = self.clocks.overall();
        let reason = self.call.handle_broken_off(now, &facts, overall);
        self.call.annotate(via, self.clocks.spent_by(now));
        self.note_failure(shared, &error);
        let error = error.with_peer(peer.as_deref());
        Poll::Ready(Err(self.error(error, parts, reason)))
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
        if let Step::Begin | Step::Resting(_) = self.step {
            // Between two attempts, or before the first: none is to blame.
            return self.end_with(error, parts);
        }
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
        if let Some(pass) = &self.pass {
            pass.handle_failure(now, &cause);
        }
        let (facts, via) = self.give_up(shared, parts, now, cause);
        let peer = via.peer.clone();
        let verdict = self.decide(shared, parts, now, &facts);
        self.call.annotate(via, self.clocks.spent_by(now));
        self.note_failure(shared, &error);
        match verdict {
            Verdict::Retry(again) => self.rest(shared, parts, now, &again, "failed attempt"),
            Verdict::Stop { reason, fate } => {
                let error = error.with_fate(fate).with_peer(peer.as_deref());
                Poll::Ready(Err(self.error(error, parts, reason)))
            }
            Verdict::Deliver { .. } => self.end_with(error, parts),
        }
    }

    /// Gives back what the attempt held, and says what is known of it.
    fn give_up(
        &mut self,
        shared: &Shared,
        parts: &mut Parts,
        now: Instant,
        cause: Cause,
    ) -> (AttemptFacts, Via) {
        let upload = std::mem::replace(&mut self.upload, Upload::new(Body::empty()));
        let body_pulled = upload.pulled && parts.is_moved;
        let body_committed = upload.body.is_committed();
        parts.take_back(upload);
        self.tell_dial(now);
        self.paid = None;
        let (mut accepted, mut response_bytes, mut via) = (0, 0, Via::default());
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Exchanging(exchange) => {
                accepted = exchange.accepted();
                response_bytes = exchange.response_bytes();
                via = exchange.via();
                let is_young = !self.reused && self.idle_for < STALE_AFTER;
                if is_young && response_bytes == 0 && is_death(&cause) {
                    exchange.bury(shared);
                } else {
                    exchange.discard(shared, why(&cause));
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
            body_committed,
            cause,
        };
        (facts, via)
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
            // At once: who watches may panic before the retry begins.
            self.paid = paid_for(&verdict, now);
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
        self.without_expect |= again.without_expect;
        self.reused = false;
        self.idle_for = Duration::ZERO;
        self.step = Step::Resting(again.at);
        shared.emit(self.id, || Event::RetryScheduled {
            attempt: self.call.attempt() + 1,
            delay: again.at - now,
            reason,
            transparent: again.transparent,
        });
        Poll::Ready(Ok(None))
    }

    /// Ends the call with an error that no attempt is to blame for.
    pub(super) fn end_with(&mut self, error: Error, parts: &Parts) -> Progress {
        let waited_for = error.phase().filter(|_| error.is_timeout());
        let reason = self.call.give_up(waited_for);
        Poll::Ready(Err(self.error(error, parts, reason)))
    }

    /// What ends a call says nothing of the attempts before: they may have been processed.
    fn error(&self, error: Error, parts: &Parts, stop: StopReason) -> Error {
        let fate = error.fate().max(self.call.fate());
        error
            .with_fate(fate)
            .of_request(&parts.method, parts.url.as_str())
            .with_history(self.call.attempt(), self.call.attempts(), Some(stop))
    }
}
