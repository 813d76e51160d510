//! What follows from a response: it goes to the caller, or to another attempt.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fulmar_core::call::{Again, Verdict};
use fulmar_core::fault::Phase;
use fulmar_core::h1::Reuse;
use fulmar_core::http::ResponseHead;
use fulmar_core::retry::{HeadFacts, Seen, StopReason, parse_retry_after};
use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Outcome};

use super::{Live, Progress, Step, paid_for, polled_after_end};
use crate::body::Body;
use crate::exchange::{Exchange, Reply};
use crate::h1::Upload;
use crate::incoming::Incoming;
use crate::request::Parts;
use crate::response::Response;
use crate::shared::{Shared, State};
use crate::summary::Summary;
use crate::upgraded::Upgraded;

/// Which rule asks to repeat a response with a status that failed.
fn status_rule(head: &ResponseHead) -> &'static str {
    match head.header("retry-after") {
        Some(_) => "Retry-After",
        None => "status",
    }
}

/// How long the response asks to wait.
#[cold]
fn retry_after(shared: &Shared, head: &ResponseHead) -> Option<Duration> {
    let values = head
        .fields()
        .filter(|(n, _)| n.eq_ignore_ascii_case(b"retry-after"));
    parse_retry_after(
        values.map(|(_, v)| v),
        head.header("date"),
        shared.net.wall(),
    )
}

impl Live {
    #[inline]
    pub(super) fn handle_reply(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        reply: Reply,
    ) -> Progress {
        match reply {
            Reply::Whole(head, body, reuse) => {
                self.handle_whole(shared, parts, now, head, body, reuse)
            }
            Reply::Head(head) => self.handle_head(shared, parts, now, head),
            Reply::Tunnel(head) => self.handle_tunnel(shared, parts, now, head),
            Reply::Informational(status) => {
                shared.emit(self.id, || Event::Informational { status });
                Poll::Ready(Ok(None))
            }
        }
    }

    #[inline]
    fn handle_whole(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        head: ResponseHead,
        body: Bytes,
        reuse: Reuse,
    ) -> Progress {
        let stop = match self.consider(shared, parts, now, &head) {
            Ok(stop) => stop,
            Err(again) => {
                self.finish(shared, now, reuse);
                return self.rest(shared, parts, now, &again, status_rule(&head));
            }
        };
        let summary = self.summary(shared, parts, now, &head, stop);
        self.finish(shared, now, reuse);
        shared.emit(self.id, || Event::BodyEnded {
            bytes: body.len() as u64,
        });
        let body = Body::whole(body, parts.max_response_body(shared), &parts.url);
        self.deliver(shared, parts, now, head, body, summary)
    }

    fn handle_head(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        head: ResponseHead,
    ) -> Progress {
        let stop = match self.consider(shared, parts, now, &head) {
            Ok(stop) => stop,
            Err(again) => {
                // A request that rests owns no connection: the response is drained or closed.
                if let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) {
                    exchange.cancel(shared, true);
                }
                return self.rest(shared, parts, now, &again, status_rule(&head));
            }
        };
        let summary = self.summary(shared, parts, now, &head, stop);
        let Step::Exchanging(mut exchange) = std::mem::replace(&mut self.step, Step::Over) else {
            return Poll::Ready(Err(polled_after_end(None)));
        };
        exchange.earn(shared, now);
        self.clocks.entered(now, Phase::Body);
        // Until the reader asks, its clock stands still: a slow consumer is not a slow peer.
        self.clocks.suspended(now, true);
        let mut upload = std::mem::replace(&mut self.upload, Upload::new(Body::empty()));
        upload.body.commit();
        let mut incoming = Incoming::new(
            shared.clone(),
            exchange,
            upload,
            self.clocks.clone(),
            std::mem::take(&mut self.registration),
            self.id,
            (parts.method.clone(), parts.url.clone()),
            (self.call.clone(), self.reused),
        );
        incoming.max = parts.max_response_body(shared);
        if let Some(pass) = self.pass.take() {
            pass.handle_status(now, head.status().as_u16());
            incoming.pass = Some(pass);
        }
        let body = Body::incoming(Box::new(incoming));
        self.deliver(shared, parts, now, head, body, summary)
    }

    fn handle_tunnel(
        &mut self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        head: ResponseHead,
    ) -> Progress {
        shared.emit(self.id, || Event::HeadReceived {
            status: head.status().as_u16(),
        });
        let summary = self.summary(shared, parts, now, &head, None);
        let body = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Exchanging(mut exchange) => {
                exchange.earn(shared, now);
                match exchange {
                    Exchange::H1(h1) => Body::tunnel(Upgraded::new(h1, shared.clone())),
                    Exchange::H2(stream) => match stream {},
                }
            }
            _ => Body::empty(),
        };
        self.deliver(shared, parts, now, head, body, summary)
    }

    /// Whether the response is for the caller, and then why there was no other attempt where the
    /// status asked for one.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn consider(
        &mut self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        head: &ResponseHead,
    ) -> Result<Option<StopReason>, Again> {
        let status = head.status().as_u16();
        shared.emit(self.id, || Event::HeadReceived { status });
        if self.call.passes(status) {
            return Ok(None);
        }
        self.consult(shared, parts, now, head)
    }

    /// The same of a status that some rule looks at.
    #[inline(never)]
    fn consult(
        &mut self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        head: &ResponseHead,
    ) -> Result<Option<StopReason>, Again> {
        match self.judge(shared, parts, now, head) {
            Verdict::Retry(again) => {
                // Of a response that is delivered it hears at its end.
                if let Some(pass) = &self.pass {
                    pass.handle_status(now, head.status().as_u16());
                }
                Err(again)
            }
            Verdict::Deliver { .. } => Ok(self.call.stop_reason()),
            Verdict::Stop { reason, .. } => Ok(Some(reason)),
        }
    }

    /// Asks the machine about a response whose status it has a rule for.
    fn judge(
        &mut self,
        shared: &Arc<Shared>,
        parts: &Parts,
        now: Instant,
        head: &ResponseHead,
    ) -> Verdict {
        let facts = self.head_facts(shared, parts, head);
        let overall = self.clocks.overall();
        self.call.consult(Seen::Status(facts.status));
        let verdict = shared.locked(|state| {
            let State { pool, rng, .. } = state;
            let budget = pool.budget(now, parts.route());
            let verdict = self.call.handle_head(now, &facts, overall, budget, rng);
            self.paid = paid_for(&verdict, now);
            verdict
        });
        if let Step::Exchanging(exchange) = &mut self.step {
            exchange.judge();
            let spent = self.clocks.spent_by(now);
            self.call.annotate(exchange.via(), spent);
        }
        verdict
    }

    fn head_facts(&self, shared: &Shared, parts: &Parts, head: &ResponseHead) -> HeadFacts {
        let (accepted, response_bytes) = match &self.step {
            Step::Exchanging(exchange) => (exchange.accepted(), exchange.response_bytes()),
            _ => (0, 0),
        };
        HeadFacts {
            retry_after: retry_after(shared, head),
            reused: self.reused,
            accepted,
            response_bytes,
            expected: parts.has("expect"),
            body_pulled: self.upload.pulled,
            body_committed: self.upload.body.is_committed(),
            ..HeadFacts::new(head.status().as_u16())
        }
    }

    /// What the response tells of the call, while its exchange is at hand.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn summary(
        &self,
        shared: &Shared,
        parts: &Parts,
        now: Instant,
        head: &ResponseHead,
        stop: Option<StopReason>,
    ) -> Summary {
        let peer = match &self.step {
            Step::Exchanging(exchange) => exchange.peer(),
            _ => None,
        };
        let mut summary = Summary::new(
            &parts.method,
            (self.started, now),
            self.call.attempt(),
            self.reused,
            (stop, peer),
        );
        let status = head.status().as_u16();
        if status >= 400 {
            summary.set_retry_after(retry_after(shared, head));
            if !self.call.passes(status) {
                // Some statuses disclaim that the request was processed.
                summary.fate = self.call.fate();
            }
        }
        summary
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

    /// Ends the exchange that runs, its response being complete.
    fn finish(&mut self, shared: &Arc<Shared>, now: Instant, reuse: Reuse) {
        if let Step::Exchanging(exchange) = std::mem::replace(&mut self.step, Step::Over) {
            exchange.finish(shared, now, reuse, &mut self.registration);
        }
    }
}
