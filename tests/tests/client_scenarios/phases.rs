//! Phases apart from each other: in rules, in limits, and in what is counted.

use std::sync::{Arc, Mutex};

use fulmar_sim::timeline::Stage;
use fulmar_sim::{
    Fate, Fault, HostLatencies, Latencies, Limits, Phase, Retry, Ruling, Seen, Sim, StopReason,
    Timeouts,
};

use super::retries::{scripted, status, steady};
use super::support::{builder, ms, secs, silent, until};
use super::timeouts::assert_timeout;

#[test]
fn a_rule_of_ones_own_is_told_the_phase_and_may_try_again_by_it() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "slow.test:80");
    sim.host("down.test");
    let phases = Arc::new(Mutex::new(Vec::new()));
    let told = phases.clone();
    // What the built-in rules say is turned round: no second dial, but a second wait for a byte.
    let retry = steady(3).classifier(move |seen: &Seen<'_>, _| {
        told.lock().unwrap().push(seen.phase());
        match seen.phase()? {
            Phase::Connect => Some(Ruling::Fatal),
            Phase::FirstByte => Some(Ruling::RetryUnsafe),
            _ => None,
        }
    });
    let timeouts = Timeouts::new().first_byte(ms(200));
    let client = builder(&sim).retry(retry).timeouts(timeouts);
    let client = client.build().unwrap();
    let run = sim.run(async move {
        let refused = client.get("http://down.test/").send().await.unwrap_err();
        assert_eq!(refused.tries(), 1);
        assert_eq!(refused.retry_stop_reason(), Some(StopReason::NotRetryable));
        let silent = client.post("http://slow.test/").body("x").send().await;
        let silent = silent.unwrap_err();
        assert_timeout(&silent, Phase::FirstByte, Fate::MaybeProcessed);
        // A timeout costs two of the budget's three tokens.
        assert_eq!(silent.tries(), 2);
        assert_eq!(silent.retry_stop_reason(), Some(StopReason::BudgetEmpty));
    });
    run.expect();
    let first_byte = Some(Phase::FirstByte);
    assert_eq!(
        *phases.lock().unwrap(),
        [Some(Phase::Connect), first_byte, first_byte]
    );
}

#[test]
fn a_rule_of_ones_own_that_sees_a_response_is_told_no_phase() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |n| Some(status(if n == 0 { 418 } else { 200 })));
    let retry = steady(2).classifier(|seen: &Seen<'_>, _| match (seen, seen.phase()) {
        (Seen::Status(418), None) => Some(Ruling::Retry),
        _ => None,
    });
    let client = builder(&sim).retry(retry).build().unwrap();
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        response.attempts()
    });
    assert_eq!(*run.expect(), 2);
}

#[test]
fn waiting_for_a_connection_and_opening_one_have_limits_of_their_own() {
    for (pool, connect) in [(ms(300), ms(900)), (ms(900), ms(300))] {
        let mut sim = Sim::seeded(1);
        silent(&sim, "busy.test:80");
        sim.host("hole.test");
        sim.between(.., Fault::half_open("hole.test"));
        let timeouts = Timeouts::none().pool(pool).connect(connect);
        let client = builder(&sim)
            .limits(Limits::new().per_origin(1))
            .timeouts(timeouts)
            .retry(Retry::never())
            .build()
            .unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            // The only connection that there may be is taken.
            let holder = client.clone();
            handle.spawn(async move {
                let get = holder.get("http://busy.test/").timeout(secs(5));
                get.send().await.unwrap_err();
            });
            handle.sleep(ms(10)).await;
            let begun = handle.now();
            let error = client.get("http://busy.test/").send().await.unwrap_err();
            assert_timeout(&error, Phase::Pool, Fate::NotProcessed);
            assert!(!error.is_connect());
            assert_eq!(handle.now() - begun, pool);

            let begun = handle.now();
            let error = client.get("http://hole.test/").send().await.unwrap_err();
            assert_timeout(&error, Phase::Connect, Fate::NotProcessed);
            assert!(error.is_connect());
            assert_eq!(handle.now() - begun, connect);
        });
        run.expect();
    }
}

#[test]
fn the_time_of_calls_is_counted_by_host_and_stage() {
    let mut sim = Sim::seeded(1);
    for (host, first, body) in [("a.test:80", 30, 0), ("b.test:8080", 7, 400)] {
        sim.serve(host, move |mut conn| async move {
            let mut asked = 0;
            while conn.request().await?.is_some() {
                conn.sleep(ms(first)).await;
                asked += 1;
                if asked == 1 && body == 0 {
                    conn.respond(503, "").await?;
                    continue;
                }
                conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
                    .await?;
                conn.sleep(ms(body)).await;
                conn.write_all("b").await?;
            }
            Ok(())
        });
    }
    let latencies = Latencies::new();
    let rest = fulmar_sim::Backoff::constant(ms(100)).jitter(fulmar_sim::Jitter::None);
    let client = builder(&sim)
        .retry(steady(2).throttle(rest))
        .limits(Limits::new().per_origin(1))
        .observer(latencies.clone());
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let url = "http://user:secret@a.test/x?y";
        let a = client.get(url).send().await.unwrap();
        assert_eq!(a.text().await.unwrap(), "ab");
        // One waits for the other, which has the only connection.
        let first = client.clone();
        handle.spawn(async move {
            let b = first.get("http://b.test:8080/").send().await.unwrap();
            assert_eq!(b.text().await.unwrap(), "ab");
        });
        handle.sleep(ms(1)).await;
        let b = client.get("http://b.test:8080/2").send().await.unwrap();
        assert_eq!(b.text().await.unwrap(), "ab");
    });
    run.expect();
    let hosts = latencies.hosts();
    let names: Vec<_> = hosts.keys().map(|name| &**name).collect();
    assert_eq!(names, ["a.test", "b.test:8080"]);
    let [a, b] = ["a.test", "b.test:8080"].map(|host| &hosts[host]);
    let table = |of_host: &HostLatencies| {
        Stage::ALL.map(|stage| {
            let histogram = of_host.stage(stage);
            (histogram.count(), histogram.sum())
        })
    };
    // A look-up takes 1 ms and a way 1 ms. The refusal's body, which nobody wanted, does not count.
    let stages = [0, 0, 1, 2, 0, 64, 0].map(ms);
    let counts = [0, 0, 1, 1, 2, 2, 1];
    assert_eq!(table(a), std::array::from_fn(|n| (counts[n], stages[n])));
    // The second call came 1 ms after the first, and waited until its body was read.
    let stages = [0, 12 + 400 - 1, 1, 2, 0, 18, 800].map(ms);
    let counts = [0, 1, 1, 1, 2, 2, 2];
    assert_eq!(table(b), std::array::from_fn(|n| (counts[n], stages[n])));
    assert_eq!(a.stage(Stage::FirstByte).quantile(0.5), Some(ms(50)));
    assert_eq!((a.calls().count(), a.calls().sum()), (1, ms(3 + 64 + 100)));
    assert_eq!((b.calls().count(), b.calls().sum()), (2, ms(12 + 411 + 9)));
}

#[test]
fn attempts_that_fail_and_calls_that_are_dropped_are_counted_as_far_as_they_came() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "slow.test:80");
    let latencies = Latencies::new();
    let timeouts = Timeouts::new().first_byte(ms(200));
    let client = builder(&sim)
        .retry(Retry::never())
        .timeouts(timeouts)
        .observer(latencies.clone());
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let get = || client.get("http://slow.test/");
        get().send().await.unwrap_err();
        let soon = handle.now() + ms(53);
        assert!(until(&handle, soon, get().send()).await.is_none());
    });
    run.expect();
    let slow = latencies.host("slow.test").unwrap();
    let first_byte = slow.stage(Stage::FirstByte);
    // The second call knew the name.
    assert_eq!(
        (first_byte.count(), first_byte.sum()),
        (2, ms(200 + 53 - 2))
    );
    assert_eq!(
        (slow.calls().count(), slow.calls().sum()),
        (2, ms(203 + 53))
    );
}
