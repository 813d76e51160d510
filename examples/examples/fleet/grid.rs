//! The axes in combination: cells in which every value of each axis meets every value of each other.
//!
//! All combinations are some 160,000 cells. Failures of a policy come from one condition or from two
//! together, so a cell is chosen as long as there is a pair that none has yet.

use std::collections::BTreeSet;
use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::retry::Retry;
use fulmar_tests::fleet::{Fault, Limit, Order, Policy, Scenario};

/// Clients and the rate of each, of {1, 50, 1,000, 10,000} and {0.1, 1, 20}/s. `Gates::scale` has the
/// two of 10,000 requests/s and more. A client alone makes 1,000 requests/s, as do 50 of 20/s: less
/// than 50/s keep not even one worker busy, whose own queue makes requests time out.
const FLEETS: [(usize, f64); 6] = [
    (1, 1_000.0),
    (50, 1.0),
    (50, 20.0),
    (1_000, 0.1),
    (1_000, 1.0),
    (10_000, 0.1),
];
const LOADS: [f64; 6] = [0.5, 0.7, 0.8, 0.85, 0.9, 0.95];
const SECONDS: [u64; 3] = [5, 30, 120];
const ATTEMPTS: [u32; 3] = [2, 3, 5];
const JITTERS: [(&str, Jitter); 6] = [
    ("none", Jitter::None),
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("decorrelated", Jitter::Decorrelated),
    ("+-25 %", Jitter::Proportional(0.25)),
    ("additive", Jitter::Additive),
];
const LAYERS: [usize; 3] = [1, 2, 3];
/// What goes wrong, and with how many shards.
const FAULTS: [(&str, Fault, usize); 7] = [
    ("latency x 10", Fault::Slow(10.0), 1),
    ("a tenth left", Fault::Cut(0.1), 1),
    ("all 503", Fault::Errors(1.0), 1),
    ("half 503", Fault::Errors(0.5), 1),
    ("refusing", Fault::Refused, 1),
    ("stalled", Fault::Stalled, 1),
    ("rolling", Fault::Refused, 4),
];
const SERVERS: [&str; 4] = ["FIFO", "LIFO", "drops", "reject"];

/// How many values each axis has.
const AXES: [usize; 8] = [
    FLEETS.len(),
    LOADS.len(),
    SECONDS.len(),
    ATTEMPTS.len(),
    JITTERS.len(),
    LAYERS.len(),
    FAULTS.len(),
    SERVERS.len(),
];

/// An axis and one of its values, and another's.
type Pair = (usize, usize, usize, usize);

/// A value of each axis, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell([usize; AXES.len()]);

impl Cell {
    /// Requests a second of one client.
    pub(crate) fn rate(self) -> f64 {
        FLEETS[self.0[0]].1
    }

    pub(crate) fn load(self) -> f64 {
        LOADS[self.0[1]]
    }

    pub(crate) fn layers(self) -> usize {
        LAYERS[self.0[5]]
    }

    /// The most attempts at the server for one request, without a budget.
    pub(crate) fn most_attempts(self) -> u32 {
        ATTEMPTS[self.0[3]].pow(self.layers() as u32)
    }

    pub(crate) fn is_long(self) -> bool {
        SECONDS[self.0[2]] >= 30
    }

    pub(crate) fn is_half_a_minute(self) -> bool {
        SECONDS[self.0[2]] == 30
    }

    /// The server has 20 ms for a request, more or less, and room for four seconds of them.
    pub(crate) fn scenario(self) -> Scenario {
        let (clients, each) = FLEETS[self.0[0]];
        let (_, fault, shards) = FAULTS[self.0[6]];
        let server = SERVERS[self.0[7]];
        let (rate, load) = (clients as f64 * each, self.load());
        let workers = workers(rate * 0.02 / load, shards);
        let service = Duration::from_secs_f64(load * workers as f64 / rate);
        let order = if server == "LIFO" {
            Order::Lifo
        } else {
            Order::Fifo
        };
        let cost = if server == "reject" { 0.1 } else { 0.0 };
        let default = Scenario::default();
        Scenario {
            clients,
            rate,
            workers,
            service,
            queue: queue(rate / load),
            order,
            reject_cost: service.mul_f64(cost),
            drops_expired: server == "drops",
            shards,
            layers: self.layers(),
            fault,
            fault_for: Duration::from_secs(SECONDS[self.0[2]]),
            // The backlog of a fuller server takes longer.
            after: default.after * if load > 0.9 { 2 } else { 1 },
            ..default
        }
    }

    /// Its attempts and backoff, with our budget or with none.
    pub(crate) fn policy(self, limit: Limit) -> Policy {
        let (_, jitter) = JITTERS[self.0[4]];
        let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(jitter);
        let retry = Retry::new(ATTEMPTS[self.0[3]])
            .backoff(backoff)
            .throttle(backoff);
        Policy {
            limit,
            ..Policy::unbounded("of the cell", retry)
        }
    }

    pub(crate) fn name(self) -> String {
        let (clients, rate) = FLEETS[self.0[0]];
        let (fault, ..) = FAULTS[self.0[6]];
        let (jitter, _) = JITTERS[self.0[4]];
        format!(
            "{clients:>6} {:>5} {:>4} {fault:12} {:>3} s {:6} {} {jitter:12} {}",
            rate,
            self.load(),
            SECONDS[self.0[2]],
            SERVERS[self.0[7]],
            ATTEMPTS[self.0[3]],
            self.layers()
        )
    }

    fn pairs(self) -> impl Iterator<Item = Pair> {
        let pair = move |a, b| (a, self.0[a], b, self.0[b]);
        (0..AXES.len()).flat_map(move |a| (a + 1..AXES.len()).map(move |b| pair(a, b)))
    }
}

/// What heads the names of the cells.
pub(crate) const HEADING: &str =
    "clients  each load fault        for   server tries    jitter    layers";

/// A whole number for each shard.
#[allow(clippy::cast_sign_loss, reason = "a number of workers is none below 0")]
fn workers(needed: f64, shards: usize) -> usize {
    (needed / shards as f64).ceil() as usize * shards
}

#[allow(
    clippy::cast_sign_loss,
    reason = "a number of requests is none below 0"
)]
fn queue(capacity: f64) -> usize {
    (4.0 * capacity).round() as usize
}

/// The cells, always the same ones: each is the best of some that are drawn, until every pair of
/// values has a cell.
pub(crate) fn cells() -> Vec<Cell> {
    let mut missing = all_pairs();
    let (mut cells, mut draws) = (Vec::new(), 1_u64);
    while let Some(&(a, x, b, y)) = missing.first() {
        let candidates = (0..100).map(|_| {
            let mut cell = Cell(AXES.map(|values| draw(&mut draws, values)));
            (cell.0[a], cell.0[b]) = (x, y);
            cell
        });
        let news = |cell: &Cell| cell.pairs().filter(|met| missing.contains(met)).count();
        let Some(best) = candidates.max_by_key(news) else {
            break;
        };
        for met in best.pairs() {
            missing.remove(&met);
        }
        cells.push(best);
    }
    cells
}

fn all_pairs() -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for (a, xs) in AXES.into_iter().enumerate() {
        for (b, ys) in AXES.into_iter().enumerate().skip(a + 1) {
            pairs.extend((0..xs).flat_map(|x| (0..ys).map(move |y| (a, x, b, y))));
        }
    }
    pairs
}

/// Knuth's linear congruential generator, of which the upper bits are good.
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}
