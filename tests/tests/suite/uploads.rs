//! Request bodies on their way out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fulmar::{Body, Client, Error, Fate, Kind, Phase};
use futures_core::Stream;

use crate::env::{Env, Gate, Poller, Server};
use crate::responses::never;

suite![
    bodies_of_every_kind_arrive_whole_on_one_connection,
    a_stream_is_sent_chunk_by_chunk_as_it_yields,
    an_upload_takes_no_more_of_the_users_stream_than_the_peer_makes_room_for,
    an_early_answer_ends_the_upload_and_is_delivered,
    a_stream_that_yields_too_little_or_too_much_fails_and_closes_its_connection,
    a_stream_that_fails_fails_the_call_with_its_own_error,
    a_stream_with_empty_chunks_is_not_ended_by_them,
    a_response_is_the_body_of_another_request,
];

/// So many chunks of a kilobyte, counted as they are taken.
pub(crate) fn kilobytes(
    count: usize,
    taken: &Arc<AtomicUsize>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (taken, mut left) = (taken.clone(), count);
    Poller(move |_: &mut Context<'_>| {
        Poll::Ready(left.checked_sub(1).map(|rest| {
            left = rest;
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![b'u'; 1024]))
        }))
    })
}

/// Answers with the length of what it was sent.
fn measures(env: &Env) -> Server {
    env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            peer.respond(200, request.body.len().to_string()).await?;
        }
        Ok(())
    })
}

async fn put(client: &Client, server: &Server, body: impl Into<Body>) -> Result<String, Error> {
    client
        .put(server.url("/"))
        .body(body)
        .send()
        .await?
        .text()
        .await
}

pub(crate) async fn bodies_of_every_kind_arrive_whole_on_one_connection(env: Env) {
    let (server, client) = (measures(&env), env.client());
    let taken = Arc::new(AtomicUsize::new(0));
    let made = taken.clone();
    for (body, length) in [
        (Body::from("text"), 4),
        (vec![7; 2_000_000].into(), 2_000_000),
        (
            Body::sized_stream(kilobytes(3000, &taken), 3000 * 1024),
            3000 * 1024,
        ),
        (Body::stream(kilobytes(700, &taken)), 700 * 1024),
        (Body::factory(move || kilobytes(2, &made), None), 2 * 1024),
        ("".into(), 0),
        (Body::empty(), 0),
    ] {
        assert_eq!(
            put(&client, &server, body).await.unwrap(),
            length.to_string()
        );
    }
    assert_eq!(server.accepted(), 1);
}

pub(crate) async fn a_stream_is_sent_chunk_by_chunk_as_it_yields(env: Env) {
    let gates = [(); 5].map(|()| Gate::default());
    let opens = gates.clone();
    let server = env.serve(move |mut peer| {
        let opens = opens.clone();
        async move {
            peer.head().await?;
            for (n, gate) in opens.iter().enumerate() {
                gate.open();
                assert_eq!(peer.exactly(1).await?, n.to_string());
            }
            peer.respond(200, "all").await
        }
    });
    let mut turn = 0;
    let stream = Poller(move |cx: &mut Context<'_>| {
        let Some(gate) = gates.get(turn) else {
            return Poll::Ready(None);
        };
        ready!(gate.poll(cx));
        turn += 1;
        Poll::Ready(Some(io::Result::Ok(Bytes::from((turn - 1).to_string()))))
    });
    let body = Body::sized_stream(stream, 5);
    assert_eq!(put(&never(&env), &server, body).await.unwrap(), "all");
}

pub(crate) async fn an_upload_takes_no_more_of_the_users_stream_than_the_peer_makes_room_for(
    env: Env,
) {
    let (begun, go_on) = (Gate::default(), Gate::default());
    let (begins, goes_on) = (begun.clone(), go_on.clone());
    let server = env.serve(move |mut peer| {
        let (begun, go_on) = (begins.clone(), goes_on.clone());
        async move {
            let head = peer.head().await?.unwrap();
            begun.open();
            go_on.opened().await;
            assert_eq!(head.header("content-length"), Some("67108864"));
            peer.exactly(64 << 20).await?;
            peer.respond(200, "all").await
        }
    });
    let client = never(&env);
    let taken = Arc::new(AtomicUsize::new(0));
    let body = Body::sized_stream(kilobytes(64 << 10, &taken), 64 << 20);
    let call = client.put(server.url("/")).body(body).send();
    let upload = env.spawn(async move { call.await?.text().await });
    begun.opened().await;
    assert!(
        taken.load(Ordering::Relaxed) < 32 << 10,
        "the systems' buffers hold less"
    );
    go_on.open();
    assert_eq!(upload.await.unwrap(), "all");
    assert_eq!(taken.load(Ordering::Relaxed), 64 << 10);
}

pub(crate) async fn an_early_answer_ends_the_upload_and_is_delivered(env: Env) {
    let server = env.serve(|mut peer| async move {
        peer.head().await?;
        peer.exactly(10).await?;
        peer.respond(413, "big").await?;
        peer.gone().await
    });
    let client = never(&env);
    let mut left = 3;
    // A stream that never ends, and yields nothing after its first chunks.
    let body = Body::stream(Poller(move |_: &mut Context<'_>| {
        if left == 0 {
            return Poll::Pending;
        }
        left -= 1;
        Poll::Ready(Some(io::Result::Ok(Bytes::from(vec![b'u'; 10_000]))))
    }));
    let response = client.put(server.url("/")).body(body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 413);
    assert_eq!(response.text().await.unwrap(), "big");
    // A request that was not sent whole ends its connection.
    assert_eq!(client.gauges().total, 0);
}

pub(crate) async fn a_stream_that_yields_too_little_or_too_much_fails_and_closes_its_connection(
    env: Env,
) {
    let (server, client) = (measures(&env), env.client());
    // The last is too much by a whole chunk.
    for declared in [1024 * 3 + 1, 1024 * 3 - 1, 1024 * 2] {
        let taken = Arc::new(AtomicUsize::new(0));
        let body = Body::sized_stream(kilobytes(3, &taken), declared);
        let error = put(&client, &server, body).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Request, "{error}");
        assert!(error.to_string().contains("body"), "{error}");
        assert_eq!(client.gauges().total, 0);
        assert_eq!(put(&client, &server, "next").await.unwrap(), "4");
        // The next one is to fail on a connection that was used before.
    }
}

pub(crate) async fn a_stream_that_fails_fails_the_call_with_its_own_error(env: Env) {
    let (server, client) = (measures(&env), env.client());
    let mut turn = 0;
    let body = Body::stream(Poller(move |_: &mut Context<'_>| {
        turn += 1;
        Poll::Ready(Some(match turn {
            1 => Ok(Bytes::from_static(b"begun")),
            _ => Err(io::Error::other("the disk is on fire")),
        }))
    }));
    let error = put(&client, &server, body).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Request, Some(Phase::Write))
    );
    assert_ne!(error.fate(), Fate::Processed);
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.downcast_ref::<io::Error>().is_some());
    assert_eq!(client.gauges().total, 0);
    assert_eq!(put(&client, &server, "next").await.unwrap(), "4");
}

pub(crate) async fn a_stream_with_empty_chunks_is_not_ended_by_them(env: Env) {
    let (server, client) = (measures(&env), env.client());
    let mut chunks = ["", "a", "", "", "b", ""].iter();
    let body = Body::stream(Poller(move |_: &mut Context<'_>| {
        let chunk = chunks
            .next()
            .map(|chunk| io::Result::Ok(Bytes::from_static(chunk.as_bytes())));
        Poll::Ready(chunk)
    }));
    assert_eq!(put(&client, &server, body).await.unwrap(), "2");
    assert_eq!(server.log(), ["PUT / ab"]);
}

pub(crate) async fn a_response_is_the_body_of_another_request(env: Env) {
    let (server, client) = (measures(&env), env.client());
    let from = env.serve(|mut peer| async move {
        while peer.request().await?.is_some() {
            peer.respond(200, vec![b'z'; 300_000]).await?;
        }
        Ok(())
    });
    let source = client.get(from.url("/")).send().await.unwrap();
    assert_eq!(put(&client, &server, source).await.unwrap(), "300000");
    env.quiet(&client).await;
    assert_eq!(client.gauges().idle, 2);
}
