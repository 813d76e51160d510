//! Callers of a pool, at random, who keep books of their own on what they hold. They know nothing
//! of how it decides.

mod books;

use std::collections::HashMap;
use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::{
    Ask, Config, Connection, Discard, Lease, Limits, Pool, Refusal, Slot, Ticket,
};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::{Draw, ROUTES, Token};

/// Connections of this route serve several at once.
pub(super) const SHARED: usize = 3;

/// One who asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) number: u64,
    pub(super) route: usize,
    pub(super) fresh: bool,
    pub(super) repeatable: bool,
}

/// What an asker got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Got {
    /// An idle connection, without waiting.
    AtOnce(Asker),
    /// A connection that somebody had before, or that idled.
    Served(Asker),
    /// One that a dial has just brought.
    New(Asker),
    /// A part in a shared one, at once or later.
    Part(Asker),
    /// Nothing, since a dial failed.
    Failed(Asker),
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the pool, and has been nowhere else.
    New,
    Pool,
    Bearer,
    Looker,
    Gone,
}

/// A shared connection as its driver knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    slot: Slot,
    pub(super) capacity: u32,
    pub(super) out: u32,
    is_open: bool,
}

pub(super) struct Crowd<'a> {
    pub(super) script: Script<'a>,
    pub(super) pool: Pool<Token, u32>,
    pub(super) now: Instant,
    pub(super) limits: Limits,
    /// Whether everybody takes what he is granted as soon as it is granted.
    eager: bool,
    /// What a new shared connection serves at once, at least.
    pub(super) least: u32,
    pub(super) waiting: Vec<(Ticket, Asker)>,
    pub(super) dials: Vec<(Slot, usize)>,
    pub(super) out: Vec<(Slot, u32)>,
    pub(super) lent: Vec<(Slot, Token)>,
    pub(super) shared: Vec<Shared>,
    pub(super) parts: Vec<(Slot, u32)>,
    places: HashMap<u32, Place>,
    tokens: u32,
    /// What was got since the last step.
    pub(super) got: Vec<Got>,
    pub(super) asked: u64,
    pub(super) dialled: u64,
    /// Dials given up by those who made them, and nobody was charged for it.
    pub(super) abandoned: u64,
    /// Askers who gave up.
    pub(super) cancelled: u64,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(mut script: Script<'a>, eager: bool) -> Self {
        let total = 1 + script.below(8) as u32;
        let idle = script.below(total as usize + 1) as u32;
        let limits = Limits::new()
            .total(total)
            .per_origin(1 + script.below(total as usize) as u32)
            .idle(idle)
            .idle_per_origin(script.below(idle as usize + 1) as u32)
            .waiters(4 + script.below(20) as u32);
        let config = Config {
            limits,
            ..Config::new()
        };
        config.validate().expect("limits in order");
        Self {
            script,
            pool: Pool::new(config, [5, 6], Instant::ORIGIN),
            now: Instant::ORIGIN,
            limits,
            eager,
            least: 0,
            waiting: Vec::new(),
            dials: Vec::new(),
            out: Vec::new(),
            lent: Vec::new(),
            shared: Vec::new(),
            parts: Vec::new(),
            places: HashMap::new(),
            tokens: 0,
            got: Vec::new(),
            asked: 0,
            dialled: 0,
            abandoned: 0,
            cancelled: 0,
        }
    }

    /// One operation, and what follows from it.
    pub(super) fn step(&mut self) {
        self.got.clear();
        self.now = self.now + Duration::from_nanos(1);
        match self.script.byte() % 32 {
            0..=7 => self.ask(),
            8..=10 => self.cancel(),
            11..=14 => self.give_back(),
            15..=19 => self.connect(),
            20 => self.fail(),
            21 => self.abandon(),
            22 => self.lend(),
            23..=25 => self.look(),
            26 => self.evict(),
            27 => self.change_shared(),
            28 | 29 => self.poll_one(),
            _ => self.pass(),
        }
        self.collect();
    }

    fn pick<T>(&mut self, from: impl Fn(&mut Self) -> &mut Vec<T>) -> Option<T> {
        let len = from(self).len();
        let place = self.script.below(len.max(1));
        (len > 0).then(|| from(self).remove(place))
    }

    fn ask(&mut self) {
        let flags = self.script.byte();
        let route = usize::from(flags) % ROUTES.len();
        let ask = Ask {
            fresh: flags & 0x70 == 0x70,
            repeatable: flags & 0x0c != 0,
            probe: route >= 2,
            tag: self.asked,
            ..Ask::default()
        };
        let asker = Asker {
            number: self.asked,
            route,
            fresh: ask.fresh,
            repeatable: ask.repeatable,
        };
        self.asked += 1;
        match self.pool.checkout(self.now, ROUTES[route], ask) {
            Ok(Lease::Dial(ticket, slot)) => {
                self.waiting.push((ticket, asker));
                self.dial(slot, route);
            }
            Ok(Lease::Wait(ticket)) => self.waiting.push((ticket, asker)),
            Ok(lease) => self.take(asker, lease, true),
            Err(Refusal::QueueFull) => {
                assert_eq!(Some(self.pool.gauges().waiting), self.limits.waiters);
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn dial(&mut self, slot: Slot, route: usize) {
        self.dialled += 1;
        self.dials.push((slot, route));
        assert!(self.pool.watch_dial(slot, u64::from(u32::MAX)));
    }

    /// Books what an asker has got.
    fn take(&mut self, asker: Asker, lease: Lease<Token, u32>, is_at_once: bool) {
        match lease {
            Lease::Idle(slot, token, _) => {
                let was = self.moves(token.0, Place::Bearer);
                self.out.push((slot, token.0));
                self.got.push(match was {
                    _ if is_at_once => Got::AtOnce(asker),
                    Place::New => Got::New(asker),
                    _ => Got::Served(asker),
                });
            }
            Lease::Share(slot, id) => {
                self.parts.push((slot, id));
                self.of(id).out += 1;
                self.got.push(Got::Part(asker));
            }
            Lease::Dial(..) | Lease::Wait(_) => unreachable!("those are no connections"),
        }
    }

    fn poll_one(&mut self) {
        if !self.waiting.is_empty() {
            let place = self.script.below(self.waiting.len());
            self.poll(place);
        }
    }

    /// Whether the asker waits no more.
    fn poll(&mut self, place: usize) -> bool {
        let (ticket, asker) = self.waiting[place];
        match self.pool.poll_lease(self.now, ticket) {
            None => return false,
            Some(Ok(Lease::Dial(_, slot))) => {
                self.dial(slot, asker.route);
                return false;
            }
            Some(Ok(lease)) => self.take(asker, lease, false),
            Some(Err(Refusal::Dial(_))) => self.got.push(Got::Failed(asker)),
            Some(Err(other)) => panic!("{other:?}"),
        }
        self.waiting.remove(place);
        true
    }

    fn cancel(&mut self) {
        if let Some((ticket, _)) = self.pick(|crowd| &mut crowd.waiting) {
            self.cancelled += 1;
            self.pool.cancel(self.now, ticket);
        }
    }

    /// A connection, or a part of one, comes back in one way or the other.
    fn give_back(&mut self) {
        let fate = self.script.byte();
        if fate.is_multiple_of(2)
            && let Some((slot, id)) = self.pick(|crowd| &mut crowd.parts)
        {
            self.pool.release(self.now, slot);
            self.of(id).out -= 1;
            return;
        }
        let Some((slot, id)) = self.pick(|crowd| &mut crowd.out) else {
            return;
        };
        match fate / 2 % 8 {
            0 => self.lose(slot, id, Discard::Spent),
            1 => self.lose(slot, id, Discard::Stale),
            2 if self.pool.drain(slot) => self.out.push((slot, id)),
            hint => {
                let hint = (hint == 3).then_some(Duration::from_secs(5));
                self.moves(id, Place::Pool);
                self.pool.park(self.now, slot, Token(id), hint);
            }
        }
    }

    fn lose(&mut self, slot: Slot, id: u32, why: Discard) {
        self.moves(id, Place::Gone);
        self.pool.discard(self.now, slot, why);
    }

    fn connect(&mut self) {
        let Some((slot, route)) = self.pick(|crowd| &mut crowd.dials) else {
            return;
        };
        if self.script.below(4) == 0 {
            self.pool.handle_opened(slot);
        }
        let conn = if route == SHARED {
            let id = self.shared.len() as u32;
            let capacity = self.least.max(self.script.below(5) as u32);
            self.shared.push(Shared {
                slot,
                capacity,
                out: 0,
                is_open: true,
            });
            Connection::Shared(id, capacity)
        } else {
            self.tokens += 1;
            self.places.insert(self.tokens, Place::New);
            Connection::Exclusive(Token(self.tokens))
        };
        self.pool
            .handle_connected(self.now, slot, conn, &mut Draw(0));
    }

    fn fail(&mut self) {
        let Some((slot, _)) = self.pick(|crowd| &mut crowd.dials) else {
            return;
        };
        let kind = [
            FaultKind::Refused,
            FaultKind::Refused,
            FaultKind::Certificate,
        ][self.script.below(3)];
        let fault = Fault::new(kind, Phase::Connect);
        self.pool
            .handle_dial_failed(self.now, slot, fault, &mut Draw(1 << 63));
    }

    fn abandon(&mut self) {
        if let Some((slot, _)) = self.pick(|crowd| &mut crowd.dials) {
            self.abandoned += 1;
            self.pool.discard(self.now, slot, Discard::Spent);
        }
    }
}
