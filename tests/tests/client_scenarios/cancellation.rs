//! A call may be dropped at any point: nothing is left behind, and nobody else suffers.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use fulmar_sim::{Backoff, Body, Client, Jitter, PoolConfig, Retry, Sim};

use super::support::{
    PollTimes, TlsConn, assert_quiet, at, builder, client, drain, echo, join_all, ms, secs, secure,
    silent, text, until,
};
use super::uploads::kilobytes;

/// A server with an answer of every kind.
fn versatile(sim: &Sim) {
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            match request.path() {
                "/slow" => {
                    conn.sleep(ms(7)).await;
                    conn.respond(200, "slow").await?;
                }
                "/body" => {
                    conn.write_all("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                        .await?;
                    for _ in 0..5 {
                        conn.sleep(ms(3)).await;
                        conn.write_all("5\r\nhello\r\n").await?;
                    }
                    conn.write_all("0\r\n\r\n").await?;
                }
                "/busy" => conn.respond(503, "later").await?,
                path => conn.respond(200, path).await?,
            }
        }
        Ok(())
    });
}

fn quick(sim: &Sim) -> Client {
    let backoff = Backoff::constant(ms(10)).jitter(Jitter::None);
    let mut pool = PoolConfig::new();
    pool.limits.per_origin = Some(2);
    let retry = Retry::new(3).backoff(backoff).throttle(backoff);
    builder(sim).retry(retry).pool(pool).build().unwrap()
}

/// One call of that kind, body included.
async fn one(client: &Client, kind: usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let request = match kind {
        0 => client.get("http://api.test/fast"),
        1 => client.get("http://api.test/slow"),
        2 => client.get("http://api.test/body"),
        3 => client.get("http://api.test/busy"),
        4 => client
            .put("http://api.test/fast")
            .body(Body::stream(kilobytes(300, &taken))),
        _ => client.get("http://nowhere.test/"),
    };
    if let Ok(response) = request.send().await {
        let _ = drain(response).await;
    }
}

#[test]
fn a_call_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    for kind in 0..6 {
        for warm in [false, true] {
            let mut finished = false;
            for polls in 0.. {
                let mut sim = Sim::seeded(7);
                versatile(&sim);
                let client = quick(&sim);
                let handle = sim.handle();
                let run = sim.run(async move {
                    if warm {
                        one(&client, 0).await;
                    }
                    let done = PollTimes::new(polls, one(&client, kind)).await.is_some();
                    let gauges = client.gauges();
                    assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
                    // The dial belongs to the pool and ends by itself; so does a drain.
                    handle.sleep(ms(60)).await;
                    assert_quiet(client.gauges());
                    assert_eq!(
                        text(&client, "http://api.test/next").await.unwrap(),
                        "/next"
                    );
                    assert_quiet(client.gauges());
                    done
                });
                finished = *run.expect();
                assert_eq!(run.leaks(), [""; 0], "kind {kind}, {polls} polls");
                if finished || polls > 500 {
                    break;
                }
            }
            assert!(finished, "kind {kind} was never polled to its end");
        }
    }
}

#[test]
fn a_call_dropped_at_any_instant_leaves_nothing_behind() {
    for kind in 0..6 {
        for step in 0..100 {
            let instant = at(ms(1) * step / 2);
            let mut sim = Sim::seeded(8);
            versatile(&sim);
            let client = quick(&sim);
            let handle = sim.handle();
            let run = sim.run(async move {
                let calls = [kind, 0, 1, kind].map(|kind| one(&client, kind));
                until(&handle, instant, join_all(calls)).await;
                let gauges = client.gauges();
                assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
                handle.sleep(ms(60)).await;
                assert_quiet(client.gauges());
                assert_eq!(
                    text(&client, "http://api.test/next").await.unwrap(),
                    "/next"
                );
            });
            run.expect();
            assert_eq!(run.leaks(), [""; 0], "kind {kind}, step {step}");
        }
    }
}

#[test]
fn a_secure_call_dropped_at_any_instant_leaves_nothing_behind() {
    for step in 0..30 {
        let mut sim = Sim::seeded(8);
        sim.serve("api.test:443", |conn| async move {
            let mut tls = TlsConn::new(conn, "api.test");
            while tls.request().await? {
                tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
                    .await?;
                tls.conn.sleep(ms(2)).await;
                tls.write(b"llo").await?;
            }
            Ok(())
        });
        let client = secure(&sim).build().unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            until(
                &handle,
                at(ms(1) * step / 2),
                text(&client, "https://api.test/"),
            )
            .await;
            assert_eq!(client.gauges().busy, 0);
            handle.sleep(ms(60)).await;
            assert_quiet(client.gauges());
            assert_eq!(text(&client, "https://api.test/").await.unwrap(), "hello");
        });
        run.expect();
        assert_eq!(run.leaks(), [""; 0], "step {step}");
    }
}

#[test]
fn a_thousand_cancelled_calls_do_not_use_the_pool_up() {
    let mut sim = Sim::seeded(9);
    silent(&sim, "api.test:80");
    echo(&sim, "other.test:80");
    let mut pool = PoolConfig::new();
    pool.limits.total = Some(4);
    let client = builder(&sim).pool(pool).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        for n in 0..1000_u64 {
            let limit = handle.now() + std::time::Duration::from_micros(n * 11 % 6000);
            until(&handle, limit, text(&client, "http://api.test/")).await;
            let gauges = client.gauges();
            assert!(
                gauges.total <= 4 && gauges.busy == 0 && gauges.waiting == 0,
                "{gauges:?}"
            );
        }
        assert_eq!(text(&client, "http://other.test/x").await.unwrap(), "/x");
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn dropping_the_dialler_does_not_fail_the_other_waiters() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let mut pool = PoolConfig::new();
    pool.limits.per_origin = Some(1);
    let client = builder(&sim).pool(pool).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut dialler = Box::pin(text(&client, "http://api.test/dialler"));
        let waiters = [
            text(&client, "http://api.test/a"),
            text(&client, "http://api.test/b"),
        ];
        let polled =
            std::future::poll_fn(|cx| std::task::Poll::Ready(dialler.as_mut().poll(cx).is_ready()))
                .await;
        assert!(!polled);
        assert_eq!(client.gauges().connecting, 1);
        let waiting = client.clone();
        handle.spawn(async move {
            waiting.gauges();
        });
        handle.sleep(ms(1)).await;
        drop(dialler);
        let texts = join_all(waiters).await;
        assert_eq!(
            texts.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            ["/a", "/b"]
        );
        handle.now()
    });
    // The dial that was begun at the beginning served both: connected at 3 ms, two exchanges.
    assert_eq!(*run.expect(), at(ms(3 + 2 + 2)));
    assert_eq!(run.stats().connections, 1);
}

#[test]
fn a_client_may_be_dropped_while_calls_dials_and_bodies_are_out() {
    for step in 0..40 {
        let mut sim = Sim::seeded(8);
        versatile(&sim);
        let client = quick(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let calls: Vec<_> = ["fast", "slow", "body"]
                .map(|path| client.get(format!("http://api.test/{path}")).send())
                .into_iter()
                .collect();
            drop(client);
            let calls = until(&handle, at(ms(1) * step / 2), join_all(calls)).await;
            handle.sleep(ms(1)).await;
            // Bodies work on without their client.
            for response in calls.into_iter().flatten() {
                drain(response.unwrap()).await.unwrap();
            }
            handle.sleep(ms(10)).await;
        });
        run.expect();
        assert_eq!(run.leaks(), [""; 0], "step {step}");
    }
}

#[test]
fn the_background_task_ends_with_the_client() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap();
        drop(client);
        handle.sleep(ms(5)).await;
    });
    run.expect();
    // Nobody is left to close anything: it is closed already.
    let trace = run.trace();
    let gone = trace.lines().last().unwrap_or_default().to_owned();
    assert!(run.elapsed() == ms(5 + 5), "{gone}");
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn a_driver_that_has_nothing_to_do_ends_and_one_that_is_needed_starts_again() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..3 {
            text(&client, "http://api.test/").await.unwrap();
            // The idle connection expires, and with it all reason to tick.
            handle.sleep(secs(120)).await;
            assert_eq!(client.gauges().total, 0);
        }
    });
    run.expect();
    assert_eq!(run.stats().connections, 3);
}
