//! Whether a connection was cut because nothing went over it: what load balancers and proxies do
//! whose idle limit is shorter than the keepalive interval.
//!
//! Nobody says so, hence it is inferred: an end that has no other reason, right behind a silence
//! that was long enough. A path that has forgotten a connection often says nothing until something
//! is sent over it, and resets it then: so for a reset a silence counts that a message or a ping of
//! this side ended.

use std::time::Duration;

use crate::fault::FaultKind;
use crate::time::Instant;
use crate::ws::{Cause, CloseCode, Closed};

/// The shortest idle limit that is common, 30 s, less what a timer and the way may take.
const SHORTEST: Duration = Duration::from_secs(29);

/// The silences of one connection. Pings of this side do not break them, their pongs do.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When it began.
    since: Instant,
    /// The one that bytes of the server ended last.
    broken: Duration,
    /// The longest that messages of this side ended, since bytes last came.
    unanswered: Duration,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    /// Bytes came.
    pub(super) fn handle_input(&mut self, now: Instant) {
        self.broken = now - self.since;
        self.unanswered = Duration::ZERO;
        self.since = now;
    }

    /// A message is written.
    pub(super) fn handle_output(&mut self, now: Instant) {
        self.unanswered = self.unanswered.max(now - self.since);
        self.since = now;
    }

    /// How long the silence was that the connection seems to have been cut for.
    pub(super) fn cut_after(
        &self,
        now: Instant,
        closed: &Closed,
        interval: Option<Duration>,
    ) -> Option<Duration> {
        let silent = match closed.cause {
            Cause::Peer if is_plain(closed.code) => self.broken,
            Cause::Eof => now - self.since,
            Cause::Fault(FaultKind::Reset | FaultKind::BrokenPipe) => {
                self.unanswered.max(now - self.since)
            }
            _ => return None,
        };
        let least = interval.map_or(SHORTEST, |interval| interval.min(SHORTEST));
        (silent >= least).then_some(silent)
    }
}

/// Whether a code names no reason but that the server goes.
fn is_plain(code: CloseCode) -> bool {
    [
        CloseCode::NORMAL,
        CloseCode::GOING_AWAY,
        CloseCode::NO_STATUS,
    ]
    .contains(&code)
}
