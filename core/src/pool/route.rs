//! What the pool knows of one route.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::budget::Budget;
use crate::lane::{Lane, Turns};
use crate::time::Instant;
use crate::timer::TimerKey;

use super::slab::{Links, List, Place};
use super::slot::{Counts, State};

/// How long what a route taught is believed.
const LEARNED: Duration = Duration::from_secs(3_600);
const EXCLUSIVE: Duration = Duration::from_secs(3_600);
const SHARED: Duration = Duration::from_secs(24 * 3_600);
/// A server that closes sooner than this is not outrun by closing earlier still.
const LEAST_LEARNED: Duration = Duration::from_secs(1);

/// What connections of a route turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Exclusive,
    Shared,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) counts: Counts,
    pub(super) waiting: u32,
    /// Connections whose address is one of its name's.
    pub(super) followers: u32,
    /// Idle connections that are lent, to be looked at.
    pub(super) lent: u32,
    /// Idle exclusive connections, newest last.
    pub(super) idle: List,
    /// Askers that take any connection, by lane.
    pub(super) any: [List; Lane::COUNT],
    /// Shared connections that take more, oldest first.
    pub(super) shared: List,
    /// Askers that take new connections only, by lane.
    pub(super) fresh: [List; Lane::COUNT],
    /// Which lane is next.
    pub(super) lanes: Turns,
    /// Askers that could bear a dial, and have none to take.
    pub(super) bearers: List,
    /// Dials that nobody has begun, and those that have begun and may be given up, youngest last.
    pub(super) granted: List,
    pub(super) begun: List,
    /// Among the routes that the total limit holds up.
    pub(super) ring: Links,
    pub(super) in_ring: bool,
    /// The round of turns in which it had its last one.
    pub(super) turn: u32,
    /// Its connections may turn out shared.
    pub(super) probes: bool,
    protocol: Protocol,
    protocol_until: Instant,
    /// The last dial began.
    pub(super) dialed_at: Instant,
    /// Failures since the last success, those of one volley as one.
    pub(super) failures: u32,
    failed_at: Instant,
    /// New connections that ended before their first response, since the last that had one.
    pub(super) stillborn: u32,
    /// No dial before this.
    pub(super) backoff_until: Instant,
    /// The least age at which the server closed an idle connection.
    learned: Option<(Duration, Instant)>,
    pub(super) empty_since: Instant,
    pub(super) armed: Instant,
    pub(super) timer: TimerKey,
    pub(super) key: Option<Arc<str>>,
    /// So many connections may it have.
    pub(super) limit: u32,
    pub(super) budget: Budget,
}

impl Route {
    pub(super) fn new(timer: TimerKey, budget: Budget) -> Self {
        Self {
            counts: Counts::default(),
            waiting: 0,
            followers: 0,
            lent: 0,
            idle: List::new(),
            any: [const { List::new() }; Lane::COUNT],
            shared: List::new(),
            fresh: [const { List::new() }; Lane::COUNT],
            lanes: Turns::new(),
            bearers: List::new(),
            granted: List::new(),
            begun: List::new(),
            ring: Links::new(),
            in_ring: false,
            turn: 0,
            probes: false,
            protocol: Protocol::Unknown,
            protocol_until: Instant::MAX,
            dialed_at: Instant::ORIGIN,
            failures: 0,
            failed_at: Instant::ORIGIN,
            stillborn: 0,
            backoff_until: Instant::ORIGIN,
            learned: None,
            empty_since: Instant::ORIGIN,
            armed: Instant::MAX,
            timer,
            key: None,
            limit: u32::MAX,
            budget,
        }
    }

    /// The askers of a lane who take new connections only, or those who take any.
    pub(super) fn queue(&mut self, lane: Lane, fresh: bool) -> &mut List {
        let lanes = if fresh {
            &mut self.fresh
        } else {
            &mut self.any
        };
        &mut lanes[lane as usize]
    }

    /// Whether somebody waits in a lower lane.
    pub(super) fn has_waiters_below(&self, lane: Lane) -> bool {
        let below = lane as usize + 1..;
        let queues = self.any[below.clone()].iter().chain(&self.fresh[below]);
        queues.into_iter().any(|queue| !queue.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.counts.total() == 0
    }

    /// Whether it has as many connections as it may.
    pub(super) fn is_full(&self) -> bool {
        self.counts.total() >= self.limit
    }

    pub(super) fn connecting(&self) -> u32 {
        self.counts.of(State::Connecting)
    }

    /// Whether more wait than connections are on their way to them.
    pub(super) fn wants_dial(&self) -> bool {
        self.waiting > self.connecting() + self.lent
    }

    /// Whether with so many more askers it had to dial for a lent connection that is lost.
    pub(super) fn counts_on_lent(&self, more: u32) -> bool {
        self.waiting + more >= self.connecting() + self.lent
    }

    pub(super) fn protocol(&self, now: Instant) -> Protocol {
        if now < self.protocol_until {
            self.protocol
        } else {
            Protocol::Unknown
        }
    }

    pub(super) fn handle_protocol(&mut self, now: Instant, protocol: Protocol) {
        self.protocol = protocol;
        self.protocol_until = match protocol {
            Protocol::Shared => now + SHARED,
            Protocol::Exclusive | Protocol::Unknown => now + EXCLUSIVE,
        };
    }

    pub(super) fn handle_connected(&mut self) {
        self.failures = 0;
        self.backoff_until = Instant::ORIGIN;
    }

    /// Counts a failed dial that had begun at `started`. One that began before the last failure
    /// was seen tells nothing new: 64 dials that die together are one sign of trouble, not 64.
    /// Returns whether it counts.
    pub(super) fn handle_failed(&mut self, now: Instant, started: Instant) -> bool {
        if self.failures > 0 && started < self.failed_at {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        true
    }

    /// Counts a connection, made at `made`, that ended before its first response: as a failed dial,
    /// but that success at dialling does not end the row. Returns whether it counts.
    pub(super) fn handle_stillborn(&mut self, now: Instant, made: Instant) -> bool {
        if self.stillborn > 0 && made < self.failed_at {
            return false;
        }
        self.stillborn = self.stillborn.saturating_add(1);
        self.failures = self.failures.max(self.stillborn);
        self.failed_at = now;
        true
    }

    /// The server closed a connection that had idled for `age`.
    pub(super) fn learn(&mut self, now: Instant, age: Duration) {
        let known = self.learned(now).unwrap_or(Duration::MAX);
        if age <= known {
            self.learned = Some((age.max(LEAST_LEARNED), now));
        }
    }

    pub(super) fn has_learned(&self) -> bool {
        self.learned.is_some()
    }

    pub(super) fn learned(&self, now: Instant) -> Option<Duration> {
        self.learned
            .filter(|(_, at)| now < *at + LEARNED)
            .map(|(age, _)| age)
    }
}

impl Place for Route {
    fn next_free(&mut self) -> &mut u32 {
        &mut self.ring.next
    }
}

/// Hashes a route's key, and nothing else: the key is the only thing written, in one piece.
#[derive(Clone, Copy)]
pub(super) struct Seeded(SipHasher13);

impl Seeded {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self(SipHasher13::new_with_keys(seed[0], seed[1]))
    }
}

impl BuildHasher for Seeded {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher {
            sip: self.0,
            hash: 0,
        }
    }
}

pub(super) struct KeyHasher {
    sip: SipHasher13,
    hash: u64,
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hash ^= self.sip.hash(bytes);
    }

    /// What ends a string among others: there are no others.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Timers;

    const NANO: Duration = Duration::from_nanos(1);

    fn at(secs: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(secs)
    }

    fn route() -> Route {
        let timer = Timers::new().insert(Instant::MAX, ());
        Route::new(timer, Budget::new(at(0)))
    }

    #[test]
    fn what_a_connection_turned_out_to_be_is_believed_for_an_hour_or_a_day() {
        for (protocol, secs) in [(Protocol::Exclusive, 3_600), (Protocol::Shared, 86_400)] {
            let mut route = route();
            route.handle_protocol(at(100), protocol);
            assert_eq!(route.protocol(at(100 + secs) - NANO), protocol);
            assert_eq!(route.protocol(at(100 + secs)), Protocol::Unknown);
        }
    }

    #[test]
    fn the_least_age_at_which_a_server_closes_is_believed_for_an_hour() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let mut route = route();
        assert!(!route.has_learned() && route.learned(at(0)).is_none());
        route.learn(at(100), Duration::from_secs(20));
        assert!(route.has_learned());
        route.learn(at(200), Duration::from_secs(30));
        assert_eq!(route.learned(at(3_700) - NANO), secs(20));
        assert_eq!(route.learned(at(3_700)), None);
        route.learn(at(3_700), Duration::from_millis(10));
        assert_eq!(route.learned(at(3_700)), secs(1));
    }

    #[test]
    fn a_dial_that_began_before_the_last_failure_tells_nothing_new() {
        let mut route = route();
        assert!(route.handle_failed(at(10), at(5)));
        assert!(!route.handle_failed(at(11), at(9)));
        assert!(route.handle_failed(at(12), at(10)), "begun at the failure");
        assert_eq!(route.failures, 2);
        route.handle_connected();
        assert!(route.handle_failed(at(13), at(11)), "since the success");
        assert_eq!(route.failures, 1);
    }

    #[test]
    fn a_key_is_hashed_as_its_bytes_and_the_seed_say() {
        let hash = |seed, key: &str| Seeded::new(seed).hash_one(key);
        assert_eq!(hash([1, 2], "a"), hash([1, 2], "a"));
        assert_ne!(hash([1, 2], "a"), hash([1, 2], "b"));
        assert_ne!(hash([1, 2], "a"), hash([1, 3], "a"));
    }
}
