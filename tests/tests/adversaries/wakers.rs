//! Wakers that panic, that use the client, and that wake nobody.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use fulmar_sim::net::BoxFuture;
use fulmar_sim::{Client, Handle, Limits, Response, Sim};

use crate::crowds::{CROWDS, play, poll_once};
use crate::support::{assert_quiet, builder, ms, secs, text};

/// Panics.
struct Bomb(Arc<AtomicUsize>);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("on purpose");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    for (name, crowd) in CROWDS {
        let count = Arc::new(AtomicUsize::new(0));
        let bomb = Waker::from(Arc::new(Bomb(count.clone())));
        play(name, crowd, |_, _| bomb);
        assert!(count.load(Ordering::Relaxed) > 0, "{name}: nobody woke it");
    }
}

#[test]
fn one_that_is_woken_and_never_polled_holds_up_others_until_it_is_dropped_and_no_longer() {
    for (name, crowd) in CROWDS {
        play(name, crowd, |_, _| Waker::noop().clone());
    }
}

/// Does with the client whatever it can.
struct Busybody {
    client: Client,
    count: Arc<AtomicUsize>,
}

impl Wake for Busybody {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let client = &self.client;
        let _ = client.gauges();
        let get = client.get("http://api.test/b");
        let _ = client.explain(&get);
        let mut call = Box::pin(get.send());
        let _ = poll_once(&mut call);
        let mut socket = Box::pin(client.websocket("ws://api.test/chat").connect());
        let _ = poll_once(&mut socket);
    }
}

#[test]
fn a_waker_may_use_the_client() {
    for (name, crowd) in CROWDS {
        let count = Arc::new(AtomicUsize::new(0));
        play(name, crowd, |client, _| {
            Waker::from(Arc::new(Busybody {
                client: client.clone(),
                count: count.clone(),
            }))
        });
        assert!(count.load(Ordering::Relaxed) > 0, "{name}: nobody woke it");
    }
}

/// Drops what it holds.
struct Dropper(Mutex<Option<Response>>);

impl Wake for Dropper {
    fn wake(self: Arc<Self>) {
        // Its drop may wake this waker again, for the place that it leaves.
        let response = self.0.lock().unwrap().take();
        drop(response);
    }
}

/// The response that has the only connection is dropped by the waker of one who waits for it.
fn response_dropped_by_a_waker(end: fn(Client, Handle) -> BoxFuture<()>) {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            match request.path() {
                "/long" => conn.respond(200, vec![b'x'; 300_000]).await?,
                path => conn.respond(200, path).await?,
            }
        }
        Ok(())
    });
    let client = builder(&sim)
        .limits(Limits::new().per_origin(1))
        .build()
        .unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let response = client.get("http://api.test/long").send().await.unwrap();
        let waker = Waker::from(Arc::new(Dropper(Mutex::new(Some(response)))));
        let mut waits = Box::pin(client.get("http://api.test/a").timeout(secs(1)).send());
        let polled = waits.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        end(client.clone(), handle.clone()).await;
        drop((waits, waker));
        if !client.is_closed() {
            text(&client, "http://api.test/b").await.unwrap();
        }
        handle.sleep(secs(1)).await;
        assert_quiet(client.gauges());
        assert_eq!(client.holdings().deadlines, 0);
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_waker_may_drop_the_response_that_was_waited_for() {
    // Woken by a shutdown, which then has nothing left to wait for.
    response_dropped_by_a_waker(|client, handle| {
        Box::pin(async move {
            let begun = handle.now();
            client.shutdown(client.deadline(secs(9))).await;
            assert!(handle.now() - begun < ms(100), "{:?}", handle.now());
        })
    });
    // Woken at its deadline, from the background task.
    response_dropped_by_a_waker(|client, handle| {
        Box::pin(async move {
            handle.sleep(secs(2)).await;
            assert_eq!(client.gauges().busy, 0, "the waker dropped it");
        })
    });
}
