//! What becomes of messages.

use std::io;
use std::sync::{Arc, Mutex};

use fulmar_sim::session::{
    Compress, Config, Delivery, DropReason, Lane, OnFull, Outgoing, SendError, SessionBuilder,
    StopReason, Undelivered,
};
use fulmar_sim::websocket::{Compression, Keepalive};
use fulmar_sim::{Fault, Instant, Sim};

use crate::server::{Peer, URL};
use crate::support::{PollTimes, client, join_all, ms, secs};
use crate::town::{
    Heard, event, listen, listening, next_text, numbered, opened, quick, recv, session, texts,
};

fn at_least_once(text: impl Into<String>) -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(text.into())
    }
}

#[test]
fn messages_are_queued_before_the_first_connection_and_sent_in_order() {
    let mut sim = Sim::seeded(1);
    let heard = listening(&sim);
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        for n in 0..50 {
            let _ = session.send(format!("{n}")).await.unwrap();
        }
        assert!(session.close().await.is_empty());
        assert_eq!(session.stop_reason(), Some(StopReason::Closed));
        assert!(session.send("too late").await.is_err());
    });
    run.expect();
    assert_eq!(
        texts(&heard),
        (0..50).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn what_waits_while_the_server_is_away_is_sent_once_it_is_back() {
    let mut sim = Sim::seeded(2);
    let heard = Heard::default();
    let log = heard.clone();
    numbered(&sim, move |n, mut peer| {
        let log = log.clone();
        async move {
            if n == 1 {
                let _ = next_text(&mut peer).await?;
                return peer.close(1012, "restart").await;
            }
            listen(&mut peer, n, &log).await
        }
    });
    sim.between(secs(1)..secs(60), Fault::refuse("api.test"));
    let opening = session(&sim, quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        assert_eq!(opened(&mut events).await, 1);
        handle.sleep(secs(1)).await;
        let _ = session.send("go").await.unwrap();
        handle.sleep(secs(1)).await;
        for n in 0..100 {
            let _ = session.send(format!("{n}")).await.unwrap();
        }
        assert_eq!(session.outbox_len(), 100);
        assert_eq!(opened(&mut events).await, 2);
        assert!(session.close().await.is_empty());
    });
    run.expect();
    assert_eq!(
        texts(&heard),
        (0..100).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn the_one_over_the_bound_waits_and_a_try_gets_its_message_back() {
    let mut sim = Sim::seeded(3);
    let heard = listening(&sim);
    sim.between(secs(0)..secs(20), Fault::refuse("api.test"));
    let opening = session(&sim, quick()).outbox(100);
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        for n in 0..100 {
            let _ = session.try_send(format!("{n}")).unwrap();
        }
        let full = session.try_send("100").unwrap_err();
        assert!(matches!(full, SendError::Full(_)), "{full}");
        assert_eq!(full.into_outgoing().message.as_text(), Some("100"));
        // One who gave up waiting was not queued.
        assert!(PollTimes::new(1, session.send("never")).await.is_none());
        let begun = handle.now();
        let waiting = (100..130).map(|n| session.send(format!("{n}")));
        let sent = join_all(waiting).await;
        assert!(sent.iter().all(Result::is_ok));
        assert!(handle.now() - begun > secs(15), "they waited");
        assert!(session.close().await.is_empty());
    });
    run.expect();
    assert_eq!(
        texts(&heard),
        (0..130).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn one_who_waits_for_room_in_vain_gets_the_message_back_in_time() {
    let mut sim = Sim::seeded(12);
    let heard = listening(&sim);
    sim.between(secs(0)..secs(5), Fault::refuse("api.test"));
    let opening = session(&sim, quick()).outbox(1);
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let _ = session.send_timeout("first", secs(0)).await.unwrap();
        let full = session.send_timeout("late", secs(2)).await.unwrap_err();
        assert_eq!(full, SendError::Full("late".into()));
        assert_eq!(handle.now() - Instant::ORIGIN, secs(2));
        let _ = session.send_timeout("patient", secs(20)).await.unwrap();
        assert!(handle.now() - Instant::ORIGIN >= secs(5));
        assert!(session.close().await.is_empty());
    });
    run.expect();
    assert_eq!(texts(&heard), ["first", "patient"]);
}

#[test]
fn one_who_waits_for_room_and_goes_lets_the_next_have_it() {
    let mut sim = Sim::seeded(4);
    listening(&sim);
    sim.between(secs(0)..secs(5), Fault::refuse("api.test"));
    let opening = session(&sim, quick()).outbox(1);
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let _ = session.send("first").await.unwrap();
        let mut impatient = Box::pin(session.send("impatient"));
        let waker = std::task::Waker::noop();
        let mut cx = std::task::Context::from_waker(waker);
        // It is woken when there is room, and does not come.
        assert!(impatient.as_mut().poll(&mut cx).is_pending());
        let patient = session.clone();
        let patient = async move { patient.send("patient").await.map(|sent| sent.id()) };
        let gives_up = async {
            handle.sleep(secs(20)).await;
            drop(impatient);
        };
        let both: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
            Box::pin(async { assert!(patient.await.is_ok()) }),
            Box::pin(gives_up),
        ];
        join_all(both).await;
    });
    run.expect();
}

#[test]
fn receipts_tell_how_far_a_message_came() {
    let mut sim = Sim::seeded(5);
    sim.link("laptop", "api.test").latency(ms(50)..ms(51));
    numbered(&sim, |_, mut peer| async move {
        while let Some(text) = next_text(&mut peer).await? {
            peer.send(0x81, text).await?;
        }
        Ok(())
    });
    let opening = session(&sim, quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut sent = session.send(at_least_once("order")).await.unwrap();
        sent.flushed().await.unwrap();
        let flushed = handle.now();
        assert_eq!(recv(&session).await, "order");
        sent.peer_seen().await.unwrap();
        assert!(handle.now() - flushed < secs(1));
        assert_eq!(session.outbox_len(), 1);
        assert!(PollTimes::new(1, sent.acked()).await.is_none());
        assert!(session.acknowledge(sent.id()));
        assert!(!session.acknowledge(sent.id()), "once");
        sent.acked().await.unwrap();
        assert_eq!(session.outbox_len(), 0);

        let mut plain = session.send("plain").await.unwrap();
        plain.peer_seen().await.unwrap();
        session.close().await;
        assert_eq!(sent.acked().await, Ok(()), "the same ever after");
        assert_eq!(plain.acked().await, Err(Undelivered::Doubtful));
    });
    run.expect();
}

#[test]
fn the_unacknowledged_is_sent_again_and_the_acknowledged_is_not() {
    let mut sim = Sim::seeded(6);
    let heard = Heard::default();
    let log = heard.clone();
    numbered(&sim, move |n, mut peer| {
        let log = log.clone();
        async move {
            if n > 1 {
                return listen(&mut peer, n, &log).await;
            }
            for _ in 0..10 {
                let text = next_text(&mut peer).await?.unwrap();
                log.lock().unwrap().push((n, text));
            }
            peer.send(0x81, "five").await?;
            peer.conn.sleep(secs(1)).await;
            peer.conn.reset();
            Ok(())
        }
    });
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut sent = Vec::new();
        for n in 0..10 {
            sent.push(session.send(at_least_once(format!("{n}"))).await.unwrap());
        }
        assert_eq!(recv(&session).await, "five");
        assert!(session.acknowledge_up_to(sent[4].id()));
        let mut events = session.events();
        opened(&mut events).await;
        assert_eq!(opened(&mut events).await, 2);
        let left = session.close().await;
        // They were sent again, and nobody acknowledged them.
        let left: Vec<_> = left.iter().map(|(id, _)| *id).collect();
        assert_eq!(
            left,
            sent[5..]
                .iter()
                .map(fulmar_sim::session::Sent::id)
                .collect::<Vec<_>>()
        );
        for sent in &mut sent[5..] {
            assert_eq!(sent.flushed().await, Ok(()));
            assert_eq!(sent.acked().await, Err(Undelivered::Returned));
        }
    });
    run.expect();
    let again: Vec<_> = heard
        .lock()
        .unwrap()
        .iter()
        .filter(|(n, _)| *n == 2)
        .cloned()
        .collect();
    let expected: Vec<_> = (5..10).map(|n| (2, n.to_string())).collect();
    assert_eq!(again, expected);
}

#[test]
fn too_much_that_is_unacknowledged_makes_the_sender_wait() {
    let mut sim = Sim::seeded(7);
    numbered(&sim, |_, mut peer| async move {
        while let Some(text) = next_text(&mut peer).await? {
            peer.send(0x81, text).await?;
        }
        Ok(())
    });
    let opening = session(&sim, quick().window(3, 1 << 20));
    let run = sim.run(async move {
        let session = opening.open();
        let mut ids = Vec::new();
        for n in 0..3 {
            let mut sent = session.send(at_least_once(format!("{n}"))).await.unwrap();
            sent.flushed().await.unwrap();
            ids.push(sent.id());
        }
        let more = session.try_send(at_least_once("3")).unwrap_err();
        assert!(matches!(more, SendError::Full(_)));
        // What is not kept goes by.
        let _ = session.send("not kept").await.unwrap();
        let waiting = PollTimes::new(usize::MAX, session.send(at_least_once("3")));
        let acknowledging = async {
            assert_eq!(recv(&session).await, "0");
            assert!(session.acknowledge(ids[0]));
            None
        };
        let both: Vec<std::pin::Pin<Box<dyn Future<Output = Option<_>> + Send>>> =
            vec![Box::pin(waiting), Box::pin(acknowledging)];
        let sent = join_all(both).await.remove(0).unwrap();
        assert!(sent.is_ok());
    });
    run.expect();
}

#[test]
fn every_drop_has_a_reason_and_is_told_twice() {
    let mut sim = Sim::seeded(8);
    listening(&sim);
    sim.between(secs(0)..secs(10), Fault::refuse("api.test"));
    let opening = session(&sim, quick()).outbox(3);
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let with = |text: &str, on_full, ttl, key: Option<&str>| Outgoing {
            on_full,
            ttl,
            key: key.map(Into::into),
            ..Outgoing::from(text)
        };
        let mut expires = session
            .try_send(with("stale", OnFull::Refuse, Some(secs(1)), None))
            .unwrap();
        let mut old = session
            .try_send(with("old", OnFull::Refuse, None, Some("price")))
            .unwrap();
        let mut new = session
            .try_send(with("new", OnFull::Refuse, None, Some("price")))
            .unwrap();
        let _ = session.try_send("third").unwrap();
        let mut refused = session
            .try_send(with("over", OnFull::DropNew, None, None))
            .unwrap();
        let replaced = Err(Undelivered::Dropped(DropReason::Replaced));
        assert_eq!(old.flushed().await, replaced);
        let overflow = Err(Undelivered::Dropped(DropReason::Overflow));
        assert_eq!(refused.flushed().await, overflow);
        new.flushed().await.unwrap();
        let too_old = Err(Undelivered::Dropped(DropReason::Expired));
        assert_eq!(expires.flushed().await, too_old);
        for expected in [
            (old.id(), DropReason::Replaced),
            (refused.id(), DropReason::Overflow),
            (expires.id(), DropReason::Expired),
        ] {
            let told = event(&mut events, |event| match event {
                fulmar_sim::session::Event::Dropped { id, reason } => Some((*id, *reason)),
                _ => None,
            });
            assert_eq!(told.await, expected);
        }
    });
    run.expect();
}

#[test]
fn the_urgent_overtakes_the_bulk_and_order_within_a_lane_holds() {
    let mut sim = Sim::seeded(9);
    let heard = listening(&sim);
    sim.between(secs(0)..secs(5), Fault::refuse("api.test"));
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        for n in 0..300 {
            for (lane, name) in [(Lane::Bulk, "bulk"), (Lane::High, "high")] {
                let outgoing = Outgoing {
                    lane,
                    ..Outgoing::from(format!("{name} {n:3} {}", "x".repeat(1000)))
                };
                let _ = session.send(outgoing).await.unwrap();
            }
        }
        assert!(session.close_after_flush(secs(30)).await.is_empty());
    });
    run.expect();
    let heard = texts(&heard);
    let of = |name: &str| -> Vec<usize> {
        let places = heard.iter().enumerate();
        let places = places.filter(|(_, text)| text.starts_with(name));
        places.map(|(place, _)| place).collect()
    };
    for (name, places) in [("bulk", of("bulk")), ("high", of("high"))] {
        assert_eq!(places.len(), 300);
        for (n, place) in places.iter().enumerate() {
            assert!(heard[*place].starts_with(&format!("{name} {n:3}")));
        }
    }
    assert!(of("high")[299] < 350, "{:?}", of("high"));
    assert!(of("bulk")[0] < 200, "bulk does not starve");
}

#[test]
fn what_is_secret_is_not_compressed() {
    let mut sim = Sim::seeded(10);
    sim.serve("api.test:80", |conn| async move {
        let agreed = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let mut peer = Peer::accept(conn, agreed).await?.unwrap();
        for packed in [0x40, 0, 0x40] {
            assert_eq!(peer.frame().await?.unwrap().first & 0x40, packed);
        }
        peer.close(1000, "").await
    });
    let opening = client(&sim).websocket(URL).compression(Compression::new());
    let run = sim.run(async move {
        let session = opening.reconnect(quick()).open();
        for compress in [Compress::Auto, Compress::Never, Compress::Auto] {
            let message = Outgoing::from("again and again ".repeat(1_000));
            let _ = session
                .send(Outgoing {
                    compress,
                    ..message
                })
                .await
                .unwrap();
        }
        assert_eq!(session.recv().await, Ok(None));
    });
    run.expect();
}

#[test]
fn a_large_message_is_sent_in_pieces_with_a_pong_between() {
    let mut sim = Sim::seeded(10);
    sim.link("laptop", "api.test").bandwidth(1_000_000);
    let firsts = Arc::new(Mutex::new(Vec::new()));
    let seen = firsts.clone();
    numbered(&sim, move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.conn.sleep(ms(500)).await;
            peer.send(0x89, "are you there").await?;
            while let Some(frame) = peer.frame().await? {
                seen.lock().unwrap().push(frame.first);
                if frame.first == 0x80 {
                    peer.close(1000, "").await?;
                }
            }
            Ok(())
        }
    });
    let opening = session(&sim, quick());
    let client = client(&sim);
    let run = sim.run(async move {
        let session = opening.open();
        let mut sent = session.send(vec![7; 2_000_000]).await.unwrap();
        sent.flushed().await.unwrap();
        session.stopped().await;
        drop(client);
    });
    run.expect();
    let firsts = firsts.lock().unwrap();
    let pong = firsts.iter().position(|first| *first == 0x8a).unwrap();
    let end = firsts.iter().position(|first| *first == 0x80).unwrap();
    assert!(firsts[0] == 0x02 && pong < end, "{firsts:?}");
}

/// A session at the usual place whose connections nobody pings unasked.
fn unpinged(sim: &Sim, config: Config) -> SessionBuilder {
    let websocket = client(sim).websocket(URL).keepalive(Keepalive::off());
    websocket.reconnect(config)
}

/// Answers each ping after a while.
async fn pong_slowly(peer: &mut Peer) -> io::Result<()> {
    while let Some(frame) = peer.frame().await? {
        if frame.first == 0x89 {
            peer.conn.sleep(ms(200)).await;
            peer.send(0x8a, frame.payload).await?;
        }
    }
    Ok(())
}

#[test]
fn who_waits_for_the_server_to_read_hears_of_it_however_many_they_are() {
    let mut sim = Sim::seeded(20);
    numbered(
        &sim,
        |_, mut peer| async move { pong_slowly(&mut peer).await },
    );
    let opening = unpinged(&sim, quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let read = Arc::new(Mutex::new(0));
        for n in 0..40 {
            let mut sent = session.send(format!("{n}")).await.unwrap();
            sent.flushed().await.unwrap();
            let read = read.clone();
            handle.spawn(async move {
                sent.peer_seen().await.unwrap();
                *read.lock().unwrap() += 1;
            });
            // It asks for a ping of its own.
            handle.sleep(ms(1)).await;
        }
        handle.sleep(secs(60)).await;
        assert_eq!(*read.lock().unwrap(), 40);
        drop(session);
    });
    run.expect();
}

#[test]
fn who_waits_for_the_server_to_read_hears_of_it_behind_any_number_of_messages() {
    let mut sim = Sim::seeded(21);
    numbered(
        &sim,
        |_, mut peer| async move { pong_slowly(&mut peer).await },
    );
    let opening = unpinged(&sim, quick().outbox(5_000, 1 << 20));
    let run = sim.run(async move {
        let session = opening.open();
        let mut first = session.send("first").await.unwrap();
        first.flushed().await.unwrap();
        let mut all = Vec::new();
        for n in 0..3_000 {
            all.push(session.send(format!("{n}")).await.unwrap());
        }
        // One waits while they are sent, and the others only then.
        first.peer_seen().await.unwrap();
        for sent in &mut all {
            sent.peer_seen().await.unwrap();
        }
    });
    run.expect();
    assert!(run.elapsed() < secs(10), "{:?}", run.elapsed());
}

#[test]
fn who_waits_for_the_server_to_read_what_is_sent_again_hears_of_the_connection_that_carried_it() {
    let mut sim = Sim::seeded(22);
    numbered(&sim, |n, mut peer| async move {
        if n == 1 {
            while peer.frame().await?.is_some_and(|frame| frame.first != 0x89) {}
            return Ok(());
        }
        pong_slowly(&mut peer).await
    });
    let opening = unpinged(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let mut sent = session.send(at_least_once("again")).await.unwrap();
        sent.peer_seen().await.unwrap();
        assert_eq!(opened(&mut events).await, 1);
        assert_eq!(opened(&mut events).await, 2);
    });
    run.expect();
    assert!(run.elapsed() < secs(10), "{:?}", run.elapsed());
}
