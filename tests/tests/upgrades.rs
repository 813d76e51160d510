//! Connections that stop speaking HTTP: 101, and CONNECT.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use fulmar::{Client, Kind, Limits, Method, Upgraded};
use fulmar_sim::{Conn, Sim};
use futures_io::{AsyncRead, AsyncWrite};

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n";

async fn read(stream: &mut Upgraded, want: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut buf = [0; 7];
    while read.len() < want {
        match poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buf)).await? {
            0 => break,
            n => read.extend_from_slice(&buf[..n]),
        }
    }
    Ok(read)
}

async fn write(stream: &mut Upgraded, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes))
            .await
            .unwrap();
        bytes = &bytes[n..];
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx))
        .await
        .unwrap();
}

async fn close(stream: &mut Upgraded) {
    poll_fn(|cx| Pin::new(&mut *stream).poll_close(cx))
        .await
        .unwrap();
}

/// Answers one request with `head`, then gives everything back in capitals.
async fn shout(mut conn: Conn, head: &[u8]) -> io::Result<()> {
    conn.request().await?;
    conn.write_all(head).await?;
    let mut buf = [0; 4096];
    loop {
        let n = poll_fn(|cx| Pin::new(&mut conn).poll_read(cx, &mut buf)).await?;
        if n == 0 {
            return Ok(());
        }
        buf[..n].make_ascii_uppercase();
        conn.write_all(&buf[..n]).await?;
    }
}

fn shouting(head: &'static [u8]) -> Sim {
    let sim = Sim::seeded(7);
    sim.serve("api.test:80", move |conn| shout(conn, head));
    sim
}

#[test]
fn what_came_with_the_head_is_read_first_and_then_bytes_go_both_ways() {
    let head = [SWITCH, b"hello from before"].concat().leak();
    let mut sim = shouting(head);
    let client = Client::new(sim.net("laptop"));
    sim.run(async move {
        let call = client.get("http://api.test/").upgrade("shout");
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.header("upgrade"), Some(&b"shout"[..]));
        let mut stream = response.upgrade().await.unwrap();
        assert!(stream.peer().is_some());
        assert_eq!(read(&mut stream, 17).await.unwrap(), b"hello from before");
        let long = vec![b'x'; 30_000];
        for said in [&b"abc"[..], &long] {
            write(&mut stream, said).await;
            let back = read(&mut stream, said.len()).await.unwrap();
            assert!(back == said.to_ascii_uppercase());
        }
        close(&mut stream).await;
        assert_eq!(
            read(&mut stream, 1).await.unwrap(),
            b"",
            "the server ended, too"
        );
    })
    .into_output();
}

#[test]
fn the_request_offers_the_protocol_and_says_so_in_connection() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let said = format!(
                "{:?} {:?}",
                request.header("connection"),
                request.header("upgrade")
            );
            conn.respond(200, said).await?;
        }
        Ok(())
    });
    let client = Client::new(sim.net("laptop"));
    let said = sim.run(async move {
        let response = client
            .get("http://api.test/")
            .upgrade("shout/2")
            .send()
            .await
            .unwrap();
        response.text().await.unwrap()
    });
    let said = said.into_output().to_ascii_lowercase();
    assert!(
        said.contains("\"upgrade\"") && said.contains("\"shout/2\""),
        "{said}"
    );
}

#[test]
fn an_upgraded_connection_is_busy_until_it_is_dropped() {
    let mut sim = shouting(SWITCH);
    let net = sim.net("laptop");
    let limits = Limits::new().total(1).per_origin(1);
    let client = Client::builder(net).limits(limits).build().unwrap();
    sim.run(async move {
        let response = client
            .get("http://api.test/")
            .upgrade("shout")
            .send()
            .await
            .unwrap();
        let stream = response.upgrade().await.unwrap();
        assert_eq!((client.gauges().busy, client.gauges().total), (1, 1));
        // There is no other to be had.
        let error = client.get("http://api.test/").send().await.unwrap_err();
        assert_eq!(error.phase(), Some(fulmar::Phase::Pool), "{error}");
        drop(stream);
        assert_eq!(client.gauges().total, 0);
        let response = client
            .get("http://api.test/")
            .upgrade("shout")
            .send()
            .await
            .unwrap();
        assert_eq!(client.gauges().busy, 1);
        // Not asked for, it goes with its response.
        drop(response);
        assert_eq!(client.gauges().total, 0);
    })
    .into_output();
}

#[test]
fn an_upgraded_connection_outlives_its_client() {
    let mut sim = shouting(SWITCH);
    let client = Client::new(sim.net("laptop"));
    sim.run(async move {
        let response = client
            .get("http://api.test/")
            .upgrade("shout")
            .send()
            .await
            .unwrap();
        let mut stream = response.upgrade().await.unwrap();
        drop(client);
        write(&mut stream, b"still").await;
        assert_eq!(read(&mut stream, 5).await.unwrap(), b"STILL");
    })
    .into_output();
}

#[test]
fn a_switch_that_was_not_offered_fails_the_call() {
    for offer in [None, Some("whisper"), Some("shout/2")] {
        let mut sim = shouting(SWITCH);
        let client = Client::new(sim.net("laptop"));
        sim.run(async move {
            let call = client.get("http://api.test/");
            let call = offer
                .into_iter()
                .fold(call, fulmar::RequestBuilder::upgrade);
            let error = call.send().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Protocol, "{offer:?}: {error}");
            assert_eq!(client.gauges().total, 0);
        })
        .into_output();
    }
}

#[test]
fn an_offer_that_is_not_taken_is_a_response_like_any_other() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(200, "plain").await?;
        }
        Ok(())
    });
    let client = Client::new(sim.net("laptop"));
    sim.run(async move {
        let call = || client.get("http://api.test/").upgrade("shout").send();
        assert_eq!(call().await.unwrap().text().await.unwrap(), "plain");
        assert_eq!(client.gauges().idle, 1);
        let error = call().await.unwrap().upgrade().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Status);
        assert!(error.to_string().contains("does not switch"), "{error}");
        assert_eq!(client.gauges().idle, 1);
    })
    .into_output();
}

#[test]
fn connect_opens_a_tunnel_to_whom_the_host_header_names() {
    for (host, target) in [
        (Some("db.test:5432"), "db.test:5432"),
        (None, "proxy.test:3128"),
    ] {
        let mut sim = Sim::seeded(3);
        sim.serve("proxy.test:3128", |mut conn| async move {
            let request = conn.request().await?.unwrap();
            assert_eq!(request.method(), "CONNECT");
            assert_eq!(
                request.header("host"),
                Some(request.path().to_owned().as_str())
            );
            let said = format!("HTTP/1.1 200 OK\r\n\r\n{}", request.path());
            conn.write_all(said.as_bytes()).await
        });
        let client = Client::new(sim.net("laptop"));
        sim.run(async move {
            let call = client.request(Method::CONNECT, "http://proxy.test:3128/");
            let call = host
                .into_iter()
                .fold(call, |call, host| call.header("host", host));
            let response = call.send().await.unwrap();
            assert_eq!(response.status(), 200);
            let mut stream = response.upgrade().await.unwrap();
            assert_eq!(read(&mut stream, 99).await.unwrap(), target.as_bytes());
        })
        .into_output();
    }
}

#[test]
fn a_refused_tunnel_is_a_response_with_its_body() {
    let mut sim = Sim::seeded(3);
    sim.serve("proxy.test:3128", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(403, "not for you").await?;
        }
        Ok(())
    });
    let client = Client::new(sim.net("laptop"));
    sim.run(async move {
        let call = client.request(Method::CONNECT, "http://proxy.test:3128/");
        let response = call.header("host", "db.test:5432").send().await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.text().await.unwrap(), "not for you");
    })
    .into_output();
}

#[test]
fn tokio_s_traits_are_there_too() {
    use std::io::{Read, Write};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = fulmar_tests::loopback::Loopback::start(|_, stream| {
        stream.write_all(SWITCH)?;
        let mut said = Vec::new();
        stream.try_clone()?.read_to_end(&mut said)?;
        said.make_ascii_uppercase();
        stream.write_all(&said)?;
        Ok(false)
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let heard = runtime.block_on(async {
        let client = Client::new(fulmar_tokio::Tokio::new());
        let response = client
            .get(server.url("/"))
            .upgrade("shout")
            .send()
            .await
            .unwrap();
        let mut stream = response.upgrade().await.unwrap();
        AsyncWriteExt::write_all(&mut stream, b"all of it")
            .await
            .unwrap();
        AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut heard = String::new();
        AsyncReadExt::read_to_string(&mut stream, &mut heard)
            .await
            .unwrap();
        heard
    });
    assert_eq!(heard, "ALL OF IT");
}

#[test]
fn a_shutdown_ends_who_reads_an_upgraded_connection_at_its_deadline() {
    let mut sim = shouting(SWITCH);
    let client = Client::new(sim.net("laptop"));
    let run = sim.run(async move {
        let response = client
            .get("http://api.test/")
            .upgrade("shout")
            .send()
            .await
            .unwrap();
        let mut stream = response.upgrade().await.unwrap();
        let mut shutdown = Box::pin(client.shutdown(client.deadline(Duration::from_secs(1))));
        let mut reading = Box::pin(async move { read(&mut stream, 1).await });
        let error = poll_fn(|cx| {
            assert!(shutdown.as_mut().poll(cx).is_pending());
            reading.as_mut().poll(cx)
        })
        .await
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        drop(reading);
        shutdown.await;
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert!(run.elapsed() < Duration::from_millis(1_100));
}

#[test]
fn a_shutdown_ends_who_waits_to_write_to_an_upgraded_connection() {
    let mut sim = Sim::seeded(7);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all(SWITCH).await?;
        std::future::pending().await
    });
    let client = Client::new(sim.net("laptop"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let request = client.get("http://api.test/").upgrade("shout");
        let response = request.send().await.unwrap();
        let mut stream = response.upgrade().await.unwrap();
        let ended = std::sync::Arc::new(std::sync::Mutex::new(None));
        let end = ended.clone();
        handle.spawn(async move {
            let bytes = [b'x'; 4096];
            let error = loop {
                let written = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &bytes)).await;
                if let Err(error) = written {
                    break error;
                }
            };
            *end.lock().unwrap() = Some(error.kind());
        });
        let deadline = client.deadline(Duration::from_secs(1));
        client.shutdown(deadline).await;
        let ended = *ended.lock().unwrap();
        (ended, client.gauges().total, handle.now() - deadline)
    });
    let (ended, total, late) = *run.expect();
    assert_eq!(ended, Some(io::ErrorKind::ConnectionAborted));
    assert_eq!(total, 0);
    assert_eq!(late, Duration::ZERO, "nobody had to be waited for");
}
