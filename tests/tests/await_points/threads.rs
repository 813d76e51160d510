//! Every handle may be dropped on a thread where nothing runs, neither a runtime nor a simulation.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::thread;

use fulmar_sim::{Client, Handle, Limits, Sim};

use crate::harness::Act;
use crate::server::{URL, echo};
use crate::support::{assert_quiet, builder, secs, text};
use crate::world::everything;
use crate::{requests, sessions, sockets};

/// Drops it on a thread of its own.
fn drop_elsewhere(handle: impl Send + 'static) {
    thread::spawn(move || drop(handle)).join().unwrap();
}

type World = (fn(&Sim), fn(Client, Handle) -> Act);

const HTTP: World = (everything, requests::next);
const WEBSOCKETS: World = (echo, sockets::next);
const SESSIONS: World = (sessions::town, sessions::next);

/// What `make` makes is dropped on a bare thread; then the only place is free again.
fn is_dropped_elsewhere<F, T>((world, next): World, make: impl FnOnce(Client) -> F)
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let mut sim = Sim::seeded(5);
    world(&sim);
    let limits = Limits::default().per_origin(1);
    let client = builder(&sim)
        .limits(limits)
        .websocket_limits(1, 1)
        .build()
        .unwrap();
    let (handle, being) = (sim.handle(), make(client.clone()));
    let run = sim.run(async move {
        drop_elsewhere(being.await);
        handle.sleep(secs(40)).await;
        assert_quiet(client.gauges());
        next(client.clone(), handle.clone()).await;
        handle.sleep(secs(40)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

/// Polled once, and not ready.
async fn begun<T>(work: impl Future<Output = T> + Send + 'static) -> impl Send + 'static {
    let mut work = Box::pin(work);
    let is_ready = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
    assert!(!is_ready);
    Dropped(work)
}

/// A future of which nobody asks what it would have brought.
struct Dropped<F>(F);

#[test]
fn a_call_that_was_polled() {
    is_dropped_elsewhere(HTTP, |client| {
        begun(async move { text(&client, "http://api.test/body").await })
    });
}

#[test]
fn a_call_whose_dial_hangs() {
    is_dropped_elsewhere(HTTP, |client| {
        begun(async move { text(&client, "http://hung.test/").await })
    });
}

#[test]
fn a_call_in_the_queue_before_and_after_who_has_the_place() {
    for is_granted in [false, true] {
        is_dropped_elsewhere(HTTP, |client| async move {
            let other = client.clone();
            let response = client.get("http://api.test/upload").send().await.unwrap();
            let call = begun(async move { text(&other, "http://api.test/a").await }).await;
            let mut order: [Option<Box<dyn Send>>; 2] =
                [Some(Box::new(response)), Some(Box::new(call))];
            if !is_granted {
                order.reverse();
            }
            order
        });
    }
}

#[test]
fn a_call_that_rests_before_a_retry() {
    is_dropped_elsewhere(HTTP, |client| async move {
        let other = client.clone();
        let mut call = Box::pin(async move { text(&other, "http://api.test/after").await });
        // It takes the place that the first attempt leaves.
        let mut next = Box::pin(async move { text(&client, "http://api.test/slow").await });
        poll_fn(|cx| {
            assert!(call.as_mut().poll(cx).is_pending());
            next.as_mut().poll(cx).map(drop)
        })
        .await;
        Dropped(call)
    });
}

#[test]
fn a_scope() {
    is_dropped_elsewhere(HTTP, |client| {
        let part = client.clone();
        begun(client.scope(None, |scope| async move {
            scope.branch("part", async move {
                text(&part, "http://api.test/slow").await?;
                Ok(())
            });
            Ok(())
        }))
    });
}

#[test]
fn a_session_and_what_waits_for_it() {
    is_dropped_elsewhere(SESSIONS, |client| async move {
        let session = sessions::open(&client, URL);
        let sent = session.send("one").await.unwrap();
        (sent, session.events(), session)
    });
}

#[test]
fn a_shutdown() {
    let mut sim = Sim::seeded(5);
    everything(&sim);
    let client = builder(&sim).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let response = client.get("http://api.test/body").send().await.unwrap();
        let other = client.clone();
        drop_elsewhere(begun(async move { other.shutdown(fulmar_sim::Instant::MAX).await }).await);
        drop(response);
        // Another is not held up by the first.
        client.shutdown(handle.now() + secs(1)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_response_that_nobody_read() {
    is_dropped_elsewhere(HTTP, |client| async move {
        client.get("http://api.test/body").send().await.unwrap()
    });
}

#[test]
fn a_body_that_was_half_read() {
    is_dropped_elsewhere(HTTP, |client| async move {
        let response = client.get("http://api.test/body").send().await.unwrap();
        let mut body = response.into_body();
        assert!(body.chunk().await.unwrap().is_some());
        body
    });
}

#[test]
fn an_upgraded_connection() {
    is_dropped_elsewhere(HTTP, |client| async move {
        let call = client.get("http://api.test/shout").upgrade("shout");
        call.send().await.unwrap().upgrade().await.unwrap()
    });
}

#[test]
fn a_batch() {
    is_dropped_elsewhere(HTTP, |client| async move {
        let requests = [(); 5].map(|()| client.get("http://api.test/slow"));
        let mut batch = client.batch(requests);
        batch.next().await.unwrap().1.unwrap();
        batch
    });
}

#[test]
fn a_websocket() {
    is_dropped_elsewhere(WEBSOCKETS, |client| async move {
        client.websocket(URL).connect().await.unwrap()
    });
}

#[test]
fn the_halves_of_a_websocket() {
    is_dropped_elsewhere(WEBSOCKETS, |client| async move {
        client.websocket(URL).connect().await.unwrap().split()
    });
}

#[test]
fn a_client_with_its_idle_connection() {
    is_dropped_elsewhere(HTTP, |client| async move {
        text(&client, "http://api.test/a").await.unwrap();
        client
    });
}
