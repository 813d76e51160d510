//! Whether the server is still there: pings, pongs and the silence between them.
//!
//! ```text
//!        interval                    timeout
//!  open ---------> ping, deadline ------------> dead
//!                    |                            ^
//!                    | any byte: no deadline      | no pong for 3 intervals
//!                    +----------------------------+ after the oldest unanswered ping
//! ```
//!
//! Invariants
//! * Dead only without a byte for as long as the timeout after a ping, or by the hard rule.
//! * While this side does not read, no deadline passes; what was left of it is left afterwards.
//! * A pong counts for every ping before it. One that answers no ping is a sign of life, no more.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::Rng;

use super::error::ConfigError;
use super::pause::Pausable;
use crate::backoff::uniform;
use crate::time::{Instant, saturating_nanos};

/// Pings that may wait for their pongs; more are not sent.
const MOST_OUTSTANDING: usize = 32;

/// Intervals after which a ping without its pong ends a connection that only sends data.
const HARD: u32 = 3;

/// Pings that follow each other sooner are a mistake: they would keep a thread, and tell nothing more.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Who pings, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepaliveMode {
    /// This side, when nothing came for an interval; and every third interval in any case, for the
    /// round-trip time. The default.
    #[default]
    IdlePing,
    /// This side, every interval.
    FixedPing,
    /// The server. It is taken for dead when nothing came for an interval and the timeout.
    ServerPing,
    /// Nobody.
    Off,
}

/// How a server's silence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    mode: KeepaliveMode,
    interval: Duration,
    timeout: Option<Duration>,
    missed: u32,
    jitter: bool,
}

impl Default for Keepalive {
    /// Every 20 s, with 10 s for an answer.
    fn default() -> Self {
        Self::every(Duration::from_secs(20))
    }
}

impl From<Duration> for Keepalive {
    fn from(interval: Duration) -> Self {
        Self::every(interval)
    }
}

impl Keepalive {
    /// Pings after that long without a byte.
    ///
    /// Choose it below the shortest idle limit on the way: 60 s of common load balancers and
    /// proxies, 30 s of some.
    pub fn every(interval: Duration) -> Self {
        Self {
            mode: KeepaliveMode::IdlePing,
            interval,
            timeout: None,
            missed: 1,
            jitter: true,
        }
    }

    /// No pings of its own accord; those of the server are still answered.
    pub fn off() -> Self {
        Self::default().mode(KeepaliveMode::Off)
    }

    /// Who pings.
    #[must_use]
    pub fn mode(mut self, mode: KeepaliveMode) -> Self {
        self.mode = mode;
        self
    }

    /// How long after a ping any byte has to come. Default: half the interval, at most 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many pings in a row, one timeout apart, may be missed. Default 1.
    #[must_use]
    pub fn missed(mut self, pings: u32) -> Self {
        self.missed = pings;
        self
    }

    /// Whether intervals are shortened by up to a tenth, so that clients drift apart. Default: yes.
    #[must_use]
    pub fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.missed == 0 {
            return Err(ConfigError::Missed);
        }
        let (interval, timeout) = (self.interval, self.pong_timeout());
        if self.pings() && interval <= timeout {
            return Err(ConfigError::Keepalive { interval, timeout });
        }
        // While one is missing, the next follows a timeout later.
        let shortest = if self.missed > 1 { timeout } else { interval };
        if self.pings() && shortest < LEAST_INTERVAL {
            return Err(ConfigError::TooOften(shortest));
        }
        Ok(())
    }

    /// Whether this side pings of its own accord.
    fn pings(&self) -> bool {
        matches!(
            self.mode,
            KeepaliveMode::IdlePing | KeepaliveMode::FixedPing
        )
    }

    fn pong_timeout(&self) -> Duration {
        let derived = (self.interval / 2).min(Duration::from_secs(10));
        self.timeout.unwrap_or(derived)
    }
}

/// The number of a ping, in the order of their sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingId(pub(super) u32);

/// Round-trip times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// The last one.
    pub last: Duration,
    /// The shortest.
    pub min: Duration,
    /// Smoothed: each new one counts an eighth.
    pub smoothed: Duration,
}

/// A ping that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    payload: [u8; 8],
    at: Instant,
    /// The same on the clock that stands still while nothing is read.
    counted: Instant,
    /// Bytes that were written before it.
    written: u64,
}

/// A pong that answers a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: PingId,
    pub(super) rtt: Duration,
    /// Bytes that were written before the ping.
    pub(super) written: u64,
}

/// The server is taken for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) missed: u32,
}

#[derive(Debug)]
pub(super) struct Life {
    config: Keepalive,
    clock: Pausable,
    next_ping: Instant,
    /// The interval that was drawn for the next ping.
    interval: Duration,
    last_inbound: Instant,
    last_ping: Instant,
    /// On the pausable clock: when silence is death.
    alive_until: Instant,
    sent: VecDeque<Sent>,
    /// Pings that wait to be written; the last ones of the numbers given out.
    due: u32,
    numbers: u32,
    rtt: Option<Rtt>,
}

impl Life {
    pub(super) fn new(now: Instant, config: Keepalive, rng: &mut dyn Rng) -> Self {
        let mut life = Self {
            config,
            clock: Pausable::default(),
            next_ping: Instant::MAX,
            interval: config.interval,
            last_inbound: now,
            last_ping: now,
            alive_until: Instant::MAX,
            sent: VecDeque::new(),
            due: 0,
            numbers: 0,
            rtt: None,
        };
        life.schedule(now, rng);
        life.expect_server(now);
        life
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        (self.config.mode != KeepaliveMode::Off).then_some(self.config.interval)
    }

    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// Asks for a ping; `None` where too many wait for their pongs.
    pub(super) fn request(&mut self) -> Option<PingId> {
        if self.sent.len() + self.due as usize >= MOST_OUTSTANDING {
            return None;
        }
        self.due += 1;
        self.numbers = self.numbers.wrapping_add(1);
        Some(PingId(self.numbers))
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.clock.pause(now);
    }

    pub(super) fn resume(&mut self, now: Instant) {
        self.clock.resume(now);
    }

    /// Any byte is a sign of life.
    pub(super) fn handle_inbound(&mut self, now: Instant) {
        self.last_inbound = now;
        self.alive_until = Instant::MAX;
        self.expect_server(now);
    }

    /// The ping that this answers, if it answers one.
    pub(super) fn handle_pong(&mut self, now: Instant, payload: &[u8]) -> Option<Answer> {
        let place = self.sent.iter().position(|sent| sent.payload == payload)?;
        let sent = self.sent.drain(..=place).next_back()?;
        let rtt = now - sent.at;
        let known = self.rtt.get_or_insert(Rtt {
            last: rtt,
            min: rtt,
            smoothed: rtt,
        });
        *known = Rtt {
            last: rtt,
            min: known.min.min(rtt),
            smoothed: (known.smoothed * 7 + rtt) / 8,
        };
        let [.., a, b, c, d] = sent.payload;
        Some(Answer {
            id: PingId(u32::from_be_bytes([a, b, c, d])),
            rtt,
            written: sent.written,
        })
    }

    /// # Errors
    ///
    /// Where the server is dead.
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) -> Result<(), Dead> {
        if self.clock.when(self.alive_until.min(self.hard_deadline())) <= now {
            return Err(Dead {
                missed: self.sent.len() as u32 + self.due,
            });
        }
        if self.next_ping <= now {
            let quiet_until = self.last_inbound + self.interval;
            let overdue = self.last_ping + self.config.interval.saturating_mul(HARD);
            if self.config.mode == KeepaliveMode::IdlePing && quiet_until.min(overdue) > now {
                self.next_ping = quiet_until.min(overdue);
            } else {
                self.last_ping = now;
                // Where none may be sent, those before it decide.
                self.request();
                self.schedule(now, rng);
            }
        }
        Ok(())
    }

    /// Whether a ping waits to be written.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// The payload of a ping that is due, which counts as sent from now on.
    pub(super) fn poll_ping(
        &mut self,
        now: Instant,
        written: u64,
        rng: &mut dyn Rng,
    ) -> Option<[u8; 8]> {
        if self.due == 0 {
            return None;
        }
        self.due -= 1;
        let number = self.numbers.wrapping_sub(self.due);
        // Half of it cannot be guessed, so that a stale or forged pong is not taken for an answer.
        let payload = u64::from(rng.next_u32()) << 32 | u64::from(number);
        let payload = payload.to_be_bytes();
        let counted = self.clock.at(now);
        self.sent.push_back(Sent {
            payload,
            at: now,
            counted,
            written,
        });
        let armed = self.alive_until != Instant::MAX;
        if !armed && self.config.mode != KeepaliveMode::Off {
            let timeout = self.config.pong_timeout();
            self.alive_until = counted + timeout.saturating_mul(self.config.missed);
        }
        if !armed && self.config.missed > 1 && self.config.pings() {
            self.next_ping = self.next_ping.min(now + self.config.pong_timeout());
        }
        Some(payload)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let dead = self.clock.when(self.alive_until.min(self.hard_deadline()));
        dead.min(self.next_ping)
    }

    /// Draws the next interval and waits for it.
    fn schedule(&mut self, now: Instant, rng: &mut dyn Rng) {
        if !self.config.pings() {
            return;
        }
        let most = saturating_nanos(self.config.interval);
        let least = if self.config.jitter {
            most - most / 10
        } else {
            most
        };
        self.interval = Duration::from_nanos(uniform(rng, least, most).max(1));
        // While a ping is missing, the next follows one timeout later.
        let missing = self.config.missed > 1 && self.alive_until != Instant::MAX;
        self.next_ping = now
            + if missing {
                self.config.pong_timeout()
            } else {
                self.interval
            };
    }

    fn expect_server(&mut self, now: Instant) {
        if self.config.mode == KeepaliveMode::ServerPing {
            let timeout = self.config.pong_timeout();
            let patience = self.config.interval.saturating_add(timeout);
            self.alive_until = self.clock.at(now) + patience;
        }
    }

    /// On the pausable clock: when data without pongs is no longer taken for life.
    fn hard_deadline(&self) -> Instant {
        match self.sent.front() {
            Some(oldest) if self.config.mode != KeepaliveMode::Off => {
                oldest.counted + self.config.interval.saturating_mul(HARD)
            }
            _ => Instant::MAX,
        }
    }
}
