//! A resolver that fails every other time.

use std::time::Duration;

use chacha20::ChaCha8Rng;
use fulmar_core::dns::{Ask, Cache, Config, Lookup, Outcome, Query, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;
use rand_core::SeedableRng;

use super::super::script::Script;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    cache: Cache,
    rng: ChaCha8Rng,
    now: Instant,
    /// Under way, and when it ends.
    queries: Vec<(Query, Instant)>,
    queried: u32,
}

/// I4.7: failures and answers take turns, at any pace, with any TTL; from the first answer on nobody
/// fails for an hour, and nobody waits longer than 1.8 s.
///
/// # Panics
///
/// Where somebody does.
pub fn i4_7_a_flapping_resolver_fails_nobody_for_an_hour_after_the_first_success(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World {
        cache: Cache::new(Config::default()),
        rng: ChaCha8Rng::seed_from_u64(u64::from(script.byte())),
        now: Instant::ORIGIN,
        queries: Vec::new(),
        queried: 0,
    };
    assert!(world.ask(&mut script).is_some(), "the first query answers");
    let end = world.now + 3_600 * SECOND;
    while !script.is_over() && world.now < end {
        let pause = SECOND * (1 << script.below(10)) / 4;
        world.pass(&mut script, (world.now + pause).min(end));
        if world.now >= end {
            break;
        }
        let asked = world.now;
        assert!(
            world.ask(&mut script).is_some(),
            "failed at {:?}",
            world.now
        );
        assert!(world.now - asked <= SECOND * 9 / 5, "waited too long");
    }
}

impl World {
    /// Asks, and waits until there is an answer or a failure.
    fn ask(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (since, until) = (self.now, self.now + 3 * SECOND);
        let ask = Ask {
            name: "api.test",
            record: Record::Any,
            since,
            until,
        };
        loop {
            let got = self.cache.lookup(self.now, &ask);
            self.take_queries(script);
            match got {
                Lookup::Found(_) => return Some(()),
                Lookup::Wait(again, _) if self.now < until => {
                    let ends = self.queries.iter().map(|(_, end)| *end);
                    let next = ends.fold(again, Instant::min);
                    self.pass(script, next.min(until));
                }
                _ => return None,
            }
        }
    }

    /// Time passes, with all that it brings.
    fn pass(&mut self, script: &mut Script<'_>, to: Instant) {
        loop {
            let ends = self.queries.iter().map(|(_, end)| *end);
            let due = ends.chain(self.cache.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= to) else {
                self.now = to;
                return;
            };
            self.now = self.now.max(due);
            self.cache.handle_timeout(self.now);
            self.take_queries(script);
            let ended = |(_, end): &mut (Query, Instant)| *end <= self.now;
            let ended: Vec<_> = self.queries.extract_if(.., ended).collect();
            for (query, _) in ended {
                self.end(script, &query);
            }
        }
    }

    fn end(&mut self, script: &mut Script<'_>, query: &Query) {
        self.queried += 1;
        let outcome = if self.queried % 2 == 1 {
            let ttl = [None, Some(SECOND), Some(20 * SECOND)][script.below(3)];
            Outcome::Found(vec![[192, 0, 2, 1].into()], ttl)
        } else {
            Outcome::Failed(Fault::new(FaultKind::NameFailed, Phase::Dns))
        };
        let rng = &mut self.rng;
        self.cache.handle_outcome(self.now, query, outcome, rng);
    }

    fn take_queries(&mut self, script: &mut Script<'_>) {
        while let Some(query) = self.cache.poll_query() {
            let is_first = self.queried == 0;
            let most = if is_first { 2_900 } else { 6_000 };
            let takes = Duration::from_millis(script.below(most) as u64);
            self.queries.push((query, self.now + takes));
        }
    }
}
