//! Clocks that jump: forwards by centuries, backwards, to the ends of time.

use std::time::Duration;

use fulmar_core::budget::{Budget, Cost};
use fulmar_core::dial::{Action, Config as Race, Dial, Known, Lookup, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::{
    Ask, Config, Connection, Discard, Lease, Limits, Pool, Refusal, Slot, Ticket,
};
use fulmar_core::time::Instant;

use super::pool::Draw;
use super::script::Script;

const TOTAL: u32 = 3;
const ROUTES: [&str; 3] = ["http://a.test", "http://b.test", "https://c.test"];

/// Any instant, the ends of time among them, and those shortly after the last.
fn jump(script: &mut Script<'_>, last: Instant) -> Instant {
    let amount = Duration::from_millis(script.below(70_000) as u64);
    match script.below(12) {
        0 => Instant::ORIGIN,
        1 => Instant::MAX,
        2 => Instant::MAX - amount,
        3 => last - amount,
        4 => Instant::ORIGIN + amount,
        5 => last + amount * 100_000,
        6 | 7 => last,
        _ => last + amount,
    }
}

/// Whatever the clock does, the pool stays within its limits, does not loop on its timers, and
/// gives everything back.
///
/// # Panics
///
/// Where it does not.
pub fn pool_jumps(data: &[u8]) {
    let mut script = Script::new(data);
    let duration = |script: &mut Script<'_>| {
        let choices = [None, Some(Duration::ZERO), Some(Duration::MAX)];
        choices[script.below(choices.len())]
    };
    let config = Config {
        limits: Limits::new().total(TOTAL).per_origin(2),
        idle_timeout: duration(&mut script),
        max_lifetime: duration(&mut script),
        nonidempotent_max_idle: duration(&mut script),
        ..Config::new()
    };
    let now = jump(&mut script, Instant::ORIGIN);
    let mut run = Run {
        pool: Pool::new(config, [5, 6], now),
        now,
        tickets: Vec::new(),
        dials: Vec::new(),
        exclusive: Vec::new(),
        parts: Vec::new(),
    };
    while !script.is_over() {
        run.now = jump(&mut script, run.now);
        run.step(&mut script);
        run.collect();
        let gauges = run.pool.gauges();
        assert!(gauges.total <= TOTAL, "{gauges:?}");
        assert_eq!(gauges.connecting as usize, run.dials.len());
    }
    run.wind_down();
}

struct Run {
    pool: Pool<(), ()>,
    now: Instant,
    tickets: Vec<Ticket>,
    dials: Vec<Slot>,
    exclusive: Vec<Slot>,
    parts: Vec<Slot>,
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) {
        let (now, route) = (self.now, ROUTES[script.below(ROUTES.len())]);
        let hint = [None, Some(Duration::ZERO), Some(Duration::MAX)][script.below(3)];
        let draw = &mut Draw([0, u64::MAX, 1 << 63][script.below(3)]);
        match script.below(12) {
            0..=3 => {
                let ask = Ask {
                    fresh: script.below(4) == 0,
                    repeatable: script.below(4) > 0,
                    probe: route == ROUTES[2],
                    tag: 0,
                    ..Ask::default()
                };
                let lease = self.pool.checkout(now, route, ask);
                self.take(&lease);
            }
            4 => {
                if let Some(ticket) = pick(script, &mut self.tickets) {
                    self.pool.cancel(now, ticket);
                }
            }
            5 | 6 => {
                if let Some(slot) = pick(script, &mut self.dials) {
                    let conn = match script.below(3) {
                        0 => Connection::Shared((), script.below(3) as u32),
                        _ => Connection::Exclusive(()),
                    };
                    self.pool.handle_connected(now, slot, conn, draw);
                }
            }
            7 => {
                if let Some(slot) = pick(script, &mut self.dials) {
                    let fault = Fault::new(FaultKind::Refused, Phase::Connect);
                    self.pool.handle_dial_failed(now, slot, fault, draw);
                }
            }
            8 => {
                if let Some(slot) = pick(script, &mut self.exclusive) {
                    self.pool.park(now, slot, (), hint);
                }
                if let Some(slot) = pick(script, &mut self.parts) {
                    self.pool.release(now, slot);
                }
            }
            9 => {
                if let Some(slot) = pick(script, &mut self.exclusive) {
                    self.pool.discard(now, slot, Discard::Stale);
                }
            }
            10 => {
                let mut lent = Vec::new();
                self.pool.poll_look(script.below(4), &mut lent);
                for (slot, ()) in lent {
                    self.pool.handle_look(now, slot, (), script.below(3) > 0);
                }
                self.pool.evict_idle(now, route, hint.unwrap_or_default());
            }
            _ => {
                self.pool.handle_timeout(now);
                let next = self.pool.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > now),
                    "{next:?} is not after {now}"
                );
            }
        }
    }

    fn take(&mut self, lease: &Result<Lease<(), ()>, Refusal>) {
        match *lease {
            Ok(Lease::Idle(slot, (), _)) => self.exclusive.push(slot),
            Ok(Lease::Share(slot, ())) => self.parts.push(slot),
            Ok(Lease::Dial(ticket, slot)) => {
                self.dials.push(slot);
                self.tickets.push(ticket);
            }
            Ok(Lease::Wait(ticket)) => self.tickets.push(ticket),
            Err(_) => {}
        }
    }

    /// Takes what the tickets have got.
    fn collect(&mut self) {
        while self.pool.poll_wake().is_some() {}
        // Those that were given up are gone.
        self.dials.retain(|slot| self.pool.watch_dial(*slot, 0));
        while self.pool.poll_evicted().is_some() {}
        while self.pool.poll_evicted_shared().is_some() {}
        for ticket in std::mem::take(&mut self.tickets) {
            match self.pool.poll_lease(self.now, ticket) {
                None => self.tickets.push(ticket),
                Some(lease) => self.take(&lease),
            }
        }
    }

    fn wind_down(&mut self) {
        for ticket in std::mem::take(&mut self.tickets) {
            self.pool.cancel(self.now, ticket);
        }
        for slot in self.dials.drain(..).chain(self.exclusive.drain(..)) {
            self.pool.discard(self.now, slot, Discard::Spent);
        }
        for slot in std::mem::take(&mut self.parts) {
            self.pool.release(self.now, slot);
        }
        let left = self.pool.gauges();
        let at_work = left.connecting + left.busy + left.draining;
        assert_eq!((at_work, left.waiting), (0, 0));
    }
}

fn pick<T>(script: &mut Script<'_>, from: &mut Vec<T>) -> Option<T> {
    let place = script.below(from.len().max(1));
    (place < from.len()).then(|| from.swap_remove(place))
}

/// Whatever the clock does, a dial does not loop on its timer, has at most six attempts under way,
/// and says how it ended once.
///
/// # Panics
///
/// Where it does not.
pub fn dial_jumps(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = jump(&mut script, Instant::ORIGIN);
    let deadline = (script.below(2) == 0).then(|| jump(&mut script, now));
    let config = Race {
        resolution_delay: [Duration::ZERO, Duration::MAX][script.below(2)],
        attempt_delay: [Duration::ZERO, Duration::MAX][script.below(2)],
        in_flight: [0, 6, usize::MAX][script.below(3)],
        avoid: [None, Some(std::net::IpAddr::from([10, 0, 0, 1]))][script.below(2)],
    };
    let mut dial = Dial::by_name(now, 80, Lookup::Split, deadline, config);
    let (mut flying, mut ended) = (Vec::new(), 0);
    while !script.is_over() {
        now = jump(&mut script, now);
        let fault = Fault::new(FaultKind::Refused, Phase::Connect);
        match script.below(6) {
            0 => {
                let record = [Record::V4, Record::V6, Record::Any][script.below(3)];
                let addr = std::net::IpAddr::from([10, 0, 0, script.byte()]);
                dial.remember(&[Known::within(addr, Duration::MAX)]);
                dial.handle_answer(now, record, Ok(vec![addr; script.below(3)]));
            }
            1 => {
                if let Some(id) = pick(&mut script, &mut flying) {
                    dial.handle_connected(now, id);
                }
            }
            2 => {
                if let Some(id) = pick(&mut script, &mut flying) {
                    dial.handle_failed(now, id, fault);
                }
            }
            3 => {
                if let Some(id) = dial.winner() {
                    ended -= 1;
                    dial.handle_failed(now, id, fault);
                }
            }
            _ => {
                dial.handle_timeout(now);
                let next = dial.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > now),
                    "{next:?} is not after {now}"
                );
            }
        }
        while let Some(action) = dial.poll_action() {
            match action {
                Action::Connect(id, _) => flying.push(id),
                Action::Abandon(id) => flying.retain(|flown| *flown != id),
                Action::Won(_) | Action::Failed(_) => ended += 1,
                Action::Resolve(_) => {}
            }
        }
        assert!(flying.len() <= 6 && (0..=1).contains(&ended));
    }
}

/// Whatever the clock does, a budget holds no more than its largest cap, and while time does not
/// go on it pays for no more retries than its window allows.
///
/// # Panics
///
/// Where it does not.
pub fn budget_jumps(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = jump(&mut script, Instant::ORIGIN);
    let mut budget = Budget::new(now);
    let (mut latest, mut firsts, mut paid) = (now, 0, 0);
    while !script.is_over() {
        now = jump(&mut script, now);
        if now > latest {
            (latest, paid) = (now, 0);
        }
        match script.below(3) {
            0 => {
                firsts += 1;
                budget.handle_first_attempt(now);
            }
            1 => budget.handle_success(now),
            _ => paid += usize::from(budget.withdraw(now, Cost::Fast)),
        }
        assert!(budget.tokens() <= 10_000, "{budget:?}");
        assert!(paid <= (firsts / 5).max(2), "{paid} of {firsts}");
    }
}
