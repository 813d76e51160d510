//! One call's events, as stretches of time.
//!
//! ```text
//!   attempt:  queue, lookup, connect, send, first byte, body   then its end
//!   rest:     from the end of an attempt to the next one's start
//! ```
//!
//! Times are counted from the start of the call.

use std::sync::Arc;
use std::time::Duration;

use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Outcome, Record};

/// What an attempt was busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Asking the pool, which takes no time worth telling: it counts as what follows.
    Ask,
    /// Waiting for a connection.
    Queue,
    /// Resolving the name.
    Lookup,
    /// Opening a connection: the whole dial but the look-up.
    Connect,
    /// Sending the request.
    Send,
    /// The request is sent, and the response's head is not there.
    FirstByte,
    /// Reading the body.
    Body,
}

/// A stretch of time, from the start of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it was spent on.
    pub stage: Stage,
    /// Its start.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
}

/// The connection that an attempt used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number within the client.
    pub number: u64,
    /// How long it was idle before, where it served another attempt before this one.
    pub idle_for: Option<Duration>,
}

/// One exchange tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Where its time went, in order.
    pub spans: Vec<Span>,
    /// The connection it used, if it came so far.
    pub link: Option<Link>,
    /// Idle connections that turned out to be closed.
    pub found_closed: Vec<u64>,
    /// The response's status.
    pub status: Option<u16>,
    /// Where it failed, and why.
    pub failure: Option<(Phase, Arc<str>)>,
}

/// The time between two attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Its start.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// Which rule asked for another attempt.
    pub reason: &'static str,
    /// It costs neither an attempt nor budget.
    pub is_free: bool,
}

/// A stretch of a call: attempts, and rests between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// An attempt.
    Attempt(Attempt),
    /// The wait before the next.
    Rest(Rest),
}

/// One call over time.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Its number within the client.
    pub number: u64,
    /// Method and URL.
    pub request: String,
    /// When it began.
    pub start: Instant,
    /// Attempts and rests, in order.
    pub rows: Vec<Row>,
    /// From its start to the end of its body, or to what was last heard of it.
    pub length: Duration,
    /// How `send` ended; `None` where that is not among the records.
    pub outcome: Option<Outcome>,
}

impl Call {
    /// Reads the records of one call, with those of the pool (number 0) from the same time.
    pub fn of(records: &[Record]) -> Self {
        let mut reader = Reader::default();
        for record in records {
            reader.handle(record);
        }
        reader.finish()
    }
}

impl Stage {
    /// Every stage, in the order in which an attempt meets them.
    pub const ALL: [Self; 7] = [
        Self::Ask,
        Self::Queue,
        Self::Lookup,
        Self::Connect,
        Self::Send,
        Self::FirstByte,
        Self::Body,
    ];
}

impl Attempt {
    /// Time spent on some things.
    pub fn spent(&self, stages: &[Stage]) -> Duration {
        let of_stages = self
            .spans
            .iter()
            .filter(|span| stages.contains(&span.stage));
        of_stages
            .map(|span| span.to.saturating_sub(span.from))
            .sum()
    }
}

/// Reads records into a [`Call`].
#[derive(Default)]
pub(super) struct Reader {
    number: u64,
    request: String,
    outcome: Option<Outcome>,
    start: Option<Instant>,
    rows: Vec<Row>,
    /// The attempt that runs, and what it is busy with since when.
    open: Option<(Attempt, Stage, Duration)>,
    resting: Option<(Duration, &'static str, bool)>,
    latest: Duration,
}

impl Reader {
    pub(super) fn finish(mut self) -> Call {
        self.close(self.latest);
        Call {
            number: self.number,
            request: self.request,
            start: self.start.unwrap_or_default(),
            rows: self.rows,
            length: self.latest,
            outcome: self.outcome,
        }
    }

    pub(super) fn handle(&mut self, record: &Record) {
        match &record.event {
            Event::CallStarted { method, url } => {
                self.start = Some(record.at);
                self.number = record.call;
                self.request = format!("{method} {url}");
            }
            Event::CallEnded { outcome, .. } => self.outcome = Some(*outcome),
            _ => {}
        }
        let Some(start) = self.start else { return };
        let at = record.at - start;
        // What the pool does afterwards is not the call's time.
        if record.call != 0 {
            self.latest = self.latest.max(at);
        }
        match &record.event {
            Event::AttemptStarted { .. } => self.begin(at),
            Event::Waiting => self.enter(Stage::Queue, at),
            Event::DialStarted => self.enter(Stage::Connect, at),
            Event::Resolved { .. } => self.rename(Stage::Lookup, Stage::Connect, at),
            Event::DialFailed { fault } if fault.phase == Phase::Dns => {
                self.rename(Stage::Lookup, Stage::Connect, at);
            }
            Event::Leased { .. } => self.lease(&record.event, at),
            Event::RequestWritten { .. } => self.enter(Stage::FirstByte, at),
            Event::HeadReceived { status } => {
                if let Some((attempt, ..)) = &mut self.open {
                    attempt.status = Some(*status);
                }
                self.enter(Stage::Body, at);
            }
            Event::AttemptFailed { phase, cause, .. } => self.fail(*phase, cause, at),
            Event::RetryScheduled {
                reason,
                transparent,
                ..
            } => {
                self.close(at);
                self.resting = Some((at, reason, *transparent));
            }
            Event::Closed { connection, .. } => self.find_closed(*connection),
            Event::BodyEnded { .. } => self.close(at),
            _ => {}
        }
    }

    fn begin(&mut self, at: Duration) {
        if let Some((from, reason, is_free)) = self.resting.take() {
            self.rows.push(Row::Rest(Rest {
                from,
                to: at,
                reason,
                is_free,
            }));
        }
        // Nothing happens between the start of a call and its first attempt.
        let at = if self.rows.is_empty() {
            Duration::ZERO
        } else {
            at
        };
        self.open = Some((Attempt::default(), Stage::Ask, at));
    }

    /// Ends what the attempt was busy with.
    fn enter(&mut self, stage: Stage, at: Duration) {
        let Some((attempt, current, since)) = &mut self.open else {
            return;
        };
        if *current == Stage::Ask && stage != Stage::Body {
            *current = stage;
            return;
        }
        attempt.spans.push(Span {
            stage: *current,
            from: *since,
            to: at,
        });
        (*current, *since) = (stage, at);
    }

    /// Ends a stage that only its end names.
    fn rename(&mut self, ended: Stage, next: Stage, at: Duration) {
        if let Some((_, current, _)) = &mut self.open
            && *current == Stage::Connect
        {
            *current = ended;
            self.enter(next, at);
        }
    }

    fn lease(&mut self, event: &Event, at: Duration) {
        self.enter(Stage::Send, at);
        if let Event::Leased {
            connection,
            reused,
            idle_for,
        } = event
            && let Some((attempt, ..)) = &mut self.open
        {
            attempt.link = Some(Link {
                number: *connection,
                idle_for: reused.then_some(*idle_for),
            });
        }
    }

    /// A connection that closes while the attempt asks for one was an idle one of no use.
    fn find_closed(&mut self, connection: u64) {
        if let Some((attempt, Stage::Ask, _)) = &mut self.open {
            attempt.found_closed.push(connection);
        }
    }

    fn fail(&mut self, phase: Phase, cause: &Arc<str>, at: Duration) {
        if let Some((attempt, ..)) = &mut self.open {
            attempt.failure = Some((phase, cause.clone()));
        }
        self.close(at);
    }

    fn close(&mut self, at: Duration) {
        self.enter(Stage::Body, at);
        if let Some((attempt, ..)) = self.open.take() {
            self.rows.push(Row::Attempt(attempt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn record(millis: u64, call: u64, event: Event) -> Record {
        let at = Instant::ORIGIN + ms(5000 + millis);
        Record { at, call, event }
    }

    fn started() -> Event {
        Event::CallStarted {
            method: http::Method::GET,
            url: Arc::from("http://a.test/"),
        }
    }

    fn leased(connection: u64, idle: Option<u64>) -> Event {
        Event::Leased {
            connection,
            reused: idle.is_some(),
            idle_for: ms(idle.unwrap_or(0)),
        }
    }

    #[test]
    fn a_retried_call_is_two_attempts_and_a_rest() {
        let again = Event::RetryScheduled {
            attempt: 2,
            delay: ms(100),
            reason: "status",
            transparent: false,
        };
        let call = Call::of(&[
            record(0, 1, started()),
            record(0, 1, Event::AttemptStarted { attempt: 1 }),
            record(0, 1, Event::DialStarted),
            record(10, 1, Event::Resolved { addresses: 1 }),
            record(30, 1, leased(1, None)),
            record(31, 1, Event::RequestWritten { bytes: 9 }),
            record(50, 1, Event::HeadReceived { status: 503 }),
            record(50, 0, Event::Parked { connection: 1 }),
            record(50, 1, again),
            record(150, 1, Event::AttemptStarted { attempt: 2 }),
            record(150, 1, leased(1, Some(100))),
            record(150, 1, Event::RequestWritten { bytes: 9 }),
            record(170, 1, Event::HeadReceived { status: 200 }),
            record(180, 1, Event::BodyEnded { bytes: 3 }),
            record(999, 0, Event::Parked { connection: 1 }),
        ]);
        assert_eq!(call.length, ms(180));
        assert_eq!((call.number, &*call.request), (1, "GET http://a.test/"));
        assert_eq!(call.start, Instant::ORIGIN + ms(5000));
        let [Row::Attempt(first), Row::Rest(rest), Row::Attempt(second)] = &call.rows[..] else {
            panic!("{:?}", call.rows);
        };
        let spent = [Stage::Lookup, Stage::Connect, Stage::Send, Stage::FirstByte];
        assert_eq!(
            spent.map(|stage| first.spent(&[stage])),
            [ms(10), ms(20), ms(1), ms(19)]
        );
        assert_eq!(first.status, Some(503));
        assert_eq!((rest.from, rest.to), (ms(50), ms(150)));
        assert_eq!(second.link.and_then(|link| link.idle_for), Some(ms(100)));
        assert_eq!(second.spent(&[Stage::Body]), ms(10));
    }

    #[test]
    fn an_idle_connection_that_was_closed_is_told_with_the_attempt_that_found_it() {
        let why = "closed by the peer while idle";
        let call = Call::of(&[
            record(0, 1, started()),
            record(0, 1, Event::AttemptStarted { attempt: 1 }),
            record(0, 0, Event::Closed { connection: 4, why }),
            record(0, 1, Event::DialStarted),
            record(1, 1, leased(5, None)),
            record(2, 0, Event::Closed { connection: 5, why }),
        ]);
        let [Row::Attempt(attempt)] = &call.rows[..] else {
            panic!("{:?}", call.rows);
        };
        assert_eq!(attempt.found_closed, [4]);
    }
}
