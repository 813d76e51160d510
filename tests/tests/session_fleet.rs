//! Many sessions that lose their server at once: how soon they are back, and at what price. The
//! machine is the real one; the network is instant, and the server takes so many handshakes a second
//! and refuses the rest.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::session::{Action, Config, ConnectFailure, Session, State};
use fulmar_core::time::Instant;
use fulmar_core::ws::{Connection, Negotiated};
use fulmar_tests::websocket::{at, quiet};

/// Handshakes that the server takes in a tenth of a second.
const ACCEPTS: u32 = 100;
const SLOT: u64 = 100;
/// When all connections are lost.
const LOSS: u64 = 60_000;

/// What came of it.
#[derive(Debug)]
struct Recovery {
    /// From the loss until 99 of 100 are back.
    t99: Duration,
    /// Attempts for each client.
    attempts: f64,
    /// The most attempts within a second.
    peak: u32,
}

struct World {
    rng: ChaCha8Rng,
    sessions: Vec<Session>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The slot, and what was accepted in it.
    slot: (u64, u32),
    /// Until then the server takes nobody.
    down_until: Instant,
    attempts: u32,
    by_second: Vec<u32>,
    back: Vec<Instant>,
}

impl World {
    /// So many sessions that are connected since the beginning, and lose that.
    fn losing(count: usize, config: &Config, outage: Duration) -> Self {
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(5),
            sessions: Vec::new(),
            due: BinaryHeap::new(),
            slot: (0, 0),
            down_until: at(LOSS) + outage,
            attempts: 0,
            by_second: vec![0; 1_000],
            back: Vec::new(),
        };
        for index in 0..count {
            let mut session = Session::new(config.clone());
            session.start(Instant::ORIGIN);
            while session.poll_action().is_some() {}
            session.handle_connected(Instant::ORIGIN, world.connection(Instant::ORIGIN), false);
            session.handle_eof(at(LOSS), &mut world.rng);
            world.sessions.push(session);
            world.follow(index, at(LOSS));
        }
        world
    }

    fn connection(&mut self, now: Instant) -> Connection {
        Connection::new(now, &quiet(), &Negotiated::default(), &mut self.rng)
    }

    /// Does what the session asks for, until it waits.
    fn follow(&mut self, index: usize, now: Instant) {
        while let Some(action) = self.sessions[index].poll_action() {
            if matches!(action, Action::Connect(_)) {
                self.connect(index, now);
            }
        }
        let session = &mut self.sessions[index];
        while session.poll_event().is_some() {}
        if session.state() == State::Backoff {
            let due = session.poll_timeout().unwrap();
            self.due.push(Reverse((due, index)));
        }
    }

    fn connect(&mut self, index: usize, now: Instant) {
        let since = (now - at(LOSS)).as_millis() as u64;
        self.attempts += 1;
        self.by_second[(since / 1_000) as usize] += 1;
        if self.slot.0 != since / SLOT {
            self.slot = (since / SLOT, 0);
        }
        if now >= self.down_until && self.slot.1 < ACCEPTS {
            self.slot.1 += 1;
            self.back.push(now);
            let connection = self.connection(now);
            self.sessions[index].handle_connected(now, connection, false);
        } else {
            let refused = Fault::new(FaultKind::Refused, Phase::Connect);
            let failure = ConnectFailure::Fault(refused);
            self.sessions[index].handle_connect_failed(now, failure, &mut self.rng);
        }
    }

    fn run(mut self) -> Recovery {
        let count = self.sessions.len();
        while self.back.len() < count * 99 / 100 {
            let Reverse((now, index)) = self.due.pop().expect("somebody waits");
            self.sessions[index].handle_timeout(now, &mut self.rng);
            self.follow(index, now);
        }
        Recovery {
            t99: *self.back.last().unwrap() - at(LOSS),
            attempts: f64::from(self.attempts) / count as f64,
            peak: self.by_second.into_iter().max().unwrap(),
        }
    }
}

#[test]
fn fifty_thousand_sessions_are_back_in_little_more_than_the_server_needs() {
    let recovery = World::losing(50_000, &Config::new(), Duration::ZERO).run();
    let ideal = Duration::from_millis(49_500);
    assert!(recovery.t99 <= ideal.mul_f64(1.3), "{recovery:?}");
    assert!(recovery.peak <= 50_000 * 2 / 3, "{recovery:?}");
    assert!(recovery.attempts < 7.0, "{recovery:?}");
    println!("{recovery:?}");
}

#[test]
fn after_an_outage_of_a_minute_they_are_back_as_soon() {
    let outage = Duration::from_secs(60);
    let recovery = World::losing(50_000, &Config::new(), outage).run();
    let ideal = Duration::from_millis(109_500);
    assert!(recovery.t99 <= ideal.mul_f64(1.3), "{recovery:?}");
    assert!(recovery.attempts < 12.0, "{recovery:?}");
    println!("{recovery:?}");
}

#[test]
fn a_wider_spread_makes_the_peak_lower() {
    let spread = Config::new().initial_spread(Duration::from_secs(15));
    let [usual, wide] =
        [Config::new(), spread].map(|config| World::losing(20_000, &config, Duration::ZERO).run());
    assert!(wide.peak * 2 < usual.peak, "{usual:?}, {wide:?}");
}
