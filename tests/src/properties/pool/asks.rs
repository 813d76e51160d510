//! Asks of all kinds: of any lane, with limits of their own, into a queue that is often full.

use std::collections::BTreeSet;
use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::lane::Lane;
use fulmar_core::pool::{
    Ask, Config, Connection, Discard, Held, Lease, Limits, Pool, Preview, Refusal, Slot, Ticket,
};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::{Draw, ROUTES};

type Leased = Result<Lease<(), u32>, Refusal>;

struct Run<'a> {
    script: Script<'a>,
    pool: Pool<(), u32>,
    now: Instant,
    waiting: Vec<(Ticket, u64)>,
    woken: BTreeSet<u64>,
    dials: Vec<Slot>,
    out: Vec<Slot>,
    lent: Vec<(Slot, ())>,
    tag: u64,
}

/// Runs the script: an ask gets what its preview said, nobody has something without having been
/// woken for it, and in the end all who wait are served.
///
/// # Panics
///
/// Where it is not so.
pub fn pool_asks(data: &[u8]) {
    let mut script = Script::new(data);
    let total = 1 + script.below(6) as u32;
    let limits = Limits::new()
        .total(total)
        .per_origin(1 + script.below(total as usize) as u32)
        .waiters(1 + script.below(5) as u32);
    let config = Config {
        limits,
        ..Config::new()
    };
    let mut run = Run {
        script,
        pool: Pool::new(config, [7, 8], Instant::ORIGIN),
        now: Instant::ORIGIN,
        waiting: Vec::new(),
        woken: BTreeSet::new(),
        dials: Vec::new(),
        out: Vec::new(),
        lent: Vec::new(),
        tag: 0,
    };
    while !run.script.is_over() {
        run.step();
    }
    run.wind_down();
}

impl Run<'_> {
    fn step(&mut self) {
        self.now = self.now + Duration::from_nanos(1);
        match self.script.below(16) {
            0..=5 => self.ask(),
            6 => self.cancel(),
            7 | 8 => self.give_back(),
            9 | 10 => self.connect(),
            11 => self.fail(),
            12 => while self.pool.poll_look(2, &mut self.lent) {},
            13 => self.look(),
            14 => self.poll(),
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
        let own = self.script.below(8) as u32;
        self.tag += 1;
        let ask = Ask {
            fresh: flags & 0x0c == 0x0c,
            repeatable: flags & 0x30 != 0,
            lane: [Lane::High, Lane::Normal, Lane::Bulk][self.script.below(3)],
            per_origin: (own < 3).then_some(own),
            tag: self.tag,
            ..Ask::default()
        };
        let route = ROUTES[usize::from(flags) % 3];
        let before = self.pool.gauges();
        let preview = self.pool.preview(self.now, route, ask);
        let real = self.pool.checkout(self.now, route, ask);
        let waiting = self.pool.route_gauges(route).waiting;
        let is_foreseen = match (&preview, &real) {
            (Preview::Idle, Ok(Lease::Idle(..)))
            | (Preview::Dial { .. }, Ok(Lease::Dial(..)))
            | (Preview::Refused(Refusal::QueueFull), Err(Refusal::QueueFull)) => true,
            (Preview::Wait { position, why }, Ok(Lease::Wait(_))) => {
                let until = match why {
                    Held::Backoff(until) => *until,
                    _ => Instant::MAX,
                };
                // An idle connection that has expired counts until it is looked for.
                *position == waiting && until > self.now
            }
            _ => false,
        };
        assert!(
            is_foreseen,
            "{preview:?}, and then {real:?}, {before:?}, {ask:?}"
        );
        self.take(self.tag, &real);
    }

    fn take(&mut self, tag: u64, leased: &Leased) {
        match *leased {
            Ok(Lease::Dial(ticket, slot)) => {
                assert!(self.pool.watch_dial(slot, u64::MAX - 1), "it was given");
                self.dials.push(slot);
                self.waiting.push((ticket, tag));
            }
            Ok(Lease::Wait(ticket)) => self.waiting.push((ticket, tag)),
            Ok(Lease::Idle(slot, (), _)) => self.out.push(slot),
            Ok(Lease::Share(..)) => unreachable!("no dial brings a shared one"),
            Err(_) => {}
        }
    }

    fn poll(&mut self) {
        let Some((ticket, tag)) = self.pick(|run| &mut run.waiting) else {
            return;
        };
        match self.pool.poll_lease(self.now, ticket) {
            None => self.waiting.push((ticket, tag)),
            Some(leased) => {
                let is_dial = matches!(leased, Ok(Lease::Dial(..)));
                // A dial may be another's, who does not take it.
                assert!(self.woken.remove(&tag) || is_dial, "{leased:?} in silence");
                self.take(tag, &leased);
            }
        }
    }

    fn cancel(&mut self) {
        if let Some((ticket, _)) = self.pick(|run| &mut run.waiting) {
            self.pool.cancel(self.now, ticket);
        }
    }

    fn give_back(&mut self) {
        let Some(slot) = self.pick(|run| &mut run.out) else {
            return;
        };
        match self.script.below(4) {
            0 => self.pool.discard(self.now, slot, Discard::Spent),
            _ => self.pool.park(self.now, slot, (), None),
        }
    }

    fn connect(&mut self) {
        if let Some(slot) = self.pick(|run| &mut run.dials) {
            let conn = Connection::Exclusive(());
            self.pool
                .handle_connected(self.now, slot, conn, &mut Draw(0));
        }
    }

    fn fail(&mut self) {
        if let Some(slot) = self.pick(|run| &mut run.dials) {
            let fault = Fault::new(FaultKind::Refused, Phase::Connect);
            self.pool
                .handle_dial_failed(self.now, slot, fault, &mut Draw(u64::MAX / 2));
        }
    }

    fn look(&mut self) {
        if let Some((slot, conn)) = self.pick(|run| &mut run.lent) {
            let is_quiet = self.script.below(4) > 0;
            self.pool.handle_look(self.now, slot, conn, is_quiet);
        }
    }

    fn pass(&mut self) {
        let millis = [1, 20, 1_500, 30_000][self.script.below(4)];
        self.pass_until(self.now + Duration::from_millis(millis));
    }

    fn pass_until(&mut self, until: Instant) {
        while let Some(at) = self.pool.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.pool.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn collect(&mut self) {
        while self.pool.poll_evicted().is_some() {}
        while let Some(tag) = self.pool.poll_wake() {
            self.woken.insert(tag);
        }
        let pool = &mut self.pool;
        self.dials
            .retain(|slot| pool.watch_dial(*slot, u64::MAX - 1));
    }

    /// With everybody at work, all who wait are served, and nothing is left.
    fn wind_down(&mut self) {
        for _ in 0..200 {
            for (slot, ()) in std::mem::take(&mut self.lent) {
                self.pool.handle_look(self.now, slot, (), true);
            }
            for _ in 0..self.waiting.len() {
                let (ticket, tag) = self.waiting.remove(0);
                match self.pool.poll_lease(self.now, ticket) {
                    None => self.waiting.push((ticket, tag)),
                    Some(leased) => self.take(tag, &leased),
                }
            }
            while !self.dials.is_empty() {
                self.connect();
                self.collect();
            }
            while let Some(slot) = self.out.pop() {
                self.pool.park(self.now, slot, (), None);
            }
            self.collect();
            self.pass_until(self.now + Duration::from_secs(5));
            self.collect();
            if self.waiting.is_empty() && self.dials.is_empty() && self.out.is_empty() {
                let left = self.pool.gauges();
                assert_eq!((left.waiting, left.busy, left.connecting), (0, 0, 0));
                return;
            }
        }
        panic!("{:?} wait for ever: {:?}", self.waiting, self.pool.gauges());
    }
}
