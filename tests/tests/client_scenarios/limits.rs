//! The pool's limits, as calls meet them.

use std::sync::{Arc, Mutex};

use fulmar_sim::{Client, Lane, Limits, Sim};

use super::support::{assert_quiet, builder, client, join_all, ms, secs, text};

fn limited(sim: &Sim, limits: Limits) -> Client {
    builder(sim).limits(limits).build().unwrap()
}

/// Takes 10 ms for each answer.
fn steady(sim: &Sim, addr: &str) {
    sim.serve(addr, |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.sleep(ms(10)).await;
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
}

#[test]
fn three_callers_of_one_connection_are_served_in_their_order() {
    let mut sim = Sim::seeded(1);
    steady(&sim, "api.test:80");
    let client = limited(&sim, Limits::new().per_origin(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let run = sim.run(async move {
        let calls = ["a", "b", "c"].map(|name| {
            let (client, order) = (client.clone(), seen.clone());
            async move {
                text(&client, &format!("http://api.test/{name}"))
                    .await
                    .unwrap();
                order.lock().unwrap().push(name);
            }
        });
        join_all(calls).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(*order.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(run.stats().connections, 1);
    // A dial, and three exchanges one after the other.
    assert_eq!(run.elapsed(), ms(3 + 3 * 12));
}

#[test]
fn the_total_is_never_exceeded_by_a_burst_to_many_origins() {
    let mut sim = Sim::seeded(1);
    for n in 0..10 {
        steady(&sim, &format!("o{n}.test:80"));
    }
    let client = limited(&sim, Limits::new().total(3));
    let handle = sim.handle();
    let run = sim.run(async move {
        let watcher = client.clone();
        handle.clone().spawn(async move {
            loop {
                assert!(watcher.gauges().total <= 3, "{:?}", watcher.gauges());
                handle.sleep(std::time::Duration::from_micros(250)).await;
            }
        });
        let calls = (0..100).map(|n| {
            let (client, url) = (client.clone(), format!("http://o{}.test/{n}", n % 10));
            async move { text(&client, &url).await.unwrap() }
        });
        join_all(calls).await.len()
    });
    assert_eq!(*run.expect(), 100);
}

#[test]
fn an_answer_with_a_short_keep_alive_is_not_reused_after_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.write_all(
                "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
            )
            .await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap();
        handle.sleep(ms(3500)).await;
        assert!(
            client
                .get("http://api.test/")
                .send()
                .await
                .unwrap()
                .is_reused()
        );
        handle.sleep(ms(4500)).await;
        assert_eq!(client.gauges().total, 0);
        assert!(
            !client
                .get("http://api.test/")
                .send()
                .await
                .unwrap()
                .is_reused()
        );
    });
    run.expect();
}

#[test]
fn an_idle_connection_that_the_peer_closes_is_noticed_within_a_second() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, "").await?;
        conn.sleep(ms(2300)).await;
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap();
        handle.sleep(secs(2)).await;
        assert_eq!(client.gauges().idle, 1);
        handle.sleep(ms(1400)).await;
        assert_eq!(client.gauges().idle, 0);
    });
    run.expect();
}

#[test]
fn unsolicited_bytes_on_an_idle_connection_close_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, "").await?;
        conn.sleep(ms(100)).await;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            .await?;
        while !conn.read(100).await?.is_empty() {}
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap();
        handle.sleep(ms(200)).await;
        let response = client.get("http://api.test/").send().await.unwrap();
        assert!(!response.is_reused());
        response.text().await.unwrap()
    });
    assert_eq!(run.expect(), "");
    assert_eq!(run.stats().connections, 2);
}

#[test]
fn a_full_queue_is_tried_again_where_the_policy_says_so() {
    for is_retried in [false, true] {
        let mut sim = Sim::seeded(1);
        steady(&sim, "api.test:80");
        let retry = fulmar_sim::Retry::new(5)
            .backoff(fulmar_sim::Backoff::constant(secs(1)))
            .retry_pool(is_retried);
        let limits = Limits::new().total(1).waiters(1);
        let client = builder(&sim).retry(retry).limits(limits).build().unwrap();
        let run = sim.run(async move {
            let calls = (0..3).map(|_| {
                let client = client.clone();
                async move { text(&client, "http://api.test/").await }
            });
            join_all(calls).await
        });
        let failed: Vec<_> = run
            .expect()
            .iter()
            .filter_map(|r| r.as_ref().err())
            .collect();
        assert_eq!(failed.is_empty(), is_retried);
        for error in failed {
            assert_eq!(error.kind(), fulmar_sim::Kind::PoolFull);
            assert_eq!(error.fate(), fulmar_sim::Fate::NotProcessed);
            let stop = error.retry_stop_reason();
            assert_eq!(stop, Some(fulmar_sim::StopReason::NotRetryable));
        }
    }
}

#[test]
fn an_urgent_request_goes_before_those_that_may_wait_and_sheds_them_where_the_queue_is_full() {
    let mut sim = Sim::seeded(1);
    steady(&sim, "api.test:80");
    let client = limited(&sim, Limits::new().total(1).waiters(3));
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let asked = [
        ("a", Lane::Normal),
        ("b", Lane::Bulk),
        ("c", Lane::Normal),
        ("d", Lane::High),
        ("e", Lane::Bulk),
    ];
    let run = sim.run(async move {
        let calls = asked.map(|(name, lane)| {
            let (client, order) = (client.clone(), seen.clone());
            async move {
                let request = client.get(format!("http://api.test/{name}"));
                let sent = request.lane(lane).send().await;
                let end = match sent {
                    Ok(response) => response.text().await.map(drop),
                    Err(error) => Err(error),
                };
                order
                    .lock()
                    .unwrap()
                    .push((name, end.map_err(|e| e.kind())));
            }
        });
        join_all(calls).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    // While `a` dials three wait, it among them: `d` takes the place of `b`, and `e` finds none.
    let expected = [
        ("e", Err(fulmar_sim::Kind::PoolFull)),
        ("b", Err(fulmar_sim::Kind::PoolFull)),
        ("d", Ok(())),
        ("a", Ok(())),
        ("c", Ok(())),
    ];
    assert_eq!(*order.lock().unwrap(), expected);
}
