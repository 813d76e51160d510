//! What is checked after every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fulmar_sim::{Client, Failure, Limits, Plan, Sim};

use crate::support::{connect, echo, echoing, exchange, ms};

#[test]
fn a_run_ends_at_the_very_step_that_violates_an_invariant() {
    let (mut sim, net) = echoing(1);
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    sim.invariant("two exchanges at most", move || {
        match seen.load(Ordering::Relaxed) {
            0..=2 => Ok(()),
            n => Err(format!("{n} exchanges")),
        }
    });
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        for _ in 0..10 {
            exchange(&mut socket, b"x").await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (name, what) = ("two exchanges at most".to_owned(), "3 exchanges".to_owned());
    assert_eq!(run.failure(), Some(&Failure::Violated(name, what)));
    // A lookup, a handshake, and three round trips of 20 ms.
    assert_eq!(run.elapsed(), ms(1 + 20 + 3 * 20));
}

#[test]
fn an_invariant_may_assert() {
    let mut sim = Sim::seeded(1);
    let handle = sim.handle();
    sim.invariant("early", move || {
        assert!(handle.now().since_origin() < ms(5), "too late");
        Ok(())
    });
    let nap = sim.sleep(ms(10));
    let run = sim.run(nap);
    let failure = Failure::Violated("early".to_owned(), "too late".to_owned());
    assert_eq!(run.failure(), Some(&failure));
}

#[test]
fn the_simulation_keeps_its_own_rules_under_any_plan() {
    for seed in 0..100 {
        let mut sim = Sim::seeded(seed);
        sim.check();
        sim.serve("api.test:80", echo);
        sim.link("laptop", "api.test").loss(0.05).window(4096);
        let targets = ["api.test", "laptop", "api.test:80"];
        sim.plan(&Plan::seeded(seed, &targets, ms(3000), 4));
        let net = sim.net("laptop");
        let run = sim.run(async move {
            for _ in 0..3 {
                if let Ok(mut socket) = connect(&net, "api.test").await {
                    let _ = exchange(&mut socket, &[7; 10_000]).await;
                }
            }
        });
        let failure = run.failure();
        let is_violated = matches!(failure, Some(Failure::Violated(..) | Failure::Panicked(..)));
        assert!(!is_violated, "{seed}: {failure:?}\n{}", run.trace());
        assert_eq!(run.open_sockets(), 0);
    }
}

#[test]
fn a_watched_client_keeps_within_its_limits_and_is_not_kept() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.sleep(ms(30)).await;
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
    let client = Client::builder(sim.net("laptop"));
    let client = client.limits(Limits::new().total(3)).build().unwrap();
    sim.check();
    sim.watch(&client);
    let handle = sim.handle();
    for _ in 0..20 {
        let client = client.clone();
        sim.spawn(async move {
            let response = client.get("http://api.test/").send().await.unwrap();
            response.text().await.unwrap();
        });
    }
    let run = sim.run(async move {
        handle.sleep(ms(2000)).await;
        client.gauges()
    });
    assert_eq!(run.expect().total, 3);
    assert_eq!(run.stats().connections, 3);
    assert_eq!(run.open_sockets(), 0, "{:?}", run.leaks());
}
