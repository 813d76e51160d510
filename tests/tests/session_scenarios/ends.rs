//! How a session ends.

use std::sync::{Arc, Mutex};

use fulmar_sim::session::{Event, Loss, StopReason, Undelivered};
use fulmar_sim::websocket::CloseCode;
use fulmar_sim::{Fault, Kind, Sim};

use crate::server::URL;
use crate::support::{PollTimes, assert_quiet, client, join_all, ms, secs};
use crate::town::{Heard, listening, next_text, numbered, opened, quick, recv, session};

#[test]
fn a_close_returns_what_could_not_be_sent_in_time() {
    let mut sim = Sim::seeded(1);
    sim.between(secs(0).., Fault::refuse("api.test"));
    let opening = session(&sim, quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut sent = Vec::new();
        for n in 0..5 {
            sent.push(session.send(format!("{n}")).await.unwrap());
        }
        let begun = handle.now();
        let left = session.close_after_flush(secs(3)).await;
        assert!(handle.now() - begun <= secs(3));
        let left: Vec<_> = left
            .into_iter()
            .map(|(id, outgoing)| (id, outgoing.message.as_text().unwrap().to_owned()))
            .collect();
        let expected = sent
            .iter()
            .enumerate()
            .map(|(n, s)| (s.id(), n.to_string()));
        assert_eq!(left, expected.collect::<Vec<_>>());
        for sent in &mut sent {
            assert_eq!(sent.flushed().await, Err(Undelivered::Returned));
        }
        assert!(session.close().await.is_empty(), "once");
    });
    run.expect();
}

#[test]
fn a_close_connects_once_more_for_what_is_queued() {
    let mut sim = Sim::seeded(2);
    let heard = listening(&sim);
    sim.between(secs(0)..secs(2), Fault::refuse("api.test"));
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let _ = session.send("last words").await.unwrap();
        assert!(session.close_after_flush(secs(20)).await.is_empty());
    });
    run.expect();
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[test]
fn a_close_ends_in_time_whatever_the_server_does() {
    for fault in [Fault::partition("api.test"), Fault::half_open("api.test")] {
        let mut sim = Sim::seeded(3);
        numbered(&sim, |_, mut peer| async move {
            while peer.frame().await?.is_some() {}
            Ok(())
        });
        sim.between(secs(1).., fault);
        let opening = session(&sim, quick());
        let handle = sim.handle();
        let run = sim.run(async move {
            let session = opening.open();
            handle.sleep(secs(2)).await;
            let _ = session.send(vec![0; 1_000_000]).await.unwrap();
            let begun = handle.now();
            session.close_after_flush(secs(4)).await;
            assert!(handle.now() - begun <= secs(4 + 5 + 1));
        });
        run.expect();
        assert_eq!(run.open_sockets(), 0);
    }
}

#[test]
fn an_end_by_the_server_is_received_behind_its_last_message() {
    let mut sim = Sim::seeded(4);
    numbered(&sim, |_, mut peer| async move {
        peer.send(0x81, "bye").await?;
        peer.close(1000, "done").await
    });
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        assert_eq!(
            session.stopped().await,
            StopReason::Ended(CloseCode::NORMAL)
        );
        assert_eq!(recv(&session).await, "bye");
        assert_eq!(session.recv().await, Ok(None));
        assert!(session.send("no").await.is_err());
    });
    run.expect();
}

#[test]
fn a_fatal_end_is_an_error_for_the_reader_and_the_last_event() {
    let mut sim = Sim::seeded(5);
    numbered(
        &sim,
        |_, mut peer| async move { peer.close(1008, "no").await },
    );
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let reason = session.recv().await.unwrap_err();
        assert!(matches!(&reason, StopReason::Fatal(Loss::Closed(closed)) if closed.code == CloseCode(1008)));
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::Stopped { reason, unsent: 0 }));
    });
    run.expect();
}

#[test]
fn the_last_handle_dropped_says_goodbye_and_leaves_nothing() {
    let mut sim = Sim::seeded(6);
    let code = Arc::new(Mutex::new(None));
    let seen = code.clone();
    numbered(&sim, move |_, mut peer| {
        let seen = seen.clone();
        async move {
            *seen.lock().unwrap() = peer.closing().await?;
            Ok(())
        }
    });
    let client = client(&sim);
    let opening = client.websocket(URL).reconnect(quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let other = session.clone();
        opened(&mut session.events()).await;
        drop(session);
        handle.sleep(secs(1)).await;
        assert_eq!(client.gauges().busy, 1);
        drop(other);
        handle.sleep(ms(100)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(*code.lock().unwrap(), Some(1001));
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn a_shutdown_of_the_client_sends_what_is_queued_and_closes() {
    let mut sim = Sim::seeded(7);
    let heard = Heard::default();
    let log = heard.clone();
    let code = Arc::new(Mutex::new(None));
    let seen = code.clone();
    numbered(&sim, move |_, mut peer| {
        let (log, seen) = (log.clone(), seen.clone());
        async move {
            let text = next_text(&mut peer).await?.unwrap();
            log.lock().unwrap().push((1, text));
            *seen.lock().unwrap() = peer.closing().await?;
            peer.close(1001, "").await
        }
    });
    let client = client(&sim);
    let opening = client.websocket(URL).reconnect(quick());
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        opened(&mut session.events()).await;
        let _ = session.send("queued").await.unwrap();
        let begun = handle.now();
        client.shutdown(client.deadline(secs(10))).await;
        assert!(handle.now() - begun < secs(1));
        assert_eq!(session.stopped().await, StopReason::Closed);
        assert!(session.send("too late").await.is_err());
        let late = client.websocket(URL).reconnect(quick()).open();
        assert!(matches!(late.stopped().await, StopReason::Closed));
    });
    run.expect();
    assert_eq!(*code.lock().unwrap(), Some(1001));
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[test]
fn a_shutdown_breaks_off_at_its_deadline_what_does_not_end() {
    let mut sim = Sim::seeded(8);
    sim.between(secs(0).., Fault::refuse("away.test"));
    numbered(&sim, |_, mut peer| async move {
        while peer.frame().await?.is_some() {}
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let deaf = client.websocket(URL).reconnect(quick()).open();
        let away = client
            .websocket("ws://away.test/")
            .reconnect(quick())
            .open();
        let _ = away.send("nobody there").await.unwrap();
        handle.sleep(secs(1)).await;
        let begun = handle.now();
        client.shutdown(client.deadline(secs(2))).await;
        assert!(handle.now() - begun <= ms(2_100));
        for session in [&deaf, &away] {
            assert_eq!(session.stopped().await, StopReason::Closed);
        }
        assert_eq!(away.take_undelivered().len(), 1);
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn settings_that_contradict_each_other_stop_it_at_once() {
    let mut sim = Sim::seeded(9);
    let client = client(&sim);
    let run = sim.run(async move {
        let session = client.websocket(URL).reconnect(quick()).outbox(0).open();
        assert_eq!(session.stopped().await, StopReason::Fatal(Loss::Invalid));
        assert_eq!(session.last_error().unwrap().kind(), Kind::Builder);
        let session = client.websocket("ftp://api.test").reconnect(quick()).open();
        assert_eq!(session.stopped().await, StopReason::Fatal(Loss::Invalid));
        assert_eq!(session.last_error().unwrap().kind(), Kind::Request);
    });
    run.expect();
}

/// All that one can do, in a row.
async fn everything(client: fulmar_sim::Client) {
    let session = client.websocket(URL).reconnect(quick()).outbox(2).open();
    let mut events = session.events();
    let Ok(mut sent) = session.send("hello").await else {
        return;
    };
    let _ = sent.peer_seen().await;
    let _ = session.recv().await;
    let _ = session.send(vec![0; 300_000]).await;
    let _ = session.send("and").await;
    let _ = session.send("more").await;
    let _ = events.next().await;
    let _ = session.recv().await;
    session.close().await;
}

#[test]
fn dropped_at_every_poll_nothing_is_left() {
    let polls = (0..60).chain([usize::MAX]);
    for polls in polls {
        let mut sim = Sim::seeded(10);
        crate::server::echo(&sim);
        let client = client(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let done = PollTimes::new(polls, everything(client.clone())).await;
            handle.sleep(secs(1)).await;
            assert_quiet(client.gauges());
            done.is_some()
        });
        assert_eq!(*run.expect(), polls == usize::MAX || *run.expect());
        assert_eq!(run.open_sockets(), 0, "{polls}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let mut sim = Sim::seeded(11);
        sim.link("laptop", "api.test").latency(ms(1)..ms(9));
        crate::server::echo(&sim);
        let client = client(&sim);
        sim.run(async move {
            join_all((0..5).map(|_| everything(client.clone()))).await;
        })
        .trace()
    };
    assert_eq!(trace(), trace());
}
