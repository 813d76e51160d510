//! The boundary to TLS, with a toy in its place.

use fulmar_sim::{Client, Error, Fate, Kind, Phase, Retry, Sim};
use fulmar_tests::toy_tls::Alert;

use super::support::{TlsConn, assert_quiet, builder, ms, raw, secs, secure, text};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn never(sim: &Sim) -> Client {
    secure(sim).retry(Retry::never()).build().unwrap()
}

fn failure(sim: &mut Sim, client: Client) -> Error {
    let run = sim.run(async move {
        let error = text(&client, "https://api.test/").await.unwrap_err();
        assert_eq!(client.gauges().total, 0);
        error
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

#[test]
fn secure_requests_share_a_connection() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        while tls.request().await? {
            tls.write(OK).await?;
        }
        Ok(())
    });
    let client = never(&sim);
    let run = sim.run(async move {
        for _ in 0..3 {
            assert_eq!(text(&client, "https://api.test/").await.unwrap(), "ok");
        }
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.stats().connections, 1);
    // Name, transport, one round trip of handshake, three exchanges.
    assert_eq!(run.elapsed(), ms(1 + 2 + 2 + 3 * 2));
}

#[test]
fn a_client_without_tls_says_so() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:443", "");
    let client = builder(&sim).build().unwrap();
    let error = failure(&mut sim, client);
    assert!(error.to_string().contains("without TLS"), "{error}");
    assert_eq!(
        (error.kind(), error.fate()),
        (Kind::Connect, Fate::NotProcessed)
    );
}

#[test]
fn a_certificate_for_another_name_fails_the_handshake_for_good() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "evil.test");
        tls.request().await.map(|_| ())
    });
    let client = secure(&sim).build().unwrap();
    let error = failure(&mut sim, client);
    assert_eq!(
        (error.kind(), error.phase(), error.tries()),
        (Kind::Connect, Some(Phase::Tls), 1)
    );
    assert_eq!(error.fate(), Fate::NotProcessed);
    assert!(error.to_string().contains("another name"), "{error}");
}

#[test]
fn what_is_no_handshake_fails_in_its_phase() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |mut conn| async move {
        conn.read(100).await?;
        conn.write_all("HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        while !conn.read(100).await?.is_empty() {}
        Ok(())
    });
    let client = never(&sim);
    let error = failure(&mut sim, client);
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Connect, Some(Phase::Tls)),
        "{error}"
    );
}

#[test]
fn a_peer_that_closes_within_the_handshake_is_tried_again() {
    let mut sim = Sim::seeded(1);
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    sim.serve("api.test:443", move |mut conn| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            if first {
                conn.read(100).await?;
                return Ok(());
            }
            let mut tls = TlsConn::new(conn, "api.test");
            while tls.request().await? {
                tls.write(OK).await?;
            }
            Ok(())
        }
    });
    let client = secure(&sim).build().unwrap();
    let run = sim.run(async move {
        client
            .post("https://api.test/")
            .body("")
            .send()
            .await
            .unwrap()
            .attempts()
    });
    assert_eq!(*run.expect(), 2);
}

/// Serves one request, then does this to the idle connection 100 ms later.
fn idle_event(sim: &Sim, event: impl Fn(&mut TlsConn) + Send + Sync + Copy + 'static) {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    sim.serve("api.test:443", move |conn| {
        let mut first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            let mut tls = TlsConn::new(conn, "api.test");
            while tls.request().await? {
                tls.write(OK).await?;
                if std::mem::take(&mut first) {
                    tls.conn.sleep(ms(100)).await;
                    event(&mut tls);
                    tls.flush().await?;
                }
            }
            Ok(())
        }
    });
}

fn connections_after(
    event: impl Fn(&mut TlsConn) + Send + Sync + Copy + 'static,
    pause: std::time::Duration,
) -> u64 {
    let mut sim = Sim::seeded(1);
    idle_event(&sim, event);
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "https://api.test/").await.unwrap();
        handle.sleep(pause).await;
        for _ in 0..2 {
            assert_eq!(text(&client, "https://api.test/").await.unwrap(), "ok");
        }
    });
    run.expect();
    run.stats().connections
}

#[test]
fn a_session_ticket_or_a_key_update_on_an_idle_connection_leaves_it_in_use() {
    for pause in [ms(200), secs(3)] {
        assert_eq!(
            connections_after(|tls| tls.server.send_ticket(&mut tls.cipher_tx), pause),
            1
        );
        assert_eq!(
            connections_after(|tls| tls.server.update_keys(&mut tls.cipher_tx), pause),
            1
        );
    }
}

#[test]
fn a_closing_alert_on_an_idle_connection_evicts_it() {
    for pause in [ms(200), secs(3)] {
        assert_eq!(
            connections_after(|tls| tls.server.close(&mut tls.cipher_tx), pause),
            2
        );
        let abort = |tls: &mut TlsConn| tls.server.abort(Alert::InternalError, &mut tls.cipher_tx);
        assert_eq!(connections_after(abort, pause), 2);
    }
}

fn close_delimited(says_goodbye: bool) -> Result<String, Error> {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", move |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        tls.request().await?;
        tls.write(b"HTTP/1.1 200 OK\r\n\r\nhello").await?;
        if says_goodbye {
            tls.server.close(&mut tls.cipher_tx);
            tls.flush().await?;
        }
        Ok(())
    });
    let client = never(&sim);
    let run = sim.run(async move { text(&client, "https://api.test/").await });
    run.into_output()
}

#[test]
fn a_body_that_ends_with_the_connection_must_end_with_an_alert() {
    assert_eq!(close_delimited(true).unwrap(), "hello");
    let error = close_delimited(false).unwrap_err();
    let said = (error.kind(), error.phase(), error.fate());
    assert_eq!(
        said,
        (Kind::Io, Some(Phase::Body), Fate::Processed),
        "{error}"
    );
}

#[test]
fn a_fatal_alert_instead_of_an_answer_leaves_the_requests_fate_open() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        tls.request().await?;
        tls.server.abort(Alert::InternalError, &mut tls.cipher_tx);
        tls.flush().await
    });
    let client = never(&sim);
    let error = failure(&mut sim, client);
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Io, Some(Phase::FirstByte)),
        "{error}"
    );
    assert_eq!(
        error.fate(),
        Fate::MaybeProcessed,
        "the request had been sent: {error}"
    );
    assert!(error.to_string().contains("alert"), "{error}");
}

#[test]
fn a_post_is_not_repeated_after_a_fatal_alert() {
    let mut sim = Sim::seeded(1);
    let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = requests.clone();
    sim.serve("api.test:443", move |conn| {
        let seen = seen.clone();
        async move {
            let mut tls = TlsConn::new(conn, "api.test");
            tls.request().await?;
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tls.server.abort(Alert::InternalError, &mut tls.cipher_tx);
            tls.flush().await
        }
    });
    let client = secure(&sim).build().unwrap();
    let run = sim.run(async move {
        client
            .post("https://api.test/pay")
            .body("money")
            .send()
            .await
            .unwrap_err()
    });
    assert_eq!(run.expect().fate(), Fate::MaybeProcessed);
    assert_eq!(requests.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_fatal_alert_in_the_handshake_is_an_error_that_names_tls() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        tls.server
            .abort(Alert::HandshakeFailure, &mut tls.cipher_tx);
        tls.flush().await?;
        while !tls.conn.read(100).await?.is_empty() {}
        Ok(())
    });
    let client = never(&sim);
    let error = failure(&mut sim, client);
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Connect, Some(Phase::Tls)),
        "{error}"
    );
    assert_eq!(error.fate(), Fate::NotProcessed);
}

#[test]
fn a_corrupt_record_in_a_body_fails_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        tls.request().await?;
        tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            .await?;
        tls.conn.write_all([0x17, 0, 5, 1, 2, 3, 4, 5]).await?;
        while !tls.conn.read(100).await?.is_empty() {}
        Ok(())
    });
    let client = never(&sim);
    let error = failure(&mut sim, client);
    assert_eq!(error.fate(), Fate::Processed, "{error}");
}

#[test]
fn an_early_answer_over_tls_is_read_although_the_request_cannot_be_written() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").latency(ms(20));
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        tls.request().await?;
        tls.write(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        )
        .await?;
        while tls.fill().await? {}
        Ok(())
    });
    let client = never(&sim);
    let run = sim.run(async move {
        let put = client.put("https://api.test/").body(vec![0; 3 << 20]);
        put.send().await.unwrap().status().as_u16()
    });
    assert_eq!(*run.expect(), 413);
}

#[test]
fn large_secure_bodies_pass_both_ways() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        while tls.request().await? {
            tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n")
                .await?;
            for _ in 0..20 {
                tls.write(&vec![b'x'; 100_000]).await?;
            }
        }
        Ok(())
    });
    let client = never(&sim);
    let run = sim.run(async move {
        let text = text(&client, "https://api.test/").await.unwrap();
        assert_eq!(client.gauges().idle, 1);
        text.len()
    });
    assert_eq!(*run.expect(), 2_000_000);
}
