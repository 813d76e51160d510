//! When the model dials, and which dials it gives up.

use fulmar_core::time::Instant;

use super::{Conn, Model, SECOND, Stage, State};

impl Model {
    /// Whether a dial is still wanted.
    pub(in super::super) fn watch_dial(&mut self, id: u32, tag: u64) -> bool {
        let is_known = self.is_known(id);
        if is_known {
            self.conn(id).tag = Some(tag);
        }
        is_known
    }

    pub(in super::super) fn opened(&mut self, id: u32) {
        if self.is_known(id) {
            self.conn(id).stage = Stage::Plain;
        }
    }

    pub(super) fn begin(&mut self, dial: u32) {
        self.serial += 1;
        self.conn(dial).stage = Stage::Begun(self.serial);
    }

    /// The oldest dial that nobody has begun is the asker's who comes.
    pub(super) fn take_over(&mut self, r: usize) -> Option<u32> {
        let granted = self.conns.iter().filter(|c| c.route == r);
        let granted = granted.filter(|c| matches!(c.stage, Stage::Granted(_)));
        let dial = granted.min_by_key(|c| c.stage)?.id;
        self.withdraw(r, dial);
        self.begin(dial);
        Some(dial)
    }

    pub(super) fn withdraw(&mut self, r: usize, dial: u32) {
        let bearer = self.waiters.iter_mut().find(|w| w.dial == Some(dial));
        let bearer = bearer.expect("it is granted to somebody");
        bearer.dial = None;
        let id = bearer.id;
        self.routes[r].bearers.push(id);
    }

    pub(super) fn give_up(&mut self, now: Instant, id: u32) {
        let tag = self.conn(id).tag;
        self.wakes.extend(tag);
        self.drop_conn(now, id);
    }

    /// Fewer wait: what is too much goes, the youngest first.
    pub(super) fn trim(&mut self, now: Instant, r: usize) {
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

    pub(super) fn wants(&self, r: usize) -> bool {
        let lent = self
            .conns
            .iter()
            .filter(|conn| conn.route == r && conn.lent);
        self.waiting(r) > self.count(r, State::Connecting) + lent.count()
    }

    /// From when on a route that wants a dial may begin one; `None`: once something changes.
    pub(super) fn dial_at(&self, now: Instant, r: usize) -> Option<Instant> {
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

    pub(super) fn may_dial(&self, now: Instant, r: usize) -> bool {
        self.wants(r) && self.dial_at(now, r).is_some_and(|at| now >= at)
    }

    pub(super) fn pump(
        &mut self,
        now: Instant,
        r: usize,
        mut newcomer: Option<u32>,
    ) -> Option<u32> {
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

    pub(super) fn dial(&mut self, now: Instant, r: usize) -> u32 {
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

    pub(super) fn give_dial(&mut self, r: usize, dial: u32) {
        let w = self.routes[r].bearers.remove(0);
        let waiter = self.waiter(w);
        waiter.dial = Some(dial);
        let tag = waiter.tag;
        self.wakes.push(tag);
        self.serial += 1;
        self.conn(dial).stage = Stage::Granted(self.serial);
    }
}
