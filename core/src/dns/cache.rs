//! The cache: names, their records, and the queries that are due.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::uniform;
use crate::fault::{Fault, FaultKind, Phase};
use crate::lru::Lru;
use crate::rand_core::Rng;
use crate::time::{Instant, saturating_nanos};
use crate::timer::Timers;

use super::config::{Config, IN_USE, MAX_ADDRS, MAX_NAME};
use super::slot::{Flight, Known, Slot, View};
use super::words::{Ask, Change, Lookup, Outcome, Query, QueryId, Record};

/// Addresses by name. See the [module](super) for its rules.
///
/// Names are compared without regard to case. A dot at the end makes another name, because a
/// resolver completes only those without.
#[derive(Debug)]
pub struct Cache {
    config: Config,
    names: Lru<Arc<str>, Entry>,
    queries: VecDeque<Query>,
    renewals: Timers<(Arc<str>, Record)>,
    issued: u64,
}

#[derive(Debug)]
struct Entry {
    v4: Slot,
    v6: Slot,
    any: Slot,
    /// All addresses that it had when it last had any, in order.
    set: Arc<[IpAddr]>,
    generation: u64,
    used: Instant,
}

impl Cache {
    /// An empty cache. The configuration should be [valid](Config::validate).
    pub fn new(config: Config) -> Self {
        Self {
            config,
            names: Lru::new(config.capacity),
            queries: VecDeque::new(),
            renewals: Timers::new(),
            issued: 0,
        }
    }

    /// Asks for addresses. Whoever has to wait asks again when he is told to, or later, or at any
    /// time before; then drain [`poll_query`](Self::poll_query).
    ///
    /// Literals and `localhost` do not belong here: see [`known_addresses`](super::known_addresses).
    pub fn lookup(&mut self, now: Instant, ask: &Ask<'_>) -> Lookup {
        if ask.name.is_empty() || ask.name.len() > MAX_NAME {
            return Lookup::Missing;
        }
        let Some(name) = self.enter(now, ask.name) else {
            let fault = Fault::new(FaultKind::NameFailed, Phase::Dns);
            return Lookup::Failed(fault.with_detail("too many names are being looked up"));
        };
        match self.slot(&name, ask.record).map(|slot| slot.view(now, ask)) {
            Some(View::Found(addrs, is_due)) => {
                if is_due {
                    self.query(now, name, ask.record);
                }
                Lookup::Found(addrs)
            }
            Some(View::Query(until)) => {
                let id = self.query(now, name, ask.record);
                Lookup::Wait(until, id)
            }
            Some(View::Held(until)) => Lookup::Wait(until, None),
            Some(View::Failed(fault)) => Lookup::Failed(fault),
            Some(View::Missing) | None => Lookup::Missing,
        }
    }

    /// A name is in use, by a connection to one of its addresses: they are renewed as if they had
    /// been asked for. Nothing happens where none are known.
    pub fn touch(&mut self, now: Instant, name: &str) {
        let name = lower(name);
        let Some(name) = self.names.touch(&*name).cloned() else {
            return;
        };
        if let Some(entry) = self.names.get_mut(&name) {
            entry.used = now;
        }
        for record in [Record::V6, Record::V4, Record::Any] {
            let renewal = self.slot(&name, record).and_then(|slot| slot.renewal());
            if renewal.is_some_and(|at| at <= now) {
                self.query(now, name.clone(), record);
            }
        }
    }

    /// The addresses that a name had when it last had any, in order; none, where it is not known.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        let entry = self.names.get(&*lower(name));
        entry.map_or(&[], |entry| &entry.set)
    }

    /// How many names are kept.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A query ended. Whoever waits for it is to ask again. Of a query that is not under way nothing
    /// is learned. Says which addresses a name has now, where they are others than before.
    pub fn handle_outcome(
        &mut self,
        now: Instant,
        query: &Query,
        outcome: Outcome,
        rng: &mut dyn Rng,
    ) -> Option<Change> {
        let config = self.config;
        let slot = self.slot(&query.name, query.record)?;
        slot.query.take_if(|flight| flight.id == query.id)?;
        match outcome {
            Outcome::Found(addrs, ttl) if !addrs.is_empty() => {
                let ttl = config.believed(ttl);
                let renew_after = draw_renewal(ttl, rng);
                slot.handle_found(now, kept(&addrs), ttl, renew_after);
            }
            Outcome::Found(_, ttl) | Outcome::Missing(ttl) => slot.handle_missing(now, ttl),
            Outcome::Failed(fault) => slot.handle_failed(now, fault),
            Outcome::Abandoned => {}
        }
        self.arm(&query.name, query.record);
        self.names.get_mut(&query.name)?.compare(&query.name)
    }

    /// Begins the renewals that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.renewals.expire(now) {
            let Some((name, record)) = self.renewals.get(key).cloned() else {
                continue;
            };
            let used = self.names.get(&name).map(|entry| entry.used);
            // What nobody uses is renewed when somebody asks for it.
            if used.is_some_and(|used| now - used <= IN_USE) {
                self.query(now, name, record);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; there may turn out to be nothing to do.
    /// To come late costs at most that addresses are renewed late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.renewals.poll_timeout()
    }

    /// A query to be sent.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.queries.pop_front()
    }

    /// Notes the use of a name, which is entered where it is new. `None`: there is no room.
    fn enter(&mut self, now: Instant, name: &str) -> Option<Arc<str>> {
        let name = lower(name);
        if let Some(name) = self.names.touch(&*name).cloned() {
            self.names.get_mut(&name)?.used = now;
            return Some(name);
        }
        let name: Arc<str> = name.into();
        let entry = Entry::new(now);
        let is_quiet = |entry: &Entry| entry.slots().all(|slot| slot.query.is_none());
        let forgotten = self.names.insert(name.clone(), entry, is_quiet).ok()?;
        let timers = forgotten.iter().flat_map(Entry::slots);
        for timer in timers.filter_map(|slot| slot.timer) {
            self.renewals.remove(timer);
        }
        Some(name)
    }

    fn slot(&mut self, name: &str, record: Record) -> Option<&mut Slot> {
        let entry = self.names.get_mut(name)?;
        Some(entry.slot(record))
    }

    /// Begins a query, unless one is under way, and names the one that is.
    fn query(&mut self, now: Instant, name: Arc<str>, record: Record) -> Option<QueryId> {
        let id = QueryId(self.issued + 1);
        let slot = self.slot(&name, record)?;
        if let Some(flight) = slot.query {
            return Some(flight.id);
        }
        slot.query = Some(Flight { id, since: now });
        self.issued += 1;
        self.queries.push_back(Query { id, name, record });
        Some(id)
    }

    /// Sets the timer of a record's next renewal.
    fn arm(&mut self, name: &Arc<str>, record: Record) {
        let Some(slot) = self.slot(name, record) else {
            return;
        };
        let at = slot.renewal().unwrap_or(Instant::MAX);
        match slot.timer {
            Some(timer) => {
                self.renewals.reset(timer, at);
            }
            None if at == Instant::MAX => {}
            None => {
                let timer = self.renewals.insert(at, (name.clone(), record));
                if let Some(slot) = self.slot(name, record) {
                    slot.timer = Some(timer);
                }
            }
        }
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            v4: Slot::default(),
            v6: Slot::default(),
            any: Slot::default(),
            set: [].into(),
            generation: 0,
            used: now,
        }
    }

    fn slot(&mut self, record: Record) -> &mut Slot {
        match record {
            Record::V4 => &mut self.v4,
            Record::V6 => &mut self.v6,
            Record::Any => &mut self.any,
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.v4, &self.v6, &self.any].into_iter()
    }

    /// Compares what the records say now with what they said before. A name without addresses
    /// retires none: there would be nowhere to go.
    fn compare(&mut self, name: &Arc<str>) -> Option<Change> {
        let known = self.slots().map(|slot| &slot.known);
        let found = known.filter_map(|known| match known {
            Known::Found(found) => Some(found.addrs.iter().copied()),
            _ => None,
        });
        let mut set: Vec<IpAddr> = found.flatten().collect();
        set.sort_unstable();
        set.dedup();
        if set.is_empty() || *set == *self.set {
            return None;
        }
        let is_first = self.generation == 0;
        self.generation += 1;
        self.set = set.into();
        (!is_first).then(|| Change {
            name: name.clone(),
            generation: self.generation,
            addrs: self.set.clone(),
        })
    }
}

/// The addresses that are kept: each once, the first of them. One of IPv4 that is spelled as IPv6
/// (RFC 4291 section 2.5.5.2) is kept as what a connection to it says of its peer.
fn kept(addrs: &[IpAddr]) -> Arc<[IpAddr]> {
    let mut kept: Vec<IpAddr> = Vec::new();
    for addr in addrs.iter().take(4 * MAX_ADDRS).map(IpAddr::to_canonical) {
        if kept.len() < MAX_ADDRS && !kept.contains(&addr) {
            kept.push(addr);
        }
    }
    kept.into()
}

/// When addresses are worth renewing: after 0.85 to 0.95 of their TTL, so that not all who asked at
/// one moment come back at one moment.
fn draw_renewal(ttl: Duration, rng: &mut dyn Rng) -> Duration {
    let percent = saturating_nanos(ttl) / 100;
    Duration::from_nanos(uniform(rng, percent * 85, percent * 95))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
