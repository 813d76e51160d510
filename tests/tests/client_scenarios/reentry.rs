//! The user's own code inside a call: it may ask the client, and it may panic.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use fulmar_sim::{Body, Client, Limits, Retry, Sim};

use super::support::{assert_quiet, builder, client, echo, join_all, ms, secs, text};
use super::uploads::Poller;

/// Asks the client when it is dropped.
struct Nosy(Client, Arc<AtomicUsize>);

impl Drop for Nosy {
    fn drop(&mut self) {
        let _ = self.0.gauges();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_observer_may_use_the_client_and_so_may_what_a_body_drops() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/cut" {
                return Ok(());
            }
            conn.respond(200, vec![b'x'; 10_000]).await?;
        }
        Ok(())
    });
    let known = Arc::new(std::sync::OnceLock::<Client>::new());
    let (seen, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (watched, count) = (known.clone(), seen.clone());
    let client = builder(&sim)
        .observer(move |_: &fulmar_core::trace::Record| {
            if let Some(client) = watched.get() {
                let _ = client.gauges();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()
        .unwrap();
    let _ = known.set(client.clone());
    let handle = sim.handle();
    let drops = dropped.clone();
    let run = sim.run(async move {
        for (path, limit) in [("x", 100), ("cut", 100), ("x", 4)] {
            let (nosy, mut left) = (Nosy(client.clone(), drops.clone()), 3);
            let body = Body::stream(Poller(move |_: &mut Context<'_>| {
                let _ = &nosy;
                left -= 1;
                Poll::Ready((left > 0).then(|| std::io::Result::Ok(Bytes::from_static(b"abc"))))
            }));
            let put = client
                .put(format!("http://api.test/{path}"))
                .body(body)
                .send();
            let until = handle.now() + ms(limit);
            if let Some(Ok(mut response)) = super::support::until(&handle, until, put).await {
                response.chunk().await.unwrap();
            }
        }
        drop(text(&client, "http://nowhere.test/").await);
    });
    run.expect();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert!(seen.load(Ordering::Relaxed) > 20);
}

#[test]
fn a_users_stream_that_panics_leaves_the_client_usable() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let body = Body::stream(Poller(
            |_: &mut Context<'_>| -> Poll<Option<std::io::Result<Bytes>>> { panic!("on purpose") },
        ));
        let mut put = Box::pin(client.put("http://api.test/x").body(body).send());
        let outcome = std::future::poll_fn(|cx| {
            let polled = std::panic::AssertUnwindSafe(|| put.as_mut().poll(cx));
            match std::panic::catch_unwind(polled) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(_)) => Poll::Ready(false),
                Err(_) => Poll::Ready(true),
            }
        })
        .await;
        assert!(outcome, "the panic is the caller's");
        drop(put);
        assert_quiet(client.gauges());
        assert_eq!(text(&client, "http://api.test/y").await.unwrap(), "/y");
    });
    run.expect();
}

/// Polls a future once a poll, and says when that panicked. The flag is up while it is polled.
async fn caught<F: Future>(armed: Arc<AtomicBool>, future: F) -> Result<F::Output, ()> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        armed.store(true, Ordering::Relaxed);
        let polled = std::panic::AssertUnwindSafe(|| future.as_mut().poll(cx));
        let polled = std::panic::catch_unwind(polled);
        armed.store(false, Ordering::Relaxed);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    })
    .await
}

#[test]
fn an_observer_that_panics_at_any_event_takes_no_place_in_the_pool_with_it() {
    for warm in [false, true] {
        let mut finished = false;
        for last in 0.. {
            let mut sim = Sim::seeded(1);
            sim.serve("api.test:80", |mut conn| async move {
                while let Some(request) = conn.request().await? {
                    match request.path() {
                        "/busy" => conn.respond(503, "later").await?,
                        _ => conn.respond(200, vec![b'x'; 100_000]).await?,
                    }
                }
                Ok(())
            });
            let (armed, left) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(last));
            let is_armed = armed.clone();
            let client = builder(&sim)
                .limits(Limits::new().per_origin(1))
                .observer(move |_: &fulmar_core::trace::Record| {
                    if !is_armed.load(Ordering::Relaxed) {
                        return;
                    }
                    // From then on at every event, also while the first panic unwinds.
                    match left.load(Ordering::Relaxed) {
                        0 => panic!("on purpose"),
                        more => left.store(more - 1, Ordering::Relaxed),
                    }
                })
                .build()
                .unwrap();
            let handle = sim.handle();
            let run = sim.run(async move {
                if warm {
                    text(&client, "http://api.test/").await.unwrap();
                }
                let calls = async {
                    let _ = text(&client, "http://api.test/busy").await;
                    let _ = text(&client, "http://api.test/").await;
                    let _ = text(&client, "http://nowhere.test/").await;
                };
                let outcome = caught(armed, calls).await;
                handle.sleep(ms(60)).await;
                assert_quiet(client.gauges());
                text(&client, "http://api.test/next").await.unwrap();
                // Nothing is left that the background task would have to wait for.
                handle.sleep(secs(120)).await;
                assert_eq!(client.gauges().total, 0);
                outcome.is_ok()
            });
            finished = *run.expect();
            assert_eq!(run.leaks(), [""; 0], "event {last}");
            if finished {
                assert!(last > 10);
                break;
            }
        }
        assert!(finished);
    }
}

/// A waker that asks the client whenever it is used, and when it is dropped.
struct NosyWaker(Waker, Client, Arc<AtomicUsize>);

impl Wake for NosyWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.1.gauges();
        self.0.wake_by_ref();
    }
}

impl Drop for NosyWaker {
    fn drop(&mut self) {
        let _ = self.1.gauges();
        self.2.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_waker_may_use_the_client_when_it_is_woken_and_when_it_is_dropped() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/stall" {
                conn.sleep(secs(100)).await;
            }
            conn.sleep(ms(10)).await;
            conn.respond(200, vec![b'x'; 100_000]).await?;
        }
        Ok(())
    });
    let client = builder(&sim)
        .limits(Limits::new().per_origin(1))
        .retry(Retry::never())
        .build()
        .unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let (drops, handle) = (dropped.clone(), sim.handle());
    let run = sim.run(async move {
        let asked = client.clone();
        let calls = async {
            let both = ["http://api.test/a", "http://api.test/b"].map(|url| text(&client, url));
            for text in join_all(both).await {
                text.unwrap();
            }
            client
                .get("http://api.test/stall")
                .timeout(secs(1))
                .send()
                .await
                .unwrap_err();
            let stalled = client.get("http://api.test/stall").send();
            super::support::until(&handle, handle.now() + ms(5), stalled).await;
        };
        let mut calls = Box::pin(calls);
        std::future::poll_fn(|cx| {
            let nosy = NosyWaker(cx.waker().clone(), asked.clone(), drops.clone());
            let waker = Waker::from(Arc::new(nosy));
            calls.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert!(dropped.load(Ordering::Relaxed) >= 5);
}

#[test]
fn a_rule_may_use_the_client_and_panic() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/cut" {
                return Ok(());
            }
            conn.respond(503, "").await?;
        }
        Ok(())
    });
    let known = Arc::new(std::sync::OnceLock::<Client>::new());
    let (asked, count) = (known.clone(), Arc::new(AtomicUsize::new(0)));
    let times = count.clone();
    let retry = Retry::never().classifier(move |_, _| {
        let gauges = asked.get().map(Client::gauges);
        assert!(times.fetch_add(1, Ordering::Relaxed) < 2, "{gauges:?}");
        None
    });
    let client = builder(&sim).retry(retry).build().unwrap();
    let _ = known.set(client.clone());
    let run = sim.run(async move {
        let get = |path| client.get(format!("http://api.test{path}")).send();
        assert_eq!(get("/").await.unwrap().status(), 503);
        get("/cut").await.unwrap_err();
        let mut call = Box::pin(get("/"));
        let panics = std::future::poll_fn(|cx| {
            let poll = std::panic::AssertUnwindSafe(|| call.as_mut().poll(cx));
            match std::panic::catch_unwind(poll) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(_)) => Poll::Ready(false),
                Err(_) => Poll::Ready(true),
            }
        });
        assert!(panics.await);
        drop(call);
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[test]
fn an_observer_that_panics_costs_no_retry_that_is_not_made() {
    for last in 0.. {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", |mut conn| async move {
            conn.request().await?;
            conn.respond(503, "whole").await?;
            conn.request().await?;
            conn.write_all("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n")
                .await?;
            conn.sleep(ms(5)).await;
            conn.write_all("in pieces").await?;
            while conn.request().await?.is_some() {
                conn.respond(200, "x").await?;
            }
            Ok(())
        });
        let (left, begun) = (AtomicUsize::new(last), Arc::new(AtomicUsize::new(0)));
        let (attempts, armed) = (begun.clone(), Arc::new(AtomicBool::new(false)));
        let is_armed = armed.clone();
        let client = builder(&sim)
            .retry(Retry::new(3))
            .observer(move |record: &fulmar_core::trace::Record| {
                let is_begun = matches!(record.event, fulmar_core::trace::Event::Leased { .. });
                attempts.fetch_add(usize::from(is_begun), Ordering::Relaxed);
                if !is_armed.load(Ordering::Relaxed) {
                    return;
                }
                match left.load(Ordering::Relaxed) {
                    0 => {
                        left.store(usize::MAX, Ordering::Relaxed);
                        panic!("on purpose")
                    }
                    more => left.store(more - 1, Ordering::Relaxed),
                }
            })
            .build()
            .unwrap();
        let run = sim.run(async move {
            let tokens = || {
                let get = client.get("http://api.test/");
                client.explain(&get).unwrap().retry.tokens
            };
            let before = tokens();
            let call = text(&client, "http://api.test/");
            let outcome = caught(armed, call).await;
            ((before - tokens() + 200) / 1_000, outcome.is_ok())
        });
        let (paid, finished) = *run.expect();
        let retries = begun.load(Ordering::Relaxed).saturating_sub(1);
        assert_eq!(paid as usize, retries, "event {last}");
        if finished {
            assert_eq!(retries, 2);
            break;
        }
    }
}
