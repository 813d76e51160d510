//! How a WebSocket ends.

use std::sync::{Arc, Mutex};

use fulmar_core::fault::FaultKind;
use fulmar_sim::websocket::{Cause, CloseCode, CloseError, Violation};
use fulmar_sim::{Fault, Sim};

use crate::server::{echo, opened, serve, text};
use crate::support::{join_all, ms, secs};

#[test]
fn a_close_of_this_side_ends_in_order_and_again_changes_nothing() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        assert_eq!(peer.closing().await?, Some(3000));
        peer.send(0x81, "not yet").await?;
        peer.close(3000, "agreed").await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        let bad = CloseError::Code(CloseCode::ABNORMAL);
        assert_eq!(ws.close(CloseCode::ABNORMAL, "").await, Err(bad));
        let all = (0..3).map(|_| ws.close(CloseCode(3000), "enough"));
        for closed in join_all(all).await {
            let closed = closed.unwrap();
            assert!(closed.clean && closed.cause == Cause::Local, "{closed}");
            assert_eq!((closed.code, &*closed.reason), (CloseCode(3000), "agreed"));
        }
        assert_eq!(text(ws.recv().await.unwrap()), "not yet");
        assert_eq!(ws.recv().await, Ok(None));
    });
    run.expect();
    assert!(run.elapsed() < secs(1), "{:?}", run.elapsed());
}

#[test]
fn a_close_of_the_server_is_answered_while_nobody_reads() {
    let mut sim = Sim::seeded(2);
    let answer = Arc::new(Mutex::new(None));
    let answered = answer.clone();
    serve(&sim, move |mut peer| {
        let answered = answered.clone();
        async move {
            peer.send(0x81, "goodbye").await?;
            peer.close(1001, "restart").await?;
            *answered.lock().unwrap() = peer.closing().await?;
            Ok(())
        }
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        handle.sleep(ms(100)).await;
        assert_eq!(*answer.lock().unwrap(), Some(1001));
        assert_eq!(text(ws.recv().await.unwrap()), "goodbye");
        assert_eq!(ws.recv().await, Ok(None));
        let closed = ws.closed().unwrap();
        assert_eq!((closed.cause, &*closed.reason), (Cause::Peer, "restart"));
    });
    run.expect();
}

#[test]
fn a_server_that_does_not_answer_a_close_is_left_in_time() {
    let mut sim = Sim::seeded(3);
    serve(&sim, |mut peer| async move {
        while peer.frame().await?.is_some() {}
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let ws = ws.await;
        let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!((closed.clean, closed.cause), (false, Cause::CloseTimeout));
    });
    run.expect();
    assert!(run.elapsed() >= secs(5) && run.elapsed() < secs(6));
}

#[test]
fn a_server_that_ends_or_breaks_the_transport_is_told_apart() {
    for (is_reset, cause) in [(false, Cause::Eof), (true, Cause::Fault(FaultKind::Reset))] {
        let mut sim = Sim::seeded(4);
        serve(&sim, move |mut peer| async move {
            peer.send(0x81, "before").await?;
            peer.conn.sleep(ms(50)).await;
            if is_reset {
                peer.conn.reset();
            }
            Ok(())
        });
        let ws = opened(&sim, |ws| ws);
        let run = sim.run(async move {
            let mut ws = ws.await;
            assert_eq!(text(ws.recv().await.unwrap()), "before");
            let closed = ws.recv().await.unwrap_err();
            assert_eq!((closed.code, closed.cause), (CloseCode::ABNORMAL, cause));
            assert_eq!(ws.recv().await.unwrap_err(), closed, "the same ever after");
        });
        run.expect();
    }
}

#[test]
fn what_the_server_said_before_it_went_is_read_although_writing_fails() {
    let mut sim = Sim::seeded(5);
    serve(&sim, |mut peer| async move {
        peer.send(0x81, "why").await?;
        peer.close(1008, "policy").await
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        handle.sleep(ms(500)).await;
        let _ = ws.send("into the void").await;
        assert_eq!(text(ws.recv().await.unwrap()), "why");
        let _ = ws.recv().await;
        assert_eq!(ws.closed().unwrap().code, CloseCode(1008));
    });
    run.expect();
}

#[test]
fn a_violation_of_the_server_is_answered_with_its_code() {
    let mut sim = Sim::seeded(6);
    let code = Arc::new(Mutex::new(None));
    let seen = code.clone();
    serve(&sim, move |mut peer| {
        let seen = seen.clone();
        async move {
            peer.send(0x81, b"\xff").await?;
            *seen.lock().unwrap() = peer.closing().await?;
            Ok(())
        }
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        let closed = ws.recv().await.unwrap_err();
        assert_eq!(closed.cause, Cause::Violation(Violation::Utf8));
        let again = ws.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(again, closed);
        handle.sleep(ms(100)).await;
    });
    run.expect();
    assert_eq!(*code.lock().unwrap(), Some(1007));
}

#[test]
fn a_drop_says_goodbye_and_leaves_nothing() {
    let mut sim = Sim::seeded(7);
    let code = Arc::new(Mutex::new(None));
    let seen = code.clone();
    serve(&sim, move |mut peer| {
        let seen = seen.clone();
        async move {
            *seen.lock().unwrap() = peer.closing().await?;
            Ok(())
        }
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let (sender, receiver) = ws.await.split();
        drop(sender);
        handle.sleep(ms(10)).await;
        assert!(receiver.closed().is_none(), "one half is left");
        drop(receiver);
        handle.sleep(ms(100)).await;
    });
    run.expect();
    assert_eq!(*code.lock().unwrap(), Some(1001));
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn a_partition_ends_a_close_in_time_and_wakes_who_waits() {
    let mut sim = Sim::seeded(8);
    echo(&sim);
    sim.between(secs(1).., Fault::partition("api.test"));
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let (sender, mut receiver) = ws.await.split();
        handle.sleep(secs(2)).await;
        let begun = handle.now();
        handle.spawn(async move {
            let _ = sender.close(CloseCode::NORMAL, "").await;
        });
        assert!(receiver.recv().await.is_err());
        assert!(handle.now() - begun <= secs(6));
    });
    run.expect();
}

#[test]
fn a_message_that_the_servers_close_frame_cuts_off_is_not_flushed() {
    let mut sim = Sim::seeded(9);
    sim.link("laptop", "api.test").window(4096);
    serve(&sim, |mut peer| async move {
        peer.conn.sleep(secs(1)).await;
        peer.close(1001, "").await?;
        while peer.frame().await?.is_some_and(|frame| frame.first != 0x88) {}
        peer.conn.sleep(ms(500)).await;
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        ws.send(vec![0; 1 << 20]).await.unwrap();
        let flushed = ws.flush().await;
        assert!(flushed.is_err(), "{flushed:?}");
    });
    run.expect();
}
