//! What the cache should do, written down a second time: the whole past of each record is kept, and
//! every answer is worked out from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fulmar_core::dns::{Ask, Lookup, Outcome, Query, Record};
use fulmar_core::fault::FaultKind;
use fulmar_core::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

/// When a query may begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Something is there that will do, or a failure forbids it.
    Never,
    /// It may, and whoever asks begins it.
    Now,
    /// The jitter decides.
    Perhaps,
}

#[derive(Default)]
pub(super) struct Model {
    records: BTreeMap<(String, Record), Past>,
    names: BTreeMap<String, Name>,
}

#[derive(Default)]
struct Name {
    set: BTreeSet<IpAddr>,
    generation: u64,
    used: Instant,
}

#[derive(Default)]
struct Past {
    /// Everything but abandoned queries, in order.
    outcomes: Vec<(Instant, Outcome)>,
    flying_since: Option<Instant>,
}

impl Model {
    pub(super) fn touch(&mut self, now: Instant, name: &str) {
        if let Some(name) = self.names.get_mut(name) {
            name.used = now;
        }
    }

    pub(super) fn begin(&mut self, now: Instant, name: &str, record: Record) {
        let past = self.records.entry((name.to_owned(), record)).or_default();
        past.flying_since = Some(now);
    }

    pub(super) fn due(&self, now: Instant, name: &str, record: Record) -> Due {
        let past = self.records.get(&(name.to_owned(), record));
        past.map_or(Due::Now, |past| past.due(now))
    }

    /// What the change should be: the generation, and all addresses.
    pub(super) fn end(
        &mut self,
        now: Instant,
        query: &Query,
        outcome: &Outcome,
    ) -> Option<(u64, Vec<IpAddr>)> {
        let key = (query.name.to_string(), query.record);
        let past = self.records.entry(key).or_default();
        past.flying_since = None;
        if *outcome != Outcome::Abandoned {
            past.outcomes.push((now, outcome.clone()));
        }
        let of_name = self.records.iter().filter(|(key, _)| *key.0 == *query.name);
        let answers = of_name.filter_map(|(_, past)| past.answer());
        let set: BTreeSet<IpAddr> = answers.flat_map(|(_, addrs, _)| addrs).copied().collect();
        let name = self.names.entry(query.name.to_string()).or_default();
        if set.is_empty() || set == name.set {
            return None;
        }
        name.generation += 1;
        name.set = set;
        let addrs = name.set.iter().copied().collect();
        (name.generation > 1).then_some((name.generation, addrs))
    }

    /// Whether this is what an asker should get; `flying`: a query is under way behind his asking.
    pub(super) fn check(&mut self, now: Instant, ask: &Ask<'_>, got: &Lookup, flying: bool) {
        self.names.entry(ask.name.to_owned()).or_default().used = now;
        let past = self
            .records
            .entry((ask.name.to_owned(), ask.record))
            .or_default();
        match got {
            Lookup::Found(addrs) => {
                let answer = past.answer().filter(|(_, known, _)| same(known, addrs));
                let (at, _, ttl) = answer.expect("addresses of the last answer");
                assert!(now < at + ttl + HOUR, "I4.6: too old");
                let serves = now < at + ttl + Duration::from_secs(60)
                    || at >= ask.since
                    || past.failed_since(ask.since)
                    || now < past.held_until()
                    || past.is_slow(now);
                assert!(serves, "did not wait for the query");
                if now >= at + ttl && now >= past.held_until() {
                    assert!(flying, "nobody renews what is stale");
                }
            }
            Lookup::Missing | Lookup::Failed(_) | Lookup::Wait(..) if past.usable(now) => {
                let Lookup::Wait(until, Some(_)) = got else {
                    panic!("I4.6: addresses taken away: {got:?}");
                };
                let patience = past.flying_since.expect("a query") + Duration::from_millis(1800);
                let (at, _, ttl) = past.answer().expect("addresses");
                assert_eq!(*until, patience.min(at + ttl + HOUR));
            }
            Lookup::Missing => {
                let (at, until) = past.missing().expect("the last answer: none");
                assert!(at >= ask.since || now < until, "believed for too long");
            }
            Lookup::Failed(_) => {
                let is_held = now < past.held_until() && ask.until <= past.held_until();
                assert!(past.failed_since(ask.since) || is_held);
            }
            Lookup::Wait(until, None) => {
                assert!(!flying && *until == past.held_until() && *until < ask.until);
            }
            Lookup::Wait(until, Some(_)) => assert!(flying && *until == Instant::MAX),
        }
    }
}

fn same(known: &[IpAddr], got: &[IpAddr]) -> bool {
    let mut seen = BTreeSet::new();
    let known = known.iter().filter(|addr| seen.insert(**addr));
    known.eq(got)
}

impl Past {
    /// The last answer, if it named addresses: when, which, for how long.
    fn answer(&self) -> Option<(Instant, &[IpAddr], Duration)> {
        let mut answers = self.outcomes.iter().rev();
        let is_answer = |(_, outcome): &&(Instant, Outcome)| !matches!(outcome, Outcome::Failed(_));
        let (at, outcome) = answers.find(is_answer)?;
        let Outcome::Found(addrs, ttl) = outcome else {
            return None;
        };
        let ttl = ttl.map_or(30, |ttl| ttl.as_secs().clamp(1, 300));
        (!addrs.is_empty()).then_some((*at, addrs, Duration::from_secs(ttl)))
    }

    /// The last answer, if it named none: when, and until when that holds.
    fn missing(&self) -> Option<(Instant, Instant)> {
        let mut answers = self.outcomes.iter().rev();
        let (at, ttl) = answers.find_map(|(at, outcome)| match outcome {
            Outcome::Failed(_) | Outcome::Abandoned => None,
            Outcome::Found(addrs, ttl) => Some((*at, addrs.is_empty().then_some(*ttl))),
            Outcome::Missing(ttl) => Some((*at, Some(*ttl))),
        })?;
        let ttl = ttl?.map_or(5, |ttl| ttl.as_secs().clamp(1, 30));
        Some((at, at + Duration::from_secs(ttl)))
    }

    fn usable(&self, now: Instant) -> bool {
        self.answer()
            .is_some_and(|(at, _, ttl)| now < at + ttl + HOUR)
    }

    /// Failures since the last answer, the latest first.
    fn failures(&self) -> impl Iterator<Item = (Instant, FaultKind)> {
        let failures = self.outcomes.iter().rev();
        failures.map_while(|(at, outcome)| match outcome {
            Outcome::Failed(fault) => Some((*at, fault.kind)),
            _ => None,
        })
    }

    fn failed_since(&self, since: Instant) -> bool {
        self.failures().next().is_some_and(|(at, _)| at >= since)
    }

    /// Until when the last failure forbids queries.
    fn held_until(&self) -> Instant {
        let Some((at, kind)) = self.failures().next() else {
            return Instant::ORIGIN;
        };
        if kind == FaultKind::RuntimeGone {
            return at;
        }
        let counted = |(_, kind): &(Instant, FaultKind)| *kind != FaultKind::RuntimeGone;
        let count = self.failures().filter(counted).count() as u32;
        if self.usable(at) {
            return at + Duration::from_secs(30);
        }
        at + Duration::from_secs(2u64.saturating_pow(count - 1).min(60))
    }

    /// Whether the query under way has had its time.
    fn is_slow(&self, now: Instant) -> bool {
        let since = self.flying_since;
        since.is_some_and(|since| now >= since + Duration::from_millis(1800))
    }

    fn due(&self, now: Instant) -> Due {
        if now < self.held_until() {
            return Due::Never;
        }
        if let Some((at, _, ttl)) = self.answer() {
            let share = |percent: u32| at + ttl * percent / 100;
            return match now {
                _ if now < share(85) => Due::Never,
                _ if now < share(95) => Due::Perhaps,
                _ => Due::Now,
            };
        }
        match self.missing() {
            Some((_, until)) if now < until => Due::Never,
            _ => Due::Now,
        }
    }
}
