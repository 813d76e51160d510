//! The cap on a client's calls in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fulmar_sim::{Backoff, Body, Error, Instant, Kind, Limits, Phase, Retry, Sim, Timeouts};

use super::support::{
    PollTimes, assert_quiet, at, builder, echo, join, join_all, ms, secs, silent, text,
};

/// Answers after 10 ms, and counts how many it answers at once, at most.
fn counting(sim: &Sim, addr: &str) -> Arc<AtomicUsize> {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    sim.serve(addr, move |mut conn| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            while let Some(request) = conn.request().await? {
                let active = now.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(active, Ordering::Relaxed);
                conn.sleep(ms(10)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                conn.respond(200, request.path()).await?;
            }
            Ok(())
        }
    });
    seen
}

#[test]
fn a_server_never_sees_more_active_calls_than_the_cap_and_they_come_in_order() {
    for max in [1, 3, 50] {
        let mut sim = Sim::seeded(1);
        let most = counting(&sim, "api.test:80");
        let client = builder(&sim)
            .limits(Limits::new().per_origin(200).idle_per_origin(100))
            .max_in_flight(max)
            .build()
            .unwrap();
        let run = sim.run(async move {
            let order = Mutex::new(Vec::new());
            let calls = (0..200).map(|n| {
                let (client, order) = (&client, &order);
                async move {
                    text(client, &format!("http://api.test/{n}")).await.unwrap();
                    order.lock().unwrap().push(n);
                }
            });
            join_all(calls).await;
            assert_quiet(client.gauges());
            order.into_inner().unwrap()
        });
        assert_eq!(most.load(Ordering::Relaxed), max);
        if max == 1 {
            assert_eq!(*run.expect(), (0..200).collect::<Vec<_>>());
        }
        assert_eq!(run.expect().len(), 200);
    }
}

#[test]
fn who_waits_too_long_fails_in_the_phase_pool_and_is_told_why() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = builder(&sim)
        .timeouts(Timeouts::new().pool(secs(2)).first_byte(secs(60)))
        .retry(Retry::never())
        .max_in_flight(1)
        .build()
        .unwrap();
    let run = sim.run(async move {
        let first = PollTimes::new(3, text(&client, "http://api.test/"));
        let mut first = Box::pin(first);
        std::future::poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        let error = text(&client, "http://other.test/").await.unwrap_err();
        assert_eq!(client.deadline(ms(0)), at(secs(2)));
        assert_eq!(
            (error.kind(), error.phase()),
            (Kind::Timeout, Some(Phase::Pool))
        );
        let said = error.to_string();
        assert!(
            said.contains("as many calls in flight as it may: 1"),
            "{said}"
        );
        // The one that holds the place gives it up.
        drop(first);
        let error = text(&client, "http://nowhere.test/").await.unwrap_err();
        assert_ne!(error.phase(), Some(Phase::Pool), "{error}");
    });
    run.expect();
}

#[test]
fn a_place_is_held_in_a_rest_and_while_a_body_is_read_and_given_back_however_a_call_ends() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.host("refused.test");
    super::support::raw(
        &sim,
        "body.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx",
    );
    let retry = Retry::new(2).backoff(Backoff::constant(secs(1)));
    let client = builder(&sim).retry(retry).max_in_flight(1).build().unwrap();
    let run = sim.run(async move {
        let begun = client.deadline(ms(0));
        let resting = text(&client, "http://refused.test/");
        let behind = async {
            text(&client, "http://api.test/").await.unwrap();
            client.deadline(ms(0)) - begun
        };
        let (refused, took) = join(resting, behind).await;
        assert!(refused.is_err() && took >= secs(1), "{took:?}");
        // A body that is being read holds it.
        let held = client.get("http://body.test/").send().await.unwrap();
        let waits = PollTimes::new(1, text(&client, "http://api.test/"));
        assert!(waits.await.is_none());
        drop(held);
        text(&client, "http://api.test/").await.unwrap();
        // One who waits and is dropped holds up nobody.
        let held = client.get("http://body.test/").send().await.unwrap();
        drop(Box::pin(PollTimes::new(1, text(&client, "http://api.test/"))).await);
        let behind = text(&client, "http://api.test/behind");
        let (answer, ()) = join(behind, async { drop(held) }).await;
        assert_eq!(answer.unwrap(), "/behind");
        assert_eq!(client.gauges().waiting, 0);
    });
    run.expect();
}

#[test]
fn the_cap_is_changed_while_calls_wait_and_lifted() {
    let mut sim = Sim::seeded(1);
    let most = counting(&sim, "api.test:80");
    let client = builder(&sim).max_in_flight(0).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let calls = join_all((0..20).map(|_| text(&client, "http://api.test/")));
        let change = async {
            handle.sleep(ms(100)).await;
            assert_eq!(client.gauges().total, 0);
            client.set_max_in_flight(2);
            handle.sleep(ms(15)).await;
            assert_eq!(most.load(Ordering::Relaxed), 2);
            assert_eq!(client.max_in_flight(), Some(2));
            client.set_max_in_flight(None);
        };
        let (answers, ()) = join(calls, change).await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(most.load(Ordering::Relaxed) > 10);
        assert_eq!(client.max_in_flight(), None);
        // Those that left while there was no cap are not counted twice.
        client.set_max_in_flight(1);
        text(&client, "http://api.test/").await.unwrap();
    });
    run.expect();
}

#[test]
fn a_shutdown_ends_the_wait_at_once_and_a_full_queue_refuses() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = builder(&sim)
        .limits(Limits::new().waiters(2))
        .max_in_flight(1)
        .build()
        .unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let ends: Mutex<Vec<(Kind, Instant)>> = Mutex::default();
        let calls = join_all((0..4).map(|_| async {
            let error: Error = text(&client, "http://api.test/").await.unwrap_err();
            let end = (error.kind(), client.deadline(ms(0)));
            ends.lock().unwrap().push(end);
        }));
        let shutdown = async {
            handle.sleep(secs(1)).await;
            client.shutdown(client.deadline(secs(1))).await;
        };
        join(calls, shutdown).await;
        let closed = |secs_| (Kind::Closed, at(secs(secs_)));
        assert_eq!(
            *ends.lock().unwrap(),
            [(Kind::PoolFull, at(ms(0))), closed(1), closed(1), closed(2)]
        );
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn an_upload_that_is_answered_early_holds_its_place_no_longer_than_its_response() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = builder(&sim).max_in_flight(1).build().unwrap();
    let run = sim.run(async move {
        for _ in 0..3 {
            let call = client.post("http://api.test/").body(Body::from("x"));
            call.send().await.unwrap().text().await.unwrap();
        }
    });
    run.expect();
}
