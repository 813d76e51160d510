//! The cache of names beside a naive reference model, and a resolver that flaps.

mod flapping;
mod model;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::dns::{Ask, Cache, Config, Lookup, Outcome, Query, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;
use rand_core::SeedableRng;

use super::script::Script;
use model::{Due, Model};

pub use flapping::i4_7_a_flapping_resolver_fails_nobody_for_an_hour_after_the_first_success;

const NAMES: [&str; 3] = ["a.test", "b.test", "c.test"];
const RECORDS: [Record; 3] = [Record::V4, Record::V6, Record::Any];

/// An asker who waits.
#[derive(Clone, Copy)]
struct Asker {
    name: usize,
    record: Record,
    since: Instant,
    until: Instant,
}

/// A driver that believes nothing.
struct Driver {
    cache: Cache,
    model: Model,
    rng: ChaCha8Rng,
    now: Instant,
    /// Under way, by name and record: I4.6 allows one of each.
    queries: BTreeMap<(String, Record), Query>,
    askers: Vec<Asker>,
}

/// Drives a cache by the script beside its model: what askers get, which queries begin, when names
/// change. I4.6 on the way: nothing older than its TTL and an hour, one query for a name and record,
/// and addresses that no failure takes away.
///
/// # Panics
///
/// Where the cache and the model differ, or an invariant is violated.
pub fn i4_6_cache_steps(data: &[u8]) {
    let mut script = Script::new(data);
    let mut driver = Driver {
        cache: Cache::new(Config::default()),
        model: Model::default(),
        rng: ChaCha8Rng::seed_from_u64(u64::from(script.byte())),
        now: Instant::from_nanos(u64::from(script.byte())),
        queries: BTreeMap::new(),
        askers: Vec::new(),
    };
    while !script.is_over() {
        driver.step(&mut script);
        driver.take_queries();
    }
}

impl Driver {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(10) {
            0 | 1 => self.wait(script),
            2 => self.fire(),
            3 => self.touch(script),
            4..=6 => self.ask(script),
            7 => self.ask_again(script),
            _ => self.end_query(script),
        }
    }

    fn wait(&mut self, script: &mut Script<'_>) {
        let unit = [1_000_000, 100_000_000, 1_000_000_000, 60_000_000_000][script.below(4)];
        self.now = self.now + Duration::from_nanos(unit * (script.below(100) as u64));
    }

    fn fire(&mut self) {
        if let Some(due) = self.cache.poll_timeout() {
            self.now = self.now.max(due);
        }
        for _ in 0..2 {
            self.cache.handle_timeout(self.now);
            let due = self.cache.poll_timeout();
            assert!(due.is_none_or(|due| due > self.now), "{due:?} is past");
        }
    }

    fn touch(&mut self, script: &mut Script<'_>) {
        let name = script.below(NAMES.len());
        self.cache.touch(self.now, NAMES[name]);
        self.model.touch(self.now, NAMES[name]);
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let asker = Asker {
            name: script.below(NAMES.len()),
            record: RECORDS[script.below(3)],
            since: self.now,
            until: self.now + Duration::from_millis(script.below(5000) as u64),
        };
        self.look(asker);
    }

    fn ask_again(&mut self, script: &mut Script<'_>) {
        if !self.askers.is_empty() {
            let asker = self.askers.swap_remove(script.below(self.askers.len()));
            self.look(asker);
        }
    }

    fn look(&mut self, asker: Asker) {
        let name = NAMES[asker.name];
        let ask = Ask {
            name,
            record: asker.record,
            since: asker.since,
            until: asker.until,
        };
        let got = self.cache.lookup(self.now, &ask);
        self.take_queries();
        let flying = self.queries.get(&(name.to_owned(), asker.record));
        self.model.check(self.now, &ask, &got, flying.is_some());
        if let Lookup::Wait(until, id) = &got {
            assert!(*until > self.now, "told to ask again at once");
            assert!(id.is_none() || flying.map(|query| query.id) == *id);
            self.askers.push(asker);
        }
    }

    fn take_queries(&mut self) {
        while let Some(query) = self.cache.poll_query() {
            let record = query.record;
            let due = self.model.due(self.now, &query.name, record);
            assert_ne!(due, Due::Never, "asked of {} too early", query.name);
            self.model.begin(self.now, &query.name, record);
            let key = (query.name.to_string(), record);
            let before = self.queries.insert(key, query);
            assert_eq!(before, None, "two queries at once for one record");
        }
    }

    fn end_query(&mut self, script: &mut Script<'_>) {
        let at = script.below(self.queries.len().max(1));
        let Some(key) = self.queries.keys().nth(at).cloned() else {
            return;
        };
        let Some(query) = self.queries.remove(&key) else {
            return;
        };
        let outcome = outcome(script, query.record);
        let rng = &mut self.rng;
        let change = self
            .cache
            .handle_outcome(self.now, &query, outcome.clone(), rng);
        let expected = self.model.end(self.now, &query, &outcome);
        let change = change.map(|change| (change.generation, change.addrs.to_vec()));
        assert_eq!(change, expected, "another change");
        let twice = self.cache.handle_outcome(self.now, &query, outcome, rng);
        assert_eq!(twice, None, "heeded a stale outcome");
    }
}

fn outcome(script: &mut Script<'_>, record: Record) -> Outcome {
    let ttl = |script: &mut Script<'_>| {
        let secs = [0, 1, 20, 300, 86_400][script.below(5)];
        (script.below(4) > 0).then(|| Duration::from_secs(secs))
    };
    match script.below(8) {
        0..=3 => {
            let addrs = (0..script.below(4)).map(|_| address(script, record));
            let addrs = addrs.collect();
            Outcome::Found(addrs, ttl(script))
        }
        4 => Outcome::Missing(ttl(script)),
        5 => Outcome::Abandoned,
        6 => Outcome::Failed(Fault::new(FaultKind::RuntimeGone, Phase::Dns)),
        _ => Outcome::Failed(Fault::new(FaultKind::NameFailed, Phase::Dns)),
    }
}

fn address(script: &mut Script<'_>, record: Record) -> IpAddr {
    let n = script.below(5) as u8;
    match record {
        Record::V4 => IpAddr::from([192, 0, 2, n]),
        Record::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
        Record::Any if n < 3 => address(script, Record::V4),
        Record::Any => address(script, Record::V6),
    }
}
