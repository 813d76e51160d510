//! An application that is slow to take its messages.

use fulmar_sim::session::{
    DropReason, Event, Loss, OnFull, Outgoing, Received, SlowConsumer, Undelivered,
};
use fulmar_sim::websocket::Cause;
use fulmar_sim::{Fault, Sim};

use crate::support::{at, client, ms, secs};
use crate::town::{Heard, event, listen, numbered, opened, quick, recv, session};

/// Sends so many numbers at once to the first connection, and one word to the others.
fn pour(sim: &Sim, count: u32) {
    numbered(sim, move |n, mut peer| async move {
        if n > 1 {
            peer.send(0x81, "again").await?;
        } else {
            for number in 0..count {
                peer.send(0x81, number.to_string()).await?;
            }
        }
        listen(&mut peer, n, &Heard::default()).await
    });
}

#[test]
fn a_slow_reader_gets_every_message_and_the_server_is_held_up() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").window(1024);
    pour(&sim, 2_000);
    let opening = session(&sim, quick().inbox(20, 1 << 20));
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        for n in 0..2_000 {
            if n % 100 == 0 {
                handle.sleep(ms(500)).await;
            }
            assert_eq!(recv(&session).await, n.to_string());
        }
        event(&mut events, |event| (*event == Event::Paused).then_some(())).await;
        event(&mut events, |event| {
            (*event == Event::Resumed).then_some(())
        })
        .await;
        assert_eq!(session.attempts(), 0);
        // It rested for 10 s, and no read waited for a timer to come by.
        assert!(handle.now() < at(secs(12)), "{}", handle.now());
    });
    run.expect();
}

#[test]
fn one_that_does_not_read_for_too_long_admits_it_and_begins_anew_with_a_resync() {
    let mut sim = Sim::seeded(2);
    pour(&sim, 100);
    let opening = client(&sim)
        .websocket(crate::server::URL)
        .slow_consumer(secs(30));
    let config = quick().inbox(10, 1 << 20).resync(true);
    let run = sim.run(async move {
        let session = opening.reconnect(config).open();
        let mut events = session.events();
        opened(&mut events).await;
        session.resync_done();
        let loss = event(&mut events, |event| match event {
            Event::Lost { loss, .. } => Some(loss.clone()),
            _ => None,
        });
        let Loss::Closed(closed) = loss.await else {
            panic!("a connection was lost");
        };
        assert_eq!(closed.cause, Cause::Lagged);
        let previous = event(&mut events, |event| match event {
            Event::Resync {
                previous, epoch: 2, ..
            } => Some(previous.clone()),
            _ => None,
        });
        assert_eq!(previous.await, Some(Loss::Closed(closed)));
        session.resync_done();
        // What came before is still there.
        assert_eq!(recv(&session).await, "0");
    });
    run.expect();
    assert!(run.elapsed() >= secs(30) && run.elapsed() < secs(33));
}

#[test]
fn the_oldest_are_dropped_and_their_number_is_told_in_their_place() {
    let mut sim = Sim::seeded(3);
    pour(&sim, 100);
    let config = quick()
        .inbox(10, 1 << 20)
        .slow_consumer(SlowConsumer::DropOldest);
    let opening = session(&sim, config);
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        handle.sleep(secs(1)).await;
        assert_eq!(session.recv().await, Ok(Some(Received::Lagged(90))));
        for n in 90..100 {
            assert_eq!(recv(&session).await, n.to_string());
        }
    });
    run.expect();
}

#[test]
fn a_newer_message_takes_the_place_of_an_older_of_its_key() {
    let mut sim = Sim::seeded(4);
    pour(&sim, 100);
    let of_last_digit = SlowConsumer::conflate(|message| {
        let text = message.as_text()?;
        Some(text[text.len() - 1..].into())
    });
    let opening = session(
        &sim,
        quick().inbox(50, 1 << 20).slow_consumer(of_last_digit),
    );
    let handle = sim.handle();
    let run = sim.run(async move {
        let session = opening.open();
        handle.sleep(secs(1)).await;
        for n in 90..100 {
            assert_eq!(recv(&session).await, n.to_string());
        }
    });
    run.expect();
}

#[test]
fn of_a_storm_that_drops_itself_each_message_is_told_and_events_that_nobody_asks_for_are_bounded() {
    let mut sim = Sim::seeded(5);
    sim.between(secs(0).., Fault::refuse("api.test"));
    let opening = session(&sim, quick().outbox(10, 1 << 20));
    let run = sim.run(async move {
        let session = opening.open();
        let mut all = Vec::new();
        for n in 0..5_000 {
            let outgoing = Outgoing {
                on_full: OnFull::DropOldest,
                ..Outgoing::from(format!("{n}"))
            };
            all.push(session.send(outgoing).await.unwrap());
        }
        let left = session.close_after_flush(secs(1)).await;
        assert_eq!(left.len(), 10);
        let overflow = Err(Undelivered::Dropped(DropReason::Overflow));
        for (n, sent) in all.iter_mut().enumerate() {
            let returned = Err(Undelivered::Returned);
            let expected = if n < 4_990 { overflow } else { returned };
            assert_eq!(sent.flushed().await, expected, "{n}");
        }
        let mut events = session.events();
        assert!(events.missed() > 3_900);
        let mut count = 0;
        while events.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 1024);
    });
    run.expect();
}
