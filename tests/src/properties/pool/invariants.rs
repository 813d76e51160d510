//! The numbered invariants of the pool, on random operations of a crowd that keeps its own books.

use std::collections::HashSet;
use std::time::Duration;

use fulmar_core::pool::{Ask, Config, Connection, Gauges, Lease, Limits, Pool};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::crowd::{Crowd, Got};
use super::{Draw, ROUTES, Token};

/// I3.1: connections add up, in all and by route, and are within all limits after every operation.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_1_connections_add_up_and_stay_within_the_limits(data: &[u8]) {
    let mut crowd = Crowd::new(Script::new(data), false);
    let limits = crowd.limits;
    while !crowd.script.is_over() {
        crowd.step();
        let all = crowd.pool.gauges();
        let mut sum = Gauges::default();
        let bounds = |gauges: &Gauges, total, idle| {
            let of_all = gauges.connecting + gauges.busy + gauges.idle + gauges.draining;
            assert_eq!(of_all, gauges.total);
            assert!(
                Some(gauges.total) <= total && Some(gauges.idle) <= idle,
                "{gauges:?}, {limits:?}"
            );
        };
        for route in ROUTES {
            let own = crowd.pool.route_gauges(route);
            bounds(&own, limits.per_origin, limits.idle_per_origin);
            sum.connecting += own.connecting;
            sum.busy += own.busy;
            sum.idle += own.idle;
            sum.draining += own.draining;
            sum.waiting += own.waiting;
            sum.total += own.total;
        }
        assert_eq!(sum, all);
        bounds(&all, limits.total, limits.idle);
        assert!(Some(all.waiting) <= limits.waiters, "{all:?}");
    }
}

/// I3.2: once everybody has left, wherever he was, nothing is left behind, and a newcomer is served.
/// Returns how many operations there were, and how many askers gave up.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_2_who_gives_up_leaves_nothing_behind(data: &[u8]) -> (u64, u64) {
    let mut crowd = Crowd::new(Script::new(data), false);
    let mut operations = 0;
    while !crowd.script.is_over() {
        crowd.step();
        operations += 1;
    }
    crowd.leave();
    let left = crowd.pool.gauges();
    let left = (left.connecting, left.busy, left.draining, left.waiting);
    assert_eq!(left, (0, 0, 0, 0));
    // No connect backoff is longer.
    crowd.now = crowd.now + Duration::from_secs(5);
    for route in ROUTES {
        let lease = crowd.pool.checkout(crowd.now, route, Ask::default());
        let ticket = match lease {
            Ok(Lease::Dial(ticket, slot)) => {
                let conn = Connection::Exclusive(Token(0));
                crowd
                    .pool
                    .handle_connected(crowd.now, slot, conn, &mut Draw(0));
                ticket
            }
            Ok(Lease::Wait(ticket)) => ticket,
            Ok(Lease::Idle(..) | Lease::Share(..)) => continue,
            Err(refusal) => panic!("{refusal}"),
        };
        let got = crowd.pool.poll_lease(crowd.now, ticket);
        assert!(matches!(got, Some(Ok(Lease::Idle(..)))), "{got:?}");
        break;
    }
    (operations, crowd.cancelled)
}

/// I3.3: of those whom a connection fits, who asked first gets it.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_3_who_asked_first_is_served_first(data: &[u8]) {
    let mut crowd = Crowd::new(Script::new(data), true);
    while !crowd.script.is_over() {
        crowd.step();
        for got in &crowd.got {
            let (Got::AtOnce(by)
            | Got::Served(by)
            | Got::New(by)
            | Got::Part(by)
            | Got::Failed(by)) = got;
            for (_, other) in &crowd.waiting {
                let is_passed_over = other.route == by.route && other.number < by.number;
                let would_fit = match got {
                    // It may have idled too long for what cannot be sent twice.
                    Got::AtOnce(_) => !other.fresh && other.repeatable,
                    Got::Served(_) => !other.fresh,
                    Got::New(_) | Got::Part(_) | Got::Failed(_) => true,
                };
                assert!(!(is_passed_over && would_fit), "{got:?} before {other:?}");
            }
        }
    }
}

/// I3.5: a connection is in one place, is borne by one, and none is lost.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_5_a_connection_is_in_one_place(data: &[u8]) {
    let mut crowd = Crowd::new(Script::new(data), false);
    while !crowd.script.is_over() {
        // The crowd books every connection that changes hands, and where it comes from.
        crowd.step();
        let out = crowd.out.iter().map(|(slot, _)| *slot);
        let slots: Vec<_> = out
            .chain(crowd.dials.iter().map(|(slot, _)| *slot))
            .collect();
        let distinct: HashSet<_> = slots.iter().collect();
        assert_eq!(distinct.len(), slots.len(), "two bear one place");
    }
    crowd.leave();
    assert_eq!(crowd.pool.gauges().idle as usize, crowd.held());
}

/// I3.6: no part in a shared connection is given out beyond its capacity, nor after that was lowered
/// until enough are back.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_6_shared_connections_stay_within_their_capacity(data: &[u8]) {
    let mut crowd = Crowd::new(Script::new(data), true);
    while !crowd.script.is_over() {
        let before: Vec<_> = crowd.shared.iter().map(|shared| shared.out).collect();
        crowd.step();
        for (place, shared) in crowd.shared.iter().enumerate() {
            let grew = shared.out > before.get(place).copied().unwrap_or(0);
            assert!(!grew || shared.out <= shared.capacity, "{shared:?}");
        }
    }
}

/// I3.7: no more dials begin than somebody asked for.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_7_no_more_dials_than_askers(data: &[u8]) {
    let mut crowd = Crowd::new(Script::new(data), false);
    // One that serves nobody is as good as none.
    crowd.least = 1;
    while !crowd.script.is_over() {
        crowd.step();
        assert!(crowd.dialled <= crowd.asked + crowd.abandoned);
    }
}

/// I3.7: a cold burst on a route that turns out shared opens one connection, and two where the first
/// takes longer than a second.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_7_a_cold_burst_opens_one_shared_connection(data: &[u8]) {
    let mut script = Script::new(data);
    let limits = Limits::new().shared_per_origin(1);
    let config = Config {
        limits,
        ..Config::new()
    };
    let start = Instant::from_nanos(1 << 40);
    let mut pool: Pool<(), u32> = Pool::new(config, [1, 2], start);
    let (burst, takes) = (1 + script.below(1_000), script.below(3_000) as u64);
    let mut dials = Vec::new();
    let mut tickets = Vec::new();
    for tag in 0..burst as u64 {
        let ask = Ask {
            probe: true,
            tag,
            ..Ask::default()
        };
        match pool.checkout(start, ROUTES[3], ask).expect("room") {
            Lease::Dial(ticket, slot) => {
                tickets.push(ticket);
                dials.push(slot);
            }
            Lease::Wait(ticket) => tickets.push(ticket),
            other => panic!("{other:?}"),
        }
    }
    let end = start + Duration::from_millis(takes);
    while let Some(at) = pool.poll_timeout().filter(|at| *at <= end) {
        pool.handle_timeout(at);
    }
    let opened = pool.gauges().connecting;
    let is_stalled = takes >= 1_000 && burst > 1;
    assert_eq!(opened, 1 + u32::from(is_stalled), "{burst} in {takes} ms");
    let capacity = 1 + script.below(burst) as u32;
    pool.handle_connected(end, dials[0], Connection::Shared(1, capacity), &mut Draw(0));
    // As parts come back, they go round.
    let mut served = 0;
    let mut parts = Vec::new();
    while !tickets.is_empty() {
        tickets.retain(|&ticket| match pool.poll_lease(end, ticket) {
            Some(Ok(Lease::Share(slot, 1))) => {
                parts.push(slot);
                served += 1;
                false
            }
            None | Some(Ok(Lease::Dial(..))) => true,
            other => panic!("{other:?}"),
        });
        assert!(!parts.is_empty(), "nobody gets on");
        for slot in parts.drain(..) {
            pool.release(end, slot);
        }
    }
    assert_eq!(served, burst);
    assert!(pool.gauges().total <= opened, "{:?}", pool.gauges());
}

/// I3.8: one call expires 256 connections at most, whatever is due, and the rest follow within a
/// millisecond for each call.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_8_the_work_of_one_tick_is_bounded(data: &[u8]) {
    let mut script = Script::new(data);
    let count = script.below(2_000) as u32;
    let limits = Limits::new()
        .total(2_000)
        .per_origin(2_000)
        .idle(2_000)
        .idle_per_origin(2_000);
    let config = Config {
        limits,
        ..Config::new()
    };
    let mut now = Instant::ORIGIN;
    let mut pool: Pool<Token, ()> = Pool::new(config, [1, 2], now);
    let dial = |n: u32| match pool.checkout(now, ROUTES[n as usize % 4], Ask::default()) {
        Ok(Lease::Dial(ticket, slot)) => (ticket, slot),
        other => panic!("{other:?}"),
    };
    let dials: Vec<_> = (0..count).map(dial).collect();
    let mut conns = Vec::new();
    for (n, (ticket, slot)) in dials.into_iter().enumerate() {
        let conn = Connection::Exclusive(Token(n as u32));
        pool.handle_connected(now, slot, conn, &mut Draw(0));
        match pool.poll_lease(now, ticket) {
            Some(Ok(Lease::Idle(slot, conn, _))) => conns.push((slot, conn)),
            other => panic!("{other:?}"),
        }
    }
    let mut last = now;
    for (slot, conn) in conns {
        let hint = Duration::from_secs(5 + script.below(20) as u64);
        now = now + Duration::from_nanos(1);
        pool.park(now, slot, conn, Some(hint));
        last = last.max(now + hint - Duration::from_secs(1));
    }
    assert_eq!(pool.gauges().idle, count);
    let (mut gone, mut late) = (0, 0);
    while gone < count {
        let at = pool.poll_timeout().expect("something is left");
        if now >= last {
            late += 1;
            assert!(at <= now + Duration::from_millis(1), "what is due waits");
            assert!(late <= 2 * count.div_ceil(256) + 2, "more than two rounds");
        }
        // A driver comes late.
        let by = if now < last { script.below(4) } else { 0 };
        now = now.max(at) + Duration::from_secs(by as u64);
        pool.handle_timeout(now);
        let evicted = std::iter::from_fn(|| pool.poll_evicted()).count() as u32;
        assert!(evicted <= 256, "{evicted} in one call");
        gone += evicted;
    }
    assert_eq!(pool.gauges().idle, 0);
}
