//! A side that is slower than the other.

use fulmar_sim::websocket::{Cause, CloseCode, Keepalive, Message, SendError};
use fulmar_sim::{Fault, Sim};

use crate::server::{count_slowly, numbered, opened, serve};
use crate::support::{ms, secs};

#[test]
fn a_slow_reader_stops_the_server_and_gets_every_message() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        for n in 0..3_000_u32 {
            peer.send(0x82, [&n.to_be_bytes()[..], &[0; 1_000]].concat())
                .await?;
        }
        peer.close(1000, "").await?;
        peer.closing().await?;
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        for n in 0..3_000_u32 {
            let message = ws.recv().await.unwrap().unwrap();
            assert_eq!(message.as_bytes()[..4], n.to_be_bytes());
            if n % 300 == 0 {
                handle.sleep(secs(5)).await;
            }
        }
        assert_eq!(ws.recv().await, Ok(None));
    });
    run.expect();
}

#[test]
fn a_reader_that_never_comes_ends_it_as_lagging_and_what_it_had_is_still_read() {
    let mut sim = Sim::seeded(2);
    serve(&sim, |mut peer| async move {
        for _ in 0..1_000 {
            peer.send(0x82, [1; 1_000]).await?;
        }
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws.slow_consumer(secs(7)));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        handle.sleep(secs(60)).await;
        assert_eq!(ws.closed().unwrap().cause, Cause::Lagged);
        let mut count = 0;
        while ws.recv().await.is_ok() {
            count += 1;
        }
        assert_eq!(count, 256);
    });
    run.expect();
}

#[test]
fn a_slow_server_makes_the_sender_wait_and_gets_every_message() {
    let mut sim = Sim::seeded(3);
    count_slowly(&sim);
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        let mut taken = 0;
        while ws.try_send(numbered(taken)).is_ok() {
            taken += 1;
        }
        assert!((10..20).contains(&taken), "{taken}");
        let full = ws.try_send("x").unwrap_err();
        assert_eq!(full, SendError::Full("x".into()));
        let begun = handle.now();
        for n in taken..200 {
            ws.send(numbered(n)).await.unwrap();
        }
        ws.flush().await.unwrap();
        assert!(handle.now() - begun > secs(10));
        assert!(ws.recv().await.unwrap().is_some());
    });
    run.expect();
}

#[test]
fn a_long_message_goes_out_behind_the_senders_back_with_control_frames_between() {
    let mut sim = Sim::seeded(4);
    sim.between(secs(0).., Fault::slow("api.test", 1_000_000));
    serve(&sim, |mut peer| async move {
        peer.send(0x89, "now").await?;
        let (mut bytes, mut pong_after) = (0, None);
        while bytes < 4_000_000 {
            let frame = peer.frame().await?.unwrap();
            match frame.first & 0x0f {
                0xa => pong_after = Some(bytes),
                _ => bytes += frame.payload.len(),
            }
        }
        assert!(pong_after.unwrap() < 400_000, "{pong_after:?}");
        peer.send(0x81, "whole").await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        ws.send(vec![1; 4_000_000]).await.unwrap();
        handle.sleep(secs(60)).await;
        assert_eq!(ws.recv().await.unwrap(), Some(Message::text("whole")));
    });
    run.expect();
}

#[test]
fn a_close_finds_its_end_behind_more_messages_than_there_is_room_for() {
    let mut sim = Sim::seeded(5);
    serve(&sim, |mut peer| async move {
        for _ in 0..1_000 {
            peer.send(0x82, [1; 100]).await?;
        }
        peer.closing().await?;
        peer.close(1000, "").await
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let ws = ws.await;
        handle.sleep(ms(500)).await;
        ws.close(CloseCode::NORMAL, "").await.unwrap()
    });
    assert!(run.expect().clean);
    assert!(run.elapsed() < secs(2), "{:?}", run.elapsed());
}
