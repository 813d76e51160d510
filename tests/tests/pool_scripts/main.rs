//! The pool, scene by scene.
#![allow(
    clippy::many_single_char_names,
    reason = "scenes are told with few letters"
)]

mod a10;

use std::net::IpAddr;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::budget::{BudgetConfig, Cost};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::lane::Lane;
use fulmar_core::pool::{
    Ask, Config, Connection, Discard, Gauges, Lease, Limits, Pool, Preview, Refusal, Slot, Ticket,
};
use fulmar_core::time::Instant;

const A: &str = "http://a.test";
const B: &str = "http://b.test";
const C: &str = "http://c.test";

type Conn = &'static str;

/// A pool with a clock, and what the caller of one has to do after every call.
struct Scene {
    pool: Pool<Conn, u32>,
    now: Instant,
    rng: ChaCha8Rng,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        Self::with(Config {
            limits,
            ..Config::new()
        })
    }

    fn with(config: Config) -> Self {
        config.validate().expect("valid");
        let now = Instant::from_nanos(1_000_000_000_000);
        let rng = ChaCha8Rng::from_seed([7; 32]);
        Self {
            pool: Pool::new(config, [1, 2], now),
            now,
            rng,
        }
    }

    fn pass(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
    }

    fn ask(&mut self, route: &str, ask: Ask) -> Lease<Conn, u32> {
        self.pool.checkout(self.now, route, ask).expect("valid")
    }

    fn checkout(&mut self, route: &str) -> Lease<Conn, u32> {
        self.ask(route, Ask::default())
    }

    fn dial(&mut self, route: &str) -> (Ticket, Slot) {
        match self.checkout(route) {
            Lease::Dial(ticket, slot) => (ticket, slot),
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, route: &str) -> Ticket {
        match self.checkout(route) {
            Lease::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn connect(&mut self, slot: Slot, conn: Conn) {
        let conn = Connection::Exclusive(conn);
        self.pool
            .handle_connected(self.now, slot, conn, &mut self.rng);
    }

    fn share(&mut self, slot: Slot, conn: u32, capacity: u32) {
        let conn = Connection::Shared(conn, capacity);
        self.pool
            .handle_connected(self.now, slot, conn, &mut self.rng);
    }

    fn fail(&mut self, slot: Slot, kind: FaultKind) {
        let fault = Fault::new(kind, Phase::Connect);
        self.pool
            .handle_dial_failed(self.now, slot, fault, &mut self.rng);
    }

    fn poll(&mut self, ticket: Ticket) -> Option<Result<Lease<Conn, u32>, Refusal>> {
        self.pool.poll_lease(self.now, ticket)
    }

    /// What the ticket has got: the connection.
    fn taken(&mut self, ticket: Ticket) -> (Slot, Conn) {
        match self.poll(ticket) {
            Some(Ok(Lease::Idle(slot, conn, _))) => (slot, conn),
            other => panic!("{other:?}"),
        }
    }

    fn granted_dial(&mut self, ticket: Ticket) -> Slot {
        match self.poll(ticket) {
            Some(Ok(Lease::Dial(_, slot))) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn idle(&mut self, route: &str) -> (Slot, Conn) {
        match self.checkout(route) {
            Lease::Idle(slot, conn, _) => (slot, conn),
            other => panic!("{other:?}"),
        }
    }

    fn busy(&mut self, route: &str, conn: Conn) -> Slot {
        let (ticket, slot) = self.dial(route);
        self.connect(slot, conn);
        self.taken(ticket).0
    }

    fn park(&mut self, slot: Slot, conn: Conn) {
        self.pool.park(self.now, slot, conn, None);
    }

    /// The one that is idle, lent to be looked at.
    fn lent(&mut self) -> (Slot, Conn) {
        let mut lent = Vec::new();
        assert!(!self.pool.poll_look(100, &mut lent));
        assert_eq!(lent.len(), 1);
        lent.remove(0)
    }

    fn evicted(&mut self) -> Vec<Conn> {
        std::iter::from_fn(|| self.pool.poll_evicted())
            .map(|(conn, _)| conn)
            .collect()
    }

    fn timeout(&mut self) -> bool {
        let Some(at) = self.pool.poll_timeout() else {
            return false;
        };
        self.now = self.now.max(at);
        self.pool.handle_timeout(self.now);
        true
    }
}

#[test]
fn a_freed_connection_goes_down_the_queue_and_no_newcomer_overtakes() {
    let mut s = Scene::new(Limits::new().total(1));
    let a = s.busy(A, "x");
    let (b, c) = (s.wait(A), s.wait(A));
    s.park(a, "x");
    let d = s.wait(A);
    for ticket in [b, c, d] {
        let (slot, conn) = s.taken(ticket);
        assert_eq!(conn, "x");
        s.park(slot, conn);
    }
    assert_eq!(s.pool.gauges().idle, 1);
}

#[test]
fn a_grant_that_is_cancelled_in_the_tick_of_the_release_goes_to_the_next() {
    let mut s = Scene::new(Limits::new().total(1));
    let a = s.busy(A, "x");
    let (b, c) = (s.wait(A), s.wait(A));
    s.park(a, "x");
    s.pool.cancel(s.now, b);
    assert_eq!(s.poll(b), Some(Err(Refusal::Closed)));
    assert_eq!(s.taken(c).1, "x");
    assert_eq!(s.pool.gauges().total, 1);
}

#[test]
fn ten_thousand_cancelled_dials_leave_nothing_behind() {
    let mut s = Scene::new(Limits::new().total(4).per_origin(2));
    for n in 0..10_000 {
        match s.checkout(A) {
            Lease::Dial(ticket, slot) => {
                s.pool.cancel(s.now, ticket);
                match n % 3 {
                    0 => s.connect(slot, "late"),
                    1 => s.fail(slot, FaultKind::Refused),
                    _ => s.pool.discard(s.now, slot, Discard::Spent),
                }
            }
            Lease::Wait(ticket) => s.pool.cancel(s.now, ticket),
            Lease::Idle(slot, ..) => s.pool.discard(s.now, slot, Discard::Spent),
            Lease::Share(..) => unreachable!(),
        }
        assert!(s.pool.gauges().total <= 4 && s.pool.gauges().connecting <= 1);
        s.pass(0.01);
    }
    s.pass(10.0);
    assert!(matches!(s.checkout(A), Lease::Dial(..) | Lease::Idle(..)));
}

fn cold() -> Ask {
    Ask {
        probe: true,
        ..Ask::default()
    }
}

#[test]
fn a_thousand_cold_requests_open_one_shared_connection_and_fill_it() {
    let mut s = Scene::new(Limits::new().total(100).shared_per_origin(1));
    let Lease::Dial(first, slot) = s.ask(A, cold()) else {
        panic!()
    };
    let mut tickets = vec![first];
    for _ in 1..1_000 {
        let Lease::Wait(ticket) = s.ask(A, cold()) else {
            panic!("a second dial")
        };
        tickets.push(ticket);
    }
    s.share(slot, 9, 100);
    let mut parts = Vec::new();
    for &ticket in &tickets {
        match s.poll(ticket) {
            Some(Ok(Lease::Share(slot, 9))) => parts.push(slot),
            None => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((parts.len(), s.pool.gauges().waiting), (100, 900));
    // Every part that comes back goes to the next in the queue.
    s.pool.release(s.now, parts[0]);
    assert!(matches!(s.poll(tickets[100]), Some(Ok(Lease::Share(_, 9)))));
    assert_eq!((s.pool.gauges().waiting, s.pool.gauges().total), (899, 1));
}

#[test]
fn a_second_shared_connection_opens_once_the_first_is_full_for_a_while() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(first, slot) = s.ask(A, cold()) else {
        panic!()
    };
    let Lease::Wait(second) = s.ask(A, cold()) else {
        panic!()
    };
    s.share(slot, 1, 1);
    assert!(matches!(s.poll(first), Some(Ok(Lease::Share(..)))));
    assert_eq!(s.poll(second), None);
    let full_at = s.now;
    assert!(s.timeout());
    assert_eq!(s.now - full_at, Duration::from_millis(20));
    let slot = s.granted_dial(second);
    s.share(slot, 2, 1);
    assert!(matches!(s.poll(second), Some(Ok(Lease::Share(_, 2)))));
    // Two is the limit.
    let Lease::Wait(third) = s.ask(A, cold()) else {
        panic!()
    };
    s.pass(1.0);
    s.pool.handle_timeout(s.now);
    assert_eq!(s.poll(third), None);
}

#[test]
fn a_probe_that_stalls_is_joined_by_one_more_and_no_third() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(..) = s.ask(A, cold()) else {
        panic!()
    };
    let waiting: Vec<_> = (0..9).map(|_| s.ask(A, cold())).collect();
    let begun = s.now;
    assert!(s.timeout());
    assert_eq!(s.now - begun, Duration::from_secs(1));
    assert_eq!(s.pool.gauges().connecting, 2);
    s.pass(5.0);
    s.pool.handle_timeout(s.now);
    assert_eq!((s.pool.gauges().connecting, waiting.len()), (2, 9));
}

#[test]
fn a_probe_that_finds_an_exclusive_connection_lets_all_dial_and_is_remembered() {
    let mut s = Scene::new(Limits::new().total(512).per_origin(64));
    let Lease::Dial(first, slot) = s.ask(A, cold()) else {
        panic!()
    };
    let rest: Vec<_> = (1..200).map(|_| s.ask(A, cold())).collect();
    assert_eq!(s.pool.gauges().connecting, 1);
    s.connect(slot, "h1");
    assert_eq!(s.taken(first).1, "h1");
    assert_eq!((s.pool.gauges().connecting, s.pool.gauges().busy), (63, 1));
    for lease in rest {
        let Lease::Wait(ticket) = lease else { panic!() };
        if let Some(Ok(Lease::Dial(ticket, slot))) = s.poll(ticket) {
            s.pool.cancel(s.now, ticket);
            s.pool.discard(s.now, slot, Discard::Spent);
        } else {
            s.pool.cancel(s.now, ticket);
        }
    }
    s.pass(30.0);
    let burst: Vec<_> = (0..80).map(|_| s.ask(A, cold())).collect();
    let dials = burst
        .iter()
        .filter(|lease| matches!(lease, Lease::Dial(..)))
        .count();
    assert_eq!(dials, 63, "the first connection is still out");
}

#[test]
fn an_idle_connection_of_another_route_makes_room() {
    let mut s = Scene::new(Limits::new().total(2));
    let (x, y) = (s.busy(A, "older"), s.busy(A, "newer"));
    s.park(x, "older");
    s.pass(0.1);
    s.park(y, "newer");
    let (ticket, slot) = s.dial(B);
    assert_eq!(s.evicted(), ["older"]);
    s.connect(slot, "b");
    assert_eq!(s.taken(ticket).1, "b");
    assert_eq!(s.pool.gauges().total, 2);
}

#[test]
fn a_connection_that_spoke_while_idle_is_removed_and_its_age_learned() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "late 408");
    s.park(slot, "late 408");
    s.pass(10.0);
    let (slot, conn) = s.lent();
    s.pool.handle_look(s.now, slot, conn, false);
    assert_eq!((s.evicted(), s.pool.gauges().total), (vec!["late 408"], 0));

    let slot = s.busy(A, "next");
    s.park(slot, "next");
    let parked = s.now;
    while s.pool.gauges().idle > 0 {
        assert!(s.timeout());
    }
    assert_eq!(
        s.now - parked,
        Duration::from_secs(9),
        "nine tenths of what was seen"
    );
}

#[test]
fn who_comes_while_the_only_connection_is_looked_at_gets_it_and_dials_only_where_it_is_lost() {
    for fate in ["quiet", "spoke", "dropped"] {
        let mut s = Scene::new(Limits::new());
        let slot = s.busy(A, "x");
        s.park(slot, "x");
        let (slot, conn) = s.lent();
        assert_eq!((s.pool.gauges().idle, s.pool.gauges().total), (1, 1));
        let ticket = s.wait(A);
        match fate {
            "dropped" => s.pool.discard(s.now, slot, Discard::Spent),
            fate => s.pool.handle_look(s.now, slot, conn, fate == "quiet"),
        }
        if fate == "quiet" {
            assert_eq!(s.taken(ticket).1, "x");
        } else {
            let _ = s.granted_dial(ticket);
        }
        assert_eq!(s.pool.gauges().total, 1);
    }
}

#[test]
fn who_comes_during_a_look_gets_the_next_connection_at_once() {
    let mut s = Scene::new(Limits::new());
    let (x, y) = (s.busy(A, "x"), s.busy(A, "y"));
    s.park(y, "y");
    s.park(x, "x");
    let mut lent = Vec::new();
    assert!(s.pool.poll_look(1, &mut lent), "there is more to look at");
    let (slot, conn) = lent.remove(0);
    assert_eq!(conn, "x");
    assert_eq!(s.idle(A).1, "y");
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!(s.idle(A).1, "x");
}

#[test]
fn room_for_a_dial_costs_one_idle_connection_and_none_that_somebody_counts_on() {
    let mut s = Scene::new(Limits::new().total(4));
    let slot = s.busy(A, "a");
    let others = ["x", "y", "z"].map(|name| (s.busy(C, name), name));
    s.park(slot, "a");
    for (slot, name) in others {
        s.park(slot, name);
    }
    let mut lent = Vec::new();
    s.pool.poll_look(1, &mut lent);
    let (slot, conn) = lent.remove(0);
    assert_eq!(conn, "a", "the oldest");
    let counting = s.wait(A);
    let _ = s.dial(B);
    assert_eq!((s.evicted(), s.pool.gauges().total), (vec!["x"], 4));
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!(s.taken(counting).1, "a");
}

#[test]
fn a_place_waited_for_is_used_when_who_counted_on_a_connection_gives_up() {
    let mut s = Scene::new(Limits::new().total(1));
    let slot = s.busy(A, "a");
    s.park(slot, "a");
    let (slot, conn) = s.lent();
    let counting = s.wait(A);
    let next = s.wait(B);
    s.pool.cancel(s.now, counting);
    // At once: who looks may take his time.
    let dial = s.granted_dial(next);
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!((s.evicted(), s.pool.gauges().total), (vec!["a"], 1));
    s.connect(dial, "b");
    assert_eq!(s.taken(next).1, "b");
}

#[test]
fn a_connection_that_comes_back_from_a_look_and_fits_nobody_makes_room() {
    let mut s = Scene::new(Limits::new().total(1));
    let slot = s.busy(A, "a");
    s.park(slot, "a");
    let (slot, conn) = s.lent();
    let shy = Ask {
        repeatable: false,
        ..Ask::default()
    };
    let Lease::Wait(first) = s.ask(A, shy) else {
        panic!("it counts on what is lent")
    };
    let second = s.wait(B);
    s.pass(5.0);
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!(s.evicted(), ["a"]);
    // Whoever asked first has the first turn; the other comes next.
    let dial = s.granted_dial(second);
    assert_eq!((s.poll(first), s.pool.gauges().total), (None, 1));
    s.fail(dial, FaultKind::Refused);
    let _ = s.granted_dial(first);
}

#[test]
fn a_full_route_keeps_the_connection_that_is_looked_at_for_who_counts_on_it() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let slot = s.busy(A, "a");
    s.park(slot, "a");
    let (slot, conn) = s.lent();
    let (first, second) = (s.wait(A), s.wait(A));
    s.pool.handle_look(s.now, slot, conn, true);
    let (slot, conn) = s.taken(first);
    assert_eq!(conn, "a");
    s.park(slot, conn);
    assert_eq!(s.taken(second).1, "a");
}

#[test]
fn a_connection_evicted_while_it_is_looked_at_goes_when_it_comes_back() {
    let mut s = Scene::new(Limits::new().total(1));
    let x = s.busy(A, "x");
    s.park(x, "x");
    let (slot, conn) = s.lent();
    let _ = s.dial(B);
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!((s.evicted(), s.pool.gauges().total), (vec!["x"], 1));
}

#[test]
fn one_that_has_idled_long_is_not_given_to_what_cannot_be_sent_twice_after_a_look() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    s.park(slot, "x");
    s.pass(10.0);
    let (slot, conn) = s.lent();
    let ask = Ask {
        repeatable: false,
        ..Ask::default()
    };
    let Lease::Wait(ticket) = s.ask(A, ask) else {
        panic!()
    };
    s.pool.handle_look(s.now, slot, conn, true);
    let _ = s.granted_dial(ticket);
    assert_eq!(s.pool.gauges().idle, 1);
}

#[test]
fn a_connection_found_closed_when_taken_teaches_as_well() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    s.park(slot, "x");
    s.pass(20.0);
    let (slot, _) = s.idle(A);
    s.pool.discard(s.now, slot, Discard::Stale);
    let slot = s.busy(A, "y");
    s.park(slot, "y");
    s.pass(17.9);
    let (slot, _) = s.idle(A);
    s.park(slot, "y");
    s.pass(18.0);
    assert!(matches!(s.checkout(A), Lease::Dial(..)));
    assert_eq!(s.evicted(), ["y"]);
    // An hour later it is forgotten, if the route is not.
    let (_, slot) = match s.checkout(A) {
        Lease::Wait(ticket) => (ticket, None::<Slot>),
        Lease::Dial(ticket, slot) => (ticket, Some(slot)),
        other => panic!("{other:?}"),
    };
    assert!(slot.is_some());
}

#[test]
fn the_servers_hint_shortens_idling_with_slack() {
    for (hint, expected) in [(5, 4.0), (1, 0.5), (90, 55.0)] {
        let mut s = Scene::new(Limits::new());
        let slot = s.busy(A, "x");
        s.pool
            .park(s.now, slot, "x", Some(Duration::from_secs(hint)));
        let parked = s.now;
        while s.pool.gauges().idle > 0 {
            assert!(s.timeout());
        }
        assert_eq!(s.now - parked, Duration::from_secs_f64(expected), "{hint}");
    }
}

#[test]
fn what_cannot_be_sent_twice_takes_only_fresh_idle_connections() {
    let once = Ask {
        repeatable: false,
        ..Ask::default()
    };
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    s.park(slot, "x");
    s.pass(4.0);
    let Lease::Idle(slot, conn, age) = s.ask(A, once) else {
        panic!()
    };
    assert_eq!(age, Duration::from_secs(4));
    s.park(slot, conn);
    s.pass(4.1);
    let Lease::Dial(ticket, _) = s.ask(A, once) else {
        panic!()
    };
    // Others still take the old one, and a freed connection serves who waits.
    let (slot, conn) = s.idle(A);
    s.park(slot, conn);
    assert_eq!(s.taken(ticket).1, "x");

    for (idled, is_fresh) in [(20.0, true), (20.1, false)] {
        let mut s = Scene::new(Limits::new());
        let slot = s.busy(A, "x");
        s.pool.park(s.now, slot, "x", Some(Duration::from_secs(41)));
        s.pass(idled);
        let lease = s.ask(A, once);
        assert_eq!(
            matches!(lease, Lease::Idle(..)),
            is_fresh,
            "half of what the server allows"
        );
    }
}

#[test]
fn who_wants_a_new_connection_gets_none_that_has_served() {
    let fresh = Ask {
        fresh: true,
        ..Ask::default()
    };
    let mut s = Scene::new(Limits::new().total(2).per_origin(2));
    let x = s.busy(A, "x");
    let y = s.busy(A, "y");
    let Lease::Wait(wants_new) = s.ask(A, fresh) else {
        panic!()
    };
    let any = s.wait(A);
    s.park(x, "x");
    assert_eq!(s.poll(wants_new), None, "passed by");
    let (x, _) = s.taken(any);
    // With nobody else to take it, the old one makes room for a new one.
    s.park(y, "y");
    assert_eq!(s.evicted(), ["y"]);
    let slot = s.granted_dial(wants_new);
    s.connect(slot, "z");
    assert_eq!(s.taken(wants_new).1, "z");
    s.park(x, "x");
    assert_eq!(s.pool.gauges().idle, 1);
}

#[test]
fn a_failed_dial_is_charged_to_the_oldest_waiter_only() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let (first, slot) = s.dial(A);
    let (second, third) = (s.wait(A), s.wait(A));
    s.fail(slot, FaultKind::Refused);
    assert!(matches!(s.poll(first), Some(Err(Refusal::Dial(_)))));
    assert_eq!((s.poll(second), s.poll(third)), (None, None));
    // One probe, after a wait of at most 100 ms.
    let failed = s.now;
    assert!(s.timeout());
    assert!(s.now - failed <= Duration::from_millis(100));
    let slot = s.granted_dial(second);
    assert_eq!(s.pool.gauges().connecting, 1);
    s.connect(slot, "x");
    assert_eq!(s.taken(second).1, "x");
}

#[test]
fn a_fault_that_no_dial_can_get_past_fails_all_waiters() {
    for kind in [
        FaultKind::Certificate,
        FaultKind::Handshake,
        FaultKind::NameNotFound,
        FaultKind::InvalidAddress,
        FaultKind::Forbidden,
        FaultKind::TunnelRefused,
    ] {
        let mut s = Scene::new(Limits::new().per_origin(1));
        let (first, slot) = s.dial(A);
        let second = s.wait(A);
        s.fail(slot, kind);
        assert!(matches!(s.poll(first), Some(Err(Refusal::Dial(fault))) if fault.kind == kind));
        assert!(matches!(s.poll(second), Some(Err(Refusal::Dial(_)))));
    }
}

#[test]
fn a_dial_whose_runtime_went_away_holds_no_other_dial_back() {
    let mut s = Scene::new(Limits::new());
    let (first, slot) = s.dial(A);
    s.fail(slot, FaultKind::RuntimeGone);
    assert!(matches!(s.poll(first), Some(Err(Refusal::Dial(_)))));
    let (_, slot) = s.dial(A);
    s.fail(slot, FaultKind::Refused);
    assert!(matches!(s.checkout(A), Lease::Wait(_)));
}

#[test]
fn connect_backoff_grows_with_volleys_not_with_dials_and_stays_below_five_seconds() {
    let mut s = Scene::new(Limits::new().per_origin(8));
    let volley: Vec<_> = (0..8).map(|_| s.dial(A)).collect();
    let others: Vec<_> = (0..12).map(|_| s.wait(A)).collect();
    s.pass(0.01);
    for (_, slot) in volley {
        s.fail(slot, FaultKind::Refused);
    }
    let failed = s.now;
    assert!(
        s.timeout() && s.now - failed <= Duration::from_millis(100),
        "one volley is one sign"
    );
    let (mut most, mut longest) = (0.1_f64, 0.0_f64);
    for ticket in others {
        if let Some(Ok(Lease::Dial(_, slot))) = s.poll(ticket) {
            assert_eq!(s.pool.gauges().connecting, 1);
            s.fail(slot, FaultKind::Refused);
            let failed = s.now;
            most = (most * 2.0).min(5.0);
            while s.pool.gauges().waiting > 0 && s.pool.gauges().connecting == 0 && s.timeout() {}
            let waited = (s.now - failed).as_secs_f64();
            assert!(waited <= most + 1e-6);
            longest = longest.max(waited);
        }
    }
    assert!(longest > 1.0, "{longest}");
}

#[test]
fn whichever_comes_first_serves_the_oldest_a_freed_or_a_new_connection() {
    let mut s = Scene::new(Limits::new());
    let busy = s.busy(A, "old");
    let (first, first_dial) = s.dial(A);
    let (second, _) = s.dial(A);
    s.park(busy, "old");
    assert_eq!(s.taken(first).1, "old");
    s.connect(first_dial, "new");
    assert_eq!(s.taken(second).1, "new", "a dial is nobody's own");
}

#[test]
fn a_dial_that_nobody_waits_for_any_more_is_kept_where_there_is_room() {
    let mut s = Scene::new(Limits::new().idle_per_origin(1));
    let ((a, x), (b, y)) = (s.dial(A), s.dial(A));
    s.pool.cancel(s.now, a);
    s.pool.cancel(s.now, b);
    s.connect(x, "kept");
    s.connect(y, "surplus");
    assert_eq!(s.evicted(), ["surplus"]);
    assert_eq!(s.idle(A).1, "kept");
}

#[test]
fn a_dial_granted_and_not_begun_passes_to_the_next_or_frees_its_room() {
    let mut s = Scene::new(Limits::new().total(1));
    let busy = s.busy(A, "x");
    let (b, c) = (s.wait(B), s.wait(B));
    s.pool.discard(s.now, busy, Discard::Spent);
    assert_eq!(s.pool.gauges().connecting, 1);
    s.pool.cancel(s.now, b);
    assert_eq!(s.pool.gauges().connecting, 1);
    s.pool.cancel(s.now, c);
    assert_eq!(s.pool.gauges().total, 0);
}

#[test]
fn a_granted_dial_is_dropped_once_another_serves_all_who_still_wait() {
    let mut s = Scene::new(Limits::new().total(2));
    let (x, y) = (s.busy(B, "x"), s.busy(B, "y"));
    let (first, second) = (s.wait(A), s.wait(A));
    s.pool.discard(s.now, x, Discard::Spent);
    let dial = s.granted_dial(first);
    s.pool.discard(s.now, y, Discard::Spent);
    assert_eq!(s.pool.gauges().connecting, 2);
    s.pool.cancel(s.now, first);
    assert_eq!(s.poll(second), None);
    assert_eq!(s.pool.gauges().connecting, 1);
    s.connect(dial, "z");
    assert_eq!(s.taken(second).1, "z");
}

#[test]
fn routes_held_up_by_the_total_limit_take_turns() {
    let mut s = Scene::new(Limits::new().total(2));
    let mut out = vec![(A, s.busy(A, "c")), (A, s.busy(A, "c"))];
    let mut queues: Vec<(&str, Vec<Ticket>)> = [A, B, C]
        .iter()
        .map(|&route| (route, (0..2).map(|_| s.wait(route)).collect()))
        .collect();
    let mut served = Vec::new();
    for _ in 0..300 {
        // The connection that has been out longest comes back.
        let (_, slot) = out.remove(0);
        s.park(slot, "c");
        for (route, tickets) in &mut queues {
            let mut ticket = 0;
            while ticket < tickets.len() {
                match s.pool.poll_lease(s.now, tickets[ticket]) {
                    Some(Ok(Lease::Dial(_, slot))) => {
                        let conn = Connection::Exclusive("c");
                        s.pool.handle_connected(s.now, slot, conn, &mut s.rng);
                    }
                    Some(Ok(Lease::Idle(slot, ..))) => {
                        out.push((route, slot));
                        served.push(*route);
                        let Ok(Lease::Wait(next)) = s.pool.checkout(s.now, route, Ask::default())
                        else {
                            panic!("there is always somebody waiting")
                        };
                        tickets.remove(ticket);
                        tickets.push(next);
                    }
                    Some(other) => panic!("{other:?}"),
                    None => ticket += 1,
                }
            }
        }
        s.pass(0.001);
    }
    assert!(served.len() >= 290, "{}", served.len());
    for window in served.windows(30) {
        for route in [A, B, C] {
            let got = window.iter().filter(|served| **served == route).count();
            assert!(got >= 30 / 3 - 1, "{route} got {got} of 30");
        }
    }
}

#[test]
fn a_route_that_is_not_alone_keeps_its_share_without_churn() {
    // Four connections, two routes: two each, and from then on no connection is closed.
    let mut s = Scene::new(Limits::new().total(4));
    let mut out: Vec<_> = (0..4).map(|_| (A, s.busy(A, "c"))).collect();
    let mut tickets: Vec<_> = (0..3)
        .flat_map(|_| [(A, s.wait(A)), (B, s.wait(B))])
        .collect();
    let mut closed = 0;
    for _ in 0..200 {
        let (_, slot) = out.remove(0);
        s.park(slot, "c");
        closed += s.evicted().len();
        let mut place = 0;
        while place < tickets.len() {
            let (route, ticket) = tickets[place];
            match s.poll(ticket) {
                Some(Ok(Lease::Dial(_, slot))) => s.connect(slot, "c"),
                Some(Ok(Lease::Idle(slot, ..))) => {
                    out.push((route, slot));
                    tickets.remove(place);
                    tickets.push((route, s.wait(route)));
                }
                Some(other) => panic!("{other:?}"),
                None => place += 1,
            }
        }
    }
    assert_eq!(closed, 2);
    assert_eq!(out.iter().filter(|(route, _)| *route == A).count(), 2);
}

#[test]
fn a_route_that_was_at_its_own_limit_has_its_turn_in_the_round_under_way() {
    let mut s = Scene::new(Limits::new().total(3).per_origin(2));
    let (gone, _busy) = (s.busy(A, "a"), s.busy(A, "a"));
    let back = s.busy(B, "b");
    let ours = s.wait(A);
    let (first, second) = (s.wait(B), s.wait(B));
    // The other route has its turn.
    s.park(back, "b");
    let _ = s.taken(first);
    s.pool.discard(s.now, gone, Discard::Spent);
    let _ = s.granted_dial(ours);
    assert_eq!(s.poll(second), None);
}

#[test]
fn a_connection_past_its_lifetime_is_closed_when_it_comes_back() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    s.pass(600.1);
    s.park(slot, "x");
    assert_eq!((s.evicted(), s.pool.gauges().total), (vec!["x"], 0));
}

#[test]
fn limits_on_idle_connections_close_the_oldest() {
    let mut s = Scene::new(Limits::new().idle(3).idle_per_origin(2));
    let slots: Vec<_> = [(A, "1"), (A, "2"), (A, "3"), (B, "4"), (B, "5")]
        .map(|(r, c)| (s.busy(r, c), c))
        .into();
    for (slot, conn) in slots {
        s.park(slot, conn);
    }
    assert_eq!(s.evicted(), ["1", "2"]);
    let mut hinted = Scene::new(Limits::new().idle_per_origin(2));
    for (slot, conn) in ["1", "2", "3"].map(|conn| (hinted.busy(A, conn), conn)) {
        let hint = Some(Duration::from_secs(30));
        hinted.pool.park(hinted.now, slot, conn, hint);
    }
    assert_eq!(hinted.evicted(), ["1"]);
    let mut none = Scene::new(Limits::new().idle(0));
    let slot = none.busy(A, "x");
    none.park(slot, "x");
    assert_eq!((none.evicted(), none.pool.gauges().total), (vec!["x"], 0));
}

#[test]
fn siblings_idle_as_long_as_a_stale_one_are_evicted() {
    let mut s = Scene::new(Limits::new());
    let slots = ["1", "2", "3"].map(|conn| (s.busy(A, conn), conn));
    for (slot, conn) in slots {
        s.park(slot, conn);
        s.pass(1.0);
    }
    s.pool.evict_idle(s.now, A, Duration::from_secs(2));
    assert_eq!(s.evicted(), ["1", "2"]);
    assert_eq!(s.idle(A).1, "3");
}

#[test]
fn a_grant_that_nobody_took_has_idled_since_it_was_made() {
    let mut s = Scene::new(Limits::new());
    let older = s.busy(A, "older");
    let (ticket, slot) = s.dial(A);
    s.connect(slot, "granted");
    s.pass(10.0);
    s.park(older, "parked");
    s.pool.cancel(s.now, ticket);
    // The one that has idled for longest is the last in the order of coming back.
    s.pool.evict_idle(s.now, A, Duration::from_secs(5));
    assert_eq!(s.evicted(), ["granted"]);
    assert_eq!(s.idle(A).1, "parked");
}

#[test]
fn the_queue_has_a_bound() {
    let mut s = Scene::new(Limits::new().total(1).waiters(2));
    let _busy = s.busy(A, "x");
    let _tickets = (s.wait(A), s.wait(B));
    assert_eq!(
        s.pool.checkout(s.now, C, Ask::default()),
        Err(Refusal::QueueFull)
    );
}

#[test]
fn closing_refuses_who_waits_and_who_comes_and_evicts_what_returns() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let idle = s.busy(B, "idle");
    s.park(idle, "idle");
    let busy = s.busy(A, "busy");
    let waiting = s.wait(A);
    let (dialling, dial) = s.dial(C);
    s.pool.close(s.now);
    assert_eq!(s.poll(waiting), Some(Err(Refusal::Closed)));
    assert_eq!(s.poll(dialling), Some(Err(Refusal::Closed)));
    assert_eq!(
        s.pool.checkout(s.now, A, Ask::default()),
        Err(Refusal::Closed)
    );
    s.park(busy, "busy");
    s.connect(dial, "late");
    assert_eq!(s.evicted(), ["idle", "busy", "late"]);
    assert_eq!(s.pool.gauges().total, 0);
}

#[test]
fn a_shared_connection_goes_with_its_last_part_once_the_pool_is_closed() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(ticket, x) = s.ask(A, cold()) else {
        panic!()
    };
    s.share(x, 1, 10);
    assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(..)))));
    s.pool.close(s.now);
    assert_eq!(s.pool.gauges().busy, 1);
    s.pool.release(s.now, x);
    assert_eq!(s.pool.poll_evicted_shared(), Some(1));
    assert_eq!(s.pool.gauges().total, 0);
}

#[test]
fn a_route_with_nothing_in_it_is_forgotten_after_a_minute_with_its_budget() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    assert!(s.pool.slot_budget(slot).is_some());
    s.pool.budget(s.now, A).handle_first_attempt(s.now);
    s.pool.discard(s.now, slot, Discard::Spent);
    assert!(s.pool.slot_budget(slot).is_none());
    let emptied = s.now;
    assert_eq!(s.pool.routes(), 1);
    while s.pool.routes() > 0 {
        assert!(s.timeout());
    }
    assert!(s.now - emptied >= Duration::from_secs(60));
    assert!(s.now - emptied <= Duration::from_secs(180));
}

#[test]
fn a_route_whose_budget_never_recovers_is_forgotten_after_ten_minutes() {
    let budget = BudgetConfig {
        refill: 0.0,
        ..BudgetConfig::default()
    };
    let mut s = Scene::with(Config {
        budget,
        ..Config::new()
    });
    let emptied = s.now;
    assert!(s.pool.budget(s.now, A).withdraw(emptied, Cost::Fast));
    while s.pool.routes() > 0 {
        assert!(s.timeout());
        assert!(s.now - emptied <= Duration::from_secs(660));
    }
    assert!(s.now - emptied >= Duration::from_secs(600));
}

#[test]
fn shared_connections_are_picked_by_load_and_drain_without_losing_parts() {
    let mut s = Scene::new(Limits::new());
    let ((a, x), (b, y)) = (s.dial(A), s.dial(A));
    s.share(x, 1, 3);
    s.share(y, 2, 3);
    let part = |s: &mut Scene, ticket| match s.poll(ticket) {
        Some(Ok(Lease::Share(slot, conn))) => (slot, conn),
        other => panic!("{other:?}"),
    };
    let first = part(&mut s, a);
    let _ = part(&mut s, b);
    let take = |s: &mut Scene| match s.checkout(A) {
        Lease::Share(slot, conn) => (slot, conn),
        other => panic!("{other:?}"),
    };
    let picked: Vec<u32> = (0..4).map(|_| take(&mut s).1).collect();
    assert_eq!(picked, [2, 2, 1, 2], "the less loaded, of equals the older");

    let mut s = Scene::new(Limits::new());
    let (ticket, x) = s.dial(A);
    s.share(x, 1, 2);
    let (part_slot, _) = part(&mut s, ticket);
    assert_eq!(part_slot, x);
    s.pool.handle_draining(s.now, x);
    assert_eq!(s.pool.poll_evicted_shared(), Some(1));
    assert_eq!((s.pool.gauges().draining, s.pool.gauges().total), (1, 1));
    assert!(
        matches!(s.checkout(A), Lease::Dial(..)),
        "a draining one takes nobody"
    );
    s.pool.release(s.now, x);
    s.pool.release(s.now, x);
    assert_eq!(s.pool.gauges().draining, 0);
    let _ = first;
}

#[test]
fn a_lowered_capacity_gives_no_part_until_enough_are_back() {
    let mut s = Scene::new(Limits::new().shared_per_origin(1));
    let Lease::Dial(ticket, x) = s.ask(A, cold()) else {
        panic!()
    };
    s.share(x, 1, 10);
    assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(..)))));
    for _ in 0..4 {
        assert!(matches!(s.ask(A, cold()), Lease::Share(..)));
    }
    s.pool.handle_capacity(s.now, x, 2);
    let Lease::Wait(waiting) = s.ask(A, cold()) else {
        panic!()
    };
    for _ in 0..3 {
        s.pool.release(s.now, x);
        assert_eq!(s.poll(waiting), None);
    }
    s.pool.release(s.now, x);
    assert!(matches!(s.poll(waiting), Some(Ok(Lease::Share(..)))));
    // A raised one serves the queue at once.
    let _full = s.ask(A, cold());
    let Lease::Wait(waiting) = s.ask(A, cold()) else {
        panic!()
    };
    s.pool.handle_capacity(s.now, x, 8);
    assert!(matches!(s.poll(waiting), Some(Ok(Lease::Share(..)))));
}

#[test]
fn an_unused_shared_connection_idles_and_expires_as_others_do() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(ticket, x) = s.ask(A, cold()) else {
        panic!()
    };
    s.share(x, 1, 10);
    assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(..)))));
    s.pool.release(s.now, x);
    assert_eq!(s.pool.gauges().idle, 1);
    assert!(matches!(s.ask(A, cold()), Lease::Share(..)));
    s.pool.release(s.now, x);
    let rested = s.now;
    while s.pool.gauges().total > 0 {
        assert!(s.timeout());
    }
    assert_eq!(s.now - rested, Duration::from_secs(55));
    assert_eq!(s.pool.poll_evicted_shared(), Some(1));
}

#[test]
fn expiry_is_bounded_in_one_call_and_goes_on_in_the_next() {
    let mut s = Scene::new(
        Limits::new()
            .total(2_000)
            .per_origin(2_000)
            .idle(2_000)
            .idle_per_origin(2_000),
    );
    let slots: Vec<_> = (0..1_000).map(|_| s.busy(A, "x")).collect();
    for slot in slots {
        s.park(slot, "x");
    }
    s.pass(56.0);
    let mut calls = 0;
    while s.pool.gauges().idle > 0 {
        let before = s.pool.gauges().idle;
        assert!(s.timeout());
        assert!(before - s.pool.gauges().idle <= 256);
        assert!(s.pool.poll_timeout().is_none_or(|at| at > s.now));
        calls += 1;
    }
    assert!(calls >= 4);
}

#[test]
fn bodies_that_nobody_reads_are_drained_four_at_a_time() {
    let mut s = Scene::new(Limits::new());
    let slots: Vec<_> = (0..5).map(|_| s.busy(A, "x")).collect();
    let granted: Vec<_> = slots.iter().map(|slot| s.pool.drain(*slot)).collect();
    assert_eq!(granted, [true, true, true, true, false]);
    s.park(slots[0], "x");
    assert_eq!((s.pool.gauges().draining, s.pool.gauges().idle), (3, 1));
}

#[test]
fn the_connection_that_has_idled_longest_can_be_asked_for_its_descriptor() {
    let mut s = Scene::new(Limits::new());
    for (route, conn) in [(A, "old"), (B, "young")] {
        let slot = s.busy(route, conn);
        s.pass(1.0);
        s.park(slot, conn);
    }
    s.pool.give_up_oldest(s.now);
    assert_eq!(s.pool.gauges().idle, 1);
    assert!(matches!(s.checkout(B), Lease::Idle(_, "young", _)));
    assert!(matches!(s.checkout(A), Lease::Dial(..)));
    s.pool.give_up_oldest(s.now);
}

#[test]
fn a_dial_that_succeeds_ends_the_backoff_of_the_failures_before_it() {
    let mut s = Scene::new(Limits::new());
    let (ticket, slot) = s.dial(A);
    s.fail(slot, FaultKind::Refused);
    assert!(matches!(s.poll(ticket), Some(Err(Refusal::Dial(_)))));
    s.pass(1.0);
    let _busy = s.busy(A, "x");
    let _both = (s.dial(A), s.dial(A));
    assert_eq!(s.pool.gauges().connecting, 2);
}

#[test]
fn an_asker_is_woken_by_its_tag_and_what_is_evicted_is_news_too() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let slot = s.busy(A, "x");
    while s.pool.poll_wake().is_some() {}
    assert!(!s.pool.has_news());
    let ask = Ask {
        tag: 7,
        ..Ask::default()
    };
    let Lease::Wait(ticket) = s.ask(A, ask) else {
        panic!("a second connection")
    };
    assert!(!s.pool.has_news());
    s.park(slot, "x");
    assert!(s.pool.has_news());
    assert_eq!((s.pool.poll_wake(), s.pool.poll_wake()), (Some(7), None));
    assert!(!s.pool.has_news());
    let (slot, _) = s.taken(ticket);
    s.pass(600.0);
    s.park(slot, "x");
    assert!(s.pool.has_news());
    assert_eq!(s.evicted(), ["x"]);
    assert!(!s.pool.has_news());
}

#[test]
fn each_route_is_counted_for_itself() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "idle");
    let _busy = s.busy(A, "busy");
    s.park(slot, "idle");
    let (a, b) = (s.pool.route_gauges(A), s.pool.route_gauges(B));
    assert_eq!((a.busy, a.idle, a.total), (1, 1, 2));
    assert_eq!((b.busy, b.idle, b.total), (0, 0, 0));
}

#[test]
fn the_busiest_routes_are_counted_one_by_one_and_the_others_together() {
    let mut s = Scene::new(Limits::new().per_origin(2));
    let slot = s.busy(C, "c");
    s.park(slot, "c");
    let (_b, _first, _second) = (s.busy(B, "b"), s.busy(B, "b"), s.wait(B));
    let _a = s.busy(A, "a");
    let by_route = s.pool.by_route(2);
    let rows = by_route.routes.iter().map(|row| {
        let Gauges { total, waiting, .. } = row.gauges;
        (&*row.route, total, waiting, row.limit)
    });
    // Of as many connections the alphabet decides.
    assert_eq!(rows.collect::<Vec<_>>(), [(B, 2, 1, 2), (A, 1, 0, 2)]);
    let rest = (by_route.others, by_route.other.idle, by_route.other.total);
    assert_eq!(rest, (1, 1, 1));
    let mut sum = by_route.other;
    for row in by_route.routes {
        sum += row.gauges;
    }
    assert_eq!(sum, s.pool.gauges());
    let none = s.pool.by_route(0);
    assert_eq!((none.routes.len(), none.other), (0, s.pool.gauges()));
}

#[test]
fn only_a_connection_that_had_idled_and_was_stale_teaches_how_long_a_server_waits() {
    for (idled, why) in [(0.0, Discard::Stale), (5.0, Discard::Spent)] {
        let mut s = Scene::new(Limits::new());
        let mut slot = s.busy(A, "x");
        if idled > 0.0 {
            s.park(slot, "x");
            s.pass(idled);
            slot = s.idle(A).0;
        }
        s.pool.discard(s.now, slot, why);
        let slot = s.busy(A, "y");
        s.park(slot, "y");
        s.pass(10.0);
        assert_eq!(s.idle(A).1, "y");
    }
}

#[test]
fn connections_made_together_retire_within_a_tenth_of_their_lifetime_and_apart() {
    let lifetime = Some(Duration::from_secs(600));
    let mut s = Scene::with(Config {
        idle_timeout: lifetime,
        max_lifetime: lifetime,
        ..Config::new()
    });
    let made = s.now;
    for slot in ["1", "2", "3", "4"].map(|conn| (s.busy(A, conn), conn)) {
        s.park(slot.0, slot.1);
    }
    let mut retired = Vec::new();
    while s.pool.gauges().idle > 0 {
        assert!(s.timeout());
        retired.extend(s.evicted().iter().map(|_| s.now - made));
    }
    assert!(
        retired
            .iter()
            .all(|age| (540..=600).contains(&age.as_secs()))
    );
    retired.dedup();
    assert_eq!(retired.len(), 4, "{retired:?}");
}

#[test]
fn a_refusal_says_why() {
    let fault = Fault::new(FaultKind::Refused, Phase::Connect);
    for (refusal, text) in [
        (
            Refusal::QueueFull,
            "too many requests wait for a connection",
        ),
        (Refusal::Closed, "the client is closed"),
        (
            Refusal::Dial(fault),
            "could not connect: connection refused",
        ),
    ] {
        assert_eq!(refusal.to_string(), text);
    }
}

#[test]
fn a_route_known_to_share_whose_connection_is_gone_dials_at_once() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(ticket, slot) = s.ask(A, cold()) else {
        panic!()
    };
    s.share(slot, 1, 10);
    assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(..)))));
    s.pool.release(s.now, slot);
    while s.pool.gauges().total > 0 {
        assert!(s.timeout());
    }
    assert!(matches!(s.ask(A, cold()), Lease::Dial(..)));
}

#[test]
fn of_dials_that_nobody_waits_for_the_youngest_not_yet_in_tls_is_given_up_and_told() {
    let mut s = Scene::new(Limits::new().idle_per_origin(1));
    let dials: Vec<_> = (0..4).map(|_| s.dial(A)).collect();
    for (tag, (_, slot)) in (100..).zip(&dials) {
        assert!(s.pool.watch_dial(*slot, tag));
    }
    s.pool.handle_opened(dials[3].1);
    for (ticket, _) in &dials {
        s.pool.cancel(s.now, *ticket);
    }
    let told: Vec<_> = std::iter::from_fn(|| s.pool.poll_wake()).collect();
    assert_eq!(told, [102, 101, 100]);
    assert_eq!(s.pool.gauges().connecting, 1);
    assert!(!s.pool.watch_dial(dials[0].1, 100));
    s.connect(dials[3].1, "kept");
    assert_eq!(s.idle(A).1, "kept");
}

#[test]
fn ten_thousand_cancelled_dials_leave_few_behind() {
    let mut s = Scene::new(
        Limits::new()
            .total(10_000)
            .per_origin(10_000)
            .idle_per_origin(8),
    );
    let dials: Vec<_> = (0..10_000).map(|_| s.dial(A)).collect();
    for (ticket, _) in dials {
        s.pool.cancel(s.now, ticket);
    }
    assert_eq!(s.pool.gauges().connecting, 8);
}

#[test]
fn a_dial_granted_to_an_asker_who_is_not_polled_goes_to_who_comes() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let busy = s.busy(A, "x");
    let (asleep, awake) = (s.wait(A), s.wait(A));
    s.pool.discard(s.now, busy, Discard::Spent);
    // The dial is granted to the first, who does not take it.
    let slot = s.granted_dial(awake);
    assert_eq!(s.poll(asleep), None);
    s.connect(slot, "y");
    assert_eq!(
        s.taken(asleep).1,
        "y",
        "the oldest is served first, as ever"
    );

    let mut s = Scene::new(Limits::new().per_origin(1));
    let busy = s.busy(A, "x");
    let asleep = s.wait(A);
    s.pool.discard(s.now, busy, Discard::Spent);
    let (newcomer, slot) = s.dial(A);
    s.pool.cancel(s.now, asleep);
    s.connect(slot, "y");
    assert_eq!(s.taken(newcomer).1, "y");
}

#[test]
fn closing_gives_up_every_dial() {
    let mut s = Scene::new(Limits::new());
    let (_, x) = s.dial(A);
    let (_, y) = s.dial(B);
    assert!(s.pool.watch_dial(x, 7) && s.pool.watch_dial(y, 8));
    s.pool.handle_opened(y);
    s.pool.close(s.now);
    let told: Vec<_> = std::iter::from_fn(|| s.pool.poll_wake()).collect();
    assert!(told.contains(&7) && told.contains(&8));
    assert_eq!(s.pool.gauges().total, 0);
}

#[test]
fn new_connections_that_end_before_a_response_make_the_next_dial_wait_longer_each_time() {
    let mut s = Scene::new(Limits::new());
    let mut most = 0.0_f64;
    for row in 0..12 {
        let (ticket, dial) = match s.checkout(A) {
            Lease::Dial(ticket, dial) => (ticket, dial),
            Lease::Wait(ticket) => {
                let asked = s.now;
                while s.pool.gauges().connecting == 0 {
                    assert!(s.timeout());
                }
                let waited = (s.now - asked).as_secs_f64();
                assert!(waited <= (0.1 * 2f64.powi(row - 1)).min(5.0), "{waited}");
                most = most.max(waited);
                (ticket, s.granted_dial(ticket))
            }
            other => panic!("{other:?}"),
        };
        s.connect(dial, "x");
        let (slot, _) = s.taken(ticket);
        s.pool.handle_stillborn(s.now, slot, &mut s.rng);
        assert_eq!(s.pool.gauges().total, 0);
    }
    assert!(most > 0.5, "it grows: {most}");
    // One response ends the row.
    s.pass(5.0);
    for is_kept in [true, false] {
        let slot = s.busy(A, "y");
        s.pool.handle_stillborn(s.now, slot, &mut s.rng);
        s.pass(5.0);
        let slot = s.busy(A, "z");
        if is_kept {
            s.park(slot, "z");
            s.pool.evict_idle(s.now, A, Duration::ZERO);
        } else {
            s.pool.discard(s.now, slot, Discard::Answered);
        }
        let slot = s.busy(A, "y");
        s.pool.handle_stillborn(s.now, slot, &mut s.rng);
        s.pass(0.1001);
        assert!(s.timeout());
        let slot = s.busy(A, "w");
        s.pool.discard(s.now, slot, Discard::Answered);
    }
}

#[test]
fn who_closes_a_pool_is_told_when_nothing_is_left_of_it() {
    let mut s = Scene::new(Limits::new());
    assert!(!s.pool.poll_closed(1), "it is not closed");
    s.pool.cancel_closed(1);
    let (x, y) = (s.busy(A, "x"), s.busy(A, "y"));
    while s.pool.poll_wake().is_some() {}
    s.pool.close(s.now);
    assert!(!s.pool.poll_closed(1) && !s.pool.poll_closed(2) && !s.pool.poll_closed(1));
    s.park(x, "x");
    assert_eq!(s.pool.poll_wake(), None);
    s.pool.close(s.now);
    s.pool.discard(s.now, y, Discard::Spent);
    let told: Vec<_> = std::iter::from_fn(|| s.pool.poll_wake()).collect();
    assert_eq!(told, [1, 2]);
    assert!(s.pool.poll_closed(3));
}

/// A shared connection of a route that knows nothing else, and its first part taken.
fn shared(s: &mut Scene, route: &str, conn: u32) -> Slot {
    let (ticket, slot) = s.dial(route);
    s.share(slot, conn, 10);
    assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(..)))));
    slot
}

#[test]
fn a_shared_connection_past_its_time_gives_no_further_part() {
    let mut s = Scene::new(Limits::new());
    let _busy = shared(&mut s, A, 1);
    s.pass(601.0);
    assert!(matches!(s.checkout(A), Lease::Dial(..)), "retired");
    let mut s = Scene::new(Limits::new());
    let slot = shared(&mut s, A, 1);
    s.pool.release(s.now, slot);
    assert!(matches!(s.checkout(A), Lease::Share(..)));
    s.pass(60.0);
    assert!(matches!(s.checkout(A), Lease::Share(..)), "at work");
    s.pool.release(s.now, slot);
    s.pool.release(s.now, slot);
    s.pass(56.0);
    assert!(matches!(s.checkout(A), Lease::Dial(..)), "idle too long");
}

#[test]
fn limits_on_idle_connections_hold_for_shared_ones() {
    let mut s = Scene::new(Limits::new().idle(1));
    let (a, b) = (shared(&mut s, A, 1), shared(&mut s, B, 2));
    s.pool.release(s.now, a);
    assert_eq!(s.pool.gauges().idle, 1);
    s.pool.release(s.now, b);
    assert_eq!(s.pool.gauges().idle, 1);
    assert_eq!(s.pool.poll_evicted_shared(), Some(1));
}

/// A.10.11, and the range in which a busy connection may still serve waiters.
#[test]
fn a_refresh_that_drops_an_address_closes_idle_connections_to_it_and_busy_ones_after_use() {
    let mut s = Scene::new(Limits::new());
    let (gone, stays) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let open = |s: &mut Scene, addr: IpAddr, conn: Conn| {
        let (ticket, slot) = s.dial(A);
        s.pool.note_address(slot, Some(addr));
        s.connect(slot, conn);
        s.taken(ticket).0
    };
    let idle = open(&mut s, gone, "idle");
    let busy = open(&mut s, gone, "busy");
    let other = open(&mut s, stays, "other");
    s.park(idle, "idle");
    s.park(other, "other");
    s.pool.handle_addresses(s.now, A, &[stays], &mut s.rng);
    assert_eq!(s.evicted(), ["idle"]);
    s.park(busy, "busy");
    assert_eq!(s.evicted(), ["busy"]);
    let gauges = s.pool.gauges();
    assert_eq!((gauges.idle, gauges.busy), (1, 0));
}

#[test]
fn a_route_follows_its_name_as_long_as_a_connection_would_have_to_leave() {
    let mut s = Scene::new(Limits::new());
    let addr = IpAddr::from([192, 0, 2, 1]);
    let open = |s: &mut Scene, addr: Option<IpAddr>| {
        let (ticket, slot) = s.dial(A);
        s.pool.note_address(slot, addr);
        s.connect(slot, "x");
        s.taken(ticket).0
    };
    open(&mut s, None);
    assert!(!s.pool.is_following(A));
    let (upgraded, closed) = (open(&mut s, Some(addr)), open(&mut s, Some(addr)));
    let (leaving, idle) = (open(&mut s, Some(addr)), open(&mut s, Some(addr)));
    s.pool.handle_upgraded(upgraded);
    s.pool.discard(s.now, closed, Discard::Spent);
    s.park(idle, "idle");
    assert!(s.pool.is_following(A));
    s.pool
        .handle_addresses(s.now, A, &[[192, 0, 2, 2].into()], &mut s.rng);
    assert!(!s.pool.is_following(A));
    assert_eq!(s.evicted(), ["idle"]);
    s.park(leaving, "leaving");
    assert_eq!(s.evicted(), ["leaving"]);
    // The place of one that followed tells nothing of the next one there.
    for _ in 0..3 {
        open(&mut s, None);
    }
    assert!(!s.pool.is_following(A) && !s.pool.is_following(B));
    assert_eq!(s.pool.gauges().busy, 5);
}

#[test]
fn a_busy_connection_to_a_dropped_address_serves_waiters_for_half_a_minute_at_most() {
    let mut s = Scene::new(Limits::new().per_origin(1));
    let (ticket, slot) = s.dial(A);
    s.pool.note_address(slot, Some([192, 0, 2, 1].into()));
    s.connect(slot, "x");
    let slot = s.taken(ticket).0;
    s.pool
        .handle_addresses(s.now, A, &[[192, 0, 2, 2].into()], &mut s.rng);
    s.pass(4.9);
    let next = s.wait(A);
    s.park(slot, "x");
    let slot = s.taken(next).0;
    s.pass(25.2);
    let last = s.wait(A);
    s.park(slot, "x");
    assert_eq!(s.evicted(), ["x"]);
    s.granted_dial(last);
}

#[test]
fn an_untaken_dial_of_one_who_is_shed_is_the_newcomers_even_while_dials_back_off() {
    let mut s = Scene::new(Limits::new().per_origin(2).waiters(2));
    let busy = s.busy(A, "x");
    let (_, dial) = s.dial(A);
    let bulk = Ask {
        lane: Lane::Bulk,
        ..Ask::default()
    };
    let Lease::Wait(idler) = s.ask(A, bulk) else {
        panic!("the route is full");
    };
    // Its dial is granted to one whom nobody polls.
    s.pool.discard(s.now, busy, Discard::Spent);
    s.fail(dial, FaultKind::Refused);
    let _elsewhere = s.dial(B);
    let preview = s.pool.preview(s.now, A, Ask::default());
    assert_eq!(preview, Preview::Dial { evicts: false });
    let newcomer = s.checkout(A);
    assert!(matches!(newcomer, Lease::Dial(..)), "{newcomer:?}");
    assert_eq!(s.poll(idler), Some(Err(Refusal::QueueFull)));
}
