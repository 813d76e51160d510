//! Whether the server is there: pings, pongs, and silence.

use std::time::{Duration, Instant};

use fulmar_tokio::websocket::{Cause, CloseCode, Keepalive};

use crate::server::{Server, text};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) async fn a_ping_tells_the_round_trip(server: Server) {
    let ws = server.open("/").await;
    assert_eq!(ws.rtt(), None);
    let begun = Instant::now();
    let rtt = ws.ping().await.unwrap();
    assert!(rtt > Duration::ZERO && rtt <= begun.elapsed(), "{rtt:?}");
    assert_eq!(ws.rtt().unwrap().last, rtt);
}

pub(crate) async fn it_is_pinged_while_nobody_reads(server: Server) {
    let keepalive = Keepalive::every(ms(100)).timeout(ms(99));
    let keepalive = keepalive.missed(100);
    let mut ws = server.at("/").keepalive(keepalive).connect().await.unwrap();
    assert!(server.seen("ping", 3).await.len() >= 3);
    assert!(ws.rtt().is_some());
    ws.send("still there").await.unwrap();
    assert_eq!(text(&mut ws).await, "still there");
}

pub(crate) async fn its_own_pings_are_answered_while_nobody_reads(server: Server) {
    let keepalive = Keepalive::off();
    let opening = server.at("/keepalive").keepalive(keepalive);
    let mut ws = opening.connect().await.unwrap();
    assert!(server.seen("pong", 2).await.len() >= 2);
    ws.send("still there").await.unwrap();
    assert_eq!(text(&mut ws).await, "still there");
}

pub(crate) async fn when_it_answers_no_ping_it_is_lost_in_bounded_time(server: Server) {
    let keepalive = Keepalive::every(ms(400)).timeout(ms(200));
    let begun = Instant::now();
    let opening = server.at("/mute").keepalive(keepalive);
    let mut ws = opening.connect().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert!(
        matches!(closed.cause, Cause::KeepaliveTimeout { .. }),
        "{closed}"
    );
    assert_eq!(closed.code, CloseCode::ABNORMAL);
    let took = begun.elapsed();
    // A busy machine may be late.
    assert!(took >= ms(560) && took < ms(5_000), "{took:?}");
    assert_eq!(server.client.gauges().busy, 0);
}

pub(crate) async fn without_messages_it_is_left_at_the_read_deadline(server: Server) {
    let opening = server.at("/").keepalive(ms(100)).read_deadline(ms(500));
    let mut ws = opening.connect().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.cause, Cause::ReadIdle);
    assert!(ws.rtt().is_some(), "pings were answered");
    let seen = server.seen("close", 1).await;
    assert!(seen[0].starts_with("1001"), "{seen:?}");
}
