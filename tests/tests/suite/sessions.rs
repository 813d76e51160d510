//! Sessions that outlive their connections, with a server of bytes.

use std::sync::{Arc, Mutex};
use std::thread;

use fulmar::Backoff;
use fulmar::session::{Config, Delivery, Event, Outgoing, Received, Session, StopReason};
use fulmar_tests::websocket::{close_frame, frame};

use crate::env::{Env, Peer, PollTimes, Server, ms};
use crate::websockets::{accept, echo, echoing, read};

suite![
    a_session_rides_out_servers_that_restart_and_loses_nothing,
    a_close_returns_what_could_not_be_sent,
    receipts_tell_how_far_a_message_came,
    messages_are_sent_and_received_in_tasks_of_their_own,
    a_shutdown_of_the_client_ends_a_session_connected_or_not,
    a_session_dropped_after_any_number_of_polls_leaves_nothing_behind,
    a_session_may_be_dropped_on_a_bare_thread,
];

fn quick() -> Config {
    Config::new()
        .backoff(Backoff::exponential(ms(1)).max(ms(20)))
        .initial_spread(ms(10))
}

fn open(env: &Env, server: &Server) -> Session {
    let client = env.client();
    client.websocket(server.url("/")).reconnect(quick()).open()
}

async fn recv(session: &Session) -> String {
    match session.recv().await.unwrap() {
        Some(Received::Message(message)) => message.as_text().unwrap().to_owned(),
        other => panic!("no message: {other:?}"),
    }
}

fn kept(text: String) -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(text)
    }
}

/// Acknowledges every message; goes away after a few, now with a word and now without.
async fn restless(peer: &mut Peer, connection: u32) -> std::io::Result<()> {
    accept(peer).await?;
    for _ in 0..7 {
        let (first, payload) = read(peer).await?;
        match first {
            0x81 => peer.write(frame(0x81, &payload)).await?,
            0x89 => peer.write(frame(0x8a, &payload)).await?,
            0x88 => return peer.write(frame(0x88, &payload)).await,
            _ => {}
        }
    }
    if connection.is_multiple_of(2) {
        peer.write(close_frame(1001, "restart")).await?;
    }
    Ok(())
}

pub(crate) async fn a_session_rides_out_servers_that_restart_and_loses_nothing(env: Env) {
    let connections = Arc::new(Mutex::new(0));
    let count = connections.clone();
    let server = env.serve(move |mut peer| {
        let number = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count
        };
        async move { restless(&mut peer, number).await }
    });
    let session = open(&env, &server);
    let mut unacknowledged = Vec::new();
    for n in 0..40 {
        let sent = session.send(kept(n.to_string())).await.unwrap();
        unacknowledged.push((n.to_string(), sent));
    }
    while !unacknowledged.is_empty() {
        let text = recv(&session).await;
        // One that was acknowledged on a connection before may come again.
        if let Some(place) = unacknowledged.iter().position(|(known, _)| *known == text) {
            let (_, mut sent) = unacknowledged.remove(place);
            assert!(session.acknowledge(sent.id()));
            sent.acked().await.unwrap();
        }
    }
    assert!(session.close().await.is_empty());
    assert!(*connections.lock().unwrap() > 5);
}

pub(crate) async fn a_close_returns_what_could_not_be_sent(env: Env) {
    let client = env.client();
    let session = client.websocket(env.refused()).reconnect(quick()).open();
    let mut events = session.events();
    for n in 0..10 {
        let _ = session.send(n.to_string()).await.unwrap();
    }
    loop {
        if let Some(Event::Backoff { attempt: 3, .. }) = events.next().await {
            break;
        }
    }
    let left = session.close_after_flush(ms(20)).await;
    let texts = left
        .iter()
        .map(|(_, outgoing)| outgoing.message.as_text().unwrap());
    assert_eq!(texts.collect::<String>(), "0123456789");
    assert_eq!(session.stop_reason(), Some(StopReason::Closed));
}

pub(crate) async fn receipts_tell_how_far_a_message_came(env: Env) {
    let session = open(&env, &echoing(&env));
    for n in 0..20 {
        let mut sent = session.send(n.to_string()).await.unwrap();
        sent.flushed().await.unwrap();
        sent.peer_seen().await.unwrap();
        assert_eq!(recv(&session).await, n.to_string());
    }
    session.close().await;
}

pub(crate) async fn messages_are_sent_and_received_in_tasks_of_their_own(env: Env) {
    let server = echoing(&env);
    let client = env.client();
    let opening = client.websocket(server.url("/")).reconnect(quick());
    let session = opening.outbox(10).open();
    let mut tasks = Vec::new();
    for task in 0..4 {
        let session = session.clone();
        tasks.push(env.spawn(async move {
            for n in 0..100 {
                let _ = session.send(format!("{task} {n}")).await.unwrap();
            }
        }));
    }
    let mut next = [0; 4];
    for _ in 0..400 {
        let text = recv(&session).await;
        let (task, n) = text.split_once(' ').unwrap();
        let task: usize = task.parse().unwrap();
        assert_eq!(n, next[task].to_string(), "in order");
        next[task] += 1;
    }
    for task in tasks {
        task.await;
    }
    assert!(session.close().await.is_empty());
}

pub(crate) async fn a_shutdown_of_the_client_ends_a_session_connected_or_not(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let connected = client.websocket(server.url("/")).reconnect(quick()).open();
    let _ = connected.send("hello").await.unwrap();
    assert_eq!(recv(&connected).await, "hello");
    let away = client.websocket(env.refused()).reconnect(quick()).open();
    client.shutdown(client.deadline(ms(2_000))).await;
    for session in [connected, away] {
        assert_eq!(session.stopped().await, StopReason::Closed);
        assert_eq!(session.recv().await, Ok(None));
    }
}

pub(crate) async fn a_session_dropped_after_any_number_of_polls_leaves_nothing_behind(env: Env) {
    let server = env.serve(|mut peer| async move {
        accept(&mut peer).await?;
        echo(&mut peer).await
    });
    let client = env.client();
    for polls in 0..12 {
        let talk = async {
            let session = client.websocket(server.url("/")).reconnect(quick()).open();
            let mut sent = session.send("hello").await.unwrap();
            sent.peer_seen().await.unwrap();
            recv(&session).await;
            session.close().await;
        };
        PollTimes::new(polls, talk).await;
        env.quiet(&client).await;
    }
}

pub(crate) async fn a_session_may_be_dropped_on_a_bare_thread(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let session = client.websocket(server.url("/")).reconnect(quick()).open();
    let _ = session.send("hello").await.unwrap();
    recv(&session).await;
    thread::spawn(move || drop(session)).join().unwrap();
    env.quiet(&client).await;
    env.until("a closed socket", || server.open() == 0).await;
}
