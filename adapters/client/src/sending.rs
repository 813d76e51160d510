//! A call on its way: the future behind [`RequestBuilder::send`](crate::RequestBuilder::send).
//!
//! ```text
//!   Start -> Queued <-> (dial spawned) -> Exchanging -> Response
//!              ^                             | failed, or a status to retry
//!              +------- Resting (backoff) <--+-> Error
//! ```
//!
//! It asks the machines what to do and does it: `Call` decides about attempts, `Clocks` about time,
//! the pool about connections. The exchange runs here, in the caller's own task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::call::{Again, Call, Verdict};
use fulmar_core::deadline::Clocks;
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::h1::{RequestHead, Reuse};
use fulmar_core::http::ResponseHead;
use fulmar_core::pool::{Ask, Discard, Lease, Refusal, Slot, Ticket};
use fulmar_core::retry::{AttemptFacts, Cause, HeadFacts, Seen, StopReason, parse_retry_after};
use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Outcome};
use http::Method;

use crate::body::Body;
use crate::error::{Error, Kind};
use crate::exchange::{Exchange, Reply};
use crate::h1::{Failure, H1, Upload};
use crate::in_flight::{self, Pass};
use crate::incoming::Incoming;
use crate::request::Parts;
use crate::response::{Response, Summary};
use crate::shared::{Registration, Shared, State};
use crate::upgraded::Upgraded;

/// A new connection that has idled so long may have been closed for that.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// The future of one call. It does nothing until it is polled.
///
/// # Cancel safety
///
/// Dropping it at any point ends the call at once: a place in the queue, a granted connection and a
/// retry's timer are given back, and a connection whose exchange had begun is closed (the boundary
/// of its response is not known). Nothing is sent afterwards.
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
            parts,
            live,
        } = &mut *self;
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => return Poll::Ready(Err(polled_after_end(error.take()))),
        };
        let now = shared.net.now();
        let live = match live {
            Some(live) => live,
            None => live.insert(Live::begin(shared, parts, now)),
        };
        loop {
            match std::task::ready!(live.step(shared, parts, cx, now)) {
                Ok(None) => {}
                Ok(Some(response)) => return Poll::Ready(Ok(response)),
                Err(error) => {
                    live.end(shared, now, || outcome_of(&error));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// Which rule asks to repeat a response with a status that failed.
fn status_rule(head: &ResponseHead) -> &'static str {
    match head.header("retry-after") {
        Some(_) => "Retry-After",
        None => "status",
    }
}

/// Whether the connection ended, and not because this side gave it up.
fn is_death(cause: &Cause) -> bool {
    let ours = [FaultKind::TimedOut, FaultKind::RuntimeGone];
    matches!(cause, Cause::Fault(fault) if !ours.contains(&fault.kind))
}

fn polled_after_end(error: Option<Error>) -> Error {
    error.unwrap_or_else(|| Error::new(Kind::Request).because("the call is over"))
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
        }
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
                self.step = Step::Begin;
                Poll::Ready(Ok(None))
            }
            Step::Resting(_) => self.wait(shared, parts, cx, now),
            Step::Over => Poll::Ready(Err(polled_after_end(None))),
        }
    }

    /// Waits for its place among the calls in flight: as long as for a connection.
    #[cold]
    fn enter(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        let Some(pass) = &mut self.pass else {
            self.step = Step::Begin;
            return Poll::Ready(Ok(None));
        };
        if self.clocks.phase().is_none() {
            self.clocks.entered(now, Phase::Pool);
        }
        let bound = self.clocks.lower_bound(now).unwrap_or(Instant::MAX);
        let waker = cx.waker().clone();
        let registration = &mut self.registration;
        let (entered, _replaced) = shared.locked_and_driven(|state| {
            let (tag, replaced) = registration.register(state, waker, bound);
            (pass.enter(state, tag), replaced)
        });
        let error = match entered {
            in_flight::Progress::Inside => {
                self.step = Step::Begin;
                return Poll::Ready(Ok(None));
            }
            in_flight::Progress::Full => pass.refused(),
            in_flight::Progress::Queued => match self.clocks.expired(now) {
                Some(phase) => pass.too_late(phase),
                None => return self.wait(shared, parts, cx, now),
            },
        };
        self.step = Step::Over;
        Poll::Ready(Err(self.error(error, parts, None)))
    }

    fn begin_attempt(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        if let Some(phase) = self.clocks.expired(now) {
            return self.expire(shared, parts, now, phase);
        }
        let attempt = self.call.begin_attempt(now);
        self.clocks.begin_attempt(now);
        self.clocks.split(self.call.attempts_left());
        shared.emit(self.id, || Event::AttemptStarted { attempt });
        self.lease(shared, parts, cx, now)
    }

    /// Asks for a connection: an idle one, a place in the queue, or a dial to be spawned.
    fn lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        let bound = self.clocks.lower_bound(now).unwrap_or(Instant::MAX);
        let route = parts.route();
        let limit = parts.profile().and_then(|manner| manner.per_origin);
        let mut bufs = None;
        let waker = cx.waker().clone();
        let (lease, _replaced) = shared.locked_and_driven(|state| {
            let (tag, replaced) = self.registration.register(state, waker, bound);
            let repeatable = self.call.request().repeat_ok();
            let ask = Ask {
                fresh: self.fresh,
                repeatable,
                probe: false,
                tag,
            };
            if let Some(connections) = limit {
                state.pool.limit_route(now, route, connections);
            }
            let mut lease = state.pool.checkout(now, route, ask);
            bufs = self.account(state, now, route, &lease);
            self.own(&mut lease);
            (lease, replaced)
        });
        self.handle_lease(shared, parts, cx, now, lease, bufs)
    }

    /// What was given has an owner before the lock opens: what follows may panic.
    fn own(&mut self, lease: &mut Result<Lease<Box<H1>, crate::exchange::StreamHandle>, Refusal>) {
        match lease {
            Ok(Lease::Idle(slot, h1, _)) => h1.slot = *slot,
            Ok(Lease::Dial(ticket, _) | Lease::Wait(ticket)) => self.step = Step::Queued(*ticket),
            _ => {}
        }
    }

    /// Books a first attempt with the route's retry budget, and takes buffers for a connection.
    fn account<S>(
        &mut self,
        state: &mut State,
        now: Instant,
        route: &str,
        lease: &Result<Lease<Box<H1>, S>, Refusal>,
    ) -> Option<Box<crate::h1::Bufs>> {
        let slot = match lease {
            Ok(Lease::Idle(slot, ..)) => Some(*slot),
            _ => None,
        };
        if !std::mem::replace(&mut self.accounted, true) {
            match slot.and_then(|slot| state.pool.slot_budget(slot)) {
                Some(budget) => budget.handle_first_attempt(now),
                None => state.pool.budget(now, route).handle_first_attempt(now),
            }
        }
        slot.and_then(|_| state.lend())
    }

    fn poll_lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
        ticket: Ticket,
    ) -> Progress {
        let mut bufs = None;
        let lease = shared.locked_and_driven(|state| {
            let mut lease = state.pool.poll_lease(now, ticket);
            if matches!(lease, Some(Ok(Lease::Idle(..)))) {
                bufs = state.lend();
            }
            if let Some(lease) = &mut lease {
                self.own(lease);
            }
            lease
        });
        match lease {
            Some(lease) => self.handle_lease(shared, parts, cx, now, lease, bufs),
            None => self.wait(shared, parts, cx, now),
        }
    }

    fn handle_lease(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
        lease: Result<Lease<Box<H1>, crate::exchange::StreamHandle>, Refusal>,
        bufs: Option<Box<crate::h1::Bufs>>,
    ) -> Progress {
        match lease {
            Ok(Lease::Idle(_, h1, idle_for)) => {
                self.start(shared, parts, now, h1, idle_for, bufs.unwrap_or_default())
            }
            Ok(Lease::Share(_, stream)) => match stream {},
            Ok(Lease::Dial(ticket, slot)) => {
                self.clocks.entered(now, Phase::Connect);
                self.dial(shared, parts, now, slot);
                // The dial may have been refused at once.
                self.poll_lease(shared, parts, cx, now, ticket)
            }
            Ok(Lease::Wait(_)) => {
                shared.emit(self.id, || Event::Waiting);
                self.clocks.entered(now, Phase::Pool);
                self.wait(shared, parts, cx, now)
            }
            Err(refusal) => self.handle_refusal(shared, parts, now, refusal),
        }
    }

    fn dial(&self, shared: &Arc<Shared>, parts: &Parts, now: Instant, slot: Slot) {
        let options = parts.options.as_deref();
        let timeouts = options
            .and_then(|o| o.timeouts.as_ref())
            .unwrap_or(&shared.settings.timeouts);
        let socket = parts.socket(&shared.settings);
        crate::dial::spawn(shared, &parts.url, socket, slot, timeouts, self.id, now);
    }

    /// The pool gave a connection: looks at it once, and begins the exchange.
    fn start(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        mut h1: Box<H1>,
        idle_for: Duration,
        bufs: Box<crate::h1::Bufs>,
    ) -> Progress {
        // One that a dial brought may have idled, too.
        let idled = h1.exchanges > 0 || !idle_for.is_zero();
        self.reused = h1.exchanges > 0;
        self.idle_for = idle_for;
        if h1.lost != shared.lost() {
            shared.discard(h1, Discard::Spent, "a runtime went away");
            self.step = Step::Lease;
            return Poll::Ready(Ok(None));
        }
        if idled && !h1.is_quiet() {
            shared.discard(h1, Discard::Stale, "closed by the peer while idle");
            self.step = Step::Lease;
            return Poll::Ready(Ok(None));
        }
        let connection = h1.id;
        self.upload = Upload::new(parts.body.attempt());
        self.clocks.entered(now, Phase::Write);
        if !parts.stamp(shared, now, self.clocks.overall(), self.call.attempt()) {
            self.step = Step::Exchanging(Exchange::H1(h1));
            return self.expire(shared, parts, now, Phase::Total);
        }
        let begun = parts.send(
            shared,
            now,
            &mut h1,
            &mut self.upload,
            bufs,
            self.without_expect,
        );
        self.step = Step::Exchanging(Exchange::H1(h1));
        // Not before the connection has an owner: an observer may panic.
        shared.emit(self.id, || Event::Leased {
            connection,
            reused: self.reused,
            idle_for: self.idle_for,
        });
        match begun {
            Ok(()) => Poll::Ready(Ok(None)),
            Err(failure) => self.handle_failure(shared, parts, now, failure),
        }
    }

    /// Nothing to do right now: has time run out, and will somebody wake us when it does?
    fn wait(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        if let Some(phase) = self.clocks.expired(now) {
            return self.expire(shared, parts, now, phase);
        }
        if shared.is_halted()
            && let Some(end) = self.halt(shared, parts, now)
        {
            return end;
        }
        let mut next = self
            .clocks
            .poll_timeout()
            .map_or(Instant::MAX, |(at, _)| at);
        match &self.step {
            Step::Resting(until) => next = next.min(*until),
            Step::Exchanging(Exchange::H1(h1)) => {
                next = next.min(h1.machine().poll_timeout().unwrap_or(Instant::MAX));
            }
            _ => {}
        }
        if !self.registration.covers(shared, cx, now, next) {
            let waker = cx.waker().clone();
            // What comes back is dropped here, outside the lock.
            shared.locked_and_driven(|state| self.registration.register(state, waker, next));
            // Only now is it known whether anybody runs who will wake the call.
            if shared.is_halted()
                && let Some(end) = self.halt(shared, parts, now)
            {
                return end;
            }
        }
        Poll::Pending
    }

    /// The client is shut down, or no runtime runs: whether that concerns the call as it waits.
    #[cold]
    fn halt(&mut self, shared: &Arc<Shared>, parts: &Parts, now: Instant) -> Option<Progress> {
        match self.step {
            Step::Exchanging(_) if shared.is_cut() => {
                let mut error = Error::new(Kind::Closed);
                if self.is_begun() {
                    error = error.with_fate(Fate::MaybeProcessed);
                }
                self.give_up_exchange(shared, "the client is closed");
                Some(Poll::Ready(Err(self.error(error, parts, None))))
            }
            Step::Resting(_) | Step::Entering if shared.is_closed() => {
                self.step = Step::Over;
                let error = Error::new(Kind::Closed);
                Some(Poll::Ready(Err(self.error(error, parts, None))))
            }
            Step::Resting(_) | Step::Queued(_) | Step::Entering if shared.is_undriven() => {
                Some(self.fail_undriven(shared, parts, now))
            }
            _ => None,
        }
    }

    /// No runtime runs: nobody would dial for the call, or wake it.
    #[cold]
    fn fail_undriven(&mut self, shared: &Shared, parts: &Parts, now: Instant) -> Progress {
        if let Step::Queued(ticket) = std::mem::replace(&mut self.step, Step::Over) {
            shared.locked(|state| state.pool.cancel(now, ticket));
        }
        let fault = Fault::new(FaultKind::RuntimeGone, Phase::Connect);
        let fault = fault.with_detail("there is no runtime here that runs");
        Poll::Ready(Err(self.error(Error::of_fault(fault), parts, None)))
    }

    fn handle_reply(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        reply: Reply,
    ) -> Progress {
        match reply {
            Reply::Informational(status) => {
                shared.emit(self.id, || Event::Informational { status });
                Poll::Ready(Ok(None))
            }
            Reply::Whole(head, body, reuse) => {
                shared.emit(self.id, || Event::HeadReceived {
                    status: head.status().as_u16(),
                });
                let stop = if self.call.passes(head.status().as_u16()) {
                    None
                } else {
                    match self.judge(shared, parts, now, &head) {
                        Verdict::Retry(again) => {
                            self.finish(shared, now, reuse);
                            return self.rest(shared, parts, now, &again, status_rule(&head));
                        }
                        Verdict::Deliver { .. } => self.call.stop_reason(),
                        Verdict::Stop { reason, .. } => Some(reason),
                    }
                };
                let summary = self.summary(now, stop);
                self.finish(shared, now, reuse);
                shared.emit(self.id, || Event::BodyEnded {
                    bytes: body.len() as u64,
                });
                self.deliver(shared, parts, now, head, body.into(), summary)
            }
            Reply::Head(head) => self.handle_head(shared, parts, now, head),
            Reply::Tunnel(head) => {
                shared.emit(self.id, || Event::HeadReceived {
                    status: head.status().as_u16(),
                });
                let summary = self.summary(now, None);
                let body = match std::mem::replace(&mut self.step, Step::Over) {
                    Step::Exchanging(Exchange::H1(h1)) => {
                        Body::tunnel(Upgraded::new(h1, shared.clone()))
                    }
                    _ => Body::empty(),
                };
                self.deliver(shared, parts, now, head, body, summary)
            }
        }
    }

    fn handle_head(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        head: ResponseHead,
    ) -> Progress {
        shared.emit(self.id, || Event::HeadReceived {
            status: head.status().as_u16(),
        });
        let mut stop = None;
        if !self.call.passes(head.status().as_u16()) {
            match self.judge(shared, parts, now, &head) {
                Verdict::Retry(again) => {
                    // A request that rests owns no connection: the response is drained or closed.
                    if let Step::Exchanging(exchange) =
                        std::mem::replace(&mut self.step, Step::Over)
                    {
                        exchange.cancel(shared, true);
                    }
                    return self.rest(shared, parts, now, &again, status_rule(&head));
                }
                Verdict::Deliver { .. } => stop = self.call.stop_reason(),
                Verdict::Stop { reason, .. } => stop = Some(reason),
            }
        }
        let summary = self.summary(now, stop);
        let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) else {
            return Poll::Ready(Err(polled_after_end(None)));
        };
        self.clocks.entered(now, Phase::Body);
        // Until the reader asks, its clock stands still: a slow consumer is not a slow peer.
        self.clocks.suspended(now, true);
        let mut incoming = Incoming::new(
            shared.clone(),
            exchange,
            std::mem::replace(&mut self.upload, Upload::new(Body::empty())),
            self.clocks.clone(),
            std::mem::take(&mut self.registration),
            self.id,
            parts.url.clone(),
            (self.call.attempt(), self.call.attempts().to_vec()),
        );
        incoming.pass = self.pass.take();
        let body = Body::incoming(Box::new(incoming));
        self.deliver(shared, parts, now, head, body, summary)
    }

    fn judge(
        &mut self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        head: &ResponseHead,
    ) -> Verdict {
        if let Step::Exchanging(Exchange::H1(h1)) = &mut self.step {
            h1.judge();
        }
        let (accepted, response_bytes) = match &self.step {
            Step::Exchanging(exchange) => (exchange.accepted(), exchange.response_bytes()),
            _ => (0, 0),
        };
        let values = head
            .fields()
            .filter(|(n, _)| n.eq_ignore_ascii_case(b"retry-after"));
        let retry_after = parse_retry_after(
            values.map(|(_, v)| v),
            head.header("date"),
            shared.net.wall(),
        );
        let facts = HeadFacts {
            retry_after,
            reused: self.reused,
            accepted,
            response_bytes,
            expected: parts.has("expect"),
            body_pulled: self.upload.pulled,
            ..HeadFacts::new(head.status().as_u16())
        };
        let overall = self.clocks.overall();
        self.call.consult(Seen::Status(facts.status));
        let verdict = shared.locked(|state| {
            let State { pool, rng, .. } = state;
            let budget = pool.budget(now, parts.route());
            self.call.handle_head(now, &facts, overall, budget, rng)
        });
        if let Step::Exchanging(exchange) = &self.step {
            let spent = self.clocks.spent_by(now);
            self.call.annotate(exchange.connection(), spent);
        }
        verdict
    }

    fn handle_refusal(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        refusal: Refusal,
    ) -> Progress {
        self.step = Step::Over;
        match refusal {
            Refusal::Closed => Poll::Ready(Err(self.error(Error::new(Kind::Closed), parts, None))),
            Refusal::QueueFull => {
                let error = Error::new(Kind::PoolFull).at(Phase::Pool);
                Poll::Ready(Err(self.error(error, parts, None)))
            }
            Refusal::Dial(fault)
                if fault.kind == FaultKind::RuntimeGone && shared.is_undriven() =>
            {
                self.fail_undriven(shared, parts, now)
            }
            Refusal::Dial(fault) => {
                // A dial that ran out of its own time is that phase's timeout.
                let (cause, error) = match fault.kind {
                    FaultKind::TimedOut if fault.code.is_none() => {
                        (Cause::Timeout(fault.phase), Error::of_dial_timeout(&fault))
                    }
                    _ => (Cause::Fault(fault.clone()), Error::of_fault(fault)),
                };
                self.attempt_failed(shared, parts, now, cause, error)
            }
        }
    }

    fn handle_failure(
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
                let mut error = Error::new(Kind::Request).caused_by(error);
                if self.is_begun() {
                    error = error.at(Phase::Write).with_fate(Fate::MaybeProcessed);
                }
                self.give_up_exchange(shared, "request not sent");
                Poll::Ready(Err(self.error(error, parts, None)))
            }
            Failure::Body(error) => {
                let mut error = Error::new(Kind::Request).at(Phase::Write).caused_by(error);
                if self.is_begun() {
                    error = error.with_fate(Fate::MaybeProcessed);
                }
                self.give_up_exchange(shared, "request body failed");
                Poll::Ready(Err(self.error(error, parts, None)))
            }
        }
    }

    /// Whether the transport took a byte of the request.
    fn is_begun(&self) -> bool {
        matches!(&self.step, Step::Exchanging(exchange) if exchange.accepted() > 0)
    }

    /// A limit passed. Only an attempt's or a phase's own may lead to another attempt.
    fn expire(
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

    fn attempt_failed(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        cause: Cause,
        error: Error,
    ) -> Progress {
        let (mut accepted, mut response_bytes, mut connection) = (0, 0, (0, None));
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
        let upload = std::mem::replace(&mut self.upload, Upload::new(Body::empty()));
        let facts = AttemptFacts {
            reused: self.reused,
            idle_for: self.idle_for,
            accepted,
            response_bytes,
            delivered: 0,
            body_pulled: upload.pulled && parts.body_is_one_shot(),
            cause,
        };
        parts.take_back(upload);
        let route = parts.route();
        let overall = self.clocks.overall();
        self.call.consult(Seen::Failure(&facts.cause));
        let verdict = shared.locked(|state| {
            let State { pool, rng, .. } = state;
            let budget = pool.budget(now, route);
            let verdict = self.call.handle_failure(now, &facts, overall, budget, rng);
            if let Verdict::Retry(Again {
                evict_idle_for: Some(idle_for),
                ..
            }) = verdict
            {
                state.pool.evict_idle(now, route, idle_for);
            }
            if matches!(verdict, Verdict::Retry(again) if again.evict_oldest) {
                state.pool.give_up_oldest(now);
            }
            verdict
        });
        let peer = connection.1.clone();
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
    fn rest(
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
        shared.emit(self.id, || Event::RetryScheduled {
            attempt: self.call.attempt() + 1,
            delay: again.at - now,
            reason,
            transparent: again.transparent,
        });
        self.step = Step::Resting(again.at);
        Poll::Ready(Ok(None))
    }

    /// Ends the exchange that runs, its response being complete.
    fn finish(&mut self, shared: &Arc<Shared>, now: Instant, reuse: Reuse) {
        if let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) {
            exchange.finish(shared, now, reuse, &mut self.registration);
        }
    }

    fn give_up_exchange(&mut self, shared: &Shared, why: &'static str) {
        if let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) {
            exchange.discard(shared, why);
        }
    }

    /// What the response tells of the call, while its exchange is at hand.
    fn summary(&self, now: Instant, stop: Option<StopReason>) -> Summary {
        Summary {
            elapsed: now - self.started,
            attempts: self.call.attempt(),
            reused: self.reused,
            stop,
            peer: match &self.step {
                Step::Exchanging(exchange) => exchange.peer(),
                _ => None,
            },
        }
    }

    /// What ends a call says nothing of the attempts before: they may have been processed.
    fn error(&self, error: Error, parts: &Parts, stop: Option<StopReason>) -> Error {
        let fate = error.fate().max(self.call.fate());
        error
            .with_fate(fate)
            .with_url(parts.url.as_str())
            .with_history(self.call.attempt(), self.call.attempts(), stop)
    }

    /// Ends the call with a response. That is made last, where it goes to: it is big to move.
    #[inline]
    fn deliver(
        &mut self,
        shared: &Shared,
        parts: &Parts,
        now: Instant,
        head: ResponseHead,
        body: Body,
        summary: Summary,
    ) -> Progress {
        self.end(shared, now, || Outcome::Status(head.status().as_u16()));
        let response = Response::new(head, body, parts.url.clone(), summary);
        Poll::Ready(Ok(Some(response)))
    }

    /// The call is over: nobody is to wake it, and those who watch hear how it ended.
    fn end(&mut self, shared: &Shared, now: Instant, outcome: impl FnOnce() -> Outcome) {
        self.step = Step::Over;
        self.pass = None;
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
        // A call that is over has nothing registered, unless a panic ended it halfway.
        if matches!(live.step, Step::Over) && !live.registration.is_registered() {
            return;
        }
        let now = self.shared.net.now();
        match std::mem::replace(&mut live.step, Step::Over) {
            Step::Exchanging(exchange) => exchange.cancel(&self.shared, false),
            Step::Queued(ticket) => self.shared.locked(|state| state.pool.cancel(now, ticket)),
            _ => {}
        }
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| live.registration.remove(state));
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

impl Parts {
    /// Encodes the head of one attempt.
    fn send(
        &mut self,
        shared: &Shared,
        now: Instant,
        h1: &mut H1,
        upload: &mut Upload,
        bufs: Box<crate::h1::Bufs>,
        without_expect: bool,
    ) -> Result<(), Failure> {
        if without_expect && let Some(headers) = &mut self.headers {
            headers.remove(http::header::EXPECT);
        }
        let tunnel_to = (self.method == Method::CONNECT).then(|| self.tunnel_target());
        let head = RequestHead {
            method: &self.method,
            target: tunnel_to.as_deref().unwrap_or(self.url.target()),
            host: tunnel_to.as_deref().unwrap_or(self.url.authority()),
            defaults: self.defaults(&shared.settings),
            headers: self
                .headers
                .as_deref()
                .unwrap_or(&shared.settings.no_headers),
            close: false,
        };
        h1.send(now, &head, upload, bufs)
    }

    /// RFC 9110 section 9.3.6: the target of CONNECT is a host and a port, and `Host` says the same.
    fn tunnel_target(&self) -> String {
        let headers = self.headers.as_ref();
        let host = headers.and_then(|headers| headers.get(http::header::HOST)?.to_str().ok());
        let own = || format!("{}:{}", self.url.host(), self.url.port());
        host.map_or_else(own, str::to_owned)
    }

    fn body_is_one_shot(&self) -> bool {
        self.one_shot
    }

    /// A stream that nobody pulled from can still be sent.
    fn take_back(&mut self, upload: Upload) {
        if self.one_shot && !upload.pulled && upload.body.is_one_shot() {
            self.body = upload.body;
        }
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
