//! Every handle may be dropped on a thread where nothing runs, neither a runtime nor a simulation.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::thread;

use fulmar_sim::{Client, Handle, Limits, Sim};

use crate::harness::Act;
use crate::server::{URL, echo};
use crate::support::{assert_quiet, builder, secs, text};
use crate::world::everything;
use crate::{requests, sockets};

/// Drops it on a thread of its own.
fn drop_elsewhere(handle: impl Send + 'static) {
    thread::spawn(move || drop(handle)).join().unwrap();
}

type World = (fn(&Sim), fn(Client, Handle) -> Act);

const HTTP: World = (everything, requests::next);
const WEBSOCKETS: World = (echo, sockets::next);

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

#[test]
#[expect(clippy::async_yields_async, reason = "the call is what is dropped")]
fn a_call_that_was_polled() {
    is_dropped_elsewhere(HTTP, |client| async move {
        let mut call = Box::pin(async move { text(&client, "http://api.test/body").await });
        poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        call
    });
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
