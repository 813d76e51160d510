//! One WebSocket connection, for any bytes cut anywhere and any silence: POLICIES 5.11.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Agreed, CloseCode, Closed, Config, Connection, Event, Keepalive, KeepaliveMode, Limits,
    Negotiated,
};

use super::script::Script;
use crate::websocket::{Bench, at, close_frame, frame, quiet};

/// Limits small enough for scripts to reach.
fn small() -> Config {
    let limits = Limits::new()
        .message(2000)
        .frame(1000)
        .fragments(6)
        .empty_fragments(3);
    quiet().limits(limits)
}

fn compressed() -> Negotiated {
    Negotiated {
        protocol: None,
        compression: Some(Agreed {
            client_bits: 15,
            server_bits: 15,
            client_takeover: true,
            server_takeover: true,
        }),
    }
}

/// What a server may send, and what it may not.
fn wire(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !script.is_over() && bytes.len() < 20_000 {
        let first = match script.below(16) {
            0..=4 => 0x81,
            5..=6 => 0x82,
            7 => 0x01,
            8 => 0x00,
            9 => 0x80,
            10 => 0x89,
            11 => 0x8a,
            12 => 0xc1,
            13 => 0x88,
            14 => script.byte(),
            _ => {
                let raw = script.below(6);
                bytes.extend((0..raw).map(|_| script.byte()));
                continue;
            }
        };
        let payload = payload(first, script);
        bytes.extend(frame(first, &payload));
    }
    bytes
}

fn payload(first: u8, script: &mut Script<'_>) -> Vec<u8> {
    match script.below(4) {
        _ if first == 0x88 => 1000_u16.to_be_bytes().to_vec(),
        0 => Vec::new(),
        1 => "a\u{e9}\u{20ac}\u{1f600}"
            .as_bytes()
            .repeat(script.below(120)),
        2 => vec![b'x'; script.below(1300)],
        _ => {
            let len = script.below(20);
            (0..len).map(|_| script.byte()).collect()
        }
    }
}

type Heard = (Vec<Event>, Option<Arc<Closed>>, Vec<(u8, Vec<u8>)>);

/// What comes of the bytes, given in those pieces; memory is watched on the way.
fn hear<'a>(negotiated: &Negotiated, pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    let mut bench = Bench::negotiated(&small(), negotiated);
    let mut heard: Heard = Default::default();
    for piece in pieces {
        let (events, closed) = bench.receive(piece);
        heard.0.extend(events);
        heard.1 = closed;
        assert!(bench.ws.buffered() <= 2001, "what is kept is bounded");
        assert!(bench.rx.len() <= 1000 + 14 + piece.len(), "and so is `rx`");
        if heard.1.is_some() {
            break;
        }
    }
    heard.2 = bench.sent();
    heard
}

/// I5.6: events, the end and the answers are a function of the bytes. I5.4: so is the memory.
///
/// # Panics
///
/// Where they are not.
pub fn i5_6_any_split_gives_identical_events(data: &[u8]) {
    let mut script = Script::new(data);
    let cut = script.below(200) + 1;
    let negotiated = if script.below(2) == 0 {
        compressed()
    } else {
        Negotiated::default()
    };
    split_invariant(&wire(&mut script), cut, &negotiated);
}

/// The same for bytes that are nothing but bytes.
///
/// # Panics
///
/// Where it is violated.
pub fn ws_frames(data: &[u8]) {
    let (cut, bytes) = data.split_first().unwrap_or((&0, data));
    split_invariant(bytes, usize::from(*cut) + 1, &Negotiated::default());
    i5_6_any_split_gives_identical_events(data);
}

fn split_invariant(bytes: &[u8], cut: usize, negotiated: &Negotiated) {
    let whole = hear(negotiated, bytes.chunks(500));
    assert_eq!(hear(negotiated, bytes.chunks(cut)), whole);
    if bytes.len() < 3000 {
        assert_eq!(hear(negotiated, bytes.chunks(1)), whole);
    }
}

/// Arbitrary bytes as compressed messages: no panic, bounded memory, the same however cut.
///
/// # Panics
///
/// Where it is violated.
pub fn ws_deflate(data: &[u8]) {
    let mut bytes = Vec::new();
    for message in data.chunks(300) {
        bytes.extend(frame(0xc2, message));
    }
    split_invariant(&bytes, data.len() % 97 + 1, &compressed());
}

/// I5.7: with any message in progress, a ping is answered within one fragment of 16 KiB.
///
/// # Panics
///
/// Where it is not.
pub fn i5_7_a_pong_waits_for_one_fragment_at_most(data: &[u8]) {
    let mut script = Script::new(data);
    let mut bench = Bench::new(&quiet());
    bench.send(vec![0; 64 * 1024 + 1 + script.below(65_536) * 4]);
    while bench.ws.is_sending() {
        bench
            .ws
            .poll_transmit(bench.now, &mut bench.tx, &mut bench.rng);
        // What is written already is on its way; the machine decides only about the rest.
        bench.tx.clear();
        if script.below(3) > 0 {
            continue;
        }
        bench.receive(&frame(0x89, b"now"));
        bench
            .ws
            .poll_transmit(bench.now, &mut bench.tx, &mut bench.rng);
        let waiting = bench.tx.copy_to_bytes(bench.tx.len());
        let (frames, _) = crate::websocket::client_frames(&waiting);
        let place = frames.iter().position(|frame| frame.first == 0x8a);
        assert!(place.is_some_and(|place| place <= 1), "{place:?}");
    }
}

/// I5.8, for a connection: closing takes at most the close timeout and the EOF timeout, whatever
/// the server does and whether or not anything is written.
///
/// # Panics
///
/// Where it takes longer.
pub fn i5_8_closing_takes_6_s_at_most(data: &[u8]) {
    let mut script = Script::new(data);
    let mut bench = Bench::new(&Config::new());
    if script.below(2) == 0 {
        bench.send(vec![0; script.below(60_000) * 10]);
    }
    let start = at(script.below(300_000) as u64 / 16);
    bench.pass_to(start);
    if !bench.ws.is_open() {
        return;
    }
    let closed = bench.ws.close(bench.now, CloseCode::NORMAL, "");
    assert_eq!(closed, Ok(()));
    while !bench.ws.is_done() {
        if script.below(2) == 0 {
            bench.written();
        }
        match script.below(5) {
            0 => drop(bench.receive(&close_frame(1001, ""))),
            1 => drop(bench.receive(&frame(0x82, b"more"))),
            2 => drop(bench.receive(&frame(0x89, b""))),
            3 => drop(bench.receive(&[script.byte()])),
            _ => {}
        }
        let step = Duration::from_millis(script.below(1000) as u64 + 1);
        let next = bench.now + step;
        bench.pass_to(bench.ws.poll_timeout().map_or(next, |at| at.min(next)));
        assert!(bench.now <= start + Duration::from_secs(6), "{}", bench.now);
    }
}

/// A tenth of a second: the grain of the keepalive's scripts.
const TICK: u64 = 100;

fn keepalive() -> Config {
    let keepalive = Keepalive::every(Duration::from_secs(20))
        .timeout(Duration::from_secs(10))
        .mode(KeepaliveMode::FixedPing)
        .jitter(false);
    Config::new().keepalive(keepalive).slow_consumer(None)
}

/// The rules of POLICIES 5.1, counted tick by tick.
#[derive(Default)]
struct Oracle {
    now: u64,
    paused: bool,
    /// Ticks without a byte since a ping, while reading.
    silent: Option<u64>,
    /// Ticks since each unanswered ping, while reading.
    unanswered: Vec<u64>,
}

impl Oracle {
    /// A tick passes; says whether the server is dead.
    fn tick(&mut self) -> bool {
        self.now += 1;
        if !self.paused {
            self.silent = self.silent.map(|ticks| ticks + 1);
            for age in &mut self.unanswered {
                *age += 1;
            }
        }
        let hard = self.unanswered.first().is_some_and(|age| *age >= 600);
        if hard || self.silent.is_some_and(|ticks| ticks >= 100) {
            return true;
        }
        if self.now.is_multiple_of(200) {
            self.unanswered.push(0);
            self.silent.get_or_insert(0);
        }
        false
    }
}

/// I5.1: dead exactly when the oracle says so.
///
/// # Panics
///
/// Where machine and oracle differ.
pub fn i5_1_dead_exactly_when_the_oracle_says_so(data: &[u8]) {
    let mut script = Script::new(data);
    let mut bench = Bench::new(&keepalive());
    let mut oracle = Oracle::default();
    let mut pings: Vec<Vec<u8>> = Vec::new();
    while !script.is_over() {
        for _ in 0..script.below(80) {
            let dead = oracle.tick();
            step(&mut bench, at(oracle.now * TICK), &mut pings);
            assert_eq!(bench.ws.is_done(), dead, "at {}", bench.now);
            if dead {
                return;
            }
        }
        match script.below(6) {
            0 | 1 if !oracle.paused => {
                oracle.silent = None;
                bench.receive(&frame(0x82, b"x"));
            }
            2 if !oracle.paused && !pings.is_empty() => {
                let place = script.below(pings.len());
                oracle.silent = None;
                oracle.unanswered.drain(..=place);
                let pong = pings.drain(..=place).next_back().unwrap_or_default();
                bench.receive(&frame(0x8a, &pong));
            }
            3 => {
                oracle.paused = true;
                bench.ws.pause(bench.now);
            }
            4 => {
                oracle.paused = false;
                bench.ws.resume(bench.now);
            }
            _ => {}
        }
    }
}

/// Time passes, and the payloads of the pings that are written are kept.
fn step(bench: &mut Bench, then: Instant, pings: &mut Vec<Vec<u8>>) {
    while let Some(next) = bench.ws.poll_timeout().filter(|next| *next <= then) {
        bench.now = bench.now.max(next);
        bench.ws.handle_timeout(bench.now, &mut bench.rng);
        let pinged = bench.sent().into_iter().filter(|(first, _)| *first == 0x89);
        pings.extend(pinged.map(|(_, payload)| payload));
    }
    bench.now = then;
}

/// I5.2: a server that answers every ping within the timeout is never dropped, for any data and any
/// pause of less than 30 s.
///
/// # Panics
///
/// Where it is.
pub fn i5_2_who_answers_in_time_is_never_dropped(data: &[u8]) {
    let mut script = Script::new(data);
    let config = Config::new()
        .keepalive(Keepalive::every(Duration::from_secs(20)).timeout(Duration::from_secs(10)));
    let mut bench = Bench::new(&config);
    // Bytes on their way, by their arrival.
    let mut coming: Vec<(Instant, Vec<u8>)> = Vec::new();
    let mut pings = Vec::new();
    let mut paused_until = Instant::ORIGIN;
    for second in 1..400 {
        let now = at(second * 1000);
        let was_paused = paused_until > bench.now;
        step(&mut bench, now, &mut pings);
        for ping in pings.drain(..) {
            let delay = Duration::from_millis(script.below(9000) as u64);
            coming.push((now + delay, frame(0x8a, &ping)));
        }
        if script.below(4) == 0 {
            coming.push((now, frame(0x82, b"data")));
        }
        if was_paused && paused_until <= now {
            bench.ws.resume(now);
        } else if paused_until <= now && script.below(20) == 0 {
            paused_until = now + Duration::from_secs(script.below(29) as u64 + 1);
            bench.ws.pause(now);
        }
        if paused_until <= now {
            let (arrived, rest) = coming.into_iter().partition(|(at, _)| *at <= now);
            coming = rest;
            for (_, bytes) in arrived {
                bench.receive(&bytes);
            }
        }
        assert!(Connection::is_open(&bench.ws), "{:?}", bench.ws.closed());
    }
}
