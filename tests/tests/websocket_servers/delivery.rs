//! What becomes of a session's messages.

use std::time::Duration;

use fulmar_tokio::Session;
use fulmar_tokio::session::{
    Delivery, DropReason, Event, Lane, MessageId, Outgoing, Received, SendError, Sent, State,
    Undelivered,
};
use fulmar_tokio::websocket::Message;

use crate::reconnecting::quick;
use crate::server::Server;

fn at_least_once(message: impl Into<Message>) -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(message.into())
    }
}

async fn heard(session: &Session) -> String {
    match session.recv().await.unwrap() {
        Some(Received::Message(message)) => message.as_text().unwrap().to_owned(),
        other => panic!("no message: {other:?}"),
    }
}

pub(crate) async fn what_is_sent_while_it_is_away_waits_and_arrives_in_order(mut server: Server) {
    let session = server.at("/").reconnect(quick()).outbox(20).open();
    let mut events = session.events();
    let _ = session.send("first").await.unwrap();
    assert_eq!(heard(&session).await, "first");
    server.end();
    while !matches!(events.next().await.unwrap(), Event::Lost { .. }) {}
    for n in 0..20 {
        let _ = session.try_send(n.to_string()).unwrap();
    }
    let full = session.try_send("20").unwrap_err();
    assert!(matches!(full, SendError::Full(_)), "{full}");
    assert_eq!(full.into_outgoing().message, "20".into());
    let waits = tokio::spawn({
        let session = session.clone();
        async move { session.send("20").await.map(|sent| sent.id()) }
    });
    server.begin();
    for n in 0..=20 {
        assert_eq!(heard(&session).await, n.to_string());
    }
    waits.await.unwrap().unwrap();
    let seen: Vec<_> = (0..=20).map(|n| n.to_string()).collect();
    assert_eq!(server.seen("message", 21).await, seen);
}

/// Every message is acknowledged once it comes back, however often the server goes in between.
pub(crate) async fn the_unacknowledged_is_sent_again_over_its_restarts(mut server: Server) {
    let session = server.at("/").reconnect(quick()).outbox(100).open();
    for n in 0..60_u32 {
        let sent = session.send(at_least_once(n.to_string())).await.unwrap();
        if n % 20 == 10 {
            server.restart();
        }
        while session.outbox_len() > 0 {
            // One that was acknowledged before may come again.
            if heard(&session).await == n.to_string() {
                session.acknowledge(sent.id());
            }
        }
    }
    let mut events = session.events();
    assert!(session.close().await.is_empty());
    let mut opened = 0;
    while let Some(event) = events.next().await {
        opened += u32::from(matches!(event, Event::Opened { .. }));
    }
    assert!(opened > 3, "{opened} connections");
}

pub(crate) async fn subscriptions_are_sent_again_after_its_restart(mut server: Server) {
    let session = server.at("/").reconnect(quick()).open();
    assert!(session.subscribe("ticks", "subscribe ticks"));
    assert_eq!(heard(&session).await, "subscribe ticks");
    let mut events = session.events();
    server.end();
    while !matches!(events.next().await.unwrap(), Event::Lost { .. }) {}
    let _ = session.send("queued before").await.unwrap();
    server.begin();
    assert_eq!(heard(&session).await, "subscribe ticks");
    assert_eq!(heard(&session).await, "queued before");
}

pub(crate) async fn every_message_ends_in_one_way_over_its_restarts(mut server: Server) {
    let session = server.at("/").reconnect(quick()).open();
    let mut events = session.events();
    let mut sent: Vec<Sent> = Vec::new();
    for round in 1..=3 {
        while !matches!(events.next().await.unwrap(), Event::Opened { epoch, .. } if epoch == round)
        {
        }
        let first = sent.len();
        for n in 0..50 {
            sent.push(session.send(format!("{round}: {n}")).await.unwrap());
        }
        sent[first].peer_seen().await.unwrap();
        // Some are on their way, some were read, some wait.
        server.restart();
    }
    server.end();
    while session.state() == State::Open {
        events.next().await.unwrap();
    }
    sent.push(session.send("too late").await.unwrap());
    let left = session.close_after_flush(Duration::ZERO).await;
    let left: Vec<MessageId> = left.into_iter().map(|(id, _)| id).collect();
    let mut seen = 0;
    for sent in &mut sent {
        match sent.peer_seen().await {
            Ok(()) => seen += 1,
            Err(Undelivered::Returned) => assert!(left.contains(&sent.id())),
            Err(Undelivered::Doubtful | Undelivered::Dropped(DropReason::MaybeDelivered)) => {
                assert!(!left.contains(&sent.id()));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(left.contains(&sent[150].id()));
    assert!(seen >= 3, "{seen} were read");
}

pub(crate) async fn receipts_tell_that_it_has_read(server: Server) {
    let session = server.at("/").reconnect(quick()).open();
    let mut sent = session.send(at_least_once("order")).await.unwrap();
    sent.flushed().await.unwrap();
    sent.peer_seen().await.unwrap();
    assert_eq!(server.seen("message", 1).await, ["order"]);
    assert_eq!(session.outbox_len(), 1);
    assert_eq!(heard(&session).await, "order");
    assert!(session.acknowledge(sent.id()));
    sent.acked().await.unwrap();
    assert_eq!(session.outbox_len(), 0);
}

pub(crate) async fn a_close_flushes_first_and_returns_what_is_left(mut server: Server) {
    // Who answers each message finds that he may not, behind a close.
    let session = server.at("/listen").reconnect(quick()).open();
    for n in 0..50 {
        let _ = session.send(n.to_string()).await.unwrap();
    }
    assert!(
        session
            .close_after_flush(Duration::from_secs(10))
            .await
            .is_empty()
    );
    let seen: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(server.seen("message", 50).await, seen);
    assert_eq!(server.seen("close", 1).await, ["1000 "]);

    let session = server.at("/").reconnect(quick()).open();
    server.end();
    for n in 0..3 {
        let _ = session.send(n.to_string()).await.unwrap();
    }
    let left = session.close_after_flush(Duration::from_millis(300)).await;
    let left: Vec<_> = left
        .into_iter()
        .map(|(_, outgoing)| outgoing.message)
        .collect();
    assert_eq!(left, ["0".into(), "1".into(), "2".into()]);
}

pub(crate) async fn the_urgent_overtakes_the_bulk(server: Server) {
    let session = server.at("/").reconnect(quick()).open();
    // None of them can go before all are there.
    for n in 0..20 {
        for (lane, name) in [(Lane::Bulk, "bulk"), (Lane::High, "high")] {
            let message = Outgoing::from(format!("{name} {n}"));
            let _ = session.try_send(Outgoing { lane, ..message }).unwrap();
        }
    }
    let seen = server.seen("message", 40).await;
    let order = |name| (0..20).map(move |n| format!("{name} {n}"));
    let order: Vec<_> = order("high").chain(order("bulk")).collect();
    assert_eq!(seen, order);
}

/// It takes messages of up to 4 MiB.
pub(crate) async fn one_message_too_big_for_it_is_dropped_and_the_rest_arrives(server: Server) {
    let config = quick().window(10, 6 << 20);
    let session = server.at("/").reconnect(config).open();
    let large = at_least_once(vec![0; 5 << 20]);
    let mut large = session.send(large).await.unwrap();
    let rest = session.send(at_least_once("rest")).await.unwrap();
    let end = large.acked().await.unwrap_err();
    assert_eq!(end, Undelivered::Dropped(DropReason::TooBig));
    assert_eq!(heard(&session).await, "rest");
    assert!(session.acknowledge(rest.id()));
    assert!(session.close().await.is_empty());
}
