//! Looking a name up: whoever asks polls the cache, and the cache's queries run as tasks of their
//! own, which nobody's end ends.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::dns::{Ask, Lookup, Outcome, Query, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

use super::Dns;
use super::handle::{Live, Names};
use crate::alarm::Alarm;
use crate::net::{Answer, BoxFuture, Family, Net};
use crate::wake::wake_all;

/// A query has at least so long, even where its asker has less: the answer is kept.
const LEAST: Duration = Duration::from_secs(3);

/// One record of one name, on its way.
pub(crate) struct Search {
    pub(crate) record: Record,
    way: Way,
}

enum Way {
    /// When it was asked for first, by the cache's clock.
    Cached(Option<Instant>),
    Direct(BoxFuture<Result<Answer, Fault>>),
}

/// Who asks, and until when.
pub(crate) struct Asker<'a> {
    pub(crate) net: &'a Arc<dyn Net>,
    pub(crate) name: &'a str,
    pub(crate) until: Instant,
    /// How long a lookup may take.
    pub(crate) limit: Option<Duration>,
}

impl Search {
    pub(crate) fn new(dns: &Dns, net: &Arc<dyn Net>, name: &str, record: Record) -> Self {
        let way = if dns.names.is_cached() {
            Way::Cached(None)
        } else {
            Way::Direct(dns.names.ask(net, name, record))
        };
        Self { record, way }
    }

    /// Polls it. `Err`: it waits, to be polled at this instant at the latest.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        dns: &Dns,
        asker: &Asker<'_>,
    ) -> Result<Result<Vec<IpAddr>, Fault>, Instant> {
        match &mut self.way {
            Way::Direct(answer) => match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Ok(answer.map(|answer| answer.addrs)),
                Poll::Pending => Err(Instant::MAX),
            },
            Way::Cached(since) => dns.poll_lookup(cx, since, self.record, asker),
        }
    }
}

impl Dns {
    fn poll_lookup(
        &self,
        cx: &mut Context<'_>,
        since: &mut Option<Instant>,
        record: Record,
        asker: &Asker<'_>,
    ) -> Result<Result<Vec<IpAddr>, Fault>, Instant> {
        let fault = |kind| Fault::new(kind, Phase::Dns);
        let Some(live) = self.names.live() else {
            return Ok(Err(fault(FaultKind::NameFailed)));
        };
        // Another client's clock may have another origin.
        let (here, now) = (asker.net.now(), live.clock.now());
        let ask = Ask {
            name: asker.name,
            record,
            since: *since.get_or_insert(now),
            until: now + (asker.until - here),
        };
        let mut state = live.lock();
        let lookup = state.cache.lookup(now, &ask);
        if let Lookup::Wait(_, Some(id)) = lookup {
            let wakers = state.askers.entry(id).or_default();
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
        }
        drop(state);
        self.send_queries(asker.net, asker.limit);
        match lookup {
            Lookup::Found(addrs) => Ok(Ok(addrs.to_vec())),
            Lookup::Missing => Ok(Err(fault(FaultKind::NameNotFound))),
            Lookup::Failed(fault) => Ok(Err(fault.in_phase(Phase::Dns))),
            Lookup::Wait(Instant::MAX, _) => Err(Instant::MAX),
            Lookup::Wait(until, _) => Err(here + (until - now)),
        }
    }

    /// Renews what is due, and what `in_use` names too.
    pub(crate) fn renew(&self, net: &Arc<dyn Net>, limit: Option<Duration>, in_use: &[String]) {
        let Some(live) = self.names.live().filter(|_| self.names.is_cached()) else {
            return;
        };
        let now = live.clock.now();
        let mut state = live.lock();
        for name in in_use {
            state.cache.touch(now, name);
        }
        state.cache.handle_timeout(now);
        drop(state);
        self.send_queries(net, limit);
    }

    /// The addresses of a name, in order, as far as they are known.
    pub(crate) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let live = self.names.live().filter(|_| self.names.is_cached());
        live.map_or_else(Vec::new, |live| live.lock().cache.addresses(name).to_vec())
    }

    fn send_queries(&self, net: &Arc<dyn Net>, limit: Option<Duration>) {
        let Some(live) = self.names.live() else {
            return;
        };
        // Asked for one at a time: a task that is spawned may be dropped at once.
        loop {
            let Some(query) = live.lock().cache.poll_query() else {
                return;
            };
            let guard = Guard {
                names: Arc::downgrade(&self.names),
                query: Some(query),
                has_begun: false,
            };
            let limit = limit.map_or(LEAST, |limit| limit.max(LEAST));
            net.spawn(Box::pin(run(guard, net.clone(), limit)));
        }
    }
}

impl Names {
    /// Asks the resolver itself.
    fn ask(
        &self,
        net: &Arc<dyn Net>,
        name: &str,
        record: Record,
    ) -> BoxFuture<Result<Answer, Fault>> {
        let family = match record {
            Record::V4 => Family::V4,
            Record::V6 => Family::V6,
            Record::Any => Family::Any,
        };
        match self.resolver() {
            Some(resolver) => resolver.resolve(name, family),
            None => net.resolve(name, family),
        }
    }
}

/// Asks, and reports.
async fn run(mut guard: Guard, net: Arc<dyn Net>, limit: Duration) {
    guard.has_begun = true;
    let Some(mut answer) = guard.ask(&net) else {
        return;
    };
    let until = net.now() + limit;
    let mut alarm = Alarm::new();
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(outcome_of(answer));
        }
        alarm.poll_until(cx, &*net, until).map(|()| {
            let fault = Fault::new(FaultKind::TimedOut, Phase::Dns);
            Outcome::Failed(fault)
        })
    })
    .await;
    guard.end(outcome);
}

fn outcome_of(answer: Result<Answer, Fault>) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Found(answer.addrs, answer.ttl),
        Err(fault) if fault.kind == FaultKind::NameNotFound => Outcome::Missing(None),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Reports to the cache, exactly once.
struct Guard {
    names: Weak<Names>,
    query: Option<Query>,
    has_begun: bool,
}

impl Guard {
    fn ask(&self, net: &Arc<dyn Net>) -> Option<BoxFuture<Result<Answer, Fault>>> {
        let query = self.query.as_ref()?;
        let names = self.names.upgrade()?;
        Some(names.ask(net, &query.name, query.record))
    }

    fn end(&mut self, outcome: Outcome) {
        let (Some(query), Some(names)) = (self.query.take(), self.names.upgrade()) else {
            return;
        };
        if let Some(live) = names.live() {
            live.end(&query, outcome);
        }
    }
}

impl Live {
    /// A query ended: wakes who waits for it, and has the clients follow where the name moved.
    fn end(&self, query: &Query, outcome: Outcome) {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let change = state
            .cache
            .handle_outcome(now, query, outcome, &mut state.rng);
        let wakers = state.askers.remove(&query.id).unwrap_or_default();
        let clients: Vec<_> = match &change {
            Some(_) => state.clients.iter().filter_map(Weak::upgrade).collect(),
            None => Vec::new(),
        };
        drop(guard);
        for (client, change) in clients.iter().zip(change.iter().cycle()) {
            client.handle_addresses(&change.name, &change.addrs);
        }
        wake_all(wakers);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let failed = |kind, text| {
            let fault = Fault::new(kind, Phase::Dns);
            Outcome::Failed(fault.with_detail(text))
        };
        self.end(if std::thread::panicking() {
            failed(FaultKind::NameFailed, "the resolver panicked")
        } else if self.has_begun {
            Outcome::Abandoned
        } else {
            failed(FaultKind::RuntimeGone, "no runtime ran the lookup")
        });
    }
}
