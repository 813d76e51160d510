//! Whatever is dropped midway, here or on a thread where no runtime is, gives back what it held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use fulmar::net::BoxFuture;
use fulmar::websocket::CloseCode;
use fulmar::{Body, Client, Limits, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};

use crate::env::{Env, Peer, PollTimes, Server};
use crate::responses::text;
use crate::uploads::kilobytes;
use crate::websockets::{echo, switch};

suite![
    an_upload_that_is_dropped_midway_leaves_nothing_behind,
    a_batch_that_is_dropped_midway_leaves_nothing_behind,
    a_batch_of_uploads_that_is_dropped_midway_leaves_nothing_behind,
    an_upgraded_connection_that_is_dropped_midway_leaves_nothing_behind,
    a_websocket_that_is_dropped_midway_leaves_nothing_behind,
];

const POLLS: [usize; 7] = [1, 2, 3, 4, 6, 9, 40];

type Use = fn(Client, String) -> BoxFuture<()>;

/// Speaks WebSocket at `/chat`, shouts at `/shout`, and answers anything else with its target.
async fn serve(mut peer: Peer) -> io::Result<()> {
    while let Some(request) = peer.request().await? {
        match &*request.target {
            "/chat" => {
                switch(&mut peer, &request).await?;
                return echo(&mut peer).await;
            }
            "/shout" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                            Upgrade: shout\r\n\r\n";
                peer.write(head).await?;
                loop {
                    let said = peer.exactly(1_000).await?;
                    peer.write(said.to_ascii_uppercase()).await?;
                }
            }
            _ => peer.respond(200, request.target).await?,
        }
    }
    Ok(())
}

/// Drops it after so many polls, with each of both threads; afterwards the only connection, the only
/// places and all deadlines are free, and the client goes on.
async fn dropped(env: Env, act: Use) {
    let server: Server = env.serve(serve);
    let client = env
        .builder()
        .limits(Limits::new().per_origin(1))
        .max_in_flight(2)
        .websocket_limits(1, 1)
        .build()
        .unwrap();
    for polls in POLLS {
        for is_elsewhere in [false, true] {
            let mut midway = act(client.clone(), server.url(""));
            PollTimes::new(polls, midway.as_mut()).await;
            if is_elsewhere {
                thread::spawn(move || drop(midway)).join().unwrap();
            } else {
                drop(midway);
            }
            env.quiet(&client).await;
            let is_free = || {
                let now = client.holdings();
                now.deadlines + now.in_flight + now.queued + now.websockets == 0
            };
            env.until("places and deadlines", is_free).await;
            let next = text(&client, server.url("/next")).await;
            assert_eq!(next.unwrap(), "/next", "{polls} polls");
        }
    }
}

pub(crate) async fn an_upload_that_is_dropped_midway_leaves_nothing_behind(env: Env) {
    dropped(env, |client, url| {
        Box::pin(async move {
            let body = Body::stream(kilobytes(3_000, &Arc::default()));
            let put = client.put(format!("{url}/up")).body(body);
            assert_eq!(put.send().await.unwrap().text().await.unwrap(), "/up");
        })
    })
    .await;
}

pub(crate) async fn a_batch_that_is_dropped_midway_leaves_nothing_behind(env: Env) {
    dropped(env, |client, url| {
        Box::pin(async move {
            let requests = (0..10).map(|n| client.get(format!("{url}/{n}")));
            let mut batch = client.batch(requests).max_in_flight(3);
            while let Some((_, result)) = batch.next().await {
                result.unwrap();
            }
        })
    })
    .await;
}

pub(crate) async fn a_batch_of_uploads_that_is_dropped_midway_leaves_nothing_behind(env: Env) {
    dropped(env, |client, url| {
        Box::pin(async move {
            let requests = (0..4).map(|n| {
                let body = Body::stream(kilobytes(500, &Arc::default()));
                client.put(format!("{url}/{n}")).body(body)
            });
            for result in client.batch(requests).collect_all().await {
                result.unwrap();
            }
        })
    })
    .await;
}

async fn shout(stream: &mut Upgraded) -> io::Result<()> {
    let mut buf = [b'x'; 1_000];
    for _ in 0..10 {
        let mut sent = 0;
        while sent < buf.len() {
            let left = &buf[sent..];
            sent += poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, left)).await?;
        }
        poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await?;
        let mut back = 0;
        while back < 1_000 {
            back += poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buf)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn an_upgraded_connection_that_is_dropped_midway_leaves_nothing_behind(env: Env) {
    dropped(env, |client, url| {
        Box::pin(async move {
            let call = client.get(format!("{url}/shout")).upgrade("shout");
            let mut stream = call.send().await.unwrap().upgrade().await.unwrap();
            shout(&mut stream).await.unwrap();
        })
    })
    .await;
}

pub(crate) async fn a_websocket_that_is_dropped_midway_leaves_nothing_behind(env: Env) {
    dropped(env, |client, url| {
        Box::pin(async move {
            let url = format!("{url}/chat").replace("http:", "ws:");
            let mut ws = client.websocket(url).connect().await.unwrap();
            for size in [5, 100_000, 5] {
                ws.send(vec![b'x'; size]).await.unwrap();
                ws.recv().await.unwrap().unwrap();
            }
            ws.ping().await.unwrap();
            ws.close(CloseCode::NORMAL, "").await.unwrap();
        })
    })
    .await;
}
