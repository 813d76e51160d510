//! The handshake, as part of the client's own request path.

use fulmar_sim::websocket::Refused;
use fulmar_sim::{Error, Kind, Phase, Sim, StopReason};

use crate::server::{Peer, URL, close_in_order, echo, open_with, switch};
use crate::support::{assert_quiet, builder, client, ms, raw, secs};

/// What opening leads to, with a server that answers so.
fn refused(response: impl Into<Vec<u8>>) -> Error {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", response);
    let client = client(&sim);
    let run = sim.run(async move {
        let refused = client.websocket(URL).connect().await.unwrap_err();
        assert_quiet(client.gauges());
        refused
    });
    assert_eq!(run.open_sockets(), 0);
    run.into_output()
}

#[test]
fn a_status_other_than_101_is_an_error_with_that_status() {
    for status in [200, 300, 401, 403, 404, 426] {
        let head = format!("HTTP/1.1 {status} X\r\nX-Why: closed\r\nContent-Length: 2\r\n\r\nno");
        let error = refused(head);
        assert!(error.is_status(), "{error}");
        assert_eq!(error.status().unwrap(), status);
        assert_eq!(error.url(), Some("http://api.test/chat"));
        let answer = Refused::of(&error).unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["x-why"], "closed");
        assert_eq!(&answer.body()[..], b"no");
    }
}

#[test]
fn of_the_body_of_a_refusal_the_beginning_is_kept() {
    let length = 1 << 20;
    let mut response = format!("HTTP/1.1 403 X\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    response.resize(response.len() + length, b'.');
    let error = refused(response);
    assert_eq!(Refused::of(&error).unwrap().body().len(), 16 * 1024);
}

#[test]
fn the_body_of_a_refusal_is_not_waited_for_for_long() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 401 X\r\nContent-Length: 9999\r\n\r\n")
            .await?;
        for _ in 0..9999 {
            conn.write_all(".").await?;
            conn.sleep(secs(2)).await;
        }
        Ok(())
    });
    let (client, handle) = (client(&sim), sim.handle());
    let run = sim.run(async move {
        let error = client.websocket(URL).connect().await.unwrap_err();
        assert_eq!(error.status().unwrap(), 401);
        assert_eq!(&Refused::of(&error).unwrap().body()[..], b"...");
        // The rest of the body is drained for a moment.
        handle.sleep(ms(100)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert!(run.elapsed() < secs(6), "{:?}", run.elapsed());
}

#[test]
fn an_answer_to_another_request_is_a_protocol_error() {
    let fine = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let error = refused(format!("{fine}Sec-WebSocket-Accept: bm8=\r\n\r\n"));
    assert_eq!(error.kind(), Kind::Protocol, "{error}");
    assert!(error.to_string().contains("accept key"), "{error}");
    let error = refused(format!("{fine}\r\n"));
    assert_eq!(error.kind(), Kind::Protocol, "{error}");
}

#[test]
fn a_head_that_is_longer_than_a_handshake_needs_is_refused() {
    for (fields, value, is_fine) in [
        (60, 10, true),
        (62, 10, false),
        (40, 300, true),
        (40, 450, false),
    ] {
        let mut sim = Sim::seeded(1);
        let line = |n| format!("X-{n}: {}\r\n", "v".repeat(value));
        let lines: String = (0..fields).map(line).collect();
        sim.serve("api.test:80", move |conn| {
            let lines = lines.clone();
            async move {
                let mut peer = Peer::accept(conn, &lines).await?.unwrap();
                peer.echo().await
            }
        });
        let client = client(&sim);
        let run = sim.run(async move { client.websocket(URL).connect().await.map(drop) });
        match run.into_output() {
            Ok(()) => assert!(is_fine, "{fields} fields of {value}"),
            Err(error) => {
                assert!(!is_fine, "{error}");
                assert_eq!(error.kind(), Kind::Protocol, "{error}");
            }
        }
    }
}

#[test]
fn an_extension_or_protocol_that_was_not_offered_is_refused() {
    for lines in [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Protocol: v2\r\n",
    ] {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", move |conn| async move {
            let mut peer = Peer::accept(conn, lines).await?.unwrap();
            assert!(peer.frame().await?.is_none(), "no frame follows");
            Ok(())
        });
        let client = client(&sim);
        let run = sim.run(async move {
            let opening = client.websocket(URL).protocol("v1").connect().await;
            assert_eq!(opening.unwrap_err().kind(), Kind::Protocol);
            assert_quiet(client.gauges());
        });
        run.expect();
    }
}

#[test]
fn headers_credentials_and_sub_protocols_are_sent_and_one_is_chosen() {
    let mut sim = Sim::seeded(2);
    sim.serve("api.test:80", |mut conn| async move {
        let request = conn.request().await?.unwrap();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.target(), "/chat?room=1");
        assert_eq!(request.header("sec-websocket-protocol"), Some("v2, v1"));
        assert_eq!(request.header("sec-websocket-version"), Some("13"));
        assert_eq!(request.header("authorization"), Some("Bearer token"));
        assert_eq!(request.header("x-default"), Some("d"));
        assert_eq!(request.header("x-own"), Some("o"));
        assert_eq!(request.header("sec-websocket-extensions"), None);
        let lines = "Sec-WebSocket-Protocol: v1\r\n";
        conn.write_all(switch(&request, lines)).await?;
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let client = builder(&sim).default_header("x-default", "d").build();
    let run = sim.run(async move {
        let opening = client.unwrap().websocket("ws://api.test/chat?room=1");
        let opening = opening.protocol("v2").protocol("v1").header("x-own", "o");
        let ws = opening.bearer_auth("token").connect().await.unwrap();
        assert_eq!(ws.protocol(), Some("v1"));
        assert!(ws.remote_addr().is_some());
    });
    run.expect();
}

#[test]
fn user_information_of_the_url_opens_it_and_is_in_no_error() {
    let mut sim = Sim::seeded(2);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let sent = request.header("authorization");
            if sent != Some("Basic dXNlcjpzZWNyZXQ=") {
                conn.respond(401, "who?").await?;
                continue;
            }
            conn.respond(403, "not now").await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let opening = client.websocket("ws://user:secret@api.test/");
        assert!(!format!("{opening:?}").contains("secret"));
        let error = opening.connect().await.unwrap_err();
        assert_eq!(error.status().unwrap(), 403, "{error}");
        let shown = format!("{error:#} {error:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("dXNl"),
            "{shown}"
        );
    });
    run.expect();
}

#[test]
fn http_urls_are_the_same_by_another_name() {
    let mut sim = Sim::seeded(3);
    echo(&sim);
    let client = client(&sim);
    let run = sim.run(async move {
        for url in ["ws://api.test/", "WS://api.test/", "http://api.test"] {
            close_in_order(&open_with(client.websocket(url)).await).await;
        }
        for url in ["ftp://api.test/", "api.test", "wsx://api.test/"] {
            let error = client.websocket(url).connect().await.unwrap_err();
            assert!(error.is_request(), "{error}");
        }
        // TLS was not configured.
        let error = client.websocket("wss://api.test/").connect().await;
        assert!(error.unwrap_err().is_connect());
    });
    run.expect();
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let mut sim = Sim::seeded(3);
    echo(&sim);
    let client = client(&sim);
    let run = sim.run(async move {
        let keepalive = fulmar_sim::websocket::Keepalive::every(secs(1)).timeout(secs(2));
        let opening = client.websocket(URL).keepalive(keepalive).connect().await;
        let error = opening.unwrap_err();
        assert!(error.is_builder() && error.to_string().contains("2s"));
        let opening = client.websocket(URL).protocol("not a token").connect();
        assert!(opening.await.unwrap_err().is_request());
    });
    run.expect();
}

#[test]
fn the_opening_has_a_deadline_and_the_open_connection_none() {
    let mut sim = Sim::seeded(4);
    echo(&sim);
    raw(&sim, "slow.test:80", "");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let opening = client
            .websocket("ws://slow.test/")
            .timeout(ms(50))
            .connect();
        let error = opening.await.unwrap_err();
        assert!(error.is_deadline(), "{error}");
        let mut ws = client
            .websocket(URL)
            .timeout(ms(500))
            .connect()
            .await
            .unwrap();
        handle.sleep(secs(600)).await;
        ws.send("still there").await.unwrap();
        assert!(ws.recv().await.unwrap().is_some());
        assert_eq!(client.gauges().busy, 1);
    });
    run.expect();
}

#[test]
fn there_are_8_to_one_origin_and_64_in_all() {
    let mut sim = Sim::seeded(6);
    let hosts: Vec<_> = (0..9).map(|n| format!("host{n}.test:80")).collect();
    for host in &hosts {
        sim.serve(host, |conn| async move {
            let mut peer = Peer::accept(conn, "").await?.unwrap();
            peer.echo().await
        });
    }
    let client = client(&sim);
    let run = sim.run(async move {
        let open = |host: &String| client.websocket(format!("ws://{host}/")).connect();
        let mut open_ones = Vec::new();
        for host in &hosts[..8] {
            for _ in 0..8 {
                open_ones.push(open(host).await.unwrap());
            }
            if open_ones.len() < 64 {
                let ninth = open(host).await.unwrap_err();
                assert_eq!(ninth.phase(), Some(Phase::Pool), "{ninth}");
            }
        }
        let other = open(&hosts[8]).await.unwrap_err();
        assert_eq!(other.phase(), Some(Phase::Pool), "{other}");
        open_ones.pop();
        open(&hosts[8]).await.map(drop).unwrap();
    });
    run.expect();
}

#[test]
fn who_comes_when_there_are_as_many_as_may_be_waits_for_one_to_end() {
    let mut sim = Sim::seeded(5);
    echo(&sim);
    let client = builder(&sim).websocket_limits(10, 2).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let first = open_with(client.websocket(URL)).await;
        let second = open_with(client.websocket(URL)).await;
        let third = client.websocket(URL).connect().await.unwrap_err();
        assert!(
            third.is_timeout() && third.phase() == Some(Phase::Pool),
            "{third}"
        );
        assert_eq!(third.retry_stop_reason(), Some(StopReason::NotRetryable));
        assert_eq!(third.url(), Some("http://api.test/chat"));
        // The limit that passed is named, and not where.
        let opening = client.websocket(URL).timeout(ms(20)).connect();
        let late = opening.await.unwrap_err();
        assert!(late.is_deadline(), "{late}");
        assert_eq!(late.waiting_for(), Some(Phase::Pool));
        let reason = late.retry_stop_reason();
        assert_eq!(reason, Some(StopReason::DeadlineExpired));

        let waiting = client.clone();
        handle.spawn(async move {
            let ws = open_with(waiting.websocket(URL)).await;
            close_in_order(&ws).await;
        });
        handle.sleep(secs(1)).await;
        assert_eq!(client.gauges().busy, 2);
        drop(first);
        handle.sleep(secs(1)).await;
        // One who gave up waiting holds up nobody.
        let until = handle.now() + ms(1);
        let third = open_with(client.websocket(URL)).await;
        let fourth = open_with(client.websocket(URL));
        assert!(
            crate::support::until(&handle, until, fourth)
                .await
                .is_none()
        );
        drop((second, third));
        for _ in 0..10 {
            drop(open_with(client.websocket(URL)).await);
        }
        assert_quiet(client.gauges());
    });
    run.expect();
}

#[test]
fn compression_that_there_is_not_fails_the_opening_and_is_not_mended() {
    use fulmar_sim::websocket::Compression;
    let mut sim = Sim::seeded(1);
    let client = client(&sim);
    let run = sim.run(async move {
        for (compression, named) in [
            (Compression::new().level(12), "level of 12"),
            (Compression::new().window_bits(16), "window bits of 16"),
        ] {
            let opening = client.websocket(URL).compression(compression);
            let error = opening.connect().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Builder, "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    });
    run.expect();
}
