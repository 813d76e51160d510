//! The pool's rules once more, in the plainest way: everything in vectors, every question answered
//! by searching. Exclusive connections only.

mod dialing;
mod idle;
mod queue;
mod turns;
mod view;

use std::time::Duration;

use fulmar_core::backoff::uniform;
use fulmar_core::pool::Ask;
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
}
