//! What can be set of a WebSocket, its limits on time, and its traits.

use std::future::poll_fn;
use std::pin::Pin;

use fulmar::websocket::{Cause, CloseCode};
use futures_core::Stream;
use futures_sink::Sink;

use crate::env::{Env, PollTimes, ms};
use crate::websockets::{accept, close, echoing, open};

suite![
    no_message_within_the_read_deadline_ends_it,
    a_server_that_does_not_answer_a_close_is_left_in_time,
    a_sub_protocol_is_chosen_by_the_server,
    who_comes_when_there_are_as_many_as_may_be_waits_for_one_to_end,
    it_is_a_stream_and_a_sink,
];

pub(crate) async fn no_message_within_the_read_deadline_ends_it(env: Env) {
    let (server, client, begun) = (echoing(&env), env.client(), env.now());
    let opening = client.websocket(server.url("/")).read_deadline(ms(100));
    let mut ws = opening.connect().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.cause, Cause::ReadIdle);
    assert!(env.now() - begun >= ms(100));
    env.quiet(&client).await;
}

pub(crate) async fn a_server_that_does_not_answer_a_close_is_left_in_time(env: Env) {
    let server = env.serve(|mut peer| async move {
        accept(&mut peer).await?;
        peer.gone().await
    });
    let client = env.client();
    let opening = client.websocket(server.url("/")).close_timeout(ms(50));
    let ws = opening.connect().await.unwrap();
    let begun = env.now();
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!((closed.clean, closed.cause), (false, Cause::CloseTimeout));
    assert!(env.now() - begun >= ms(50));
    env.quiet(&client).await;
}

pub(crate) async fn a_sub_protocol_is_chosen_by_the_server(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let opening = client.websocket(server.url("/")).protocol("chat");
    let ws = opening.connect().await.unwrap();
    assert_eq!(ws.protocol(), Some("chat"));
    close(&ws).await;
}

pub(crate) async fn who_comes_when_there_are_as_many_as_may_be_waits_for_one_to_end(env: Env) {
    let server = echoing(&env);
    let client = env.builder().websocket_limits(10, 1).build().unwrap();
    let first = open(&client, &server).await;
    let (next, url) = (client.clone(), server.url("/"));
    let mut waiting = Box::pin(async move { next.websocket(url).connect().await });
    assert!(PollTimes::new(1, waiting.as_mut()).await.is_none());
    assert_eq!(server.accepted(), 1);
    drop(first);
    close(&waiting.await.unwrap()).await;
    assert_eq!(server.accepted(), 2);
}

pub(crate) async fn it_is_a_stream_and_a_sink(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let mut ws = open(&client, &server).await;
    for n in 0..10 {
        let ready = poll_fn(|cx| Pin::new(&mut ws).poll_ready(cx));
        ready.await.unwrap();
        Pin::new(&mut ws).start_send(format!("{n}").into()).unwrap();
    }
    let flush = poll_fn(|cx| Pin::new(&mut ws).poll_flush(cx));
    flush.await.unwrap();
    for n in 0..10 {
        let next = poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await;
        assert_eq!(next.unwrap().unwrap(), format!("{n}").into());
    }
    let close = poll_fn(|cx| Pin::new(&mut ws).poll_close(cx));
    close.await.unwrap();
    assert_eq!(poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await, None);
}
