//! The connection's steps from open to closed: each is a test in `tests/ws_close.rs`.

use std::sync::Arc;

use super::close::{Cause, CloseFrame, Closed};
use super::connection::Connection;
use super::error::Violation;
use super::event::State;
use crate::fault::FaultKind;
use crate::time::Instant;

impl Connection {
    /// The server's Close frame: the answer to ours, or to be answered.
    pub(super) fn peer_closes(&mut self, now: Instant, frame: CloseFrame) {
        let ours = self.state == State::LocalClosing;
        let cause = if ours { Cause::Local } else { Cause::Peer };
        if ours && !self.sender.is_closing() {
            self.enter(State::WaitEof, now + self.times.eof_timeout);
        } else {
            // One close, one timeout: the server's part does not start it anew.
            let until = if ours {
                self.sender.abandon();
                self.until
            } else {
                self.sender.close_at_once(&frame);
                now + self.times.close_timeout
            };
            self.enter(State::RemoteClosing, until);
        }
        self.ending = Some(Box::new(Closed {
            code: frame.code,
            reason: frame.reason,
            clean: true,
            cause,
        }));
    }

    pub(super) fn violated(&mut self, now: Instant, violation: Violation) {
        let frame = CloseFrame::of(violation.close_code(), violation.as_str());
        self.fail(now, &frame, Cause::Violation(violation));
    }

    /// Ends of this side's own accord: the end is told at once, the Close frame is best effort.
    pub(super) fn fail(&mut self, now: Instant, frame: &CloseFrame, cause: Cause) {
        let ours_was_sent = self.state == State::LocalClosing && !self.sender.is_closing();
        self.sender.abandon();
        if !ours_was_sent {
            self.sender.close_at_once(frame);
        }
        self.closed = Some(Arc::new(Closed {
            code: frame.code,
            reason: frame.reason.clone(),
            clean: false,
            cause,
        }));
        self.enter(State::WaitEof, now + self.times.eof_timeout);
    }

    pub(super) fn close_written(&mut self, now: Instant) {
        if self.state == State::RemoteClosing {
            self.enter(State::WaitEof, now + self.times.eof_timeout);
        }
    }

    /// The transport ended.
    pub(super) fn end(&mut self, cause: Cause) {
        let closed = match (self.state, self.ending.take().map(|ending| *ending)) {
            (State::Closed, _) => return,
            // Our code, but nobody answered it.
            (State::LocalClosing, Some(ending)) => Closed { cause, ..ending },
            // The answer cannot have been sent.
            (State::RemoteClosing, Some(ending)) => Closed {
                clean: cause == Cause::Eof,
                ..ending
            },
            (_, Some(ending)) => ending,
            (_, None) => Closed::abnormal(cause),
        };
        self.finish(closed);
    }

    /// A step of the closing took too long.
    pub(super) fn expire(&mut self) {
        match self.state {
            State::LocalClosing => self.finish(Closed::abnormal(Cause::CloseTimeout)),
            State::RemoteClosing => self.end(Cause::Fault(FaultKind::TimedOut)),
            State::WaitEof => self.end(Cause::Eof),
            State::Open | State::Closed => {}
        }
    }

    pub(super) fn finish(&mut self, closed: Closed) {
        self.sender.abandon();
        self.closed.get_or_insert_with(|| Arc::new(closed));
        self.enter(State::Closed, Instant::MAX);
    }

    pub(super) fn enter(&mut self, state: State, until: Instant) {
        self.state = state;
        self.until = until;
        self.next = self.earliest();
    }
}
