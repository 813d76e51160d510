//! Routes that want a place all the time, under the total limit.

use std::time::Duration;

use fulmar_core::pool::{Ask, Config, Connection, Discard, Lease, Limits, Pool, Slot, Ticket};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::{Draw, ROUTES, Token};

/// I3.4: with `k` routes always backlogged, each gets at least `floor(n / k) - 1` of any `n`
/// consecutive places that come free, whatever their number, whoever frees them, and in whichever
/// way.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_4_no_route_starves(data: &[u8]) {
    let mut script = Script::new(data);
    let routes = 1 + script.below(ROUTES.len());
    let mut run = Run::new(routes, 1 + script.below(7));
    run.warm_up();
    let mut winners = Vec::new();
    while !script.is_over() {
        winners.push(run.free_a_place(&mut script));
    }
    for r in 0..routes {
        let won = winners.iter().scan(0, |won, winner| {
            *won += usize::from(*winner == r);
            Some(*won)
        });
        let won: Vec<_> = std::iter::once(0).chain(won).collect();
        for (from, to) in (0..won.len()).flat_map(|to| (0..to).map(move |from| (from, to))) {
            let (got, n) = (won[to] - won[from], to - from);
            assert!(
                got + 1 >= n / routes,
                "{r} of {routes} got {got} of {n}: {winners:?}"
            );
        }
    }
}

struct Run {
    pool: Pool<Token, ()>,
    now: Instant,
    routes: usize,
    total: usize,
    waiting: Vec<(Ticket, usize)>,
    dials: Vec<Slot>,
    out: Vec<(Slot, usize)>,
}

impl Run {
    fn new(routes: usize, total: usize) -> Self {
        let config = Config {
            limits: Limits::new().total(total as u32),
            ..Config::new()
        };
        Self {
            pool: Pool::new(config, [1, 2], Instant::ORIGIN),
            now: Instant::ORIGIN,
            routes,
            total,
            waiting: Vec::new(),
            dials: Vec::new(),
            out: Vec::new(),
        }
    }

    /// The first route takes all there is; then everybody wants more than there is.
    fn warm_up(&mut self) {
        for r in 0..self.routes {
            for _ in 0..2 * self.total + 2 {
                self.ask(r);
            }
        }
        self.collect();
    }

    fn ask(&mut self, r: usize) {
        match self.pool.checkout(self.now, ROUTES[r], Ask::default()) {
            Ok(Lease::Dial(ticket, slot)) => {
                self.waiting.push((ticket, r));
                self.dials.push(slot);
            }
            Ok(Lease::Wait(ticket)) => self.waiting.push((ticket, r)),
            other => panic!("nothing idles here, and nothing is refused: {other:?}"),
        }
    }

    /// Takes what is granted. Whoever is served is followed by another of his route.
    fn collect(&mut self) {
        let mut place = 0;
        while let Some(&(ticket, r)) = self.waiting.get(place) {
            match self.pool.poll_lease(self.now, ticket) {
                None => place += 1,
                Some(Ok(Lease::Dial(_, slot))) => self.dials.push(slot),
                Some(Ok(Lease::Idle(slot, ..))) => {
                    self.out.push((slot, r));
                    self.waiting.remove(place);
                    self.ask(r);
                }
                Some(other) => panic!("{other:?}"),
            }
        }
        while self.pool.poll_evicted().is_some() {}
        while self.pool.poll_wake().is_some() {}
    }

    /// Frees a place, and says whose it is now.
    fn free_a_place(&mut self, script: &mut Script<'_>) -> usize {
        // Dials end first where nobody is at work, and some of the others.
        while !self.dials.is_empty() && (self.out.is_empty() || script.below(3) == 0) {
            let slot = self.dials.swap_remove(script.below(self.dials.len()));
            let conn = Connection::Exclusive(Token(0));
            self.pool
                .handle_connected(self.now, slot, conn, &mut Draw(0));
            self.collect();
        }
        self.now = self.now + Duration::from_millis(1);
        let before = self.totals();
        // Often the one that has been out longest, as where all take the same time.
        let place = [0, script.below(self.out.len())][script.below(2)];
        let (slot, owner) = self.out.remove(place);
        if script.below(8) == 0 {
            self.pool.discard(self.now, slot, Discard::Spent);
        } else {
            self.pool.park(self.now, slot, Token(0), None);
        }
        let after = self.totals();
        self.collect();
        let moved = (0..self.routes).find(|&r| after[r] > before[r]);
        moved.unwrap_or(owner)
    }

    fn totals(&self) -> Vec<u32> {
        let total = |route: &&str| self.pool.route_gauges(route).total;
        ROUTES[..self.routes].iter().map(total).collect()
    }
}
