//! Connections between requests.

use fulmar::{PoolConfig, Retry};

use crate::env::{Env, Gate, ms};
use crate::responses::{never, text};

suite![
    a_connection_that_the_peer_closed_while_idle_is_not_used,
    unsolicited_bytes_on_an_idle_connection_close_it,
    a_connection_that_either_side_wants_closed_is_not_reused,
    an_idle_connection_closes_after_its_time,
    a_peer_that_says_how_long_it_keeps_connections_is_believed,
];

pub(crate) async fn a_connection_that_the_peer_closed_while_idle_is_not_used(env: Env) {
    let server = env.serve(|mut peer| async move {
        if let Some(request) = peer.request().await? {
            peer.respond(200, request.target).await?;
        }
        Ok(())
    });
    let client = never(&env);
    assert_eq!(text(&client, server.url("/a")).await.unwrap(), "/a");
    env.until("an eviction", || client.gauges().idle == 0).await;
    assert_eq!(text(&client, server.url("/b")).await.unwrap(), "/b");
    assert_eq!(server.log(), ["GET /a", "GET /b"]);
}

pub(crate) async fn unsolicited_bytes_on_an_idle_connection_close_it(env: Env) {
    let gate = Gate::default();
    let opens = gate.clone();
    let server = env.serve(move |mut peer| {
        let gate = gate.clone();
        async move {
            while let Some(request) = peer.request().await? {
                peer.respond(200, request.target).await?;
                if peer.connection == 1 {
                    gate.opened().await;
                    peer.respond(200, "poison").await?;
                }
            }
            Ok(())
        }
    });
    let client = env.builder().retry(Retry::never()).build().unwrap();
    assert_eq!(text(&client, server.url("/a")).await.unwrap(), "/a");
    opens.open();
    env.until("an eviction", || client.gauges().idle == 0).await;
    assert_eq!(text(&client, server.url("/b")).await.unwrap(), "/b");
    assert_eq!(server.accepted(), 2);
}

pub(crate) async fn a_connection_that_either_side_wants_closed_is_not_reused(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            let lines = if request.target == "/close" {
                "Connection: close\r\n"
            } else {
                ""
            };
            peer.respond_with(200, lines, "x").await?;
        }
        Ok(())
    });
    let client = never(&env);
    text(&client, server.url("/close")).await.unwrap();
    assert_eq!(client.gauges().total, 0);
    let ours = client.get(server.url("/")).header("Connection", "close");
    ours.send().await.unwrap().text().await.unwrap();
    assert_eq!((client.gauges().total, server.accepted()), (0, 2));
    env.until("closed sockets", || server.open() == 0).await;
}

pub(crate) async fn an_idle_connection_closes_after_its_time(env: Env) {
    let server = env.echo();
    let mut pool = PoolConfig::new();
    pool.idle_timeout = Some(ms(50));
    let client = env.builder().pool(pool).build().unwrap();
    assert_eq!(text(&client, server.url("/")).await.unwrap(), "/");
    env.until("an eviction", || {
        client.gauges().total == 0 && server.open() == 0
    })
    .await;
}

pub(crate) async fn a_peer_that_says_how_long_it_keeps_connections_is_believed(env: Env) {
    let server = env.raw("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok");
    let client = never(&env);
    assert_eq!(text(&client, server.url("/")).await.unwrap(), "ok");
    env.until("an eviction", || {
        client.gauges().total == 0 && server.open() == 0
    })
    .await;
}
