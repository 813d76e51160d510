//! Who answers is not dropped: I5.2.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fulmar_core::time::Instant;
use fulmar_core::ws::KeepaliveMode;

use super::life::{INTERVAL, config};
use crate::properties::script::Script;
use crate::websocket::{Bench, frame};

/// A server that answers every ping within the timeout, whatever else it sends.
#[derive(Default)]
struct Server {
    /// What is on its way, by its arrival.
    wire: BTreeMap<Instant, Vec<u8>>,
    /// When the last byte of the last frame arrives.
    busy_until: Instant,
    /// When pongs arrive that were not there yet.
    pongs: VecDeque<Instant>,
}

impl Server {
    /// A ping came; its pong arrives within the timeout, behind what is under way.
    fn ping(&mut self, now: Instant, payload: &[u8], script: &mut Script<'_>) {
        let wanted = now + Duration::from_millis(script.below(10_000) as u64);
        let last = self.pongs.back().copied().unwrap_or_default();
        let then = wanted.max(self.busy_until).max(last);
        self.pongs.push_back(then);
        self.send(then, &frame(0x8a, payload));
    }

    /// A frame that arrives byte by byte, but so that no pong has to wait for it.
    fn data(&mut self, now: Instant, script: &mut Script<'_>) {
        let bytes = frame(0x82, &vec![0; script.below(40)]);
        let length = Duration::from_millis(script.below(4_000) as u64);
        if self.busy_until > now {
            return;
        }
        self.pongs.retain(|at| *at > now);
        let length = self
            .pongs
            .front()
            .map_or(length, |at| length.min(*at - now));
        let count = bytes.len() as u32;
        for (n, byte) in bytes.into_iter().enumerate() {
            self.busy_until = now + length * n as u32 / count;
            self.send(self.busy_until, &[byte]);
        }
    }

    fn send(&mut self, then: Instant, bytes: &[u8]) {
        self.wire.entry(then).or_default().extend(bytes);
    }

    fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let later = self.wire.split_off(&(now + Duration::from_nanos(1)));
        std::mem::replace(&mut self.wire, later)
            .into_values()
            .flatten()
            .collect()
    }
}

/// This side: what it reads, and until when it does not.
struct Client {
    bench: Bench,
    server: Server,
    paused_until: Option<Instant>,
}

impl Client {
    /// Time passes. What came, and whoever reads again, comes before a timeout of the same instant.
    fn pass_to(&mut self, then: Instant, script: &mut Script<'_>) {
        loop {
            let arrival = self.server.wire.first_key_value().map(|(at, _)| *at);
            let stirs = self.paused_until.or(arrival);
            let timeout = self.bench.ws.poll_timeout();
            let stirs_first = stirs.is_some_and(|at| timeout.is_none_or(|next| at <= next));
            let next = if stirs_first { stirs } else { timeout };
            let Some(next) = next.filter(|next| *next <= then) else {
                break;
            };
            self.bench.now = self.bench.now.max(next);
            if stirs_first {
                self.read();
            } else {
                let bench = &mut self.bench;
                bench.ws.handle_timeout(bench.now, &mut bench.rng);
            }
            self.answer(script);
            let closed = self.bench.ws.closed();
            assert!(self.bench.ws.is_open(), "I5.2: {closed:?}");
        }
        self.bench.now = then;
    }

    fn read(&mut self) {
        if self.paused_until.take().is_some() {
            self.bench.ws.resume(self.bench.now);
        }
        let bytes = self.server.arrived(self.bench.now);
        if !bytes.is_empty() {
            self.bench.receive(&bytes);
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        for (first, payload) in self.bench.sent() {
            if first == 0x89 {
                self.server.ping(self.bench.now, &payload, script);
            }
        }
    }
}

/// I5.2: a server that answers every ping within the timeout is never dropped, for any pattern of
/// data and any pause of up to 30 s.
///
/// # Panics
///
/// Where it is.
pub fn i5_2_who_answers_in_time_is_never_dropped(data: &[u8]) {
    let mut script = Script::new(data);
    let mode = [KeepaliveMode::IdlePing, KeepaliveMode::FixedPing][script.below(2)];
    let mut client = Client {
        bench: Bench::new(&config(mode, script.below(2) as u32 + 1)),
        server: Server::default(),
        paused_until: None,
    };
    let quiet = script.below(6);
    while !script.is_over() {
        let rest = Duration::from_millis(script.below(8_000) as u64);
        client.pass_to(client.bench.now + rest, &mut script);
        let now = client.bench.now;
        match script.below(8 + quiet) {
            0..=3 => client.server.data(now, &mut script),
            4 if client.paused_until.is_none() => {
                let length = Duration::from_millis(script.below(30_001) as u64);
                client.paused_until = Some(now + length);
                client.bench.ws.pause(now);
            }
            5 => {
                client.bench.ws.ping();
                client.answer(&mut script);
            }
            _ => {}
        }
    }
    client.pass_to(client.bench.now + INTERVAL * 4, &mut script);
}
