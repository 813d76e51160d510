//! Servers that mean no good.

use fulmar_sim::Sim;
use fulmar_sim::websocket::{Cause, CloseCode, Keepalive, Violation};
use fulmar_tests::websocket::{close_frame, frame};

use crate::server::{URL, opened, serve, switch};
use crate::support::{assert_quiet, client, ms, secs};

#[test]
fn ten_mebibytes_of_frames_right_behind_the_head_are_received() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        let request = conn.request().await?.unwrap();
        let mut bytes = switch(&request, "").into_bytes();
        for n in 0..100_u8 {
            bytes.extend(frame(0x82, &vec![n; 100_000]));
        }
        bytes.extend(close_frame(1000, ""));
        conn.write_all(bytes).await?;
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for n in 0..100_u8 {
            let message = ws.recv().await.unwrap().unwrap();
            assert!(message.as_bytes() == vec![n; 100_000]);
        }
        assert_eq!(ws.recv().await, Ok(None));
    });
    run.expect();
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    for (piece, pause) in [
        ("HTTP/1.1 103 X\r\n\r\n", secs(1)),
        ("HTTP/1.1 100 X\r\n\r\n", ms(1)),
        ("X", ms(10)),
        ("HTTP/1.1 101 X\r\nA: b\r\n", secs(10)),
    ] {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", move |mut conn| async move {
            conn.request().await?;
            loop {
                conn.write_all(piece).await?;
                conn.sleep(pause).await;
            }
        });
        let client = client(&sim);
        let run = sim.run(async move {
            client.websocket(URL).connect().await.unwrap_err();
            assert_quiet(client.gauges());
        });
        run.expect();
        assert!(run.elapsed() < secs(60), "{piece}: {:?}", run.elapsed());
    }
}

#[test]
fn a_close_behind_the_beginning_of_a_huge_message_is_answered_at_once() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        peer.send(0x02, vec![1; 3_000_000]).await?;
        peer.close(1001, "x".repeat(123).as_str()).await?;
        peer.send(0x81, "behind it").await?;
        assert_eq!(peer.closing().await?, Some(1001));
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        assert_eq!(ws.recv().await, Ok(None));
        let closed = ws.closed().unwrap();
        assert_eq!((closed.code, closed.reason.len()), (CloseCode(1001), 123));
    });
    run.expect();
    assert!(run.elapsed() < secs(2));
}

#[test]
fn a_close_with_a_reason_that_is_too_long_is_a_violation() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        peer.close(1000, "x".repeat(124).as_str()).await?;
        assert_eq!(peer.closing().await?, Some(1002));
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let closed = ws.await.recv().await.unwrap_err();
        assert_eq!(closed.cause, Cause::Violation(Violation::ControlTooLong));
    });
    run.expect();
}

#[test]
fn an_answer_to_a_close_may_have_another_code() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        peer.closing().await?;
        peer.close(4321, "not that").await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let closed = ws.await.close(CloseCode(4000), "this").await.unwrap();
        assert_eq!((closed.code, closed.clean), (CloseCode(4321), true));
        assert_eq!(closed.cause, Cause::Local);
    });
    run.expect();
}

#[test]
fn pings_just_below_a_flood_are_answered_and_their_answers_need_no_reader() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        for _ in 0..3_000 {
            peer.send(0x89, [7; 125]).await?;
            peer.conn.sleep(ms(10)).await;
        }
        peer.send(0x81, "well").await?;
        peer.conn.sleep(secs(10)).await;
        Ok(())
    });
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let run = sim.run(async move {
        let mut ws = ws.await;
        assert_eq!(ws.recv().await.unwrap().unwrap().as_text(), Some("well"));
    });
    run.expect();
}

#[test]
fn a_message_byte_by_byte_within_every_limit_arrives_and_one_that_lasts_too_long_is_stalled() {
    for (size, arrives) in [(100, true), (130, false)] {
        let mut sim = Sim::seeded(1);
        serve(&sim, move |mut peer| async move {
            for byte in frame(0x81, &vec![b'x'; size]) {
                peer.conn.write_all([byte]).await?;
                peer.conn.sleep(secs(1)).await;
            }
            peer.closing().await?;
            Ok(())
        });
        let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
        let run = sim.run(async move { ws.await.recv().await });
        match run.expect() {
            Ok(message) => assert_eq!((message.as_ref().unwrap().len(), arrives), (size, true)),
            Err(closed) => assert_eq!((closed.cause, arrives), (Cause::Stalled, false)),
        }
    }
}
