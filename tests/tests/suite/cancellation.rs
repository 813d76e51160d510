//! Calls and bodies that are dropped, at any point and anywhere.

use std::thread;

use fulmar::{Client, Limits};

use crate::env::{Env, Gate, PollTimes, join_all};
use crate::responses::text;

suite![
    a_call_that_is_never_polled_does_nothing,
    a_call_dropped_after_any_number_of_polls_leaves_nothing_behind,
    a_call_dropped_while_it_waits_leaves_its_place,
    dropping_the_dialler_does_not_fail_the_other_waiters,
    a_call_may_be_dropped_on_a_bare_thread,
    a_half_read_response_may_be_dropped_on_a_bare_thread,
    many_cancelled_calls_do_not_use_the_pool_up,
    a_client_may_be_dropped_while_calls_are_out,
];

fn narrow(env: &Env) -> Client {
    env.builder()
        .limits(Limits::new().per_origin(1))
        .build()
        .unwrap()
}

pub(crate) async fn a_call_that_is_never_polled_does_nothing(env: Env) {
    let (server, client) = (env.echo(), env.client());
    drop(client.get(server.url("/")).send());
    drop(client.post(server.url("/")).body("x"));
    assert_eq!((client.gauges().total, client.gauges().waiting), (0, 0));
    assert_eq!(text(&client, server.url("/")).await.unwrap(), "/");
    assert_eq!(server.log(), ["GET /"]);
}

pub(crate) async fn a_call_dropped_after_any_number_of_polls_leaves_nothing_behind(env: Env) {
    let server = env.echo();
    let client = narrow(&env);
    for polls in 0..12 {
        let call = PollTimes::new(polls, async {
            text(&client, server.url("/x")).await.unwrap()
        });
        if let Some(text) = call.await {
            assert_eq!(text, "/x");
        }
        env.quiet(&client).await;
        assert!(client.gauges().total <= 1, "{:?}", client.gauges());
        assert_eq!(
            text(&client, server.url("/y")).await.unwrap(),
            "/y",
            "{polls} polls"
        );
    }
}

pub(crate) async fn a_call_dropped_while_it_waits_leaves_its_place(env: Env) {
    let gate = Gate::default();
    let opens = gate.clone();
    let server = env.serve(move |mut peer| {
        let gate = gate.clone();
        async move {
            while let Some(request) = peer.request().await? {
                gate.opened().await;
                peer.respond(200, request.target).await?;
            }
            Ok(())
        }
    });
    let client = narrow(&env);
    let get = |path| {
        let call = client.get(server.url(path)).send();
        Box::pin(async move { call.await.unwrap().text().await.unwrap() })
    };
    let (first, mut second, third) = (env.spawn(get("/1")), get("/2"), get("/3"));
    env.until("the first at the server", || server.log().len() == 1)
        .await;
    assert!(PollTimes::new(1, second.as_mut()).await.is_none());
    let third = env.spawn(third);
    env.until("two that wait", || client.gauges().waiting == 2)
        .await;
    drop(second);
    assert_eq!(client.gauges().waiting, 1);
    opens.open();
    assert_eq!((first.await, third.await), ("/1".into(), "/3".into()));
    assert_eq!(server.log(), ["GET /1", "GET /3"]);
}

pub(crate) async fn dropping_the_dialler_does_not_fail_the_other_waiters(env: Env) {
    let server = env.echo();
    let client = narrow(&env);
    let mut dialler = Box::pin(client.get(server.url("/1")).send());
    assert!(PollTimes::new(1, dialler.as_mut()).await.is_none());
    let other = client.get(server.url("/2")).send();
    let other = env.spawn(async move { other.await.unwrap().text().await.unwrap() });
    env.until("a waiter", || client.gauges().waiting >= 1).await;
    drop(dialler);
    assert_eq!(other.await, "/2");
    // The dial belongs to the pool; one that was over before the first poll was is the dialler's.
    assert!(server.accepted() <= 2, "{}", server.accepted());
}

pub(crate) async fn a_call_may_be_dropped_on_a_bare_thread(env: Env) {
    let (server, client) = (env.silent(), env.client());
    let mut call = Box::pin(client.get(server.url("/")).send());
    let polled = std::future::poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        std::task::Poll::Ready(polled.is_ready())
    });
    assert!(!polled.await);
    let call = thread::spawn(move || drop(call));
    call.join().unwrap();
    env.quiet(&client).await;
    assert_eq!(client.gauges().busy, 0);
}

pub(crate) async fn a_half_read_response_may_be_dropped_on_a_bare_thread(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            let length = if request.target == "/long" { 30_000 } else { 5 };
            peer.respond(200, vec![b'x'; length]).await?;
        }
        Ok(())
    });
    let client = env.client();
    for _ in 0..3 {
        let mut response = client.get(server.url("/long")).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        thread::spawn(move || drop(response)).join().unwrap();
        assert_eq!(text(&client, server.url("/next")).await.unwrap(), "xxxxx");
        assert_eq!(client.gauges().busy, 0);
    }
    env.quiet(&client).await;
}

pub(crate) async fn many_cancelled_calls_do_not_use_the_pool_up(env: Env) {
    let server = env.echo();
    let client = env
        .builder()
        .limits(Limits::new().per_origin(4))
        .build()
        .unwrap();
    let calls = (0..200).map(|n| {
        let call = client.get(server.url("/x")).send();
        let call = PollTimes::new(n % 7, async move { call.await?.text().await });
        env.spawn(call)
    });
    let calls: Vec<_> = calls.collect();
    for outcome in join_all(calls).await.into_iter().flatten() {
        assert_eq!(outcome.unwrap(), "/x");
    }
    env.quiet(&client).await;
    assert!(client.gauges().total <= 4, "{:?}", client.gauges());
    assert_eq!(text(&client, server.url("/y")).await.unwrap(), "/y");
}

pub(crate) async fn a_client_may_be_dropped_while_calls_are_out(env: Env) {
    let server = env.echo();
    let client = narrow(&env);
    let calls: Vec<_> = (0..5)
        .map(|_| client.get(server.url("/x")).send())
        .collect();
    drop(client);
    for response in join_all(calls).await {
        assert_eq!(response.unwrap().text().await.unwrap(), "/x");
    }
}
