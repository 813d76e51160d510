//! Response bodies: every framing, every way to end.

use fulmar_sim::{Client, Error, Fate, Kind, Method, Phase, Retry, Sim, Timeouts};

use super::support::{assert_quiet, builder, client, drain, ms, raw, raw_then_close, secs, text};

fn never(sim: &Sim) -> Client {
    builder(sim)
        .timeouts(Timeouts::new())
        .retry(Retry::never())
        .build()
        .unwrap()
}

/// What a GET makes of these bytes, then whether its connection was kept.
fn outcome(bytes: &'static str, closes: bool) -> (Result<String, Error>, bool) {
    let mut sim = Sim::seeded(1);
    if closes {
        raw_then_close(&sim, "api.test:80", bytes);
    } else {
        raw(&sim, "api.test:80", bytes);
    }
    let client = never(&sim);
    let run = sim.run(async move {
        let text = text(&client, "http://api.test/").await;
        assert_quiet(client.gauges());
        (text, client.gauges().idle == 1)
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

#[test]
fn every_framing_is_read_to_its_end() {
    for (bytes, body, kept) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "hello",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
            "hello",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n",
            "hello",
            false,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            true,
        ),
    ] {
        let (text, idle) = outcome(bytes, false);
        assert_eq!(text.as_deref().unwrap(), body, "{bytes:?}");
        assert_eq!(idle, kept, "{bytes:?}");
    }
    let (text, idle) = outcome("HTTP/1.1 200 OK\r\n\r\nhello", true);
    assert_eq!((text.as_deref().unwrap(), idle), ("hello", false));
}

#[test]
fn a_head_request_has_no_body_whatever_the_head_says() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
    );
    let client = never(&sim);
    let run = sim.run(async move {
        let response = client.head("http://api.test/").send().await.unwrap();
        assert_eq!(response.header("content-length"), Some(&b"500"[..]));
        assert_eq!(client.gauges().idle, 1);
        response.text().await.unwrap()
    });
    assert_eq!(run.expect(), "");
}

#[test]
fn a_peer_that_closes_within_a_body_fails_it_in_that_phase() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let (text, idle) = outcome(bytes, true);
        let error = text.unwrap_err();
        let said = (error.kind(), error.phase(), error.fate());
        assert_eq!(
            said,
            (Kind::Io, Some(Phase::Body), Fate::Processed),
            "{bytes:?}: {error}"
        );
        assert!(!idle);
    }
}

#[test]
fn what_is_not_http_is_a_protocol_error() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "\0\0\0\x04\0\0\0\0\0",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
    ] {
        let (text, idle) = outcome(bytes, false);
        let error = text.unwrap_err();
        assert_eq!(error.kind(), Kind::Protocol, "{bytes:?}: {error}");
        assert_eq!(error.fate(), Fate::MaybeProcessed, "{bytes:?}: {error}");
        assert!(!idle && error.phase().is_some(), "{bytes:?}");
    }
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX";
    let error = outcome(broken, false).0.unwrap_err();
    let said = (error.kind(), error.phase(), error.fate());
    assert_eq!(
        said,
        (Kind::Protocol, Some(Phase::Body), Fate::Processed),
        "{error}"
    );
}

#[test]
fn fifty_mebibytes_pass_through_with_little_memory() {
    const SIZE: u64 = 50 << 20;
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let chunk = vec![b'x'; 1 << 18];
            if request.path() == "/chunked" {
                conn.write_all("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await?;
                for _ in 0..SIZE >> 18 {
                    conn.write_all("40000\r\n").await?;
                    conn.write_all(&chunk).await?;
                    conn.write_all("\r\n").await?;
                }
                conn.write_all("0\r\n\r\n").await?;
            } else {
                conn.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
                    .await?;
                for _ in 0..SIZE >> 18 {
                    conn.write_all(&chunk).await?;
                }
            }
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let mut largest = 0;
        for path in ["chunked", "known"] {
            let url = format!("http://api.test/{path}");
            let mut response = client.get(url).send().await.unwrap();
            let mut bytes = 0;
            while let Some(chunk) = response.chunk().await.unwrap() {
                bytes += chunk.len() as u64;
                largest = largest.max(chunk.len());
            }
            assert_eq!(bytes, SIZE);
            assert_eq!(client.gauges().idle, 1);
        }
        largest
    });
    // A chunk is part of one read, and a read is at most this.
    assert!(*run.expect() <= 256 * 1024);
    assert_eq!(run.stats().connections, 1);
}

/// Reads a little of a body of this length and drops the rest; then asks again.
fn half_read(length: usize, ready: bool) -> (bool, u64) {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", move |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/next" {
                conn.respond(200, "next").await?;
                continue;
            }
            conn.write_all(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx",
                length + 1
            ))
            .await?;
            if !ready {
                conn.sleep(ms(20)).await;
            }
            conn.write_all(vec![b'y'; length]).await?;
        }
        Ok(())
    });
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        assert_eq!(client.gauges().busy, 0);
        handle.sleep(ms(60)).await;
        assert_quiet(client.gauges());
        let response = client.get("http://api.test/next").send().await.unwrap();
        let reused = response.is_reused();
        assert_eq!(response.text().await.unwrap(), "next");
        reused
    });
    let connections = run.stats().connections;
    assert_eq!(run.leaks(), [""; 0]);
    (run.into_output(), connections)
}

#[test]
fn a_short_rest_of_a_dropped_body_is_drained_and_its_connection_reused() {
    assert_eq!(half_read(3_000, true), (true, 1));
    assert_eq!(half_read(3_000, false), (true, 1));
    assert_eq!(half_read(60_000, false), (true, 1));
}

#[test]
fn a_long_rest_of_a_dropped_body_closes_its_connection() {
    assert_eq!(half_read(80_000, true), (false, 2));
    assert_eq!(half_read(80_000, false), (false, 2));
}

#[test]
fn a_rest_that_does_not_come_is_not_waited_for_longer_than_fifty_milliseconds() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    );
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        drop(response);
        assert_eq!(client.gauges().draining, 1);
        handle.sleep(ms(49)).await;
        assert_eq!(client.gauges().draining, 1);
        handle.sleep(ms(2)).await;
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
}

#[test]
fn dropped_bodies_beyond_four_of_an_origin_are_closed_instead_of_drained() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    );
    let client = never(&sim);
    let run = sim.run(async move {
        let mut responses = Vec::new();
        for _ in 0..7 {
            responses.push(client.get("http://api.test/").send().await.unwrap());
        }
        drop(responses);
        (client.gauges().draining, client.gauges().total)
    });
    assert_eq!(*run.expect(), (4, 4));
}

#[test]
fn an_endless_body_that_is_dropped_is_closed() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        loop {
            conn.write_all("1000\r\n").await?;
            conn.write_all(vec![b'x'; 0x1000]).await?;
            conn.write_all("\r\n").await?;
        }
    });
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        handle.sleep(ms(60)).await;
        client.gauges().total
    });
    assert_eq!(*run.expect(), 0);
}

#[test]
fn an_error_of_a_body_stays_its_error() {
    let mut sim = Sim::seeded(1);
    raw_then_close(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    );
    let client = never(&sim);
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        let first = response.chunk().await.unwrap_err();
        let second = response.chunk().await.unwrap_err();
        assert_eq!(first.to_string(), second.to_string());
    });
    run.expect();
}

#[test]
fn a_body_read_past_its_end_has_still_ended() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let client = never(&sim);
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        while response.chunk().await.unwrap().is_some() {}
        for _ in 0..3 {
            assert!(response.chunk().await.unwrap().is_none());
        }
    });
    run.expect();
}

#[test]
fn a_rate_of_bytes_leads_to_its_virtual_time() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").bandwidth(1 << 20);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, vec![b'x'; 5 << 20]).await?;
        conn.request().await.map(|_| ())
    });
    let client = never(&sim);
    let run = sim.run(async move {
        let response = client
            .request(Method::GET, "http://api.test/")
            .send()
            .await
            .unwrap();
        drain(response).await.unwrap()
    });
    assert_eq!(*run.expect(), 5 << 20);
    assert!(
        run.elapsed() > secs(5) && run.elapsed() < ms(5100),
        "{:?}",
        run.elapsed()
    );
}
