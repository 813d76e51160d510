//! The pool against a model that searches vectors, and its invariants after every step.

mod asks;
mod crowd;
mod following;
mod invariants;
mod kills;
mod lanes;
mod model;
mod shared;
mod turns;

use std::convert::Infallible;
use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::{
    Ask, Config, Connection, Discard, Lease, Limits, Pool, Preview, Refusal, Slot, Ticket,
};
use fulmar_core::rand_core::TryRng;
use fulmar_core::time::Instant;

pub use self::asks::pool_asks;
pub use self::following::pool_following_ops;
pub use self::invariants::{
    i3_1_connections_add_up_and_stay_within_the_limits, i3_2_who_gives_up_leaves_nothing_behind,
    i3_3_who_asked_first_is_served_first, i3_5_a_connection_is_in_one_place,
    i3_6_shared_connections_stay_within_their_capacity,
    i3_7_a_cold_burst_opens_one_shared_connection, i3_7_no_more_dials_than_askers,
    i3_8_the_work_of_one_tick_is_bounded,
};
pub use self::kills::{Killed, i3_9_a_killed_connection_fails_no_request};
pub use self::lanes::pool_lanes;
use self::model::{Model, Numbers, Out};
pub use self::shared::pool_shared_ops;
pub use self::turns::i3_4_no_route_starves;
use super::script::Script;

const ROUTES: [&str; 4] = [
    "http://a.test",
    "http://b.test",
    "https://c.test",
    "https://d.test",
];

/// A connection, of which there is one.
#[derive(Debug, PartialEq, Eq)]
struct Token(u32);

/// A generator that always draws the same.
pub(crate) struct Draw(pub(crate) u64);

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0 >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.fill(self.0 as u8);
        Ok(())
    }
}

/// Runs the script on the pool and on the model, and compares all that can be seen. Returns how many
/// operations it had.
///
/// # Panics
///
/// Where they differ, or an invariant does not hold.
pub fn pool_ops(data: &[u8]) -> u64 {
    let mut run = Run::new(Script::new(data));
    let mut operations = 0;
    while !run.script.is_over() && run.step() {
        run.compare();
        operations += 1;
    }
    run.wind_down();
    operations
}

struct Run<'a> {
    script: Script<'a>,
    now: Instant,
    numbers: Numbers,
    pool: Pool<Token, ()>,
    model: Model,
    tickets: Vec<(Ticket, u32)>,
    dials: Vec<(Slot, u32)>,
    leased: Vec<(Slot, u32)>,
    lent: Vec<(Slot, Token)>,
    gone_tickets: Vec<Ticket>,
    gone_slots: Vec<Slot>,
    asked: usize,
    abandoned: usize,
    is_closed: bool,
}

impl<'a> Run<'a> {
    fn new(mut script: Script<'a>) -> Self {
        let total = 1 + script.below(6);
        let per_origin = 1 + script.below(total);
        let idle = script.below(total + 1);
        let idle_per_origin = script.below(idle + 1);
        let waiters = 2 + script.below(10);
        let numbers = Numbers {
            total,
            per_origin,
            idle,
            idle_per_origin,
            waiters,
            idle_timeout: Duration::from_secs(55),
            max_lifetime: Duration::from_secs(600),
            shy: Duration::from_secs(4),
        };
        let limits = Limits::new()
            .total(total as u32)
            .per_origin(per_origin as u32)
            .idle(idle as u32)
            .idle_per_origin(idle_per_origin as u32)
            .waiters(waiters as u32);
        let config = Config {
            limits,
            ..Config::new()
        };
        config.validate().expect("limits in order");
        Self {
            script,
            now: Instant::ORIGIN,
            numbers,
            pool: Pool::new(config, [1, 2], Instant::ORIGIN),
            model: Model::new(numbers, ROUTES.len()),
            tickets: Vec::new(),
            dials: Vec::new(),
            leased: Vec::new(),
            lent: Vec::new(),
            gone_tickets: Vec::new(),
            gone_slots: Vec::new(),
            asked: 0,
            abandoned: 0,
            is_closed: false,
        }
    }

    /// One operation; `false` where two things are due at one instant, of which the order is open.
    fn step(&mut self) -> bool {
        self.now = self.now + Duration::from_nanos(1);
        let op = self.script.byte();
        match op % 32 {
            0..=8 => self.checkout(),
            9..=11 => self.poll(),
            12 | 13 => self.cancel(),
            14..=17 => self.park(),
            18 => self.watch_dial(),
            19 => self.discard(),
            20..=23 => self.connected(),
            24 => self.dial_failed(),
            25 => self.looked(),
            26 => self.drain(),
            27 => self.look(),
            28 => self.evict_idle(),
            29 => self.poke_stale(),
            30 if op == 254 && self.script.byte() > 200 => self.close(),
            _ => return self.advance(),
        }
        true
    }

    fn checkout(&mut self) {
        let flags = self.script.byte();
        let r = usize::from(flags) % ROUTES.len();
        let ask = Ask {
            fresh: flags & 0x70 == 0x70,
            repeatable: flags & 0x0c != 0,
            // c.test is capable of more than it turns out to do.
            probe: r == 2,
            tag: self.asked as u64,
            ..Ask::default()
        };
        self.asked += 1;
        let preview = self.pool.preview(self.now, ROUTES[r], ask);
        let real = self.pool.checkout(self.now, ROUTES[r], ask);
        if !ask.probe {
            let is_foreseen = match (&preview, &real) {
                (Preview::Idle, Ok(Lease::Idle(..)))
                | (Preview::Dial { .. }, Ok(Lease::Dial(..)))
                | (Preview::Wait { .. }, Ok(Lease::Wait(_))) => true,
                (Preview::Refused(refusal), Err(real)) => refusal == real,
                _ => false,
            };
            let gauges = (self.pool.gauges(), self.pool.route_gauges(ROUTES[r]));
            assert!(
                is_foreseen,
                "{preview:?}, and then {real:?}, {gauges:?}, {ask:?}"
            );
        }
        let model = self.model.checkout(self.now, r, ask);
        self.take(real, &model);
    }

    /// Files what came out, after comparing it.
    fn take(&mut self, real: Result<Lease<Token, ()>, Refusal>, model: &Out) {
        match (real, model) {
            (Ok(Lease::Idle(slot, token, age)), Out::Idle(id, model_age)) => {
                assert_eq!((token.0, age), (*id, *model_age));
                self.leased.push((slot, *id));
            }
            (Ok(Lease::Dial(ticket, slot)), Out::Dial(w, dial)) => {
                self.dials.push((slot, *dial));
                self.tickets.push((ticket, *w));
            }
            (Ok(Lease::Wait(ticket)), Out::Wait(w)) => self.tickets.push((ticket, *w)),
            (Err(Refusal::QueueFull), Out::QueueFull)
            | (Err(Refusal::Closed), Out::Closed)
            | (Err(Refusal::Dial(_)), Out::Failed) => {}
            (real, model) => panic!("{real:?}, and the model {model:?}"),
        }
    }

    fn poll(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let place = self.script.below(self.tickets.len());
        let (ticket, w) = self.tickets[place];
        let model = self.model.poll_lease(self.now, w);
        match self.pool.poll_lease(self.now, ticket) {
            None => assert_eq!(model, Out::Pending),
            Some(real) => {
                self.tickets.swap_remove(place);
                if !matches!(real, Ok(Lease::Dial(..))) {
                    self.gone_tickets.push(ticket);
                }
                self.take(real, &model);
            }
        }
    }

    fn cancel(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let place = self.script.below(self.tickets.len());
        let (ticket, w) = self.tickets.swap_remove(place);
        self.pool.cancel(self.now, ticket);
        self.model.cancel(self.now, w);
        self.gone_tickets.push(ticket);
    }

    fn leased(&mut self) -> Option<(Slot, u32)> {
        let place = self.script.below(self.leased.len().max(1));
        (!self.leased.is_empty()).then(|| self.leased.swap_remove(place))
    }

    fn dialled(&mut self) -> Option<(Slot, u32)> {
        let place = self.script.below(self.dials.len().max(1));
        (!self.dials.is_empty()).then(|| self.dials.swap_remove(place))
    }

    fn park(&mut self) {
        let Some((slot, id)) = self.leased() else {
            return;
        };
        let hint = match self.script.below(8) {
            0 => Some(Duration::from_secs(5)),
            1 => Some(Duration::from_secs(1)),
            2 => Some(Duration::from_secs(90)),
            _ => None,
        };
        self.pool.park(self.now, slot, Token(id), hint);
        self.model.park(self.now, id, hint);
        self.gone_slots.push(slot);
    }

    fn discard(&mut self) {
        let kind = self.script.below(4);
        if kind == 0 {
            let Some((slot, id)) = self.dialled() else {
                return;
            };
            self.pool.discard(self.now, slot, Discard::Spent);
            self.model.discard(self.now, id, false);
            self.gone_slots.push(slot);
            self.abandoned += 1;
        } else if let Some((slot, id)) = self.leased() {
            let why = if kind == 1 {
                Discard::Stale
            } else {
                Discard::Spent
            };
            self.pool.discard(self.now, slot, why);
            self.model.discard(self.now, id, kind == 1);
            self.gone_slots.push(slot);
        }
    }

    fn connected(&mut self) {
        let Some((slot, id)) = self.dialled() else {
            return;
        };
        let draw = u64::from(self.script.byte()) << 56;
        let conn = Connection::Exclusive(Token(id));
        self.pool
            .handle_connected(self.now, slot, conn, &mut Draw(draw));
        self.model.connected(self.now, id, draw);
        self.gone_slots.push(slot);
    }

    fn watch_dial(&mut self) {
        if self.dials.is_empty() {
            return;
        }
        let (slot, id) = self.dials[self.script.below(self.dials.len())];
        if self.script.below(3) == 0 {
            self.pool.handle_opened(slot);
            self.model.opened(id);
        } else {
            let tag = 1_000_000 + u64::from(id);
            let is_wanted = self.pool.watch_dial(slot, tag);
            assert_eq!(is_wanted, self.model.watch_dial(id, tag));
        }
    }

    fn dial_failed(&mut self) {
        let Some((slot, id)) = self.dialled() else {
            return;
        };
        let draw = u64::from(self.script.byte()) << 56;
        let is_fatal = draw & (3 << 56) == 0;
        let kind = if is_fatal {
            FaultKind::Certificate
        } else {
            FaultKind::Refused
        };
        let fault = Fault::new(kind, Phase::Connect);
        self.pool
            .handle_dial_failed(self.now, slot, fault, &mut Draw(draw));
        self.model.dial_failed(self.now, id, is_fatal, draw);
        self.gone_slots.push(slot);
    }

    fn drain(&mut self) {
        let Some((slot, id)) = self.leased() else {
            return;
        };
        assert_eq!(self.pool.drain(slot), self.model.drain(id));
        self.leased.push((slot, id));
    }

    fn look(&mut self) {
        let step = 1 + self.script.below(3);
        let before = self.lent.len();
        while self.pool.poll_look(step, &mut self.lent) {}
        let mut lent: Vec<_> = self.lent[before..].iter().map(|(_, t)| t.0).collect();
        let mut model = self.model.lend();
        lent.sort_unstable();
        model.sort_unstable();
        assert_eq!(lent, model, "lent");
        // Mostly they are back at once.
        if self.script.below(4) != 0 {
            while !self.lent.is_empty() {
                self.looked();
            }
        }
    }

    /// One that was lent comes back, or does not.
    fn looked(&mut self) {
        if self.lent.is_empty() {
            return;
        }
        let (slot, token) = self.lent.swap_remove(self.script.below(self.lent.len()));
        let (id, fate) = (token.0, self.script.below(8));
        if fate == 0 {
            self.pool.discard(self.now, slot, Discard::Spent);
            self.model.lose(self.now, id);
        } else {
            self.pool.handle_look(self.now, slot, token, fate != 1);
            self.model.looked(self.now, id, fate != 1);
        }
        self.gone_slots.push(slot);
        self.now = self.now + Duration::from_nanos(1);
    }

    fn evict_idle(&mut self) {
        let r = self.script.below(ROUTES.len());
        let age = Duration::from_secs(self.script.below(20) as u64);
        self.pool.evict_idle(self.now, ROUTES[r], age);
        self.model.evict_idle(self.now, r, age);
    }

    fn close(&mut self) {
        self.pool.close(self.now);
        self.model.close(self.now);
        self.is_closed = true;
    }

    /// Handles that are no longer anybody's do nothing.
    fn poke_stale(&mut self) {
        let now = self.now;
        if !self.gone_tickets.is_empty() {
            let ticket = self.gone_tickets[self.script.below(self.gone_tickets.len())];
            self.pool.cancel(now, ticket);
            assert_eq!(
                self.pool.poll_lease(now, ticket),
                Some(Err(Refusal::Closed))
            );
        }
        if !self.gone_slots.is_empty() {
            let slot = self.gone_slots[self.script.below(self.gone_slots.len())];
            let fault = Fault::new(FaultKind::Refused, Phase::Connect);
            self.pool.handle_dial_failed(now, slot, fault, &mut Draw(0));
            self.pool.discard(now, slot, Discard::Spent);
            self.pool
                .handle_connected(now, slot, Connection::Exclusive(Token(0)), &mut Draw(0));
            self.pool.park(now, slot, Token(0), None);
            assert!(!self.pool.drain(slot));
            self.pool.release(now, slot);
            self.model.evicted.extend([0, 0]);
        }
    }

    /// Lets time pass as a driver does: by what is due.
    fn advance(&mut self) -> bool {
        let (unit, count) = (self.script.below(5), self.script.below(256) as u64);
        let step = match unit {
            0 => Duration::from_millis(count),
            1 | 2 => Duration::from_millis(50 * count),
            3 => Duration::from_secs(count),
            _ => Duration::from_secs(30 * count),
        };
        let until = self.now + step + Duration::from_nanos(self.script.below(256) as u64);
        loop {
            let due = self.model.due(self.now);
            if due.len() > 1 && due[0] == due[1] {
                return false;
            }
            let timeout = self.pool.poll_timeout();
            assert!(
                due.first()
                    .is_none_or(|due| timeout.is_some_and(|at| at <= *due)),
                "late"
            );
            let Some(at) = timeout.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            self.pool.handle_timeout(self.now);
            self.model.handle_timeout(self.now);
            assert!(
                self.pool.poll_timeout().is_none_or(|at| at > self.now),
                "busy loop"
            );
            self.compare();
        }
        self.now = until;
        true
    }

    fn compare(&mut self) {
        let evicted = std::iter::from_fn(|| self.pool.poll_evicted());
        let mut evicted: Vec<_> = evicted.map(|(token, _)| token).collect();
        evicted.sort_by_key(|token| token.0);
        self.model.evicted.sort_unstable();
        let expected: Vec<_> = self.model.evicted.drain(..).map(Token).collect();
        assert_eq!(evicted, expected, "evicted");

        let wakes: Vec<_> = std::iter::from_fn(|| self.pool.poll_wake()).collect();
        let mut sorted = (wakes, std::mem::take(&mut self.model.wakes));
        sorted.0.sort_unstable();
        sorted.1.sort_unstable();
        assert_eq!(sorted.0, sorted.1, "wakes");

        let all = self.pool.gauges();
        assert_eq!(all, self.model.gauges(None), "gauges");
        assert!(all.total as usize <= self.numbers.total && all.idle as usize <= self.numbers.idle);
        assert_eq!(self.pool.routes(), self.model.routes(), "routes");
        for (r, route) in ROUTES.iter().enumerate() {
            let gauges = self.pool.route_gauges(route);
            assert_eq!(gauges, self.model.gauges(Some(r)), "{route}");
            assert!(gauges.total as usize <= self.numbers.per_origin);
            assert!(gauges.idle as usize <= self.numbers.idle_per_origin);
        }
        assert_eq!(
            self.model.forgotten(self.now),
            None,
            "a waiter whom nobody will wake"
        );
        assert!(
            self.model.dials <= self.asked + self.abandoned,
            "more dials than waiters"
        );
    }

    /// Everybody leaves: nothing is left behind, and a newcomer is served.
    fn wind_down(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        for (ticket, _) in std::mem::take(&mut self.tickets) {
            self.pool.cancel(self.now, ticket);
        }
        for (slot, _) in std::mem::take(&mut self.leased) {
            self.pool.discard(self.now, slot, Discard::Spent);
        }
        for (slot, _) in std::mem::take(&mut self.lent) {
            self.pool.discard(self.now, slot, Discard::Spent);
        }
        for (slot, _) in std::mem::take(&mut self.dials) {
            let fault = Fault::new(FaultKind::TimedOut, Phase::Connect);
            self.pool
                .handle_dial_failed(self.now, slot, fault, &mut Draw(0));
        }
        let gauges = self.pool.gauges();
        let left = (
            gauges.connecting,
            gauges.busy,
            gauges.draining,
            gauges.waiting,
        );
        assert_eq!(left, (0, 0, 0, 0), "something is left behind");
        self.now = self.now + Duration::from_secs(10);
        match self.pool.checkout(self.now, ROUTES[0], Ask::default()) {
            Ok(Lease::Idle(..) | Lease::Dial(..)) => assert!(!self.is_closed),
            Err(Refusal::Closed) => assert!(self.is_closed),
            other => panic!("a newcomer gets {other:?}"),
        }
    }
}
