//! What is known of one record of a name, and what an asker gets of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Fault, FaultKind};
use crate::time::Instant;
use crate::timer::TimerKey;

use super::config::{
    FAILED_FIRST, FAILED_MOST, IF_ERROR, MAX_MISSING, MIN_TTL, RECHECK, RESPONSE, UNKNOWN_MISSING,
    WHILE_REVALIDATING,
};
use super::words::{Ask, QueryId};

/// One record of one name.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) known: Known,
    trouble: Option<Trouble>,
    pub(super) query: Option<Flight>,
    /// When to look whether the addresses are to be renewed.
    pub(super) timer: Option<TimerKey>,
}

/// What the last answer said.
#[derive(Debug, Default)]
pub(super) enum Known {
    #[default]
    Nothing,
    Found(Found),
    Missing {
        at: Instant,
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) addrs: Arc<[IpAddr]>,
    at: Instant,
    ttl: Duration,
    /// From then on they are worth renewing.
    renew_at: Instant,
}

/// The failures since the last answer.
#[derive(Debug)]
struct Trouble {
    fault: Fault,
    at: Instant,
    /// No query before this.
    until: Instant,
    count: u32,
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) id: QueryId,
    pub(super) since: Instant,
}

/// What an asker gets, and whether a query is due for his sake.
#[derive(Debug)]
pub(super) enum View {
    Found(Arc<[IpAddr]>, bool),
    Missing,
    Failed(Fault),
    /// Nothing before this, unless the query ends.
    Query(Instant),
    /// A failure holds queries back until then, and he can wait for that.
    Held(Instant),
}

impl Slot {
    /// What an asker gets now.
    pub(super) fn view(&self, now: Instant, ask: &Ask<'_>) -> View {
        if let Known::Found(found) = &self.known
            && let Some(view) = self.view_found(now, ask.since, found)
        {
            return view;
        }
        if let Known::Missing { at, until } = self.known
            && (at >= ask.since || now < until)
        {
            return View::Missing;
        }
        match &self.trouble {
            Some(trouble) if trouble.at >= ask.since => View::Failed(trouble.fault.clone()),
            Some(trouble) if now < trouble.until && ask.until <= trouble.until => {
                View::Failed(trouble.fault.clone())
            }
            Some(trouble) if now < trouble.until => View::Held(trouble.until),
            _ => View::Query(Instant::MAX),
        }
    }

    /// `None`: they are too old to be given to anybody.
    fn view_found(&self, now: Instant, since: Instant, found: &Found) -> Option<View> {
        if !found.is_usable(now) {
            return None;
        }
        let age = now - found.at;
        let has_failed = self.trouble.as_ref().is_some_and(|t| t.at >= since);
        let patience = self.query.map_or(now, |query| query.since) + RESPONSE;
        let is_due = now >= found.renew_at && !self.is_held(now);
        let serves = age < found.ttl + WHILE_REVALIDATING
            || found.at >= since
            || has_failed
            || self.is_held(now)
            || now >= patience;
        Some(if serves {
            View::Found(Arc::clone(&found.addrs), is_due)
        } else {
            View::Query(patience.min(found.usable_until()))
        })
    }

    /// Whether a failure forbids a query now.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.trouble.as_ref().is_some_and(|t| now < t.until)
    }

    /// When the addresses are worth renewing; never, where there are none or a query does so.
    pub(super) fn renewal(&self) -> Option<Instant> {
        let Known::Found(found) = &self.known else {
            return None;
        };
        let held = self.trouble.as_ref().map_or(Instant::ORIGIN, |t| t.until);
        self.query.is_none().then_some(found.renew_at.max(held))
    }

    pub(super) fn handle_found(
        &mut self,
        now: Instant,
        addrs: Arc<[IpAddr]>,
        ttl: Duration,
        renew_after: Duration,
    ) {
        self.trouble = None;
        self.known = Known::Found(Found {
            addrs,
            at: now,
            ttl,
            renew_at: now + renew_after,
        });
    }

    pub(super) fn handle_missing(&mut self, now: Instant, ttl: Option<Duration>) {
        self.trouble = None;
        let ttl = ttl.unwrap_or(UNKNOWN_MISSING);
        self.known = Known::Missing {
            at: now,
            until: now + ttl.clamp(MIN_TTL, MAX_MISSING),
        };
    }

    pub(super) fn handle_failed(&mut self, now: Instant, fault: Fault) {
        let count = self.trouble.as_ref().map_or(0, |trouble| trouble.count);
        let says_something = fault.kind != FaultKind::RuntimeGone;
        let count = count.saturating_add(u32::from(says_something));
        let is_usable = matches!(&self.known, Known::Found(found) if found.is_usable(now));
        let hold = match count.checked_sub(1) {
            _ if !says_something => Duration::ZERO,
            None => Duration::ZERO,
            Some(_) if is_usable => RECHECK,
            Some(doublings) => (FAILED_FIRST * (1 << doublings.min(6))).min(FAILED_MOST),
        };
        self.trouble = Some(Trouble {
            fault,
            at: now,
            until: now + hold,
            count,
        });
    }
}

impl Found {
    fn usable_until(&self) -> Instant {
        self.at + self.ttl + IF_ERROR
    }

    fn is_usable(&self, now: Instant) -> bool {
        now < self.usable_until()
    }
}
