//! Connections that stop speaking HTTP: 101, and CONNECT.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use fulmar::{Kind, Limits, Method, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};

use crate::env::{Env, Server};

suite![
    what_came_with_the_head_is_read_first_and_then_bytes_go_both_ways,
    connect_opens_a_tunnel_to_whom_the_host_header_names,
    an_upgraded_connection_is_busy_until_it_is_dropped_and_outlives_its_client,
    an_offer_that_is_not_taken_is_a_response_like_any_other,
    a_switch_that_was_not_offered_fails_the_call,
];

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n";
const LONG: usize = 300_000;

/// So many bytes, or those before the end.
async fn read(stream: &mut Upgraded, want: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut buf = [0; 700];
    while read.len() < want {
        match poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buf)).await? {
            0 => break,
            n => read.extend_from_slice(&buf[..n]),
        }
    }
    Ok(read)
}

async fn write(stream: &mut Upgraded, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await?;
        bytes = &bytes[n..];
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
}

/// Switches, gives back in capitals three bytes and then many, and waits for the end.
fn shouting(env: &Env, head: String) -> Server {
    env.serve(move |mut peer| {
        let head = head.clone();
        async move {
            peer.request().await?;
            peer.write(head).await?;
            for len in [3, LONG] {
                let said = peer.exactly(len).await?;
                peer.write(said.to_ascii_uppercase()).await?;
            }
            peer.gone().await
        }
    })
}

pub(crate) async fn what_came_with_the_head_is_read_first_and_then_bytes_go_both_ways(env: Env) {
    let server = shouting(&env, format!("{SWITCH}hello from before"));
    let client = env.client();
    let call = client.get(server.url("/")).upgrade("shout");
    let response = call.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 101);
    let mut stream = response.upgrade().await.unwrap();
    assert_eq!(read(&mut stream, 17).await.unwrap(), b"hello from before");
    for said in [&b"abc"[..], &vec![b'x'; LONG]] {
        write(&mut stream, said).await.unwrap();
        let back = read(&mut stream, said.len()).await.unwrap();
        assert!(back == said.to_ascii_uppercase());
    }
    let close = poll_fn(|cx| Pin::new(&mut stream).poll_close(cx));
    close.await.unwrap();
    assert_eq!(read(&mut stream, 1).await.unwrap(), b"", "it ended, too");
    let request = &server.requests()[0];
    assert_eq!(request.header("upgrade"), Some("shout"));
    let connection = request.header("connection").unwrap_or_default();
    assert!(connection.eq_ignore_ascii_case("upgrade"), "{connection}");
}

pub(crate) async fn connect_opens_a_tunnel_to_whom_the_host_header_names(env: Env) {
    let server = shouting(&env, "HTTP/1.1 200 OK\r\n\r\nto db".into());
    let client = env.client();
    let call = client.request(Method::CONNECT, server.url("/"));
    let response = call.header("host", "db.test:5432").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let mut stream = response.upgrade().await.unwrap();
    assert_eq!(read(&mut stream, 5).await.unwrap(), b"to db");
    write(&mut stream, b"abc").await.unwrap();
    assert_eq!(read(&mut stream, 3).await.unwrap(), b"ABC");
    assert_eq!(server.log(), ["CONNECT db.test:5432"]);
}

pub(crate) async fn an_upgraded_connection_is_busy_until_it_is_dropped_and_outlives_its_client(
    env: Env,
) {
    let server = shouting(&env, SWITCH.into());
    let limits = Limits::new().total(1).per_origin(1);
    let client = env.builder().limits(limits).build().unwrap();
    let call = || client.get(server.url("/")).upgrade("shout").send();
    let stream = call().await.unwrap().upgrade().await.unwrap();
    assert_eq!((client.gauges().busy, client.gauges().total), (1, 1));
    drop(stream);
    assert_eq!(client.gauges().total, 0);
    let mut stream = call().await.unwrap().upgrade().await.unwrap();
    drop(client);
    write(&mut stream, b"abc").await.unwrap();
    assert_eq!(read(&mut stream, 3).await.unwrap(), b"ABC");
}

pub(crate) async fn an_offer_that_is_not_taken_is_a_response_like_any_other(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let call = || client.get(server.url("/x")).upgrade("shout").send();
    assert_eq!(call().await.unwrap().text().await.unwrap(), "/x");
    let error = call().await.unwrap().upgrade().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Status, "{error}");
    assert_eq!(server.accepted(), 1);
}

pub(crate) async fn a_switch_that_was_not_offered_fails_the_call(env: Env) {
    for offer in [None, Some("whisper")] {
        let server = shouting(&env, SWITCH.into());
        let client = env.client();
        let call = client.get(server.url("/"));
        let call = offer
            .into_iter()
            .fold(call, fulmar::RequestBuilder::upgrade);
        let error = call.send().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Protocol, "{offer:?}: {error}");
        assert_eq!(client.gauges().total, 0);
    }
}
