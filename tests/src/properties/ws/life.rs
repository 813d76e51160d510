//! When a connection is declared dead: I5.1.

use std::collections::VecDeque;
use std::time::Duration;

use fulmar_core::time::Instant;
use fulmar_core::ws::{Config, Keepalive, KeepaliveMode};

use crate::properties::script::Script;
use crate::websocket::{Bench, frame};

pub(super) const INTERVAL: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Settings under which only silence ends a connection.
pub(super) fn config(mode: KeepaliveMode, missed: u32) -> Config {
    let keepalive = Keepalive::every(INTERVAL).timeout(TIMEOUT);
    Config::new()
        .keepalive(keepalive.mode(mode).missed(missed))
        .message_progress(None)
        .message_total(None)
}

/// The rules of POLICIES 5.1 on a clock that counts only while this side reads.
struct Oracle {
    mode: KeepaliveMode,
    patience: Duration,
    /// The clock, and the instant at which it showed that.
    clock: (Duration, Instant),
    paused: bool,
    /// Since when a byte is missing.
    silent: Option<Duration>,
    unanswered: Vec<Duration>,
}

impl Oracle {
    fn new(mode: KeepaliveMode, missed: u32) -> Self {
        let expects = mode == KeepaliveMode::ServerPing;
        Self {
            mode,
            patience: if expects {
                INTERVAL + TIMEOUT
            } else {
                TIMEOUT * missed
            },
            clock: (Duration::ZERO, Instant::ORIGIN),
            paused: false,
            silent: expects.then_some(Duration::ZERO),
            unanswered: Vec::new(),
        }
    }

    fn pass_to(&mut self, now: Instant) {
        if !self.paused {
            self.clock.0 += now - self.clock.1;
        }
        self.clock.1 = now;
    }

    fn ping(&mut self) {
        self.unanswered.push(self.clock.0);
        self.silent.get_or_insert(self.clock.0);
    }

    fn byte(&mut self) {
        let expects = self.mode == KeepaliveMode::ServerPing;
        self.silent = expects.then_some(self.clock.0);
    }

    /// When the server is dead, on the oracle's clock: for its silence, and by the hard rule.
    fn deadlines(&self) -> [Duration; 2] {
        let silent = self.silent.map(|since| since + self.patience);
        let oldest = self.unanswered.first().map(|sent| *sent + INTERVAL * 3);
        [silent, oldest].map(|at| {
            at.filter(|_| self.mode != KeepaliveMode::Off)
                .unwrap_or(Duration::MAX)
        })
    }

    fn is_dead(&self) -> bool {
        !self.paused && self.deadlines().into_iter().any(|at| at <= self.clock.0)
    }
}

/// How a script of I5.1 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Nobody died.
    Lived,
    /// Of silence.
    Silent,
    /// Of silence, after reading had been paused.
    SilentAfterAPause,
    /// Data came, but no pong.
    Hard,
}

struct Watch {
    bench: Bench,
    oracle: Oracle,
    /// Payloads of the pings that were not answered.
    pings: Vec<Vec<u8>>,
    /// When this side last pinged or heard something.
    stirred: Instant,
    was_paused: bool,
}

impl Watch {
    /// Time passes; the machine has to end at the very instant at which the oracle's server dies.
    fn pass_to(&mut self, then: Instant) {
        while let Some(next) = self.bench.ws.poll_timeout().filter(|next| *next <= then) {
            self.look(next);
            if self.bench.ws.is_done() {
                return;
            }
        }
        self.look(then);
    }

    fn look(&mut self, now: Instant) {
        self.bench.now = self.bench.now.max(now);
        self.oracle.pass_to(self.bench.now);
        self.bench
            .ws
            .handle_timeout(self.bench.now, &mut self.bench.rng);
        let now = self.bench.now;
        let dead = self.oracle.is_dead();
        assert_eq!(self.bench.ws.is_done(), dead, "I5.1: at {now}");
        if dead {
            let exact = self.oracle.deadlines().contains(&self.oracle.clock.0);
            assert!(exact, "I5.1: late, at {now}");
            return;
        }
        self.pinged();
        let pings = matches!(
            self.oracle.mode,
            KeepaliveMode::IdlePing | KeepaliveMode::FixedPing
        );
        let bound = pings && self.pings.len() < 32;
        assert!(
            !bound || now - self.stirred <= INTERVAL,
            "no ping until {now}"
        );
    }

    fn pinged(&mut self) {
        let sent = self.bench.sent().into_iter();
        for (_, payload) in sent.filter(|(first, _)| *first == 0x89) {
            self.pings.push(payload);
            self.oracle.ping();
            self.stirred = self.bench.now;
        }
    }

    /// Bytes arrive, and are told in one of two ways.
    fn receive(&mut self, bytes: &[u8], noted: bool) {
        self.oracle.byte();
        self.stirred = self.bench.now;
        if noted {
            self.bench.rx.extend_from_slice(bytes);
            self.bench.ws.note_input();
            self.bench
                .ws
                .handle_timeout(self.bench.now, &mut self.bench.rng);
            self.bench.events();
        } else {
            self.bench.receive(bytes);
        }
    }

    fn fate(&self) -> Fate {
        let [silent, hard] = self.oracle.deadlines();
        match self.bench.ws.is_done() {
            false => Fate::Lived,
            true if hard < silent => Fate::Hard,
            true if self.was_paused => Fate::SilentAfterAPause,
            true => Fate::Silent,
        }
    }
}

/// I5.1: declared dead at the very instant at which the oracle says so, in each mode: no byte for as
/// long as the timeout after a ping while this side reads, or no pong by the hard rule.
///
/// # Panics
///
/// Where machine and oracle differ.
pub fn i5_1_dead_exactly_when_the_oracle_says_so(data: &[u8]) -> Fate {
    let mut script = Script::new(data);
    let mode = match script.below(8) {
        0..=2 => KeepaliveMode::IdlePing,
        3..=5 => KeepaliveMode::FixedPing,
        6 => KeepaliveMode::ServerPing,
        _ => KeepaliveMode::Off,
    };
    let missed = script.below(3) as u32 + 1;
    let pongs = script.below(2) == 0;
    let mut watch = Watch {
        bench: Bench::new(&config(mode, missed).slow_consumer(None)),
        oracle: Oracle::new(mode, missed),
        pings: Vec::new(),
        stirred: Instant::ORIGIN,
        was_paused: false,
    };
    // A frame of the server's that is under way byte by byte.
    let mut under_way = VecDeque::new();
    while !script.is_over() && !watch.bench.ws.is_done() {
        let step = Duration::from_millis(script.below(7_000) as u64);
        watch.pass_to(watch.bench.now + step);
        if watch.bench.ws.is_done() {
            break;
        }
        i5_1_step(&mut watch, &mut under_way, pongs, &mut script);
    }
    watch.fate()
}

fn i5_1_step(
    watch: &mut Watch,
    under_way: &mut VecDeque<u8>,
    pongs: bool,
    script: &mut Script<'_>,
) {
    let noted = script.below(2) == 0;
    match script.below(10) {
        0..=2 if !watch.oracle.paused => {
            if under_way.is_empty() {
                under_way.extend(frame(0x82, &[0; 3]));
            }
            let byte = under_way.pop_front();
            watch.receive(byte.as_slice(), noted);
        }
        3 if !watch.oracle.paused => {
            let mut bytes = Vec::from(std::mem::take(under_way));
            bytes.extend(frame(0x82, b"x"));
            watch.receive(&bytes, noted);
        }
        4 | 5 if pongs && !watch.oracle.paused && !watch.pings.is_empty() => {
            let place = script.below(watch.pings.len());
            watch.oracle.unanswered.drain(..=place);
            let pong = watch.pings.drain(..=place).next_back().unwrap_or_default();
            let mut bytes = Vec::from(std::mem::take(under_way));
            bytes.extend(frame(0x8a, &pong));
            watch.receive(&bytes, noted);
        }
        6 => {
            watch.oracle.paused = true;
            watch.was_paused = true;
            watch.bench.ws.pause(watch.bench.now);
        }
        7 => {
            watch.oracle.paused = false;
            watch.bench.ws.resume(watch.bench.now);
        }
        8 => {
            watch.bench.ws.ping();
            watch.pinged();
        }
        _ => {}
    }
}
