//! Settings that contradict each other are errors where they are set, and never silently repaired.

use std::time::Duration;

use fulmar_sim::websocket::{Keepalive, Limits as SocketLimits};
use fulmar_sim::{Backoff, Client, Error, Jitter, PoolConfig, Profile, Retry, Sim, Timeouts};

use super::support::{builder, client, ms, secs};

/// The error of a build, or of what takes the place of one.
#[track_caller]
fn refused<T>(built: Result<T, Error>, why: &str) {
    let Err(error) = built else {
        panic!("it was accepted, where {why:?} was expected");
    };
    let text = error.to_string();
    assert!(error.is_builder(), "{text}");
    assert!(text.starts_with("invalid settings: "), "{text}");
    assert!(text.contains(why), "{text}, without {why:?}");
}

fn with_pool(change: impl FnOnce(&mut PoolConfig)) -> Result<Client, Error> {
    let mut pool = PoolConfig::new();
    change(&mut pool);
    builder(&Sim::seeded(1)).pool(pool).build()
}

#[test]
fn a_backoff_that_cannot_be_is_refused() {
    let base = Backoff::exponential(ms(100));
    let sim = Sim::seeded(1);
    for (backoff, why) in [
        (base.max(ms(50)), "longer than the backoff max"),
        (base.factor(0.99), "factor"),
        (base.factor(f64::INFINITY), "factor"),
        (base.factor(f64::NAN), "factor"),
        (base.jitter(Jitter::Proportional(1.0)), "share"),
        (base.jitter(Jitter::Proportional(-0.1)), "share"),
    ] {
        for retry in [
            Retry::new(3).backoff(backoff),
            Retry::new(3).throttle(backoff),
        ] {
            refused(builder(&sim).retry(retry.clone()).build(), why);
            // A request's own are looked at, too.
            let request = client(&sim).get("http://api.test/").retry(retry);
            assert!(format!("{request:?}").contains("error: "), "{request:?}");
        }
    }
}

#[test]
fn no_attempt_at_all_is_refused() {
    let sim = Sim::seeded(1);
    refused(builder(&sim).retry(Retry::new(0)).build(), "attempt");
    assert!(builder(&sim).retry(Retry::new(1)).build().is_ok());
    assert!(builder(&sim).retry(Retry::strict()).build().is_ok());
}

#[test]
fn a_budget_that_cannot_be_is_refused() {
    for ratio in [1.5, -0.1, f64::NAN] {
        refused(with_pool(|pool| pool.budget.ratio = ratio), "ratio");
        let window = with_pool(|pool| pool.budget.window_ratio = Some(ratio));
        refused(window, "window ratio");
    }
    // The default cap is 10.
    refused(with_pool(|pool| pool.budget.min = 11.0), "caps");
    refused(with_pool(|pool| pool.budget.max = 2.0), "caps");
    refused(with_pool(|pool| pool.budget.refill = -1.0), "refill");
}

#[test]
fn limits_in_the_wrong_order_are_refused() {
    let order = "above the limit";
    let set = with_pool(|pool| (pool.limits.total, pool.limits.per_origin) = (Some(8), Some(9)));
    refused(set, &format!("per_origin is {order} total"));
    let set =
        with_pool(|pool| (pool.limits.idle, pool.limits.idle_per_origin) = (Some(8), Some(9)));
    refused(set, &format!("idle_per_origin is {order} idle"));
    let set = with_pool(|pool| (pool.limits.total, pool.limits.idle) = (Some(8), Some(9)));
    refused(set, &format!("idle is {order} total"));
    let set = with_pool(|pool| (pool.limits.total, pool.limits.idle) = (Some(8), Some(8)));
    assert!(set.is_ok());
}

#[test]
fn to_idle_for_longer_than_to_live_is_refused() {
    let lives = |idle, life| {
        with_pool(|pool| {
            (pool.idle_timeout, pool.max_lifetime) = (Some(secs(idle)), Some(secs(life)));
        })
    };
    refused(lives(31, 30), "idle_timeout is longer than max_lifetime");
    assert!(lives(30, 30).is_ok());
}

#[test]
fn a_timeout_longer_than_the_total_is_refused_and_both_are_named() {
    let timeouts = Timeouts::new().write(secs(8)).total(secs(6));
    let sim = Sim::seeded(1);
    let built = builder(&sim).timeouts(timeouts).build();
    refused(built, "write timeout of 8s");
    let built = builder(&sim).timeouts(timeouts).build();
    refused(built, "total timeout of 6s");
}

#[test]
fn no_time_at_all_is_accepted_and_means_without_waiting() {
    let at_once = Timeouts::all(Duration::ZERO).total(Duration::ZERO);
    let sim = Sim::seeded(1);
    assert!(builder(&sim).timeouts(at_once).build().is_ok());
}

#[test]
fn a_websocket_that_would_ping_before_it_gave_up_on_the_last_is_refused() {
    let mut sim = Sim::seeded(1);
    let client = client(&sim);
    let run = sim.run(async move {
        let keepalive = Keepalive::every(secs(10)).timeout(secs(10));
        let open = client.websocket("ws://api.test/").keepalive(keepalive);
        refused(open.connect().await, "pong timeout of 10s");
        let limits = SocketLimits::new().frame(8).message(4);
        let open = client.websocket("ws://api.test/").limits(limits);
        refused(open.connect().await, "frame");
    });
    run.expect();
    assert_eq!(run.stats().connections, 0, "nothing was dialled");
}

#[test]
fn caps_that_let_nothing_through_or_contradict_each_other_are_refused() {
    let sim = Sim::seeded(1);
    let capped = |total, per_origin| builder(&sim).websocket_limits(total, per_origin).build();
    refused(capped(0, 0), "websocket_limits of 0");
    refused(capped(0, 1), "websocket_limits of 0");
    refused(capped(1, 0), "websocket_limits of 0");
    refused(capped(8, 64), "more to one origin than in all");
    assert!(capped(1, 1).is_ok());
    let handshakes = |at_once| builder(&sim).websocket_handshakes(at_once).build();
    refused(handshakes(0), "websocket_handshakes of 0");
    assert!(handshakes(1).is_ok());
}

#[test]
fn limits_of_zero_are_refused_where_they_would_let_nothing_through() {
    refused(with_pool(|pool| pool.limits.total = Some(0)), "total");
    refused(
        with_pool(|pool| pool.limits.per_origin = Some(0)),
        "per_origin",
    );
    refused(with_pool(|pool| pool.limits.waiters = Some(0)), "waiters");
    let shared = with_pool(|pool| pool.limits.shared_per_origin = Some(0));
    refused(shared, "shared_per_origin");
    // To keep no idle connection is a choice.
    assert!(with_pool(|pool| pool.limits.idle = Some(0)).is_ok());
}

#[test]
fn a_profile_is_looked_at_as_the_client_is() {
    let sim = Sim::seeded(1);
    let with = |profile| builder(&sim).profile("api.test", profile).build();
    let long = Timeouts::new().write(secs(8)).total(secs(6));
    refused(with(Profile::new().timeouts(long)), "write timeout of 8s");
    refused(with(Profile::new().retry(Retry::new(0))), "attempt");
    refused(with(Profile::new().max_in_flight(0)), "max_in_flight is 0");
    refused(with(Profile::new().per_origin(0)), "per_origin");
    refused(
        with(Profile::new().per_origin(513)),
        "the client's total of 512",
    );
}
