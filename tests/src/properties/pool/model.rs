//! The pool's rules once more, in the plainest way: everything in vectors, every question answered
//! by searching. Exclusive connections only.

use std::time::Duration;

use fulmar_core::backoff::uniform;
use fulmar_core::pool::{Ask, Gauges};
use fulmar_core::time::Instant;

use super::Draw;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Busy,
    Idle,
    Draining,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) id: u32,
    route: usize,
    pub(super) state: State,
    unused: bool,
    since: Instant,
    leased: Instant,
    idle_until: Instant,
    shy_until: Instant,
    retire_at: Instant,
    parked: u64,
    pub(super) lent: bool,
    stage: Stage,
    /// Whom to wake when the dial is given up.
    tag: Option<u64>,
}

/// How far a dial is; with a number that tells which came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Plain,
    Begun(u64),
    Granted(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Nothing,
    Conn(u32),
    Failed,
    Closed,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: u32,
    route: usize,
    tag: u64,
    fresh: bool,
    repeatable: bool,
    dial: Option<u32>,
    got: Got,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Idle(u32, Duration),
    Dial(u32, u32),
    Wait(u32),
    QueueFull,
    Failed,
    Closed,
    Pending,
}

#[derive(Clone, Debug, Default)]
struct Route {
    known: bool,
    probes: bool,
    exclusive_until: Option<Instant>,
    dialed_at: Instant,
    failures: u32,
    failed_at: Instant,
    backoff_until: Instant,
    learned: Option<(Duration, Instant)>,
    empty_since: Instant,
    /// Who could bear a dial, in turn.
    bearers: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) total: usize,
    pub(super) per_origin: usize,
    pub(super) idle: usize,
    pub(super) idle_per_origin: usize,
    pub(super) waiters: usize,
    pub(super) idle_timeout: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) shy: Duration,
}

#[derive(Debug)]
pub(super) struct Model {
    n: Numbers,
    pub(super) conns: Vec<Conn>,
    waiters: Vec<Waiter>,
    routes: Vec<Route>,
    ring: Vec<usize>,
    /// Who has had a turn in this round.
    had: Vec<usize>,
    pub(super) evicted: Vec<u32>,
    pub(super) wakes: Vec<u64>,
    pub(super) dials: usize,
    serial: u64,
    closed: bool,
}

impl Model {
    pub(super) fn new(n: Numbers, routes: usize) -> Self {
        Self {
            n,
            conns: Vec::new(),
            waiters: Vec::new(),
            routes: vec![Route::default(); routes],
            ring: Vec::new(),
            had: Vec::new(),
            evicted: Vec::new(),
            wakes: Vec::new(),
            dials: 0,
            serial: 0,
            closed: false,
        }
    }

    pub(super) fn checkout(&mut self, now: Instant, r: usize, ask: Ask) -> Out {
        if self.closed {
            return Out::Closed;
        }
        if !self.routes[r].known {
            self.routes[r] = Route {
                known: true,
                empty_since: now,
                ..Route::default()
            };
        }
        while let Some(id) = self.newest_idle(r).filter(|_| !ask.fresh) {
            let conn = self.conn(id);
            if now >= conn.idle_until {
                self.drop_conn(now, id);
                continue;
            }
            if !ask.repeatable && now > conn.shy_until {
                break;
            }
            conn.state = State::Busy;
            conn.leased = now;
            return Out::Idle(id, now - conn.since);
        }
        if self.queued().count() >= self.n.waiters {
            return Out::QueueFull;
        }
        self.routes[r].probes = ask.probe;
        if self.waiting(r) == 0 {
            self.had.push(r);
        }
        let id = self.next();
        let (tag, fresh) = (ask.tag, ask.fresh);
        self.waiters.push(Waiter {
            id,
            route: r,
            tag,
            fresh,
            repeatable: ask.repeatable,
            dial: None,
            got: Got::Nothing,
        });
        self.routes[r].bearers.push(id);
        let begun = match self.take_over(r) {
            Some(dial) => {
                self.pump(now, r, None);
                Some(dial)
            }
            None => self.pump(now, r, Some(id)),
        };
        self.serve_ring(now);
        begun.map_or(Out::Wait(id), |dial| Out::Dial(id, dial))
    }

    pub(super) fn poll_lease(&mut self, now: Instant, w: u32) -> Out {
        let waiter = self.waiter(w).clone();
        if waiter.got != Got::Nothing {
            self.waiters.retain(|waiter| waiter.id != w);
        }
        match waiter.got {
            Got::Nothing => {
                let Some(dial) = self.waiter(w).dial.take() else {
                    let dial = self.take_over(waiter.route);
                    return dial.map_or(Out::Pending, |dial| Out::Dial(w, dial));
                };
                self.routes[waiter.route].bearers.push(w);
                self.begin(dial);
                Out::Dial(w, dial)
            }
            Got::Conn(id) => {
                let conn = self.conn(id);
                conn.unused = false;
                conn.leased = conn.since;
                Out::Idle(id, now - conn.since)
            }
            Got::Failed => Out::Failed,
            Got::Closed => Out::Closed,
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, w: u32) {
        let got = self.waiter(w).got.clone();
        if got == Got::Nothing {
            self.leave(now, w);
        }
        self.waiters.retain(|waiter| waiter.id != w);
        if let Got::Conn(id) = got {
            let closed = self.closed;
            let conn = self.conn(id);
            if now >= conn.idle_until || now > conn.shy_until || closed {
                self.drop_and_pump(now, id);
            } else {
                self.settle(now, id);
            }
        }
        self.serve_ring(now);
    }

    pub(super) fn park(&mut self, now: Instant, id: u32, hint: Option<Duration>) {
        if now >= self.conn(id).retire_at || self.closed {
            self.drop_and_pump(now, id);
        } else {
            self.limit(now, id, hint);
            self.settle(now, id);
        }
        self.serve_ring(now);
    }

    pub(super) fn discard(&mut self, now: Instant, id: u32, stale: bool) {
        if !self.is_known(id) {
            return;
        }
        let conn = self.conn(id).clone();
        let age = conn.leased - conn.since;
        if stale && conn.state == State::Busy && age > Duration::ZERO {
            self.learn(now, conn.route, age);
        }
        self.conns.retain(|conn| conn.id != id);
        self.note(now, conn.route);
        self.pump(now, conn.route, None);
        self.serve_ring(now);
    }

    pub(super) fn drain(&mut self, id: u32) -> bool {
        let route = self.conn(id).route;
        let may = self.count(route, State::Draining) < 4;
        if may {
            self.conn(id).state = State::Draining;
        }
        may
    }

    pub(super) fn connected(&mut self, now: Instant, id: u32, draw: u64) {
        if !self.is_known(id) {
            return self.evicted.push(id);
        }
        let r = self.conn(id).route;
        if self.closed {
            self.drop_conn(now, id);
            self.evicted.push(id);
            return;
        }
        let lifetime = self.n.max_lifetime.as_nanos() as u64;
        let off = uniform(&mut Draw(draw), 0, lifetime / 10);
        self.conn(id).retire_at = now + Duration::from_nanos(lifetime - off);
        self.conn(id).state = State::Busy;
        self.conn(id).stage = Stage::Plain;
        self.routes[r].failures = 0;
        self.routes[r].backoff_until = Instant::ORIGIN;
        self.routes[r].exclusive_until = Some(now + 3_600 * SECOND);
        self.limit(now, id, None);
        let full = self.count(r, State::Idle) >= self.n.idle_per_origin
            || self.idle().count() >= self.n.idle;
        if self.waiting(r) == 0 && full {
            self.drop_conn(now, id);
        } else {
            self.settle(now, id);
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    pub(super) fn dial_failed(&mut self, now: Instant, id: u32, fatal: bool, draw: u64) {
        if !self.is_known(id) {
            return;
        }
        let conn = self.conn(id).clone();
        let r = conn.route;
        self.drop_conn(now, id);
        let route = &mut self.routes[r];
        if route.failures == 0 || conn.since >= route.failed_at {
            route.failures += 1;
            route.failed_at = now;
            let most = (0.1 * 2f64.powi(route.failures.min(30).cast_signed() - 1)).min(5.0);
            let most = Duration::from_secs_f64(most).as_nanos() as u64;
            route.backoff_until = now + Duration::from_nanos(uniform(&mut Draw(draw), 0, most));
        }
        while let Some(w) = self.first_in_queue(Some(r)) {
            self.give(now, w, Got::Failed);
            if !fatal {
                break;
            }
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.closed = true;
        while let Some(w) = self.first_in_queue(None) {
            self.give(now, w, Got::Closed);
        }
        let dials = self.conns.iter().filter(|c| c.state == State::Connecting);
        for id in dials.map(|conn| conn.id).collect::<Vec<_>>() {
            self.give_up(now, id);
        }
        while let Some(id) = self.oldest_idle(None) {
            self.drop_conn(now, id);
        }
    }

    /// Whether a dial is still wanted.
    pub(super) fn watch_dial(&mut self, id: u32, tag: u64) -> bool {
        let is_known = self.is_known(id);
        if is_known {
            self.conn(id).tag = Some(tag);
        }
        is_known
    }

    pub(super) fn opened(&mut self, id: u32) {
        if self.is_known(id) {
            self.conn(id).stage = Stage::Plain;
        }
    }

    fn is_known(&self, id: u32) -> bool {
        self.conns.iter().any(|conn| conn.id == id)
    }

    fn begin(&mut self, dial: u32) {
        self.serial += 1;
        self.conn(dial).stage = Stage::Begun(self.serial);
    }

    /// The oldest dial that nobody has begun is the asker's who comes.
    fn take_over(&mut self, r: usize) -> Option<u32> {
        let granted = self.conns.iter().filter(|c| c.route == r);
        let granted = granted.filter(|c| matches!(c.stage, Stage::Granted(_)));
        let dial = granted.min_by_key(|c| c.stage)?.id;
        self.withdraw(r, dial);
        self.begin(dial);
        Some(dial)
    }

    fn withdraw(&mut self, r: usize, dial: u32) {
        let bearer = self.waiters.iter_mut().find(|w| w.dial == Some(dial));
        let bearer = bearer.expect("it is granted to somebody");
        bearer.dial = None;
        let id = bearer.id;
        self.routes[r].bearers.push(id);
    }

    fn give_up(&mut self, now: Instant, id: u32) {
        let tag = self.conn(id).tag;
        self.wakes.extend(tag);
        self.drop_conn(now, id);
    }

    /// Fewer wait: what is too much goes, the youngest first.
    fn trim(&mut self, now: Instant, r: usize) {
        while self.count(r, State::Connecting) > self.waiting(r) {
            let dials = self.conns.iter().filter(|c| c.route == r);
            let youngest = dials.max_by_key(|c| c.stage).cloned();
            let Some(youngest) = youngest.filter(|c| c.stage != Stage::Plain) else {
                break;
            };
            let kept = self.count(r, State::Idle) + self.count(r, State::Connecting);
            match youngest.stage {
                Stage::Granted(_) => {
                    self.withdraw(r, youngest.id);
                    self.drop_conn(now, youngest.id);
                }
                _ if kept <= self.n.idle_per_origin && self.ring.is_empty() => break,
                _ => self.give_up(now, youngest.id),
            }
        }
    }

    /// Lends all that is idle.
    pub(super) fn lend(&mut self) -> Vec<u32> {
        let idle = self.conns.iter_mut().filter(|c| c.state == State::Idle);
        let lent = idle.filter_map(|c| (!std::mem::replace(&mut c.lent, true)).then_some(c.id));
        lent.collect()
    }

    /// A lent one is dropped by who looked at it.
    pub(super) fn lose(&mut self, now: Instant, id: u32) {
        if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) {
            conn.lent = false;
            self.drop_and_pump(now, id);
            self.evicted.retain(|evicted| *evicted != id);
        }
        self.serve_ring(now);
    }

    pub(super) fn looked(&mut self, now: Instant, id: u32, is_quiet: bool) {
        let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) else {
            return self.evicted.push(id);
        };
        conn.lent = false;
        let conn = conn.clone();
        if !is_quiet {
            self.learn(now, conn.route, now - conn.since);
        }
        let first = self.queued().find(|w| w.route == conn.route && !w.fresh);
        let first = first.filter(|w| w.repeatable || now <= conn.shy_until);
        if now >= conn.idle_until || !is_quiet {
            self.drop_and_pump(now, id);
        } else if let Some(w) = first.map(|w| w.id) {
            self.hand_over(now, id, w);
        } else {
            self.pump(now, conn.route, None);
        }
        self.serve_ring(now);
    }

    pub(super) fn evict_idle(&mut self, now: Instant, r: usize, idle_for: Duration) {
        if !self.routes[r].known {
            return;
        }
        let idle: Vec<_> = self
            .idle()
            .filter(|conn| conn.route == r)
            .cloned()
            .collect();
        for conn in idle.into_iter().filter(|conn| now - conn.since >= idle_for) {
            self.drop_conn(now, conn.id);
        }
        self.pump(now, r, None);
        self.serve_ring(now);
    }

    /// What time alone brings about, and when: several at one instant are in no order.
    pub(super) fn due(&self, now: Instant) -> Vec<Instant> {
        let mut due: Vec<_> = self.idle().map(|conn| conn.idle_until).collect();
        for r in 0..self.routes.len() {
            due.extend(self.forget_at(r));
            let at = self.dial_at(now, r).filter(|at| *at > now);
            due.extend(at.filter(|_| self.wants(r)));
        }
        due.sort();
        due
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let idle: Vec<_> = self.idle().cloned().collect();
        for conn in idle.into_iter().filter(|conn| now >= conn.idle_until) {
            self.drop_and_pump(now, conn.id);
        }
        for r in 0..self.routes.len() {
            if self.forget_at(r).is_some_and(|at| now >= at) {
                self.routes[r] = Route::default();
            } else {
                self.pump(now, r, None);
            }
        }
        self.serve_ring(now);
    }

    /// A route that wants a dial, may begin one, and has the room: somebody has been forgotten.
    pub(super) fn forgotten(&self, now: Instant) -> Option<usize> {
        let has_room = |r| {
            let is_full = self.of_route(r) >= self.n.per_origin;
            self.has_room() && (!is_full || self.oldest_to_spare(Some(r)).is_some())
        };
        let is_free = |r| self.dial_at(now, r) == Some(Instant::ORIGIN);
        (0..self.routes.len()).find(|&r| self.wants(r) && is_free(r) && has_room(r))
    }

    pub(super) fn routes(&self) -> usize {
        self.routes.iter().filter(|route| route.known).count()
    }

    pub(super) fn gauges(&self, route: Option<usize>) -> Gauges {
        let of = |state| {
            let is = |c: &&Conn| c.state == state && route.is_none_or(|r| c.route == r);
            self.conns.iter().filter(is).count() as u32
        };
        let waiting = self
            .queued()
            .filter(|w| route.is_none_or(|r| w.route == r))
            .count() as u32;
        let (connecting, busy) = (of(State::Connecting), of(State::Busy));
        let (idle, draining) = (of(State::Idle), of(State::Draining));
        let total = connecting + busy + idle + draining;
        Gauges {
            connecting,
            busy,
            idle,
            draining,
            waiting,
            total,
        }
    }

    fn forget_at(&self, r: usize) -> Option<Instant> {
        let route = &self.routes[r];
        (route.known && self.is_empty(r)).then(|| route.empty_since + 60 * SECOND)
    }

    fn is_empty(&self, r: usize) -> bool {
        self.waiting(r) == 0 && self.conns.iter().all(|conn| conn.route != r)
    }

    fn note(&mut self, now: Instant, r: usize) {
        if self.is_empty(r) {
            self.routes[r].empty_since = now;
        }
    }

    fn wants(&self, r: usize) -> bool {
        let lent = self
            .conns
            .iter()
            .filter(|conn| conn.route == r && conn.lent);
        self.waiting(r) > self.count(r, State::Connecting) + lent.count()
    }

    /// From when on a route that wants a dial may begin one; `None`: not for now.
    fn dial_at(&self, now: Instant, r: usize) -> Option<Instant> {
        let route = &self.routes[r];
        let connecting = self.count(r, State::Connecting);
        let mut at = Instant::ORIGIN;
        if route.failures > 0 {
            if connecting > 0 {
                return None;
            }
            at = route.backoff_until;
        }
        if route.probes {
            let stalled = route.dialed_at + SECOND;
            let known = route.exclusive_until.filter(|until| now < *until);
            match (connecting, known) {
                (0, _) => {}
                // Parallel while it is known; afterwards as a probe.
                (_, Some(_)) => return Some(at),
                (1, None) => at = at.max(stalled),
                (_, None) => return None,
            }
        }
        Some(at)
    }

    fn may_dial(&self, now: Instant, r: usize) -> bool {
        self.wants(r) && self.dial_at(now, r).is_some_and(|at| now >= at)
    }

    fn pump(&mut self, now: Instant, r: usize, mut newcomer: Option<u32>) -> Option<u32> {
        let mut begun = None;
        while self.may_dial(now, r) {
            if self.of_route(r) >= self.n.per_origin {
                let Some(own) = self.oldest_to_spare(Some(r)) else {
                    break;
                };
                self.drop_conn(now, own);
            } else if !self.ring.is_empty() || !self.has_room() {
                self.line_up(r);
                break;
            } else if self.conns.len() >= self.n.total {
                self.make_room(now);
            } else if newcomer.take().is_some() {
                let dial = self.dial(now, r);
                self.begin(dial);
                begun = Some(dial);
            } else {
                let dial = self.dial(now, r);
                self.give_dial(r, dial);
            }
        }
        begun
    }

    fn serve_ring(&mut self, now: Instant) {
        while !self.ring.is_empty() && self.has_room() {
            let Some(r) = self.next_turn(now) else { break };
            self.make_room(now);
            self.ring.retain(|other| *other != r);
            let dial = self.dial(now, r);
            self.give_dial(r, dial);
            self.had.push(r);
            if self.may_take_turn(now, r) {
                self.line_up(r);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.conns.len() < self.n.total || self.oldest_to_spare(None).is_some()
    }

    /// Where there is none, one connection goes.
    fn make_room(&mut self, now: Instant) {
        if self.conns.len() >= self.n.total {
            let oldest = self.oldest_to_spare(None);
            self.drop_conn(now, oldest.expect("there is room to make"));
        }
    }

    fn line_up(&mut self, r: usize) {
        if self.ring.contains(&r) {
            return;
        }
        if self.had.contains(&r) {
            self.ring.push(r);
        } else {
            self.ring.insert(0, r);
        }
    }

    fn next_turn(&mut self, now: Instant) -> Option<usize> {
        let first = self.ring.iter().position(|&r| self.may_take_turn(now, r));
        self.ring.drain(..first.unwrap_or(self.ring.len()));
        let r = *self.ring.first()?;
        if self.had.contains(&r) {
            self.had.clear();
        }
        Some(r)
    }

    fn may_take_turn(&self, now: Instant, r: usize) -> bool {
        self.may_dial(now, r) && self.of_route(r) < self.n.per_origin
    }

    fn dial(&mut self, now: Instant, r: usize) -> u32 {
        self.dials += 1;
        self.routes[r].dialed_at = now;
        let id = self.next();
        self.conns.push(Conn {
            id,
            route: r,
            state: State::Connecting,
            unused: true,
            since: now,
            leased: now,
            idle_until: Instant::MAX,
            shy_until: Instant::MAX,
            retire_at: Instant::MAX,
            parked: 0,
            lent: false,
            stage: Stage::Plain,
            tag: None,
        });
        id
    }

    fn give_dial(&mut self, r: usize, dial: u32) {
        let w = self.routes[r].bearers.remove(0);
        let waiter = self.waiter(w);
        waiter.dial = Some(dial);
        let tag = waiter.tag;
        self.wakes.push(tag);
        self.serial += 1;
        self.conn(dial).stage = Stage::Granted(self.serial);
    }

    fn give(&mut self, now: Instant, w: u32, got: Got) {
        let waiter = self.waiter(w);
        waiter.got = got;
        let tag = waiter.tag;
        self.wakes.push(tag);
        self.leave(now, w);
    }

    /// Out of the queue; a waiter that has got something no longer counts as queued.
    fn leave(&mut self, now: Instant, w: u32) {
        let waiter = self.waiter(w);
        let (r, dial) = (waiter.route, waiter.dial.take());
        if waiter.got == Got::Nothing {
            waiter.got = Got::Closed;
        }
        self.routes[r].bearers.retain(|bearer| *bearer != w);
        if let Some(dial) = dial {
            let needless = self.count(r, State::Connecting) > self.waiting(r);
            if needless || self.routes[r].bearers.is_empty() {
                self.drop_conn(now, dial);
            } else {
                self.give_dial(r, dial);
            }
        }
        self.trim(now, r);
        if !self.wants(r) {
            self.ring.retain(|route| *route != r);
        }
        self.note(now, r);
    }

    fn settle(&mut self, now: Instant, id: u32) {
        let conn = self.conn(id).clone();
        let r = conn.route;
        let taker = self
            .queued()
            .find(|w| w.route == r && (conn.unused || !w.fresh));
        let taker = taker.map(|w| w.id);
        if !self.ring.is_empty() {
            let Some(w) = taker else {
                return self.drop_and_pump(now, id);
            };
            if !conn.unused {
                let had = |model: &Self| model.had.contains(&r);
                if had(self) && self.next_turn(now).is_some() && had(self) {
                    return self.drop_and_pump(now, id);
                }
                self.had.push(r);
                if let Some(place) = self.ring.iter().position(|other| *other == r) {
                    self.ring.remove(place);
                    self.ring.push(r);
                }
            }
            return self.hand_over(now, id, w);
        }
        let Some(w) = taker else {
            return self.rest(now, id);
        };
        self.hand_over(now, id, w);
    }

    fn hand_over(&mut self, now: Instant, id: u32, w: u32) {
        self.conn(id).state = State::Busy;
        self.give(now, w, Got::Conn(id));
    }

    fn rest(&mut self, now: Instant, id: u32) {
        self.serial += 1;
        let serial = self.serial;
        let conn = self.conn(id);
        conn.state = State::Idle;
        conn.unused = false;
        conn.parked = serial;
        let r = conn.route;
        if self.count(r, State::Idle) > self.n.idle_per_origin {
            let oldest = self.oldest_to_spare(Some(r)).expect("it idles itself");
            self.drop_conn(now, oldest);
        } else if self.idle().count() > self.n.idle {
            let oldest = self.oldest_to_spare(None).expect("it idles itself");
            self.drop_conn(now, oldest);
        }
        self.pump(now, r, None);
    }

    fn limit(&mut self, now: Instant, id: u32, hint: Option<Duration>) {
        let n = self.n;
        let r = self.conn(id).route;
        let learned = self.learned(now, r).map(|age| age * 9 / 10);
        let hint = hint.map(|hint| hint.saturating_sub(SECOND).max(hint / 2));
        let server = [hint, learned].into_iter().flatten().min();
        let conn = self.conn(id);
        conn.since = now;
        let idle = server.map_or(n.idle_timeout, |server| server.min(n.idle_timeout));
        conn.idle_until = (now + idle).min(conn.retire_at);
        conn.shy_until = now + server.map_or(n.shy, |server| server / 2);
    }

    fn learn(&mut self, now: Instant, r: usize, age: Duration) {
        if self.learned(now, r).is_none_or(|known| age <= known) {
            self.routes[r].learned = Some((age.max(SECOND), now));
        }
    }

    fn learned(&self, now: Instant, r: usize) -> Option<Duration> {
        let learned = self.routes[r].learned;
        learned
            .filter(|(_, at)| now < *at + 3_600 * SECOND)
            .map(|(age, _)| age)
    }

    fn drop_conn(&mut self, now: Instant, id: u32) {
        let conn = self.conn(id).clone();
        // A lent one comes back, and goes then.
        if conn.state != State::Connecting && !conn.lent {
            self.evicted.push(id);
        }
        self.conns.retain(|conn| conn.id != id);
        self.note(now, conn.route);
    }

    fn drop_and_pump(&mut self, now: Instant, id: u32) {
        let r = self.conn(id).route;
        self.drop_conn(now, id);
        self.pump(now, r, None);
    }

    fn next(&mut self) -> u32 {
        self.serial += 1;
        self.serial as u32
    }

    fn queued(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters
            .iter()
            .filter(|waiter| waiter.got == Got::Nothing)
    }

    fn first_in_queue(&self, route: Option<usize>) -> Option<u32> {
        let mut of_route = self.queued().filter(|w| route.is_none_or(|r| w.route == r));
        of_route.next().map(|w| w.id)
    }

    fn waiting(&self, r: usize) -> usize {
        self.queued().filter(|waiter| waiter.route == r).count()
    }

    fn count(&self, r: usize, state: State) -> usize {
        self.conns
            .iter()
            .filter(|conn| conn.route == r && conn.state == state)
            .count()
    }

    fn of_route(&self, r: usize) -> usize {
        self.conns.iter().filter(|conn| conn.route == r).count()
    }

    fn idle(&self) -> impl Iterator<Item = &Conn> {
        self.conns.iter().filter(|conn| conn.state == State::Idle)
    }

    fn oldest_idle(&self, route: Option<usize>) -> Option<u32> {
        let of_route = self
            .idle()
            .filter(|conn| route.is_none_or(|r| conn.route == r));
        of_route.min_by_key(|conn| conn.parked).map(|conn| conn.id)
    }

    /// The oldest but for those that are lent, and without which their route had to dial.
    fn oldest_to_spare(&self, route: Option<usize>) -> Option<u32> {
        let is_spare = |conn: &&Conn| {
            let lent = self.idle().filter(|c| c.route == conn.route && c.lent);
            let coming = self.count(conn.route, State::Connecting) + lent.count();
            !conn.lent || self.waiting(conn.route) < coming
        };
        let own = self
            .idle()
            .filter(|conn| route.is_none_or(|r| conn.route == r));
        let oldest = own.filter(is_spare).min_by_key(|conn| conn.parked);
        oldest.map(|conn| conn.id)
    }

    fn newest_idle(&self, r: usize) -> Option<u32> {
        let of_route = self.idle().filter(|conn| conn.route == r && !conn.lent);
        of_route.max_by_key(|conn| conn.parked).map(|conn| conn.id)
    }

    fn conn(&mut self, id: u32) -> &mut Conn {
        self.conns
            .iter_mut()
            .find(|conn| conn.id == id)
            .expect("a known connection")
    }

    fn waiter(&mut self, id: u32) -> &mut Waiter {
        self.waiters
            .iter_mut()
            .find(|waiter| waiter.id == id)
            .expect("a known waiter")
    }
}
