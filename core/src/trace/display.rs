//! Events as lines for a human reader.

use std::fmt::{self, Write as _};

use super::{Event, Outcome};

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = &mut OneLine(f);
        match self {
            Self::CallStarted { method, url } => write!(out, "{method} {url}"),
            Self::AttemptStarted { attempt } => write!(out, "attempt {attempt}"),
            Self::AttemptFailed {
                attempt,
                phase,
                fate,
                cause,
            } => {
                write!(out, "attempt {attempt} failed ({phase}, {fate}): {cause}")
            }
            Self::RetryScheduled {
                attempt,
                reason,
                transparent: true,
                ..
            } => {
                write!(out, "attempt {attempt} at once, free of charge: {reason}")
            }
            Self::RetryScheduled {
                attempt,
                delay,
                reason,
                ..
            } => {
                write!(out, "attempt {attempt} in {delay:?}: {reason}")
            }
            Self::CallEnded {
                outcome,
                elapsed,
                attempts: 1,
            } => {
                write!(out, "{outcome} after {elapsed:?}, 1 attempt")
            }
            Self::CallEnded {
                outcome,
                elapsed,
                attempts,
            } => {
                write!(out, "{outcome} after {elapsed:?}, {attempts} attempts")
            }
            other => other.write_exchange(out),
        }
    }
}

impl Event {
    /// The events of an attempt that do not end it.
    fn write_exchange(&self, out: &mut OneLine<'_, '_>) -> fmt::Result {
        match self {
            Self::Waiting => write!(out, "waiting for a connection"),
            Self::Leased {
                connection,
                reused: false,
                ..
            } => {
                write!(out, "on new connection {connection}")
            }
            Self::Leased {
                connection,
                idle_for,
                ..
            } => {
                write!(out, "on connection {connection}, idle for {idle_for:?}")
            }
            Self::RequestWritten { bytes } => write!(out, "request written, {bytes} bytes"),
            Self::Informational { status } => write!(out, "interim response {status}"),
            Self::HeadReceived { status } => write!(out, "response {status}"),
            Self::BodyEnded { bytes } => write!(out, "body complete, {bytes} bytes"),
            other => other.write_pool(out),
        }
    }

    /// The events of a connection at rest.
    fn write_pool(&self, out: &mut OneLine<'_, '_>) -> fmt::Result {
        match self {
            Self::Parked { connection } => write!(out, "connection {connection} parked"),
            Self::Closed { connection, why } => {
                write!(out, "connection {connection} closed: {why}")
            }
            Self::Evicted { connection, why } => {
                write!(out, "connection {connection} evicted: {why}")
            }
            other => other.write_dial(out),
        }
    }

    /// The events of making a connection.
    fn write_dial(&self, out: &mut OneLine<'_, '_>) -> fmt::Result {
        match self {
            Self::DialStarted => write!(out, "opening a connection"),
            Self::Resolved { addresses: 1 } => write!(out, "resolved to 1 address"),
            Self::Resolved { addresses } => write!(out, "resolved to {addresses} addresses"),
            Self::Connecting { addr } => write!(out, "connecting to {addr}"),
            Self::ConnectFailed { addr, fault } => write!(out, "{addr} failed: {fault}"),
            Self::Connected {
                connection,
                peer: Some(peer),
            } => {
                write!(out, "connection {connection} open to {peer}")
            }
            Self::Connected {
                connection,
                peer: None,
            } => {
                write!(out, "connection {connection} open")
            }
            Self::TlsDone {
                connection,
                alpn: Some(alpn),
            } => {
                write!(out, "connection {connection} is secure, speaks {alpn}")
            }
            Self::TlsDone {
                connection,
                alpn: None,
            } => {
                write!(out, "connection {connection} is secure")
            }
            Self::DialFailed { fault } => {
                write!(out, "no connection ({}): {fault}", fault.phase)
            }
            other => out.write_str(other.name()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with {status}"),
            Self::Failed { phase, fate } => write!(f, "failed ({phase}, {fate})"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Deadline => f.write_str("deadline exceeded"),
        }
    }
}

/// Writes a blank for every control character, so that an event is one line.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // The two separators are line breaks too, to those who read Unicode.
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        for (i, part) in s.split(breaks).enumerate() {
            if i > 0 {
                self.0.write_char(' ')?;
            }
            self.0.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use ::http::Method;

    use super::*;
    use crate::fault::{Fate, Fault, FaultKind, Phase};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn calls_and_attempts() -> Vec<(Event, &'static str)> {
        let url = Arc::from("http://a.test/x");
        let cause = Arc::from("connection reset\r\nby the\tpeer");
        let (phase, fate) = (Phase::Write, Fate::NotProcessed);
        let scheduled = |delay, reason, transparent| Event::RetryScheduled {
            attempt: 2,
            delay: ms(delay),
            reason,
            transparent,
        };
        let ended = |outcome, attempts| Event::CallEnded {
            outcome,
            elapsed: ms(1500),
            attempts,
        };
        let failed = Outcome::Failed { phase, fate };
        let method = Method::GET;
        let attempt_failed = Event::AttemptFailed {
            attempt: 1,
            phase,
            fate,
            cause,
        };
        vec![
            (Event::CallStarted { method, url }, "GET http://a.test/x"),
            (Event::AttemptStarted { attempt: 2 }, "attempt 2"),
            (
                attempt_failed,
                "attempt 1 failed (write, not processed): connection reset  by the peer",
            ),
            (
                scheduled(80, "backoff", false),
                "attempt 2 in 80ms: backoff",
            ),
            (
                scheduled(0, "stale", true),
                "attempt 2 at once, free of charge: stale",
            ),
            (
                ended(Outcome::Status(200), 1),
                "ended with 200 after 1.5s, 1 attempt",
            ),
            (
                ended(failed, 3),
                "failed (write, not processed) after 1.5s, 3 attempts",
            ),
            (
                ended(Outcome::Cancelled, 1),
                "cancelled after 1.5s, 1 attempt",
            ),
            (
                ended(Outcome::Deadline, 2),
                "deadline exceeded after 1.5s, 2 attempts",
            ),
        ]
    }

    fn exchanges_and_the_pool() -> Vec<(Event, &'static str)> {
        let leased = |reused, idle| Event::Leased {
            connection: 7,
            reused,
            idle_for: ms(idle),
        };
        let closed = Event::Closed {
            connection: 7,
            why: "asked to",
        };
        let evicted = Event::Evicted {
            connection: 7,
            why: "idle for too long",
        };
        vec![
            (Event::Waiting, "waiting for a connection"),
            (leased(false, 0), "on new connection 7"),
            (leased(true, 12), "on connection 7, idle for 12ms"),
            (
                Event::RequestWritten { bytes: 120 },
                "request written, 120 bytes",
            ),
            (Event::Informational { status: 103 }, "interim response 103"),
            (Event::HeadReceived { status: 503 }, "response 503"),
            (Event::BodyEnded { bytes: 9 }, "body complete, 9 bytes"),
            (Event::Parked { connection: 7 }, "connection 7 parked"),
            (closed, "connection 7 closed: asked to"),
            (evicted, "connection 7 evicted: idle for too long"),
        ]
    }

    fn dials() -> Vec<(Event, &'static str)> {
        let addr = SocketAddr::from(([192, 0, 2, 1], 443));
        let fault = Fault::new(FaultKind::Refused, Phase::Connect);
        let failed = Event::ConnectFailed {
            addr,
            fault: fault.clone(),
        };
        let connected = |peer| Event::Connected {
            connection: 7,
            peer,
        };
        let secure = |alpn| Event::TlsDone {
            connection: 7,
            alpn,
        };
        vec![
            (Event::DialStarted, "opening a connection"),
            (Event::Resolved { addresses: 1 }, "resolved to 1 address"),
            (Event::Resolved { addresses: 3 }, "resolved to 3 addresses"),
            (Event::Connecting { addr }, "connecting to 192.0.2.1:443"),
            (failed, "192.0.2.1:443 failed: connection refused"),
            (connected(Some(addr)), "connection 7 open to 192.0.2.1:443"),
            (connected(None), "connection 7 open"),
            (
                secure(Some("h2".into())),
                "connection 7 is secure, speaks h2",
            ),
            (secure(None), "connection 7 is secure"),
            (
                Event::DialFailed { fault },
                "no connection (connect): connection refused",
            ),
        ]
    }

    #[test]
    fn every_event_reads_as_one_line() {
        let tables = [calls_and_attempts(), exchanges_and_the_pool(), dials()];
        for (event, line) in tables.concat() {
            assert_eq!(event.to_string(), line);
            assert!(!line.contains(char::is_control));
            assert!(
                event
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
    }
}
