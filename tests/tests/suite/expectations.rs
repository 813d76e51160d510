//! Expect: 100-continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar::Body;

use crate::env::Env;
use crate::responses::never;
use crate::uploads::kilobytes;

suite![
    a_body_waits_for_the_peer_to_ask_for_it,
    a_body_that_is_refused_is_not_sent,
    a_refused_expectation_is_repeated_without_it,
];

pub(crate) async fn a_body_waits_for_the_peer_to_ask_for_it(env: Env) {
    let taken = Arc::new(AtomicUsize::new(0));
    let seen = taken.clone();
    let server = env.serve(move |mut peer| {
        let taken = seen.clone();
        async move {
            let head = peer.head().await?.unwrap();
            assert_eq!(head.header("expect"), Some("100-continue"));
            let early = taken.load(Ordering::Relaxed);
            peer.write("HTTP/1.1 100 Continue\r\n\r\n").await?;
            peer.exactly(1024).await?;
            peer.respond(200, early.to_string()).await
        }
    });
    let put = never(&env)
        .put(server.url("/"))
        .header("Expect", "100-continue");
    let put = put.body(Body::sized_stream(kilobytes(1, &taken), 1024));
    let early = put.send().await.unwrap().text().await.unwrap();
    assert_eq!(early, "0", "nothing was sent before it was asked for");
}

pub(crate) async fn a_body_that_is_refused_is_not_sent(env: Env) {
    let server = env.serve(|mut peer| async move {
        peer.head().await?;
        peer.respond(413, "no").await?;
        peer.gone().await
    });
    let taken = Arc::new(AtomicUsize::new(0));
    let put = never(&env)
        .put(server.url("/"))
        .header("Expect", "100-continue");
    let put = put.body(Body::sized_stream(kilobytes(1, &taken), 1024));
    assert_eq!(put.send().await.unwrap().status().as_u16(), 413);
    assert_eq!(taken.load(Ordering::Relaxed), 0);
}

pub(crate) async fn a_refused_expectation_is_repeated_without_it(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(head) = peer.head().await? {
            if head.header("expect").is_some() {
                peer.respond(417, "").await?;
                return Ok(());
            }
            assert_eq!(peer.exactly(4).await?, "body");
            peer.respond(200, "fine").await?;
        }
        Ok(())
    });
    let post = env
        .client()
        .post(server.url("/"))
        .header("Expect", "100-continue")
        .body("body");
    assert_eq!(post.send().await.unwrap().text().await.unwrap(), "fine");
}
