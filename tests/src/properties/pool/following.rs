//! Connections and the addresses of their names: which would have to leave is counted beside the
//! pool.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fulmar_core::pool::{Ask, Config, Connection, Discard, Lease, Limits, Pool, Slot};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::{Draw, ROUTES, Token};

/// A connection that is open, on which route, and to which address of its name.
type Open = BTreeMap<u32, (usize, Option<IpAddr>)>;

struct Run {
    pool: Pool<Token, ()>,
    now: Instant,
    open: Open,
    /// Those that were told to leave.
    told: BTreeSet<u32>,
    leased: Vec<(Slot, Token)>,
    issued: u32,
}

/// Runs the script, and checks after each step that a route follows its name exactly as long as one
/// of its connections is to an address of it, speaks HTTP, and was not told to leave; and that no
/// idle one is given out that was. Says whether one was upgraded and one retired.
///
/// # Panics
///
/// Where it is not so.
pub fn pool_following_ops(data: &[u8]) -> bool {
    let mut script = Script::new(data);
    let config = Config {
        limits: Limits::new().idle(3).idle_per_origin(2),
        ..Config::new()
    };
    let mut run = Run {
        pool: Pool::new(config, [5, 6], Instant::ORIGIN),
        now: Instant::ORIGIN,
        open: Open::new(),
        told: BTreeSet::new(),
        leased: Vec::new(),
        issued: 0,
    };
    let mut shown = [false; 2];
    while !script.is_over() {
        run.now = run.now + Duration::from_millis(1);
        match script.below(8) {
            0..=2 => run.checkout(&mut script),
            3 => run.park(&mut script),
            4 => run.discard(&mut script),
            5 => shown[0] |= run.upgrade(&mut script),
            6 => shown[1] |= run.move_name(&mut script),
            _ => run.pass(&mut script),
        }
        run.check();
    }
    shown == [true; 2]
}

impl Run {
    fn checkout(&mut self, script: &mut Script<'_>) {
        let r = script.below(ROUTES.len());
        let ask = Ask {
            fresh: script.below(4) == 0,
            repeatable: true,
            probe: false,
            tag: u64::from(self.issued),
            ..Ask::default()
        };
        match self.pool.checkout(self.now, ROUTES[r], ask) {
            Ok(Lease::Idle(slot, token, _)) => {
                assert!(!self.told.contains(&token.0), "{token:?} was to leave");
                self.leased.push((slot, token));
            }
            Ok(Lease::Dial(ticket, dial)) => {
                // A literal has no name that could move.
                let addr = (script.below(4) > 0).then(|| address(script));
                self.pool.note_address(dial, addr);
                let token = Token(self.issued);
                self.open.insert(token.0, (r, addr));
                self.issued += 1;
                let conn = Connection::Exclusive(token);
                self.pool
                    .handle_connected(self.now, dial, conn, &mut Draw(0));
                match self.pool.poll_lease(self.now, ticket) {
                    Some(Ok(Lease::Idle(slot, token, _))) => self.leased.push((slot, token)),
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, script: &mut Script<'_>) -> Option<(Slot, Token)> {
        let place = script.below(self.leased.len().max(1));
        (!self.leased.is_empty()).then(|| self.leased.swap_remove(place))
    }

    fn park(&mut self, script: &mut Script<'_>) {
        if let Some((slot, token)) = self.take(script) {
            self.pool.park(self.now, slot, token, None);
        }
    }

    fn discard(&mut self, script: &mut Script<'_>) {
        if let Some((slot, token)) = self.take(script) {
            self.pool.discard(self.now, slot, Discard::Spent);
            self.open.remove(&token.0);
        }
    }

    fn upgrade(&mut self, script: &mut Script<'_>) -> bool {
        let Some((slot, token)) = self.take(script) else {
            return false;
        };
        self.pool.handle_upgraded(slot);
        let addr = self.open.get_mut(&token.0).and_then(|open| open.1.take());
        // It may only be discarded from now on.
        if script.below(2) == 0 {
            self.pool.discard(self.now, slot, Discard::Spent);
            self.open.remove(&token.0);
        }
        addr.is_some()
    }

    /// A name has other addresses.
    fn move_name(&mut self, script: &mut Script<'_>) -> bool {
        let r = script.below(ROUTES.len());
        let mut addrs: Vec<_> = (0..script.below(4)).map(|_| address(script)).collect();
        addrs.sort_unstable();
        let draw = u64::from(script.byte()) << 56;
        self.pool
            .handle_addresses(self.now, ROUTES[r], &addrs, &mut Draw(draw));
        let before = self.told.len();
        for (id, (_, addr)) in self.open.iter_mut().filter(|(_, open)| open.0 == r) {
            if addr.take_if(|addr| !addrs.contains(addr)).is_some() {
                self.told.insert(*id);
            }
        }
        self.told.len() > before
    }

    fn pass(&mut self, script: &mut Script<'_>) {
        self.now = self.now + Duration::from_secs(1 << script.below(8));
        self.pool.handle_timeout(self.now);
    }

    fn check(&mut self) {
        while let Some((token, _)) = self.pool.poll_evicted() {
            assert!(self.open.remove(&token.0).is_some(), "{token:?} twice");
        }
        assert_eq!(self.pool.gauges().total as usize, self.open.len());
        for (r, route) in ROUTES.iter().enumerate() {
            let mut open = self.open.values();
            let follows = open.any(|open| open.0 == r && open.1.is_some());
            assert_eq!(self.pool.is_following(route), follows, "{route}");
        }
    }
}

fn address(script: &mut Script<'_>) -> IpAddr {
    IpAddr::from([192, 0, 2, script.below(4) as u8])
}
