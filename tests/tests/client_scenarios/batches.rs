//! Many requests at a time, and results as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{Client, Fault, RequestBuilder, Retry, Sim};
use futures_core::Stream;

use super::support::{assert_quiet, at, builder, client, ms, secs};

/// Answers `/n` after n milliseconds, and knows how many it worked on at once.
fn slow(sim: &Sim, host: &str) -> Arc<AtomicUsize> {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let kept = most.clone();
    sim.serve(&format!("{host}:80"), move |mut conn| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            while let Some(request) = conn.request().await? {
                let millis = request.path()[1..].parse().unwrap();
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                conn.sleep(ms(millis)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                conn.respond(200, request.path()).await?;
            }
            Ok(())
        }
    });
    kept
}

#[test]
fn results_come_in_the_order_of_completion_with_their_index() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    let client = client(&sim);
    let run = sim.run(async move {
        let requests = [300, 100, 200].map(|n| client.get(format!("http://api.test/{n}")));
        let mut batch = client.batch(requests);
        let mut order = Vec::new();
        while let Some((index, result)) = batch.next().await {
            order.push((index, result.unwrap().text().await.unwrap()));
        }
        order
    });
    let expected = [(1, "/100"), (2, "/200"), (0, "/300")].map(|(i, text)| (i, text.to_owned()));
    assert_eq!(*run.expect(), expected);
}

#[test]
fn no_more_are_in_flight_than_the_cap_says() {
    let mut sim = Sim::seeded(1);
    let most = slow(&sim, "api.test");
    let client = client(&sim);
    let run = sim.run(async move {
        let requests = (0..200).map(|_| client.get("http://api.test/50"));
        let results = client.batch(requests).max_in_flight(20).collect_all().await;
        assert!(results.iter().all(Result::is_ok));
        results.len()
    });
    assert_eq!(*run.expect(), 200);
    assert_eq!(most.load(Ordering::Relaxed), 20);
    assert_eq!(run.stats().connections, 20);
    assert!(run.elapsed() < secs(1), "{:?}", run.elapsed());
}

#[test]
fn the_cap_can_change_while_the_batch_runs() {
    let mut sim = Sim::seeded(1);
    let most = slow(&sim, "api.test");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let requests = (0..40).map(|_| client.get("http://api.test/100"));
        let batch = client.batch(requests).max_in_flight(0);
        let cap = batch.cap();
        handle.clone().spawn(async move {
            handle.sleep(secs(1)).await;
            cap.set(4);
            handle.sleep(ms(450)).await;
            assert_eq!(cap.get(), 4);
            cap.set(20);
        });
        batch.collect_all().await.len()
    });
    assert_eq!(*run.expect(), 40);
    assert_eq!(most.load(Ordering::Relaxed), 20);
    // Nothing for a second, 16 to 20 in half a second, the rest in one or two rounds.
    assert!(
        (ms(1500)..ms(2000)).contains(&run.elapsed()),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn a_failure_is_a_value_and_stops_nobody() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    sim.host("down.test");
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        let hosts = ["api.test", "down.test", "api.test"];
        let requests = hosts.map(|host| client.get(format!("http://{host}/10")));
        let results = client.batch(requests).collect_all().await;
        let ok: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert!(results[1].as_ref().unwrap_err().is_connect());
        ok
    });
    assert_eq!(*run.expect(), [true, false, true]);
}

#[test]
fn a_host_that_hangs_holds_no_slots_of_others() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    slow(&sim, "down.test");
    sim.between(.., Fault::half_open("down.test"));
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        let hosts = (0..40).map(|n| if n % 2 == 0 { "down.test" } else { "api.test" });
        let requests = hosts.map(|host| client.get(format!("http://{host}/10")));
        let mut batch = client.batch(requests);
        let mut done = 0;
        while let Some((index, result)) = batch.next().await {
            done += usize::from(result.is_ok());
            if done == 20 {
                assert_eq!(index % 2, 1);
                break;
            }
        }
        done
    });
    assert_eq!(*run.expect(), 20);
    assert!(run.elapsed() < secs(1), "{:?}", run.elapsed());
}

#[test]
fn a_host_that_hangs_holds_no_more_places_of_a_batch_than_its_share() {
    for share in [None, Some(2)] {
        let mut sim = Sim::seeded(1);
        let most = slow(&sim, "api.test");
        slow(&sim, "down.test");
        sim.between(.., Fault::half_open("down.test"));
        let client = builder(&sim).retry(Retry::never()).build().unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            // Those that hang come first, and there are more of them than places.
            let hosts = (0..40).map(|n| if n < 20 { "down.test" } else { "api.test" });
            let requests = hosts.map(|host| client.get(format!("http://{host}/10")));
            let mut batch = client.batch(requests).max_in_flight(8);
            if let Some(share) = share {
                batch = batch.max_per_origin(share);
            }
            let (mut good, mut all) = (Vec::new(), 0);
            while let Some((index, result)) = batch.next().await {
                assert!(batch.in_flight() < 8);
                all += 1;
                if result.is_ok() {
                    assert!(index >= 20, "{index}");
                    good.push(handle.now());
                }
            }
            assert_eq!((all, good.len()), (40, 20));
            good[19]
        });
        let last = *run.expect();
        assert_eq!(last < at(secs(1)), share.is_some(), "{share:?}: {last}");
        assert!(most.load(Ordering::Relaxed) <= share.unwrap_or(8));
    }
}

#[test]
fn the_first_error_of_a_batch_that_must_succeed_cancels_the_rest() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    sim.host("down.test");
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let urls = [
            "http://api.test/5000",
            "http://down.test/0",
            "http://api.test/9000",
        ];
        let requests = urls.map(|url| client.get(url));
        let error = client.batch(requests).try_collect().await.unwrap_err();
        let gauges = client.gauges();
        assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
        // A dial belongs to the pool, and its own task ends it.
        handle.sleep(ms(1)).await;
        assert_quiet(client.gauges());
        error.is_connect()
    });
    assert!(*run.expect());
    assert!(run.elapsed() < secs(1));
    assert_eq!(run.leaks(), [""; 0]);
}

/// Requests without end, and how many of them were taken.
fn endless(
    client: &Client,
    first: &[&str],
) -> (
    impl Iterator<Item = RequestBuilder> + Send + use<>,
    Arc<AtomicUsize>,
) {
    let first: Vec<String> = first.iter().map(|url| (*url).to_owned()).collect();
    let (client, taken) = (client.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = taken.clone();
    let rest = std::iter::repeat("http://api.test/20".to_owned());
    let requests = first.into_iter().chain(rest).map(move |url| {
        counted.fetch_add(1, Ordering::Relaxed);
        client.get(url)
    });
    (requests, taken)
}

#[test]
fn the_first_error_of_a_batch_that_fails_fast_is_its_last_result() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    sim.host("down.test");
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let urls = [
            "http://api.test/5000",
            "http://api.test/10",
            "http://down.test/",
            "http://api.test/10",
        ];
        let (requests, taken) = endless(&client, &urls);
        let mut batch = client
            .batch(requests)
            .max_in_flight(2)
            .max_per_origin(1)
            .fail_fast();
        let (index, result) = batch.next().await.unwrap();
        assert!(index == 2 && result.unwrap_err().is_connect());
        let gauges = client.gauges();
        assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
        assert_eq!(batch.in_flight(), 0);
        // Neither what waited for its origin starts, nor what was never taken.
        let taken_by_then = taken.load(Ordering::Relaxed);
        assert_eq!(Arc::strong_count(&taken), 1, "the requests are kept");
        for _ in 0..2 {
            assert!(batch.next().await.is_none());
        }
        assert_eq!(taken.load(Ordering::Relaxed), taken_by_then);
        handle.sleep(secs(10)).await;
        assert_quiet(client.gauges());
        assert_eq!(client.gauges().total, 0, "nothing was sent afterwards");
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn results_before_the_first_error_of_a_batch_that_fails_fast_are_kept() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    sim.host("down.test");
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        let urls = ["http://api.test/10", "http://down.test/"];
        let (requests, taken) = endless(&client, &urls);
        let batch = client.batch(requests).max_in_flight(1).fail_fast();
        let results = batch.collect_all().await;
        assert!(results[0].is_ok() && results[1].is_err());
        (results.len(), taken.load(Ordering::Relaxed))
    });
    assert_eq!(*run.expect(), (2, 2));
}

#[test]
fn requests_are_taken_only_when_they_can_start() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    let client = client(&sim);
    let run = sim.run(async move {
        let (requests, taken) = endless(&client, &[]);
        let mut batch = client.batch(requests).max_in_flight(5);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        for done in 0..50 {
            batch.next().await.unwrap().1.unwrap();
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= done + 5, "{taken} for {done}");
        }
        taken.load(Ordering::Relaxed)
    });
    assert!(*run.expect() >= 50);
}

#[test]
fn what_is_done_with_a_request_is_done_in_its_place() {
    let mut sim = Sim::seeded(1);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    sim.serve("api.test:80", move |mut conn| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            while conn.request().await?.is_some() {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                    .await?;
                conn.sleep(ms(50)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                conn.write_all("42").await?;
            }
            Ok(())
        }
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let requests = (0..20).map(|_| client.get("http://api.test/"));
        let mut number = 0;
        let work = |request: RequestBuilder| {
            number += 1;
            let mine = number;
            async move {
                let text = request.send().await.unwrap().text().await.unwrap();
                if mine == 7 { Err(text) } else { Ok(mine) }
            }
        };
        let results = client.batch_with(requests, work).max_in_flight(3);
        results.collect_all().await
    });
    let expected = (1..=20).map(|n| if n == 7 { Err("42".to_owned()) } else { Ok(n) });
    let expected: Vec<_> = expected.collect();
    assert_eq!(*run.expect(), expected);
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}

#[test]
fn dropping_a_batch_cancels_everything_in_flight() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let requests = (1..=30).map(|n| client.get(format!("http://api.test/{}", n * 100)));
        let mut batch = client.batch(requests).max_in_flight(10);
        assert_eq!(batch.next().await.unwrap().0, 0);
        assert_eq!(batch.in_flight(), 9);
        assert_eq!(client.gauges().busy, 9);
        drop(batch);
        assert_quiet(client.gauges());
        handle.sleep(secs(10)).await;
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_batch_is_a_stream_and_may_move_between_threads() {
    fn sendable_stream<T: Stream + Send>(_: &T) {}
    let sim = Sim::seeded(1);
    let client = client(&sim);
    sendable_stream(&client.batch([client.get("http://api.test/")]));
}

#[test]
fn twenty_calls_do_not_wait_where_the_pool_has_room_for_all() {
    let mut sim = Sim::seeded(1);
    let most = slow(&sim, "api.test");
    let client = client(&sim);
    let run = sim.run(async move {
        let requests = (0..20).map(|_| client.get("http://api.test/100"));
        client.batch(requests).collect_all().await.len()
    });
    assert_eq!(*run.expect(), 20);
    assert_eq!(most.load(Ordering::Relaxed), 20);
    // Name, transport, the request there, its time, the response back.
    assert_eq!(run.elapsed(), ms(1 + 2 + 2 + 100));
}

#[test]
fn a_batch_with_nothing_left_ends_even_where_none_may_start() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    let client = client(&sim);
    let run = sim.run(async move {
        let none = std::iter::empty::<RequestBuilder>();
        assert!(client.batch(none).max_in_flight(0).next().await.is_none());

        let mut batch = client
            .batch([client.get("http://api.test/100")])
            .max_in_flight(1);
        let cap = batch.cap();
        {
            let mut next = Box::pin(batch.next());
            std::future::poll_fn(|cx| {
                assert!(next.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        cap.set(0);
        assert!(batch.next().await.is_some());
        batch.next().await.is_none()
    });
    assert!(*run.expect());
}

#[test]
fn what_was_set_aside_at_a_cap_of_zero_starts_when_it_is_raised() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let requests = (1..=3).map(|n| client.get(format!("http://api.test/{n}")));
        let batch = client.batch(requests).max_in_flight(0);
        let cap = batch.cap();
        handle.clone().spawn(async move {
            handle.sleep(secs(1)).await;
            cap.set(1);
        });
        batch
            .collect_all()
            .await
            .iter()
            .filter(|result| result.is_ok())
            .count()
    });
    assert_eq!(*run.expect(), 3);
}

#[test]
fn a_request_whose_work_panics_gives_its_origins_place_to_the_next() {
    for in_start in [true, false] {
        let mut sim = Sim::seeded(1);
        slow(&sim, "api.test");
        let client = client(&sim);
        let run = sim.run(async move {
            let requests = (0..3).map(|n| client.get(format!("http://api.test/{n}")));
            let mut number = 0;
            let work = move |request: RequestBuilder| {
                number += 1;
                let panics = number == 1;
                assert!(!(panics && in_start), "on purpose");
                async move {
                    assert!(!panics, "on purpose");
                    request.send().await
                }
            };
            let mut batch = Box::pin(client.batch_with(requests, work).max_per_origin(1));
            let (mut panics, mut done) = (0, Vec::new());
            loop {
                let polled = std::future::poll_fn(|cx| {
                    let next = std::panic::AssertUnwindSafe(|| batch.as_mut().poll_next(cx));
                    match std::panic::catch_unwind(next) {
                        Ok(polled) => polled.map(Ok),
                        Err(_) => std::task::Poll::Ready(Err(())),
                    }
                });
                match polled.await {
                    Ok(Some((index, result))) => done.push((index, result.is_ok())),
                    Ok(None) => break,
                    Err(()) => panics += 1,
                }
            }
            (panics, done)
        });
        let expected = (1, vec![(1, true), (2, true)]);
        assert_eq!(*run.expect(), expected, "in start: {in_start}");
    }
}
