//! Response bodies: every framing, every way to end.

use fulmar::{Client, Error, Fate, Kind, Phase, Retry};

use crate::env::{Env, Gate, Server};

suite![
    every_framing_is_read_to_its_end,
    a_head_request_has_no_body_whatever_the_head_says,
    a_peer_that_closes_within_a_body_fails_it_in_that_phase,
    what_is_not_http_is_a_protocol_error,
    a_body_arrives_chunk_by_chunk_as_it_is_sent,
    a_large_body_passes_with_backpressure,
    an_error_of_a_body_stays_its_error,
    a_body_read_past_its_end_has_still_ended,
    interim_responses_are_passed_over,
    a_short_rest_of_a_dropped_body_is_drained_and_its_connection_reused,
    a_long_rest_of_a_dropped_body_closes_its_connection,
    an_endless_body_that_is_dropped_is_closed,
    an_error_status_is_a_response_unless_asked,
];

pub(crate) fn never(env: &Env) -> Client {
    env.builder().retry(Retry::never()).build().unwrap()
}

pub(crate) async fn text(client: &Client, url: String) -> Result<String, Error> {
    client.get(url).send().await?.text().await
}

/// What a GET makes of the server's bytes, and whether its connection was kept.
async fn outcome(env: &Env, server: Server) -> (Result<String, Error>, bool) {
    let client = never(env);
    let text = text(&client, server.url("/")).await;
    env.quiet(&client).await;
    let is_kept = client.gauges().idle == 1;
    drop(client);
    env.until("a closed socket", || server.open() == 0).await;
    (text, is_kept)
}

pub(crate) async fn every_framing_is_read_to_its_end(env: Env) {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";
    let five = |fields: &str, body: &str| format!("{OK}{fields}Content-Length: 5\r\n\r\n{body}");
    for (bytes, body, is_kept) in [
        (five("", "hello"), "hello", true),
        (format!("{OK}Content-Length: 0\r\n\r\n"), "", true),
        (
            format!("{OK}{CHUNKED}2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"),
            "hello",
            true,
        ),
        (
            format!("{OK}{CHUNKED}5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"),
            "hello",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), "", true),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".into(),
            "",
            true,
        ),
        (five("Connection: close\r\n", "hello"), "hello", false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
            "hello",
            false,
        ),
        (five("", "helloHTTP/1.1 200 OK\r\n"), "hello", false),
    ] {
        let (text, kept) = outcome(&env, env.raw(&*bytes)).await;
        assert_eq!((text.unwrap().as_str(), kept), (body, is_kept), "{bytes:?}");
    }
    let (text, kept) = outcome(&env, env.raw_then_close(format!("{OK}\r\nhello"))).await;
    assert_eq!((text.unwrap().as_str(), kept), ("hello", false));
}

pub(crate) async fn a_head_request_has_no_body_whatever_the_head_says(env: Env) {
    let server = env.raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    let client = never(&env);
    let response = client.head(server.url("/")).send().await.unwrap();
    assert_eq!(response.header("content-length"), Some(&b"500"[..]));
    assert_eq!(client.gauges().idle, 1);
    assert_eq!(response.text().await.unwrap(), "");
}

pub(crate) async fn a_peer_that_closes_within_a_body_fails_it_in_that_phase(env: Env) {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\nhello",
        &format!("{CHUNKED}fffffffffffffff\r\nhel"),
        &format!("{CHUNKED}5\r\nhel"),
        &format!("{CHUNKED}5\r\nhello\r\n"),
        &format!("{CHUNKED}5\r\nhello\r\n0\r\n"),
    ] {
        let (text, is_kept) = outcome(&env, env.raw_then_close(bytes)).await;
        let error = text.unwrap_err();
        let said = (error.kind(), error.phase(), error.fate());
        assert_eq!(
            said,
            (Kind::Io, Some(Phase::Body), Fate::Processed),
            "{bytes:?}: {error}"
        );
        assert!(!is_kept);
    }
}

pub(crate) async fn what_is_not_http_is_a_protocol_error(env: Env) {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for (bytes, fate) in [
        ("SSH-2.0-OpenSSH_9.9\r\n".into(), Fate::MaybeProcessed),
        ("\0\0\0\x04\0\0\0\0\0".into(), Fate::MaybeProcessed),
        (
            format!("{OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
            Fate::MaybeProcessed,
        ),
        (
            format!("{OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Fate::MaybeProcessed,
        ),
        (format!("{OK}Bad Name: x\r\n\r\n"), Fate::MaybeProcessed),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(),
            Fate::MaybeProcessed,
        ),
        ("HTTP/2 200 OK\r\n\r\n".into(), Fate::MaybeProcessed),
        (
            format!("{OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"),
            Fate::Processed,
        ),
        (
            format!("{OK}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
            Fate::Processed,
        ),
    ] {
        let (text, is_kept) = outcome(&env, env.raw(&*bytes)).await;
        let error = text.unwrap_err();
        assert_eq!(
            (error.kind(), error.fate()),
            (Kind::Protocol, fate),
            "{bytes:?}: {error}"
        );
        assert!(!is_kept && error.phase().is_some(), "{bytes:?}");
    }
}

pub(crate) async fn a_body_arrives_chunk_by_chunk_as_it_is_sent(env: Env) {
    for head in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        let gates = [(); 10].map(|()| Gate::default());
        let opens = gates.clone();
        let is_chunked = head.starts_with('T');
        let server = env.serve(move |mut peer| {
            let gates = gates.clone();
            async move {
                peer.request().await?;
                peer.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n")).await?;
                for (n, gate) in gates.iter().enumerate() {
                    gate.opened().await;
                    let chunk = if is_chunked {
                        format!("1\r\n{n}\r\n")
                    } else {
                        n.to_string()
                    };
                    peer.write(chunk).await?;
                }
                if is_chunked {
                    peer.write("0\r\n\r\n").await?;
                }
                peer.gone().await
            }
        });
        let client = never(&env);
        let mut response = client.get(server.url("/")).send().await.unwrap();
        for (n, gate) in opens.iter().enumerate() {
            gate.open();
            assert_eq!(response.chunk().await.unwrap().unwrap(), n.to_string());
        }
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(client.gauges().idle, 1);
    }
}

pub(crate) async fn a_large_body_passes_with_backpressure(env: Env) {
    const SIZE: usize = 64 << 20;
    let written = Gate::default();
    let done = written.clone();
    let server = env.serve(move |mut peer| {
        let done = done.clone();
        async move {
            peer.request().await?;
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
                .await?;
            for _ in 0..SIZE >> 18 {
                peer.write(vec![b'x'; 1 << 18]).await?;
            }
            done.open();
            peer.gone().await
        }
    });
    let client = never(&env);
    let mut response = client.get(server.url("/")).send().await.unwrap();
    let (mut bytes, mut largest) = (0, 0);
    while let Some(chunk) = response.chunk().await.unwrap() {
        if bytes == 0 {
            // What the systems' buffers do not hold waits at the server.
            assert!(!written.is_open());
        }
        bytes += chunk.len();
        largest = largest.max(chunk.len());
    }
    assert_eq!(bytes, SIZE);
    // A chunk is part of one read.
    assert!(largest <= 512 * 1024, "{largest}");
    assert_eq!(client.gauges().idle, 1);
}

pub(crate) async fn an_error_of_a_body_stays_its_error(env: Env) {
    let server = env.raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    let client = never(&env);
    let mut response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
    let first = response.chunk().await.unwrap_err();
    let second = response.chunk().await.unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
}

pub(crate) async fn a_body_read_past_its_end_has_still_ended(env: Env) {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let server = env.raw(chunked);
    let client = never(&env);
    let mut response = client.get(server.url("/")).send().await.unwrap();
    while response.chunk().await.unwrap().is_some() {}
    for _ in 0..3 {
        assert!(response.chunk().await.unwrap().is_none());
    }
}

pub(crate) async fn interim_responses_are_passed_over(env: Env) {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let server = env.raw(format!(
        "{early}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ));
    let client = never(&env);
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.header("link")),
        (200, None)
    );
    assert_eq!(response.text().await.unwrap(), "ok");
    assert_eq!(client.gauges().idle, 1);
}

/// Reads a little of a body of that length and drops it; then asks again.
async fn half_read(env: &Env, length: usize) -> (bool, usize) {
    let server = env.serve(move |mut peer| async move {
        while let Some(request) = peer.request().await? {
            let length = if request.target == "/next" { 4 } else { length };
            peer.respond(200, vec![b'y'; length]).await?;
        }
        Ok(())
    });
    let client = never(env);
    let mut response = client.get(server.url("/")).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    assert_eq!(client.gauges().busy, 0);
    env.quiet(&client).await;
    let response = client.get(server.url("/next")).send().await.unwrap();
    let is_reused = response.is_reused();
    assert_eq!(response.text().await.unwrap(), "yyyy");
    (is_reused, server.accepted())
}

pub(crate) async fn a_short_rest_of_a_dropped_body_is_drained_and_its_connection_reused(env: Env) {
    assert_eq!(half_read(&env, 30_000).await, (true, 1));
}

pub(crate) async fn a_long_rest_of_a_dropped_body_closes_its_connection(env: Env) {
    assert_eq!(half_read(&env, 10 << 20).await, (false, 2));
}

pub(crate) async fn an_endless_body_that_is_dropped_is_closed(env: Env) {
    let server = env.serve(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        loop {
            peer.write([&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat())
                .await?;
        }
    });
    let client = never(&env);
    let mut response = client.get(server.url("/")).send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    env.until("a closed connection", || {
        client.gauges().total == 0 && server.open() == 0
    })
    .await;
}

pub(crate) async fn an_error_status_is_a_response_unless_asked(env: Env) {
    let server = env.raw("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
    let client = never(&env);
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 404);
    assert_eq!(response.text().await.unwrap(), "gone");
    let server = env.raw("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
    let response = client.get(server.url("/")).send().await.unwrap();
    let error = response.error_for_status().unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (Kind::Status, Fate::Processed)
    );
    env.quiet(&client).await;
}
