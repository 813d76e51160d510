//! A session, for any server and any network: every message ends exactly once, in bounded memory,
//! and in time. I5.3, I5.4 and I5.8.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Buf;
use fulmar_core::fault::FaultKind;
use fulmar_core::lane::Lane;
use fulmar_core::session::{
    Config, ConnectFailure, Delivery, DropReason, Event, MessageId, OnFull, Outgoing, Receipt,
    SlowConsumer, State,
};
use fulmar_core::ws::{CloseCode, Limits, Message};

use super::ends::{End, Known};
use crate::durable::Bench;
use crate::properties::script::Script;
use crate::websocket::{client_frames, close_frame, frame, quiet};

/// The bounds, small enough for scripts to reach: of the outbox and of what is unacknowledged, of
/// the inbox, of a message that comes.
const OUTBOX: usize = 400_000;
const WINDOW: usize = 200_000;
const INBOX: usize = 2000;
const MESSAGE: usize = 2000;

fn config(script: &mut Script<'_>) -> Config {
    let policy = match script.below(2) {
        0 => SlowConsumer::Pause,
        _ => SlowConsumer::DropOldest,
    };
    let config = Config::new()
        .outbox(20, OUTBOX)
        .window(6, WINDOW)
        .inbox(4, INBOX)
        .slow_consumer(policy)
        .resync(script.below(3) == 0);
    match script.below(3) {
        0 => config.max_attempts(20),
        _ => config,
    }
}

/// What a script came to.
#[derive(Debug, Default)]
pub struct Reached {
    /// How messages ended.
    pub ends: HashSet<End>,
    /// Connections.
    pub connections: u32,
    /// Messages that went out on more than one.
    pub repeated: usize,
    /// Bytes that were kept at most.
    pub buffered: usize,
}

struct Model {
    bench: Bench,
    known: BTreeMap<MessageId, Known>,
    /// What the server has of this connection's bytes, and could not read yet.
    server: Vec<u8>,
    /// What this connection's message in fragments begins with.
    partial: Option<u64>,
    /// The last message of each lane on this connection, and the last that went out for the first
    /// time on any.
    last: BTreeMap<Lane, MessageId>,
    newest: BTreeMap<Lane, MessageId>,
    /// Subscriptions, and those that this connection must hear of before anything else.
    subscribed: BTreeSet<&'static str>,
    owed: BTreeSet<&'static str>,
    pings: Vec<Vec<u8>>,
    sent: u64,
}

impl Model {
    fn send(&mut self, script: &mut Script<'_>) {
        // As the session counts, so that the server's side is told apart by it.
        self.sent += 1;
        let mut payload = self.sent.to_be_bytes().to_vec();
        if script.below(5) == 0 {
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
        let known = Known::new(&outgoing);
        if let Ok(id) = self.bench.session.send(self.bench.now, outgoing) {
            self.known.insert(id, known);
        }
    }

    fn resync_send(&mut self) {
        self.sent += 1;
        let message = Message::from(self.sent.to_be_bytes().to_vec());
        let known = Known {
            is_resync: true,
            ..Known::new(&message.clone().into())
        };
        if let Ok(id) = self.bench.session.resync_send(self.bench.now, message) {
            self.known.insert(id, known);
        }
    }

    fn subscribe(&mut self, script: &mut Script<'_>) {
        let key = ["a", "b", "c"][script.below(3)];
        if script.below(3) > 0 {
            assert!(self.bench.session.subscribe(key.into(), Message::from(key)));
            self.subscribed.insert(key);
        } else {
            let known = self.subscribed.remove(key);
            assert_eq!(self.bench.session.unsubscribe(key), known);
            self.owed.remove(key);
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
        if first & 0x0f == 1 {
            self.owed.retain(|key| key.as_bytes() != payload);
            return;
        }
        let number = payload.first_chunk::<8>().map(|n| u64::from_be_bytes(*n));
        let begun = self.partial.take().or(number);
        if first & 0x80 == 0 {
            self.partial = begun;
            return;
        }
        let id = MessageId(begun.unwrap_or_default());
        let epoch = self.bench.session.epoch();
        let known = self.known.get_mut(&id).expect("a message that was taken");
        let is_new = known.got.is_empty();
        known.got.push(epoch);
        assert!(known.kept || is_new, "I5.3: {id:?} went out twice");
        if known.is_resync {
            return;
        }
        assert!(self.owed.is_empty(), "before a subscription: {id:?}");
        if !known.keyed {
            let last = self.last.insert(known.lane, id);
            assert!(last < Some(id), "I5.3: {last:?} before {id:?}");
            if is_new {
                let newest = self.newest.insert(known.lane, id);
                assert!(newest < Some(id), "I5.3: {newest:?} before {id:?}, ever");
            }
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
            let known = self.known.get_mut(&id);
            // What finds the outbox full may be dropped before its number is told.
            let Some(known) = known else {
                assert_eq!(end, End::Dropped(DropReason::Overflow));
                continue;
            };
            let final_one = !(known.kept && end == End::Flushed);
            assert!(known.may_end(end), "I5.3: {id:?} as {end:?}: {known:?}");
            if final_one {
                known.ends.push(end);
                assert_eq!(known.ends.len(), 1, "I5.3: {id:?}: {known:?}");
            }
        }
    }

    fn connection_is_new(&mut self) {
        self.server.clear();
        self.partial = None;
        self.last.clear();
        self.owed = self.subscribed.clone();
        self.pings.clear();
    }

    /// The server, the network or the application does something.
    fn act(&mut self, script: &mut Script<'_>) {
        let bench = &mut self.bench;
        match script.below(20) {
            0..=4 => self.send(script),
            5 | 6 => self.write(script.below(200_000)),
            7 => {
                let first = [0x82, 0x82, 0x02, 0x80][script.below(4)];
                let message = b"x".repeat(script.below(700));
                bench.receive(&frame(first, &message));
            }
            16 => self.subscribe(script),
            17 => self.resync_send(),
            18 => bench.session.network_available(bench.now, &mut bench.rng),
            19 if script.below(3) == 0 => {
                let kind = FaultKind::Reset;
                bench.session.handle_fault(bench.now, kind, &mut bench.rng);
            }
            8 => drop(bench.session.recv(bench.now)),
            9 => {
                let oldest = self.known.iter().find(|(_, known)| {
                    known.kept && known.ends.is_empty() && !known.got.is_empty()
                });
                if let Some((id, _)) = oldest {
                    let id = *id;
                    if script.below(2) == 0 {
                        bench.session.ack_up_to(id);
                    } else {
                        bench.session.ack(id);
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
            let fate = script.below(4);
            if fate == 0 {
                bench.refuse(ConnectFailure::Status {
                    status: 503,
                    retry_after: None,
                });
            } else if fate > 1 {
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
        match script.below(12) {
            0 => self.write(script.below(100_000)),
            1 => self.bench.receive(&frame(0x82, b"late")),
            2 => self.bench.receive(&close_frame(1001, "")),
            3 => self.bench.drop_connection(),
            4 => drop(self.bench.session.recv(self.bench.now)),
            5 => self.write(usize::MAX),
            6 => {
                let again =
                    self.bench
                        .session
                        .close(self.bench.now, Duration::MAX, CloseCode::NORMAL, "");
                assert_eq!(again, Ok(()));
            }
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
pub fn ws_session_ops(data: &[u8]) -> Reached {
    let mut script = Script::new(data);
    let config = config(&mut script);
    let mut bench = Bench::seeded(config, u64::from(script.byte()));
    bench.connection = quiet().limits(Limits::new().message(MESSAGE).frame(MESSAGE));
    let mut model = Model {
        bench,
        known: BTreeMap::new(),
        server: Vec::new(),
        partial: None,
        last: BTreeMap::new(),
        newest: BTreeMap::new(),
        subscribed: BTreeSet::new(),
        owed: BTreeSet::new(),
        pings: Vec::new(),
        sent: 0,
    };
    let mut reached = Reached::default();
    while !script.is_over() {
        model.act(&mut script);
        model.events();
        let buffered = model.bench.session.buffered();
        reached.buffered = reached.buffered.max(buffered);
        let most = OUTBOX + INBOX + MESSAGE + 65_536;
        assert!(buffered <= most, "I5.4: {buffered}");
    }
    model.close(&mut script);
    model.events();
    for (id, _) in model.bench.session.take_unsent() {
        let known = model.known.get_mut(&id).expect("a message that was taken");
        assert!(known.may_end(End::Returned), "I5.3: {id:?}: {known:?}");
        known.ends.push(End::Returned);
    }
    for (id, known) in &model.known {
        assert_eq!(known.ends.len(), 1, "I5.3: {id:?}: {known:?}");
        reached.ends.extend(&known.ends);
        reached.repeated += usize::from(known.got.len() > 1);
    }
    reached.connections = model.bench.session.epoch();
    reached
}
