//! The end of a client.

use fulmar::Kind;

use crate::env::{Env, Gate, ms};
use crate::responses::{never, text};

suite![
    a_shutdown_waits_for_what_is_under_way_and_lets_nothing_new_begin,
    a_shutdown_ends_at_its_deadline_what_is_still_under_way,
];

pub(crate) async fn a_shutdown_waits_for_what_is_under_way_and_lets_nothing_new_begin(env: Env) {
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
    let client = never(&env);
    let mut call = Box::pin(text(&client, server.url("/a")));
    let mut shutdown = Box::pin(client.shutdown(fulmar::Instant::MAX));
    // Both are polled together, until the call is at the server and the client closed.
    let mut is_down = false;
    let mut is_seen = false;
    let mut seen = Box::pin(env.until("the request", || !server.log().is_empty()));
    let answer = std::future::poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        is_seen = is_seen || seen.as_mut().poll(cx).is_ready();
        if !is_seen {
            return polled;
        }
        if !is_down {
            is_down = shutdown.as_mut().poll(cx).is_ready();
        }
        opens.open();
        polled
    })
    .await;
    assert_eq!(answer.unwrap(), "/a");
    if !is_down {
        shutdown.await;
    }
    assert_eq!(client.gauges().total, 0);
    let late = text(&client, server.url("/b")).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Closed);
    assert_eq!(server.log(), ["GET /a"]);
    env.until("closed sockets", || server.open() == 0).await;
}

pub(crate) async fn a_shutdown_ends_at_its_deadline_what_is_still_under_way(env: Env) {
    let server = env.serve(|mut peer| async move {
        while peer.request().await?.is_some() {}
        Ok(())
    });
    let client = never(&env);
    let mut call = Box::pin(text(&client, server.url("/a")));
    let mut shutdown = None;
    let mut is_seen = false;
    let mut seen = Box::pin(env.until("the request", || !server.log().is_empty()));
    let error = std::future::poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        is_seen = is_seen || seen.as_mut().poll(cx).is_ready();
        if !is_seen {
            return polled;
        }
        let down = || Box::pin(client.shutdown(client.deadline(ms(20))));
        let _ = shutdown.get_or_insert_with(down).as_mut().poll(cx);
        polled
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Closed);
    client.shutdown(client.deadline(ms(0))).await;
    assert_eq!(client.gauges().total, 0);
    env.until("closed sockets", || server.open() == 0).await;
}
