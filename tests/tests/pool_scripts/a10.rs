//! POLICIES A.10, row by row.

use super::*;

/// What happens, and the script in which it does.
const SCRIPTS: [(&str, fn()); 17] = [
    (
        "1. limit 1, A busy, B, C queued; A released; in the same tick D arrives: order B, C, D",
        a_freed_connection_goes_down_the_queue_and_no_newcomer_overtakes,
    ),
    (
        "2. as 1, B cancelled in the tick of release: C gets it; total stays 1",
        a_grant_that_is_cancelled_in_the_tick_of_the_release_goes_to_the_next,
    ),
    (
        "3. cancel a request in Connecting 10 000 times: total <= limit, a new request succeeds",
        ten_thousand_cancelled_dials_leave_nothing_behind,
    ),
    (
        "3. n_connecting returns to <= 1",
        ten_thousand_cancelled_dials_leave_few_behind,
    ),
    (
        "4. 1000 cold requests, ALPN h2, limit 100: connects = 1; 100 streams at once",
        a_thousand_cold_requests_open_one_shared_connection_and_fill_it,
    ),
    (
        "4. a 2nd connection after 20 ms if h2_max_conns = 2",
        a_second_shared_connection_opens_once_the_first_is_full_for_a_while,
    ),
    (
        "5. same, ALPN h1: 1 + 63 connects, hint kept",
        a_probe_that_finds_an_exclusive_connection_lets_all_dial_and_is_remembered,
    ),
    ("5. second burst starts 64 at once", a_second_burst),
    (
        "6. total limit 2: X (idle 2) and Y needs one: X's LRU idle is closed, Y connects",
        an_idle_connection_of_another_route_makes_room,
    ),
    (
        "7. GOAWAY(last=3) with streams 1,3,5,7: 5 and 7 on a new connection, 1 and 3 finish",
        goaway,
    ),
    (
        "8. MAX_CONCURRENT_STREAMS 100 -> 10 with 50 open: no new stream until 9 are open",
        fewer_streams,
    ),
    (
        "9. idle connection receives a 408, then FIN: removed, learned_idle updated",
        a_connection_that_spoke_while_idle_is_removed_and_its_age_learned,
    ),
    (
        "10. idle TLS connection receives a NewSessionTicket record only: stays",
        a_quiet_connection,
    ),
    (
        "11. DNS refresh drops address P: idle to P closed in the same tick, busy after its response",
        a_refresh_that_drops_an_address_closes_idle_connections_to_it_and_busy_ones_after_use,
    ),
    (
        "11. and serves waiters for a while",
        a_busy_connection_to_a_dropped_address_serves_waiters_for_half_a_minute_at_most,
    ),
    (
        "12. suspend of 1 h: no idle connection is used, even before the timer is handled",
        suspended_for_an_hour,
    ),
    (
        "12. what was looked at meanwhile is not used either",
        suspended_during_a_look,
    ),
];

#[test]
fn every_script_of_a_10_ends_as_it_says() {
    for (what, script) in SCRIPTS {
        println!("{what}");
        script();
    }
}

fn a_second_burst() {
    let mut s = Scene::new(Limits::new().total(512).per_origin(64));
    let Lease::Dial(first, slot) = s.ask(A, cold()) else {
        panic!("the probe")
    };
    s.connect(slot, "h1");
    let (slot, _) = s.taken(first);
    s.pool.discard(s.now, slot, Discard::Answered);
    s.pass(30.0);
    let burst: Vec<_> = (0..80).map(|_| s.ask(A, cold())).collect();
    let is_dial = |lease: &&Lease<Conn, u32>| matches!(lease, Lease::Dial(..));
    assert_eq!(burst.iter().filter(is_dial).count(), 64);
    assert_eq!(s.pool.gauges().connecting, 64);
}

fn goaway() {
    let mut s = Scene::new(Limits::new());
    let Lease::Dial(first, old) = s.ask(A, cold()) else {
        panic!("the probe")
    };
    s.share(old, 1, 100);
    assert!(matches!(s.poll(first), Some(Ok(Lease::Share(_, 1)))));
    for _ in 0..3 {
        assert!(matches!(s.ask(A, cold()), Lease::Share(_, 1)));
    }
    s.pool.handle_draining(s.now, old);
    assert_eq!(s.pool.poll_evicted_shared(), Some(1));
    // Streams 5 and 7 give their parts back and ask again.
    s.pool.release(s.now, old);
    s.pool.release(s.now, old);
    let Lease::Dial(fifth, new) = s.ask(A, cold()) else {
        panic!("a new connection")
    };
    let Lease::Wait(seventh) = s.ask(A, cold()) else {
        panic!("the same")
    };
    s.share(new, 2, 100);
    for ticket in [fifth, seventh] {
        assert!(matches!(s.poll(ticket), Some(Ok(Lease::Share(_, 2)))));
    }
    // Streams 1 and 3 finish, on a connection that counts until then.
    let counts = |s: &Scene| (s.pool.gauges().draining, s.pool.gauges().total);
    assert_eq!(counts(&s), (1, 2));
    s.pool.release(s.now, old);
    assert_eq!(counts(&s), (1, 2));
    s.pool.release(s.now, old);
    assert_eq!(counts(&s), (0, 1));
    assert!(matches!(s.ask(A, cold()), Lease::Share(_, 2)));
}

fn fewer_streams() {
    let mut s = Scene::new(Limits::new().shared_per_origin(1));
    let Lease::Dial(first, conn) = s.ask(A, cold()) else {
        panic!("the probe")
    };
    s.share(conn, 1, 100);
    assert!(matches!(s.poll(first), Some(Ok(Lease::Share(..)))));
    for _ in 1..50 {
        assert!(matches!(s.ask(A, cold()), Lease::Share(..)));
    }
    s.pool.handle_capacity(s.now, conn, 10);
    let Lease::Wait(waiting) = s.ask(A, cold()) else {
        panic!("50 are open")
    };
    for open in (10..50).rev() {
        s.pool.release(s.now, conn);
        assert_eq!(s.poll(waiting), None, "{open} are open");
    }
    s.pool.release(s.now, conn);
    assert!(matches!(s.poll(waiting), Some(Ok(Lease::Share(..)))));
}

fn a_quiet_connection() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "tls");
    s.park(slot, "tls");
    s.pass(10.0);
    // TLS has taken the record: there is nothing for HTTP, hence it is quiet.
    let (slot, conn) = s.lent();
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!((s.evicted(), s.pool.gauges().idle), (vec![], 1));
    assert_eq!(s.idle(A).1, "tls");
}

fn suspended_for_an_hour() {
    let mut s = Scene::new(Limits::new());
    let slots = ["x", "y"].map(|name| (s.busy(A, name), name));
    for (slot, name) in slots {
        s.park(slot, name);
    }
    s.pass(3_600.0);
    let (ticket, slot) = s.dial(A);
    let mut evicted = s.evicted();
    evicted.sort_unstable();
    assert_eq!(evicted, ["x", "y"]);
    s.connect(slot, "new");
    assert_eq!(s.taken(ticket).1, "new");
}

fn suspended_during_a_look() {
    let mut s = Scene::new(Limits::new());
    let slot = s.busy(A, "x");
    s.park(slot, "x");
    let (slot, conn) = s.lent();
    let waiting = s.wait(A);
    s.pass(3_600.0);
    s.pool.handle_look(s.now, slot, conn, true);
    assert_eq!(s.evicted(), ["x"]);
    let dial = s.granted_dial(waiting);
    s.connect(dial, "new");
    assert_eq!(s.taken(waiting).1, "new");
}
