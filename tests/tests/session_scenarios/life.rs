//! A session over TLS, and many at once.

use fulmar_sim::Sim;
use fulmar_sim::websocket::CloseCode;
use fulmar_tests::websocket::{close_frame, frame};

use crate::server::{URL, echo};
use crate::support::{TlsConn, assert_quiet, builder, join_all, secs, secure};
use crate::town::{numbered_before, quick, recv};

#[test]
fn under_tls_a_session_outlives_its_connections_too() {
    let mut sim = Sim::seeded(1);
    numbered_before(&sim, "api.test:443", |number, conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        let head = tls.head().await?.unwrap();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let accept = tungstenite::handshake::derive_accept_key(key.unwrap().1.as_bytes());
        let head = format!(
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        tls.write(head.as_bytes()).await?;
        let text = format!("connection {number}");
        tls.write(&frame(0x81, text.as_bytes())).await?;
        tls.write(&close_frame(1001, "restart")).await?;
        while tls.fill().await? {}
        Ok(())
    });
    let client = secure(&sim).build().unwrap();
    let run = sim.run(async move {
        let session = client
            .websocket("wss://api.test/")
            .reconnect(quick())
            .open();
        for n in 1..=3 {
            assert_eq!(recv(&session).await, format!("connection {n}"));
        }
        session.close().await;
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn many_sessions_of_one_client_wait_for_each_other_and_all_talk() {
    let mut sim = Sim::seeded(2);
    echo(&sim);
    let client = builder(&sim).websocket_limits(10, 10).build().unwrap();
    let run = sim.run(async move {
        let talks = (0..30).map(|n| {
            let client = client.clone();
            async move {
                let session = client.websocket(URL).reconnect(quick()).open();
                let _ = session.send(format!("{n}")).await.unwrap();
                assert_eq!(recv(&session).await, n.to_string());
                let left = session.close_with(CloseCode(3000), "done", secs(1)).await;
                assert_eq!(left.unwrap().len(), 0);
            }
        });
        join_all(talks).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}
