//! When a session connects again, and when it does not.

use std::sync::{Arc, Mutex};

use fulmar_sim::session::{Event, Loss, StopReason};
use fulmar_sim::websocket::{Cause, CloseCode, Keepalive};
use fulmar_sim::{Backoff, Fault, Jitter, Sim};

use crate::server::URL;
use crate::support::{builder, client, ms, secs, until};
use crate::town::{
    Heard, backoff, event, listen, listening, numbered, opened, quick, recv, session,
};

fn lost(event: &Event) -> Option<Loss> {
    match event {
        Event::Lost { loss, .. } => Some(loss.clone()),
        _ => None,
    }
}

#[test]
fn a_server_that_answers_no_ping_is_left_and_connected_to_again() {
    let mut sim = Sim::seeded(1);
    numbered(&sim, |n, mut peer| async move {
        if n == 1 {
            while peer.frame().await?.is_some() {}
            return Ok(());
        }
        peer.send(0x81, "back").await?;
        listen(&mut peer, n, &Heard::default()).await
    });
    let keepalive = Keepalive::every(secs(10)).timeout(secs(5));
    let opening = client(&sim).websocket(URL).keepalive(keepalive);
    let run = sim.run(async move {
        let session = opening.reconnect(quick()).open();
        let mut events = session.events();
        opened(&mut events).await;
        let Loss::Closed(closed) = event(&mut events, lost).await else {
            panic!("a connection was lost");
        };
        assert_eq!(closed.cause, Cause::KeepaliveTimeout { missed: 1 });
        assert_eq!(closed.code, CloseCode::ABNORMAL);
        assert_eq!(recv(&session).await, "back");
    });
    run.expect();
    assert!(run.elapsed() < secs(16), "{:?}", run.elapsed());
}

#[test]
fn pings_are_answered_and_sent_while_nobody_calls_it() {
    let mut sim = Sim::seeded(2);
    let pongs = Arc::new(Mutex::new(0));
    let seen = pongs.clone();
    numbered(&sim, move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.send(0x89, "?").await?;
            while let Some(frame) = peer.frame().await? {
                match frame.first {
                    0x89 => peer.send(0x8a, frame.payload).await?,
                    0x8a => {
                        *seen.lock().unwrap() += 1;
                        peer.conn.sleep(secs(1)).await;
                        peer.send(0x89, "?").await?;
                    }
                    0x88 => return peer.send(0x88, frame.payload).await,
                    _ => {}
                }
            }
            Ok(())
        }
    });
    sim.link("laptop", "api.test").latency(ms(20)..ms(21));
    let opening = client(&sim).websocket(URL).keepalive(secs(3));
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.reconnect(quick()).open();
        handle.sleep(secs(60)).await;
        let rtt = session.rtt().unwrap();
        assert!(rtt.last >= ms(40) && rtt.last < secs(1), "{rtt:?}");
        assert_eq!(session.attempts(), 0);
    });
    run.expect();
    assert!(*pongs.lock().unwrap() > 50);
}

#[test]
fn no_message_within_the_read_deadline_makes_a_new_connection() {
    let mut sim = Sim::seeded(3);
    listening(&sim);
    let opening = client(&sim).websocket(URL).read_deadline(secs(20));
    let run = sim.run(async move {
        let session = opening.reconnect(quick()).open();
        let mut events = session.events();
        let Loss::Closed(closed) = event(&mut events, lost).await else {
            panic!("a connection was lost");
        };
        assert_eq!(closed.cause, Cause::ReadIdle);
        assert_eq!(opened(&mut events).await, 2);
    });
    run.expect();
    assert!(run.elapsed() >= secs(20) && run.elapsed() < secs(23));
}

#[test]
fn delays_double_to_the_longest_and_each_is_told() {
    let mut sim = Sim::seeded(4);
    sim.between(secs(0).., Fault::refuse("api.test"));
    let exact = Backoff::exponential(ms(500))
        .max(secs(30))
        .jitter(Jitter::None);
    let opening = session(&sim, quick().backoff(exact));
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let mut expected = ms(500);
        for n in 1..10 {
            let (delay, attempt) = backoff(&mut events).await;
            assert_eq!((delay, attempt), (expected, n));
            let begun = handle.now();
            assert!(matches!(event(&mut events, lost).await, Loss::Fault(_)));
            assert!(handle.now() - begun >= delay);
            expected = (expected * 2).min(secs(30));
        }
        assert!(session.last_error().unwrap().is_connect());
    });
    run.expect();
}

/// Answers pings, and cuts each connection over which nothing goes for a minute.
fn balanced(sim: &Sim) {
    let handle = sim.handle();
    numbered(sim, move |_, mut peer| {
        let handle = handle.clone();
        async move {
            loop {
                let idle = handle.now() + secs(60);
                let Some(frame) = until(&handle, idle, peer.frame()).await else {
                    return Ok(());
                };
                match frame? {
                    Some(frame) if frame.first == 0x89 => peer.send(0x8a, frame.payload).await?,
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
        }
    });
}

#[test]
fn a_balancer_that_cuts_what_idles_is_told_of_unless_pings_come_before() {
    for (interval, is_cut) in [(90, true), (50, false)] {
        let mut sim = Sim::seeded(15);
        balanced(&sim);
        let opening = client(&sim).websocket(URL).keepalive(secs(interval));
        let handle = sim.handle();
        let run = sim.run(async move {
            let session = opening.reconnect(quick()).open();
            let mut events = session.events();
            opened(&mut events).await;
            let mut told = Vec::new();
            let end = handle.now() + secs(600);
            while let Some(Some(event)) = until(&handle, end, events.next()).await {
                told.push(event);
            }
            told
        });
        let told = run.expect();
        let count = |pick: fn(&Event) -> bool| told.iter().filter(|event| pick(event)).count();
        let lost = count(|event| matches!(event, Event::Lost { .. }));
        let warned = count(|event| {
            let interval = Some(secs(90));
            matches!(event, Event::CutWhileSilent { silent, interval: of }
                if *of == interval && *silent >= secs(60) && *silent < secs(61))
        });
        assert_eq!((lost > 5, warned), (is_cut, lost), "{told:?}");
        assert!(is_cut || told.is_empty(), "{told:?}");
    }
}

#[test]
fn attempts_and_the_time_for_them_end_and_that_is_an_end_of_its_own() {
    for is_timed in [false, true] {
        let mut sim = Sim::seeded(5);
        sim.between(secs(0).., Fault::refuse("api.test"));
        let config = if is_timed {
            quick().max_elapsed(secs(30))
        } else {
            quick().max_attempts(4)
        };
        let opening = session(&sim, config);
        let run = sim.run(async move {
            let session = opening.open();
            let _ = session.send("queued").await.unwrap();
            let reason = session.recv().await.unwrap_err();
            assert_eq!(session.take_undelivered().len(), 1);
            reason
        });
        let StopReason::Exhausted { attempts, last } = run.expect() else {
            panic!("exhausted");
        };
        assert!(matches!(last, Loss::Fault(_)), "{last}");
        assert!(is_timed || *attempts == 4, "{attempts}");
        assert!(!is_timed || run.elapsed() > secs(29) && run.elapsed() < secs(35));
    }
}

#[test]
fn a_server_that_accepts_and_drops_is_never_taken_for_a_working_one() {
    let mut sim = Sim::seeded(6);
    numbered(&sim, |_, mut peer| async move {
        peer.send(0x81, "hello").await?;
        peer.conn.sleep(ms(100)).await;
        Ok(())
    });
    let opening = session(&sim, quick().max_attempts(6));
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        for expected in 1..=6 {
            assert_eq!(backoff(&mut events).await.1, expected);
        }
        session.stopped().await
    });
    assert!(matches!(
        run.expect(),
        StopReason::Exhausted { attempts: 6, .. }
    ));
}

#[test]
fn a_connection_that_was_stable_forgets_the_attempts_before_it() {
    for (uptime, expected) in [(ms(29_000), 2), (ms(31_000), 1)] {
        let mut sim = Sim::seeded(7);
        numbered(&sim, move |n, mut peer| async move {
            peer.send(0x81, "hello").await?;
            peer.conn.sleep(if n == 1 { ms(10) } else { uptime }).await;
            Ok(())
        });
        let opening = client(&sim).websocket(URL).keepalive(Keepalive::off());
        let run = sim.run(async move {
            let session = opening.reconnect(quick()).open();
            let mut events = session.events();
            assert_eq!(backoff(&mut events).await.1, 1);
            assert_eq!(backoff(&mut events).await.1, expected);
        });
        run.expect();
    }
}

#[test]
fn a_restart_is_waited_for_and_going_away_is_not() {
    for (code, least, most) in [(1012, secs(5), secs(30)), (1001, secs(0), ms(100))] {
        let mut sim = Sim::seeded(12);
        numbered(&sim, move |_, mut peer| async move {
            peer.close(code, "").await
        });
        let opening = session(&sim, quick());
        let run = sim.run(async move {
            let session = opening.open();
            backoff(&mut session.events()).await.0
        });
        let delay = *run.expect();
        assert!(delay >= least && delay <= most, "{code}: {delay:?}");
    }
}

#[test]
fn word_of_a_new_network_ends_a_backoff() {
    let mut sim = Sim::seeded(13);
    sim.between(secs(0)..secs(1), Fault::refuse("api.test"));
    listening(&sim);
    let slow = Backoff::exponential(secs(600))
        .max(secs(600))
        .jitter(Jitter::None);
    let opening = session(&sim, quick().backoff(slow));
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        backoff(&mut events).await;
        handle.sleep(secs(2)).await;
        session.network_available();
        opened(&mut events).await;
    });
    run.expect();
    assert!(run.elapsed() < secs(4));
}

#[test]
fn a_session_that_waits_to_reconnect_holds_no_place_under_the_cap() {
    let mut sim = Sim::seeded(14);
    listening(&sim);
    sim.between(secs(1)..secs(100), Fault::reset("api.test"));
    let client = builder(&sim).websocket_limits(1, 1).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let slow = Backoff::exponential(secs(60))
            .jitter(Jitter::None)
            .max(secs(60));
        let config = quick().backoff(slow).initial_spread(secs(60));
        let session = client.websocket(URL).reconnect(config).open();
        let mut events = session.events();
        opened(&mut events).await;
        backoff(&mut events).await;
        assert_eq!(client.gauges().busy, 0);
        // Another client's place: the cap is of this one.
        let other = client
            .websocket("ws://api.test:81/")
            .timeout(ms(100))
            .connect();
        let error = other.await.unwrap_err();
        assert_ne!(error.phase(), Some(fulmar_sim::Phase::Pool), "{error}");
        handle.sleep(secs(1)).await;
    });
    run.expect();
}
