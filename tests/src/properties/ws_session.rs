//! A session, for any server and any network: every message ends exactly once. POLICIES 5.11.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use fulmar_core::lane::Lane;
use fulmar_core::session::{
    Config, ConnectFailure, Delivery, DropReason, Event, MessageId, OnFull, Outgoing, Receipt,
    SlowConsumer, State,
};
use fulmar_core::ws::CloseCode;

use super::script::Script;
use crate::durable::Bench;
use crate::websocket::{client_frames, close_frame, frame};

/// Bounds small enough for scripts to reach.
fn config(script: &mut Script<'_>) -> Config {
    let policy = match script.below(2) {
        0 => SlowConsumer::Pause,
        _ => SlowConsumer::DropOldest,
    };
    let config = Config::new()
        .outbox(20, 400_000)
        .window(6, 200_000)
        .inbox(4, 2000)
        .slow_consumer(policy)
        .resync(script.below(3) == 0);
    match script.below(3) {
        0 => config.max_attempts(20),
        _ => config,
    }
}

/// How a message may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Flushed,
    Acked,
    Dropped(DropReason),
    Returned,
}

/// What is known of a message.
#[derive(Debug)]
struct Known {
    kept: bool,
    lane: Lane,
    /// It takes another one's place, so that its own says nothing of the order.
    keyed: bool,
    ends: Vec<End>,
    /// On which connections the server got it whole.
    got: Vec<u32>,
}

struct Model {
    bench: Bench,
    known: BTreeMap<MessageId, Known>,
    /// What the server has of this connection's bytes, and could not read yet.
    server: Vec<u8>,
    /// What this connection's message in fragments begins with.
    partial: Option<u64>,
    /// The last message of each lane on this connection.
    last: BTreeMap<Lane, MessageId>,
    pings: Vec<Vec<u8>>,
    sent: u64,
}

impl Model {
    fn send(&mut self, script: &mut Script<'_>) {
        // As the session counts, so that the server's side is told apart by it.
        self.sent += 1;
        let mut payload = self.sent.to_be_bytes().to_vec();
        if script.below(8) == 0 {
            payload.resize(70_000 + script.below(60_000), 0);
        }
        let lane = [Lane::High, Lane::Normal, Lane::Bulk][script.below(3)];
        let keyed = script.below(8) == 0;
        let outgoing = Outgoing {
            lane,
            delivery: [Delivery::AtMostOnce, Delivery::AtLeastOnce][script.below(2)],
            on_full: [OnFull::Refuse, OnFull::DropNew, OnFull::DropOldest][script.below(3)],
            ttl: (script.below(8) == 0).then(|| Duration::from_secs(script.below(9) as u64)),
            key: keyed.then(|| "key".into()),
            drop_on_reconnect: script.below(12) == 0,
            ..Outgoing::from(payload)
        };
        let kept = outgoing.delivery == Delivery::AtLeastOnce;
        if let Ok(id) = self.bench.session.send(self.bench.now, outgoing) {
            let known = Known {
                kept,
                lane,
                keyed,
                ends: Vec::new(),
                got: Vec::new(),
            };
            self.known.insert(id, known);
        }
    }

    /// The transport takes some bytes.
    fn write(&mut self, mut most: usize) {
        self.bench.fill();
        while most > 0 && self.bench.tx.has_remaining() {
            let n = most.min(self.bench.tx.chunk().len());
            self.server.extend_from_slice(&self.bench.tx.chunk()[..n]);
            self.bench.tx.advance(n);
            most -= n;
        }
        self.bench.fill();
        let (frames, used) = client_frames(&self.server);
        self.server.drain(..used);
        for sent in frames {
            match sent.first & 0x0f {
                0..=7 => self.got(&sent.payload, sent.first),
                9 => self.pings.push(sent.payload),
                _ => {}
            }
        }
    }

    fn got(&mut self, payload: &[u8], first: u8) {
        let number = payload.first_chunk::<8>().map(|n| u64::from_be_bytes(*n));
        let begun = self.partial.take().or(number);
        if first & 0x80 == 0 {
            self.partial = begun;
            return;
        }
        let id = MessageId(begun.unwrap_or_default());
        let epoch = self.bench.session.epoch();
        let known = self.known.get_mut(&id).expect("a message that was taken");
        known.got.push(epoch);
        if !known.kept {
            assert_eq!(known.got.len(), 1, "I5.3: {id:?} went out twice");
        }
        if !known.keyed {
            let last = self.last.insert(known.lane, id);
            assert!(
                last < Some(id),
                "order within a lane: {last:?} before {id:?}"
            );
        }
    }

    fn events(&mut self) {
        for event in self.bench.events() {
            let (id, end) = match event {
                Event::Receipt {
                    id,
                    receipt: Receipt::Flushed,
                } => (id, End::Flushed),
                Event::Receipt {
                    id,
                    receipt: Receipt::Acked,
                } => (id, End::Acked),
                Event::Dropped { id, reason } => (id, End::Dropped(reason)),
                Event::Opened { .. } => {
                    self.last.clear();
                    continue;
                }
                _ => continue,
            };
            let known = self.known.entry(id).or_insert(Known {
                kept: false,
                lane: Lane::Normal,
                keyed: false,
                ends: Vec::new(),
                got: Vec::new(),
            });
            let final_one = !(known.kept && end == End::Flushed);
            if final_one {
                known.ends.push(end);
                assert_eq!(known.ends.len(), 1, "{id:?} ends once: {known:?}");
            }
        }
    }

    fn connection_is_new(&mut self) {
        self.server.clear();
        self.partial = None;
        self.last.clear();
        self.pings.clear();
    }

    /// The server, the network or the application does something.
    fn act(&mut self, script: &mut Script<'_>) {
        let bench = &mut self.bench;
        match script.below(16) {
            0..=4 => self.send(script),
            5 | 6 => self.write(script.below(200_000)),
            7 => {
                let message = b"x".repeat(script.below(700));
                bench.receive(&frame(0x82, &message));
            }
            8 => drop(bench.session.recv(bench.now)),
            9 => {
                let oldest = self.known.iter().find(|(_, known)| {
                    known.kept && known.ends.is_empty() && !known.got.is_empty()
                });
                if let Some((id, _)) = oldest {
                    let id = *id;
                    if script.below(2) == 0 {
                        bench.session.ack(id);
                    } else {
                        bench.session.ack_up_to(id);
                    }
                }
            }
            10 => {
                let code = [1001, 1000, 1006, 1011, 1012, 1009, 3000, 1013][script.below(8)];
                if script.below(4) == 0 && code != 1000 {
                    bench.receive(&close_frame(code, ""));
                    self.write(usize::MAX);
                    self.bench.drop_connection();
                }
            }
            11 if script.below(3) == 0 => bench.drop_connection(),
            12 => {
                if let Some(ping) = self.pings.pop() {
                    bench.receive(&frame(0x8a, &ping));
                } else {
                    bench.session.ping();
                }
            }
            13 if bench.session.state() == State::Resync => bench.session.resync_done(),
            _ => self.pass(Duration::from_millis(script.below(4000) as u64), script),
        }
    }

    /// Time passes; whoever is asked for a connection gives one, or not.
    fn pass(&mut self, time: Duration, script: &mut Script<'_>) {
        let bench = &mut self.bench;
        let then = bench.now + time;
        while let Some(next) = bench.session.poll_timeout().filter(|next| *next <= then) {
            bench.now = bench.now.max(next);
            bench.session.handle_timeout(bench.now, &mut bench.rng);
            let after = bench.session.poll_timeout();
            assert!(
                after.is_none_or(|at| at > bench.now),
                "{after:?} at {}",
                bench.now
            );
        }
        bench.now = then;
        if bench.session.state() == State::Connecting {
            if script.below(3) == 0 {
                bench.refuse(ConnectFailure::Status {
                    status: 503,
                    retry_after: None,
                });
            } else {
                bench.connect();
                self.connection_is_new();
            }
        }
    }

    /// I5.8: closing ends within the drain, the close timeout and the EOF timeout.
    fn close(&mut self, script: &mut Script<'_>) {
        let drain = Duration::from_secs(script.below(8) as u64);
        let limit = self.bench.now + drain + Duration::from_secs(6);
        let session = &mut self.bench.session;
        let closed = session.close(self.bench.now, drain, CloseCode::NORMAL, "");
        assert_eq!(closed, Ok(()));
        while self.bench.session.state() != State::Stopped {
            self.act_while_closing(script);
            self.events();
            assert!(
                self.bench.now <= limit,
                "I5.8: {} > {limit}",
                self.bench.now
            );
        }
    }

    fn act_while_closing(&mut self, script: &mut Script<'_>) {
        match script.below(4) {
            0 => self.write(script.below(100_000)),
            1 => self.bench.receive(&frame(0x82, b"late")),
            _ => {}
        }
        let next = self.bench.session.poll_timeout();
        let step = next.map_or(Duration::from_millis(50), |at| at - self.bench.now);
        self.pass(step.min(Duration::from_millis(500)), script);
    }
}

/// I5.3, I5.4 and I5.8: each message ends exactly once as flushed, acknowledged, dropped with a
/// reason or returned; at most once is at most once; order holds within a lane; memory is bounded;
/// closing ends in time.
///
/// # Panics
///
/// Where one of them is violated.
pub fn ws_session_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let config = config(&mut script);
    let mut model = Model {
        bench: Bench::seeded(config, u64::from(script.byte())),
        known: BTreeMap::new(),
        server: Vec::new(),
        partial: None,
        last: BTreeMap::new(),
        pings: Vec::new(),
        sent: 0,
    };
    while !script.is_over() {
        model.act(&mut script);
        model.events();
        // The outbox, the inbox and one message over, and the one that is under way.
        let buffered = model.bench.session.buffered();
        assert!(
            buffered <= 400_000 + 2000 + 700 + 200_000 + 65_536,
            "I5.4: {buffered}"
        );
    }
    model.close(&mut script);
    model.events();
    for (id, _) in model.bench.session.take_unsent() {
        let known = model.known.get_mut(&id).expect("a message that was taken");
        known.ends.push(End::Returned);
    }
    for (id, known) in &model.known {
        assert_eq!(known.ends.len(), 1, "{id:?} ends once: {known:?}");
    }
}

/// I5.5: a server that accepts and drops never has the attempts forgotten, and gets at most
/// `8 + T/15 s` of them in a time `T`, as the mean over seeds; the limits are always reached.
///
/// # Panics
///
/// Where it is violated.
pub fn i5_5_accept_then_drop_is_bounded(seed: u64, time: Duration) -> u32 {
    let mut bench = Bench::seeded(Config::new().max_elapsed(None), seed);
    let mut attempts = 0;
    loop {
        bench.wait();
        if bench.now.since_origin() > time {
            return attempts;
        }
        bench.connect();
        bench.receive(&frame(0x82, b"welcome"));
        bench.now = bench.now + Duration::from_millis(seed % 1000);
        bench.drop_connection();
        bench.events();
        attempts += 1;
        assert_eq!(bench.session.attempts(), attempts, "never forgotten");
    }
}
