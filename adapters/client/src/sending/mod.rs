//! A call on its way: the future behind [`RequestBuilder::send`](crate::RequestBuilder::send).
//!
//! ```text
//!   Entering -> Queued <-> (dial spawned) -> Exchanging -> Response
//!                 ^                             | failed, or a status to retry
//!                 +------- Resting (backoff) <--+-> Error
//! ```
//!
//! It asks the machines what to do and does it: `Call` decides about attempts, `Clocks` about time,
//! the pool about connections. The exchange runs here, in the caller's own task.

mod begin;
mod enter;
mod failed;
mod lease;
mod reply;
mod wait;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::budget::Cost;
use fulmar_core::call::{Call, Verdict};
use fulmar_core::deadline::Clocks;
use fulmar_core::fault::Phase;
use fulmar_core::pool::Ticket;
use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Outcome};

use crate::body::Body;
use crate::error::{Error, Kind};
use crate::exchange::Exchange;
use crate::h1::Upload;
use crate::in_flight::Pass;
use crate::milestones::Milestones;
use crate::request::Parts;
use crate::response::Response;
use crate::shared::{Registration, Shared, State};

/// The future of one call. It does nothing until it is polled.
///
/// # Cancel safety
///
/// Dropping it at any point ends the call at once: a place in the queue, a granted connection, a
/// retry's timer and what a retry that was not begun cost the retry budget are given back, and a
/// connection whose exchange had begun is closed (the boundary of its response is not known). Nothing
/// is sent afterwards.
///
/// A call whose turn has come and that is woken, but not polled, keeps its place and whatever it was
/// given, and others wait behind it: poll a call to its end, or drop it.
#[must_use = "a call does nothing until it is awaited"]
pub struct Sending {
    shared: Arc<Shared>,
    parts: Result<Parts, Option<Error>>,
    live: Option<Live>,
}

/// What exists from the first poll on.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct Live {
    id: u64,
    started: Instant,
    clocks: Clocks,
    call: Call,
    registration: Registration,
    /// Where calls in flight are capped: a place among them, or in the queue for it.
    pass: Option<Box<Pass>>,
    upload: Upload,
    step: Step,
    /// Of the attempt that runs.
    reused: bool,
    idle_for: Duration,
    fresh: bool,
    without_expect: bool,
    /// The route's retry budget knows of this call.
    accounted: bool,
    /// The dial that it waits for, if it asked for one.
    dial: Option<Arc<Milestones>>,
    /// When it was charged for an attempt that has not begun, and what: until the attempt sends, or
    /// has a dial made. Boxed, because it is rare.
    paid: Option<Box<(Instant, Cost)>>,
}

enum Step {
    /// Waits until it may be in flight.
    Entering,
    Begin,
    Lease,
    Queued(Ticket),
    Exchanging(Exchange),
    Resting(Instant),
    Over,
}

/// What one step of the loop says.
type Progress = Poll<Result<Option<Response>, Error>>;

impl Sending {
    pub(crate) fn new(shared: Arc<Shared>, parts: Result<Parts, Error>) -> Self {
        Self {
            shared,
            parts: parts.map_err(Some),
            live: None,
        }
    }
}

impl Future for Sending {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            shared,
            parts: given,
            live,
        } = &mut *self;
        let parts = match given {
            Ok(parts) => parts,
            Err(error) => return Poll::Ready(Err(polled_after_end(error.take()))),
        };
        let now = shared.net.now();
        let live = if let Some(live) = live {
            live
        } else {
            if let Err(error) = parts.settle(&shared.settings) {
                let error = error.of_request(&parts.method, parts.url.as_str());
                *given = Err(None);
                return Poll::Ready(Err(error));
            }
            let live = live.insert(Live::begin(shared, parts, now));
            if let Some(options) = &parts.options {
                live.fresh = options.fresh;
                live.heed_others(shared, parts);
            }
            live
        };
        loop {
            match std::task::ready!(live.step(shared, parts, cx, now)) {
                Ok(None) => {}
                Ok(Some(response)) => return Poll::Ready(Ok(response)),
                Err(error) => {
                    if live.paid.is_some() {
                        shared.locked(|state| live.refund(state, now, parts.route()));
                    }
                    live.end(shared, now, || outcome_of(&error));
                    parts.body = Body::empty();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

fn polled_after_end(error: Option<Error>) -> Error {
    error.unwrap_or_else(|| Error::new(Kind::Request).because("the call is over"))
}

/// What was paid for the retry that follows, if one does.
fn paid_for(verdict: &Verdict, now: Instant) -> Option<Box<(Instant, Cost)>> {
    match verdict {
        Verdict::Retry(again) => again.cost.map(|cost| Box::new((now, cost))),
        Verdict::Deliver { .. } | Verdict::Stop { .. } => None,
    }
}

fn outcome_of(error: &Error) -> Outcome {
    if error.is_deadline() {
        return Outcome::Deadline;
    }
    Outcome::Failed {
        phase: error.phase().unwrap_or(Phase::Total),
        fate: error.fate(),
    }
}

impl Live {
    fn begin(shared: &Arc<Shared>, parts: &mut Parts, now: Instant) -> Self {
        let settings = &shared.settings;
        let options = parts.options.as_deref();
        let limits = options
            .and_then(|o| o.limits.as_ref())
            .unwrap_or(&settings.phase_limits);
        let deadline = options.and_then(|o| o.deadline);
        let retry = options
            .and_then(|o| o.retry.as_ref())
            .unwrap_or(&settings.retry);
        let id = if settings.observer.is_some() {
            shared.next_call()
        } else {
            0
        };
        shared.emit(id, || Event::CallStarted {
            method: parts.method.clone(),
            url: parts.url.text(),
        });
        let own = options.and_then(|o| o.profile.as_ref()?.in_flight);
        let pass = Pass::of(shared, own.map(|(turnstile, _)| turnstile));
        Self {
            id,
            started: now,
            clocks: Clocks::with_limits(now, limits, deadline),
            call: Call::new(parts.facts(), retry.clone()),
            registration: Registration::default(),
            step: match pass {
                Some(_) => Step::Entering,
                None => Step::Begin,
            },
            pass,
            upload: Upload::new(Body::empty()),
            reused: false,
            idle_for: Duration::ZERO,
            fresh: false,
            without_expect: false,
            accounted: false,
            paid: None,
            dial: None,
        }
    }

    /// Where the call has a policy of its own: what it is told concerns others by theirs.
    #[cold]
    fn heed_others(&mut self, shared: &Shared, parts: &Parts) {
        let profile = parts.profile().and_then(|manner| manner.retry.as_ref());
        let common = profile.unwrap_or(&shared.settings.retry);
        self.call.set_common(common);
    }

    fn step(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        match &mut self.step {
            Step::Entering => self.enter(shared, parts, cx, now),
            Step::Begin => self.begin_attempt(shared, parts, cx, now),
            Step::Lease => self.lease(shared, parts, cx, now),
            Step::Queued(ticket) => {
                let ticket = *ticket;
                self.poll_lease(shared, parts, cx, now, ticket)
            }
            Step::Exchanging(exchange) => {
                if self.clocks.is_overdue(now) {
                    // The clock decides, not what is seen first: nothing is sent past the deadline,
                    // and an answer that comes with it is late.
                    return self.expire(shared, parts, now, Phase::Total);
                }
                let is_watched = self.id != 0;
                let was_sent = is_watched && exchange.is_sent();
                let polled = exchange.poll_head(cx, now, &mut self.clocks, &mut self.upload);
                if is_watched && !was_sent && exchange.is_sent() {
                    let bytes = exchange.accepted();
                    shared.emit(self.id, || Event::RequestWritten { bytes });
                }
                match polled {
                    Poll::Ready(Ok(reply)) => self.handle_reply(shared, parts, now, reply),
                    Poll::Ready(Err(failure)) => self.handle_failure(shared, parts, now, failure),
                    Poll::Pending => self.wait(shared, parts, cx, now),
                }
            }
            Step::Resting(until) if now >= *until => {
                if let Some(pass) = &mut self.pass {
                    pass.begin(now);
                }
                self.step = Step::Begin;
                Poll::Ready(Ok(None))
            }
            Step::Resting(_) => self.wait(shared, parts, cx, now),
            Step::Over => Poll::Ready(Err(polled_after_end(None))),
        }
    }

    /// The call ends before a retry that it paid for has begun.
    fn refund(&mut self, state: &mut State, now: Instant, route: &str) {
        if let Some(paid) = self.paid.take() {
            state.pool.budget(now, route).refund(now, paid.0, paid.1);
        }
    }

    /// Another call may be in flight instead.
    #[cold]
    fn leave(&mut self, now: Instant, outcome: Outcome) {
        if let (Some(pass), Outcome::Status(status)) = (self.pass.take(), outcome) {
            pass.handle_status(now, status);
        }
    }

    /// The call is over: nobody is to wake it, and those who watch hear how it ended.
    fn end(&mut self, shared: &Shared, now: Instant, outcome: impl Fn() -> Outcome) {
        self.step = Step::Over;
        // Told first: mostly there is none to drop.
        if self.pass.is_some() {
            self.leave(now, outcome());
        }
        // Whoever keeps the future does not keep the body.
        if self.upload.pulled {
            self.upload = Upload::new(Body::empty());
        }
        if self.registration.is_registered() {
            shared.locked(|state| self.registration.remove(state));
        }
        if self.id == 0 {
            return;
        }
        shared.emit(self.id, || Event::CallEnded {
            outcome: outcome(),
            elapsed: now - self.started,
            attempts: self.call.attempt(),
        });
        self.id = 0;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(live) = &mut self.live else { return };
        // A call that is over has nothing registered and nothing paid for, unless a panic ended it
        // halfway.
        let has_left = live.registration.is_registered() || live.paid.is_some();
        if matches!(live.step, Step::Over) && !has_left {
            return;
        }
        let now = self.shared.net.now();
        let step = std::mem::replace(&mut live.step, Step::Over);
        // First: those who watch, who hear of what follows, may panic. What comes back is dropped
        // here, outside the lock.
        self.shared.locked(|state| {
            if let Step::Queued(ticket) = step {
                state.pool.cancel(now, ticket);
            }
            if let Ok(parts) = &self.parts {
                live.refund(state, now, parts.route());
            }
            live.registration.remove(state)
        });
        if let Step::Exchanging(exchange) = step {
            exchange.cancel(&self.shared, false);
        }
        self.shared.emit(live.id, || Event::CallEnded {
            outcome: Outcome::Cancelled,
            elapsed: now - live.started,
            attempts: live.call.attempt(),
        });
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_small_future_that_may_move_between_threads() {
        fn sendable<T: Send>() {}
        sendable::<Sending>();
        assert!(size_of::<Sending>() <= 1024, "{}", size_of::<Sending>());
    }
}
