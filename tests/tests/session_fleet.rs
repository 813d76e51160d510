//! Many sessions that lose their server at once: how soon they are back, and at what price. The
//! machine is the real one; the network is instant, and the server takes so many handshakes a second
//! and refuses the rest. The table is POLICIES 5.5.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::session::{Action, Config, ConnectFailure, Session, State};
use fulmar_core::time::Instant;
use fulmar_core::ws::{Connection, Negotiated};
use fulmar_tests::websocket::{at, quiet};

/// The server lets as many in within that many milliseconds as need 50 s for everybody.
const SLOT: u64 = 10;
const SLOTS: usize = 5_000;
/// When all connections are lost.
const LOSS: u64 = 60_000;
/// Who is not back then is back never.
const NEVER: Duration = Duration::from_secs(25 * 60);

/// What came of it.
#[derive(Debug)]
struct Recovery {
    /// From the loss until 99 of 100 are back, if they are.
    t99: Option<Duration>,
    /// The share that is back at the end.
    back: f64,
    /// Attempts for each client.
    attempts: f64,
    /// The most attempts within a tenth of a second: so many a second, of 50,000 clients.
    peak: f64,
}

struct World {
    rng: ChaCha8Rng,
    sessions: Vec<Session>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The slot, and how many were accepted in it.
    slot: (u64, usize),
    /// Until then the server takes nobody.
    down_until: Instant,
    attempts: u32,
    by_tenth: Vec<u32>,
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
            by_tenth: vec![0; NEVER.as_secs() as usize * 10 + 1],
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
        self.by_tenth[(since / 100) as usize] += 1;
        if self.slot.0 != since / SLOT {
            self.slot = (since / SLOT, 0);
        }
        if now >= self.down_until && self.slot.1 < self.sessions.len() / SLOTS {
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
        while self.back.len() < count * 99 / 100
            && let Some(Reverse((now, index))) = self.due.pop()
            && now <= at(LOSS) + NEVER
        {
            self.sessions[index].handle_timeout(now, &mut self.rng);
            self.follow(index, now);
        }
        let is_back = self.back.len() >= count * 99 / 100;
        let peak = self.by_tenth.into_iter().max().unwrap();
        Recovery {
            t99: is_back.then(|| *self.back.last().unwrap() - at(LOSS)),
            back: self.back.len() as f64 / count as f64,
            attempts: f64::from(self.attempts) / count as f64,
            peak: f64::from(peak) * 10.0 * 50_000.0 / count as f64,
        }
    }
}

/// Delays that double from there up to there, in milliseconds, from the first reconnect on.
fn doubling(base: u64, max: u64, jitter: Jitter) -> Config {
    delays(exponential(base, max).jitter(jitter)).initial_spread(None)
}

fn exponential(base: u64, max: u64) -> Backoff {
    Backoff::exponential(Duration::from_millis(base)).max(Duration::from_millis(max))
}

/// For as long as it takes.
fn delays(backoff: Backoff) -> Config {
    Config::new().backoff(backoff).max_elapsed(None)
}

/// A row of the table, for as many clients as it was measured with.
fn row(config: &Config, peak: f64, attempts: f64, t99: u64) {
    let recovery = World::losing(50_000, config, Duration::ZERO).run();
    let is_near = |measured: f64, row: f64, share: f64| (measured / row - 1.0).abs() <= share;
    assert!(is_near(recovery.peak, peak, 0.1), "{recovery:?}");
    assert!(is_near(recovery.attempts, attempts, 0.05), "{recovery:?}");
    let measured = recovery.t99.expect("they are back").as_secs_f64();
    assert!(is_near(measured, t99 as f64, 0.12), "{recovery:?}");
}

/// A fifth of the clients, and of what the server takes in a step: the shares are the same.
#[test]
fn without_jitter_they_come_in_lockstep_and_are_back_never() {
    let config = doubling(500, 30_000, Jitter::None);
    let recovery = World::losing(10_000, &config, Duration::ZERO).run();
    assert_eq!(recovery.t99, None, "{recovery:?}");
    assert!(recovery.back < 0.02, "{recovery:?}");
    assert!((53.0..54.5).contains(&recovery.attempts), "{recovery:?}");
    assert!(recovery.peak >= 500_000.0, "{recovery:?}");
}

#[test]
fn additive_jitter_makes_it_eleven_minutes() {
    let config = doubling(500, 30_000, Jitter::Additive);
    row(&config, 101_000.0, 14.6, 699);
}

#[test]
fn a_second_by_a_quarter_to_either_side_makes_it_a_hundred_seconds() {
    let config = doubling(1_000, 30_000, Jitter::Proportional(0.25));
    row(&config, 101_000.0, 5.3, 100);
}

/// The floor moves the first of them from 0 to 100 ms on.
#[test]
fn full_jitter_from_half_a_second_is_soon_back_for_a_high_peak() {
    let config = doubling(500, 30_000, Jitter::Full);
    row(&config, 149_000.0, 6.4, 63);
}

#[test]
fn the_delays_of_socket_io_are_short_enough_for_this_many() {
    let half = Jitter::Proportional(0.5);
    let config = delays(exponential(1_000, 5_000).jitter(half).compat()).initial_spread(None);
    row(&config, 51_000.0, 6.7, 52);
}

/// 3.1 s is the second of its delays: the first reconnect has the spread for one.
#[test]
fn the_delays_of_python_websockets_leave_some_far_behind() {
    let backoff = exponential(1_916, 90_000).factor(1.618);
    row(&delays(backoff.jitter(Jitter::None)), 19_600.0, 5.9, 502);
}

/// 5 s at most at first, then 5 s, 10 s, 20 s.
#[test]
fn the_delays_of_rfc_6455_leave_some_far_behind() {
    let backoff = exponential(2_500, 30_000);
    row(&delays(backoff.jitter(Jitter::None)), 10_600.0, 5.5, 250);
}

#[test]
fn the_delays_of_centrifuge_are_soon_back_for_a_high_peak() {
    let config = doubling(500, 20_000, Jitter::Full);
    row(&config, 149_000.0, 6.8, 56);
}

#[test]
fn the_defaults_are_soon_back_for_a_low_peak() {
    row(&Config::new(), 30_900.0, 5.2, 62);
}

#[test]
fn decorrelated_delays_after_the_spread_have_a_lower_peak() {
    let backoff = exponential(1_000, 30_000);
    let config = delays(backoff.jitter(Jitter::Decorrelated));
    row(&config, 18_500.0, 4.4, 64);
}

#[test]
fn equal_jitter_after_a_wide_spread_has_the_lowest_peak() {
    let equal = delays(exponential(1_000, 30_000).jitter(Jitter::Equal));
    let config = equal.initial_spread(Duration::from_secs(15));
    row(&config, 12_100.0, 4.0, 61);
}

#[test]
fn fifty_thousand_sessions_are_back_in_little_more_than_the_server_needs() {
    let recovery = World::losing(50_000, &Config::new(), Duration::ZERO).run();
    let ideal = Duration::from_millis(49_500);
    assert!(recovery.t99.unwrap() <= ideal.mul_f64(1.3), "{recovery:?}");
    assert!(recovery.peak <= 50_000.0 / 1.5, "{recovery:?}");
}

#[test]
fn after_an_outage_of_a_minute_they_are_back_as_soon() {
    let outage = Duration::from_secs(60);
    let recovery = World::losing(50_000, &Config::new(), outage).run();
    let ideal = Duration::from_millis(109_500);
    assert!(recovery.t99.unwrap() <= ideal.mul_f64(1.15), "{recovery:?}");
    assert!((9.0..10.0).contains(&recovery.attempts), "{recovery:?}");
}

#[test]
fn a_wider_spread_makes_the_peak_lower() {
    let spread = Config::new().initial_spread(Duration::from_secs(15));
    let [usual, wide] =
        [Config::new(), spread].map(|config| World::losing(10_000, &config, Duration::ZERO).run());
    assert!(wide.peak * 2.0 < usual.peak, "{usual:?}, {wide:?}");
}
