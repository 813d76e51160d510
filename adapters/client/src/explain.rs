//! What a request would meet, without sending it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fulmar_core::budget::{Budget, Cost};
use fulmar_core::call::{self, Call};
use fulmar_core::deadline::Timeouts;
use fulmar_core::pool::{Ask, Held, Limits, Preview};
use fulmar_core::retry::{MethodClass, Replay, Retry, StopReason};
use fulmar_core::time::Instant;
use fulmar_core::turnstile::Turnstile;
use http::{Method, Version};

use crate::dial::bare_host;
use crate::dns::Dns;
use crate::in_flight::CLIENT;
use crate::request::Parts;
use crate::shared::{Shared, State};
use crate::url::Url;

/// What a request would meet if it were sent at this instant, and what is in force for it: the answer
/// of [`Client::explain`](crate::Client::explain). `Display` has it on a line each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// The pattern of the profile that it falls under.
    pub profile: Option<Arc<str>>,
    /// The pool's key: requests with the same one share connections and a retry budget.
    pub route: Arc<str>,
    /// Its place among the calls in flight, the profile's turnstile first, then the client's; empty
    /// where neither caps them.
    pub admission: Vec<Admission>,
    /// What its connection goes over.
    pub transport: Transport,
    /// How the peer's address is found, should a connection be dialled.
    pub lookup: Lookup,
    /// What the pool would do.
    pub pool: Preview,
    /// What would be spoken.
    pub protocol: Version,
    /// The pool's limits in force, the profile's connections of one origin included.
    pub limits: Limits,
    /// The timeouts in force.
    pub timeouts: Timeouts,
    /// How long the call has by its deadline and total timeout.
    pub time_left: Option<Duration>,
    /// Whether it would be tried again.
    pub retry: Retrying,
}

/// A call's place among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// It would begin at once.
    Begins {
        /// Calls in flight.
        in_flight: usize,
        /// As many as may be.
        max: usize,
    },
    /// It would wait.
    Waits {
        /// Its place in the queue, from 1.
        position: usize,
        /// As many calls as may be in flight.
        max: usize,
    },
    /// As many wait as may.
    Refused,
}

/// What a connection goes over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// TCP, to the host and port of the URL.
    Tcp,
    /// This unix socket.
    Unix(Arc<Path>),
}

/// How an address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// There is none to find: a unix socket.
    Unneeded,
    /// The URL has it, or it is `localhost`, or the client was told.
    Known,
    /// The cache of names has some, which are given out or asked for anew, by their age.
    Cached,
    /// The resolver is asked.
    Resolver,
}

/// Whether and when a call would be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrying {
    /// Attempts that the policy allows, the first included.
    pub max_attempts: u32,
    /// What the method promises.
    pub method: MethodClass,
    /// Whether it has an `Idempotency-Key`.
    pub keyed: bool,
    /// Whether it was declared idempotent.
    pub declared_idempotent: bool,
    /// How its body can be sent again.
    pub body: Replay,
    /// Thousandths of tokens in the route's retry budget; a retry costs one token, after a timeout two.
    pub tokens: u32,
    /// How long the origin wants no retries (`Retry-After`).
    pub shut_for: Option<Duration>,
    /// What follows from these.
    pub verdict: RetryVerdict,
}

/// After which failures a call would be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryVerdict {
    /// After all that the policy counts as passing: a repeat does no harm.
    Repeatable,
    /// Only after those after which the origin cannot have acted on it.
    IfUnprocessed,
    /// Only after those before which no byte of its body was taken.
    IfBodyUntouched,
    /// After none, but for a connection that had died while it idled; and why.
    Never(StopReason),
}

impl Explanation {
    pub(crate) fn of(shared: &Shared, parts: &Parts, mut facts: call::Request) -> Self {
        let settings = &shared.settings;
        let options = parts.options.as_deref();
        let now = shared.net.now();
        let timeouts = options.and_then(|o| o.timeouts);
        let timeouts = timeouts.unwrap_or(settings.timeouts);
        let policy = options.and_then(|o| o.retry.as_ref());
        let policy = policy.unwrap_or(&settings.retry);
        let deadline = options.and_then(|o| o.deadline.map(|at| at - now));
        let own = parts.profile().and_then(|profile| profile.per_origin);
        if facts.replay == Replay::Spooled && (settings.spool.0 == 0 || settings.spool.1 == 0) {
            facts.replay = Replay::OneShot;
        }
        let socket = parts.socket(settings);
        let ask = Ask {
            repeatable: facts.repeat_ok(),
            lane: parts.lane(),
            per_origin: own,
            ..Ask::default()
        };
        let (admission, pool, budget) = shared.locked(|state| {
            let route = parts.route();
            let pool = state.pool.preview(now, route, ask);
            let budget = state.pool.known_budget(route).cloned();
            (admission(shared, state, parts), pool, budget)
        });
        let budget = budget.unwrap_or_else(|| Budget::with_config(&settings.pool.budget, now));
        let limits = settings.pool.effective_limits();
        Self {
            method: parts.method.clone(),
            url: parts.url.clone(),
            profile: parts.profile().map(|profile| profile.name.clone()),
            route: parts.route().into(),
            admission,
            lookup: lookup(socket.as_deref(), &parts.url, &shared.settings.dns),
            transport: socket.map_or(Transport::Tcp, Transport::Unix),
            pool,
            protocol: Version::HTTP_11,
            limits: own.map_or(limits, |connections| limits.per_origin(connections)),
            timeouts,
            time_left: timeouts.total.into_iter().chain(deadline).min(),
            retry: Retrying::of(facts, policy, budget, now),
        }
    }
}

fn admission(shared: &Shared, state: &State, parts: &Parts) -> Vec<Admission> {
    let profile = parts.profile().and_then(|profile| profile.in_flight);
    let is_capped = shared.is_capped.load(Ordering::Relaxed);
    let ways = profile.map(|(turnstile, _)| turnstile);
    let ways = ways.into_iter().chain(is_capped.then_some(CLIENT));
    ways.map(|way| Admission::of(&state.turnstiles[way]))
        .collect()
}

impl Admission {
    fn of(turnstile: &Turnstile) -> Self {
        let (in_flight, max) = (turnstile.inside(), turnstile.limit());
        if in_flight < max {
            Self::Begins { in_flight, max }
        } else if turnstile.is_full() {
            Self::Refused
        } else {
            let position = turnstile.waiting() + 1;
            Self::Waits { position, max }
        }
    }
}

fn lookup(socket: Option<&Path>, url: &Url, dns: &Dns) -> Lookup {
    let host = bare_host(url);
    if socket.is_some() {
        Lookup::Unneeded
    } else if dns.known_addresses(host).is_some() {
        Lookup::Known
    } else if dns.has_addresses(host) {
        Lookup::Cached
    } else {
        Lookup::Resolver
    }
}

impl Retrying {
    /// The budget is a copy: a withdrawal from it says whether there would be one.
    fn of(facts: call::Request, policy: &Arc<Retry>, mut budget: Budget, now: Instant) -> Self {
        let max_attempts = Call::new(facts, policy.clone()).attempts_left();
        let shut_for = budget.shut_for(now);
        budget.handle_first_attempt(now);
        let is_affordable = budget.withdraw(now, Cost::Fast);
        let tokens = budget.tokens() + if is_affordable { 1_000 } else { 0 };
        let verdict = if max_attempts < 2 {
            RetryVerdict::Never(StopReason::MaxAttempts)
        } else if !is_affordable {
            RetryVerdict::Never(StopReason::BudgetEmpty)
        } else if facts.replay == Replay::OneShot {
            RetryVerdict::IfBodyUntouched
        } else if facts.repeat_ok() {
            RetryVerdict::Repeatable
        } else {
            RetryVerdict::IfUnprocessed
        };
        Self {
            max_attempts,
            method: facts.method,
            keyed: facts.keyed,
            declared_idempotent: facts.declared_idempotent,
            body: facts.replay,
            tokens,
            shut_for,
            verdict,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        let profile = self.profile.as_deref().unwrap_or("none");
        writeln!(f, "profile: {profile}")?;
        writeln!(f, "route: {}", self.route)?;
        for admission in &self.admission {
            writeln!(f, "in flight: {admission}")?;
        }
        match &self.transport {
            Transport::Tcp => writeln!(f, "transport: TCP, port {}", self.url.port())?,
            Transport::Unix(path) => writeln!(f, "transport: unix socket {}", path.display())?,
        }
        writeln!(f, "name: {}", self.lookup)?;
        writeln!(f, "protocol: {:?}", self.protocol)?;
        f.write_str("pool: ")?;
        describe(&self.pool, f)?;
        let limit = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        let (total, own) = (limit(self.limits.total), limit(self.limits.per_origin));
        writeln!(f, "\nlimits: {total} connections, {own} of an origin")?;
        self.write_timeouts(f)?;
        write!(f, "\nretry: {}", self.retry)
    }
}

impl Explanation {
    fn write_timeouts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.timeouts;
        f.write_str("timeouts: ")?;
        for (name, limit) in [
            ("pool", t.pool),
            ("dns", t.dns),
            ("connect", t.connect),
            ("tls", t.tls),
            ("write", t.write),
            ("first byte", t.first_byte),
            ("head", t.head),
            ("between bytes", t.between_bytes),
            ("attempt", t.attempt),
        ] {
            if let Some(limit) = limit {
                write!(f, "{name} {limit:?}, ")?;
            }
        }
        match self.time_left {
            Some(left) if self.timeouts.total_covers_body => write!(f, "in all {left:?}"),
            Some(left) => write!(f, "in all {left:?} without a body in pieces"),
            None => f.write_str("in all no limit"),
        }
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { in_flight, max } => {
                write!(f, "begins at once, {in_flight} of {max} are")
            }
            Self::Waits { position, max } => {
                write!(f, "waits as number {position}, all {max} are")
            }
            Self::Refused => f.write_str("refused, too many wait"),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unneeded => "not looked up",
            Self::Known => "an address",
            Self::Cached => "from the cache of names",
            Self::Resolver => "looked up by a dial",
        })
    }
}

fn describe(pool: &Preview, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match pool {
        Preview::Idle => f.write_str("reuses an idle connection"),
        Preview::Share => f.write_str("shares a connection"),
        Preview::Dial { evicts: false } => f.write_str("dials"),
        Preview::Dial { evicts: true } => f.write_str("dials, and an idle connection makes room"),
        Preview::Wait { position, why } => {
            write!(f, "waits as number {position}: ")?;
            match why {
                Held::Dialling => f.write_str("a connection is on its way"),
                Held::PerOrigin(n) => write!(f, "the origin has all {n} connections it may"),
                Held::Total(n) => write!(f, "there are all {n} connections there may be"),
                Held::Backoff(_) => f.write_str("dials failed, and the next has to wait"),
                _ => f.write_str("held up"),
            }
        }
        Preview::Refused(refusal) => write!(f, "refused, {refusal}"),
        _ => f.write_str("unknown"),
    }
}

impl fmt::Display for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.max_attempts;
        match self.verdict {
            RetryVerdict::Repeatable => write!(f, "up to {attempts} attempts")?,
            RetryVerdict::IfUnprocessed => {
                write!(
                    f,
                    "up to {attempts} attempts, where the origin cannot have acted on it"
                )?;
            }
            RetryVerdict::IfBodyUntouched => {
                write!(
                    f,
                    "up to {attempts} attempts, until a byte of its body is taken"
                )?;
            }
            RetryVerdict::Never(reason) => write!(f, "none ({reason})")?,
        }
        f.write_str(match self.method {
            MethodClass::Safe => "; the method is safe",
            MethodClass::Idempotent => "; the method is idempotent",
            MethodClass::Unsafe if self.keyed => "; it has an idempotency key",
            MethodClass::Unsafe if self.declared_idempotent => "; it was declared idempotent",
            MethodClass::Unsafe => "; the method is unsafe, with no idempotency key",
        })?;
        f.write_str(match self.body {
            Replay::Empty => ", no body",
            Replay::Bytes => ", its body is in memory",
            Replay::Factory => ", its body can be made anew",
            Replay::Spooled => ", its body is kept while it is sent, as far as it fits",
            Replay::OneShot => ", its body can be sent once",
        })?;
        write!(
            f,
            "; budget {}.{:03}",
            self.tokens / 1_000,
            self.tokens % 1_000
        )?;
        match self.shut_for {
            Some(wait) => write!(f, "; the origin wants none for {wait:?}"),
            None => Ok(()),
        }
    }
}
