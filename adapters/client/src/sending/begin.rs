//! How an attempt begins on the connection that it was given.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::fault::Phase;
use fulmar_core::h1::{RequestHead, Reuse};
use fulmar_core::pool::Discard;
use fulmar_core::time::Instant;
use fulmar_core::trace::Event;
use http::Method;

use super::{Live, Progress, Step};
use crate::exchange::Exchange;
use crate::h1::{Bufs, Failure, H1, Upload};
use crate::request::Parts;
use crate::shared::Shared;

impl Live {
    pub(super) fn begin_attempt(
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

    /// The pool gave a connection: looks at it once, and begins the exchange.
    pub(super) fn start(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        now: Instant,
        mut h1: Box<H1>,
        idle_for: Duration,
        bufs: Box<Bufs>,
    ) -> Progress {
        // One that a dial brought may have idled, too.
        let idled = h1.exchanges > 0 || !idle_for.is_zero();
        self.reused = h1.exchanges > 0;
        self.idle_for = idle_for;
        let spent = if h1.lost != shared.lost() {
            Some((Discard::Spent, "a runtime went away"))
        } else if idled && !h1.is_quiet() {
            Some((Discard::Stale, "closed by the peer while idle"))
        } else {
            None
        };
        if let Some((how, why)) = spent {
            shared.discard(h1, how, why);
            (self.reused, self.idle_for) = (false, Duration::ZERO);
            self.step = Step::Lease;
            return Poll::Ready(Ok(None));
        }
        let connection = h1.id;
        self.upload = Upload::new(parts.body.attempt(shared));
        if parts.was_pulled {
            self.upload.repeats();
        }
        let (overall, attempt) = (self.clocks.overall(), self.call.attempt());
        if !parts.stamp(shared, now, overall, attempt, h1.peer.as_deref()) {
            let exchange = Exchange::H1(h1);
            if self.reused {
                // It was not used: the next call has more time, and wants a warm one.
                self.step = Step::Over;
                exchange.finish(shared, now, Reuse::Keep, &mut self.registration);
            } else {
                self.step = Step::Exchanging(exchange);
            }
            return self.expire(shared, parts, now, Phase::Total);
        }
        self.paid = None;
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
}

impl Parts {
    /// Encodes the head of one attempt.
    fn send(
        &mut self,
        shared: &Shared,
        now: Instant,
        h1: &mut H1,
        upload: &mut Upload,
        bufs: Box<Bufs>,
        without_expect: bool,
    ) -> Result<(), Failure> {
        if without_expect && let Some(headers) = &mut self.headers {
            headers.remove(http::header::EXPECT);
        }
        let tunnel_to = (self.method == Method::CONNECT).then(|| self.tunnel_target());
        let head = RequestHead {
            method: &self.method,
            target: tunnel_to.as_deref().unwrap_or(self.url.target_and_login()),
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

    /// A stream that nobody pulled from can still be sent, and one of which all is kept.
    pub(super) fn take_back(&mut self, mut upload: Upload) {
        self.was_pulled |= upload.pulled;
        if self.is_moved && upload.body.rewind(upload.pulled) {
            self.body = upload.body;
        }
    }
}
