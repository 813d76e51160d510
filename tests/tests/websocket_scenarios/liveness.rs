//! Pings, pongs and silence, while the application does something else.

use fulmar_sim::websocket::{Cause, Keepalive};
use fulmar_sim::{Fault, Sim};

use crate::server::{close_in_order, echo, opened, serve, text};
use crate::support::{PollTimes, join_all, ms, secs};

#[test]
fn pings_of_the_server_are_answered_while_nobody_reads() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        for n in 0..5_u8 {
            peer.send(0x81, [b'0' + n]).await?;
            peer.send(0x89, [n]).await?;
            let pong = peer.frame().await?.unwrap();
            assert_eq!((pong.first, &*pong.payload), (0x8a, &[n][..]));
            peer.conn.sleep(ms(u64::from(n) * 700)).await;
        }
        peer.send(0x81, "answered").await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        // One is taken, and then the application is busy for long.
        assert_eq!(text(ws.recv().await.unwrap()), "0");
        handle.sleep(secs(60)).await;
        for said in ["1", "2", "3", "4", "answered"] {
            assert_eq!(text(ws.recv().await.unwrap()), said);
        }
    });
    run.expect();
}

#[test]
fn a_ping_is_answered_although_the_one_who_waits_for_a_message_does_not_come_back() {
    let mut sim = Sim::seeded(2);
    serve(&sim, |mut peer| async move {
        for n in 0..20_u8 {
            peer.conn.sleep(ms(10)).await;
            let begun = peer.conn.now();
            peer.send(0x89, [n]).await?;
            assert_eq!(peer.frame().await?.unwrap().first, 0x8a);
            assert!(peer.conn.now() - begun < ms(400));
        }
        peer.send(0x81, "all answered").await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        let mut waiting = Box::pin(ws.recv());
        std::future::poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        handle.sleep(secs(60)).await;
        assert_eq!(text(waiting.await.unwrap()), "all answered");
    });
    run.expect();
}

#[test]
fn a_server_behind_a_dead_path_is_noticed_while_nobody_reads() {
    for is_read in [true, false] {
        let mut sim = Sim::seeded(3);
        echo(&sim);
        sim.between(secs(5).., Fault::half_open("api.test"));
        let ws = opened(&sim, |ws| ws.keepalive(secs(2)));
        let handle = sim.handle();
        let run = sim.run(async move {
            let mut ws = ws.await;
            if !is_read {
                handle.sleep(secs(60)).await;
            }
            let closed = ws.recv().await.unwrap_err();
            assert_eq!(closed.cause, Cause::KeepaliveTimeout { missed: 1 });
            handle.now()
        });
        let at = *run.expect() - fulmar_sim::Instant::ORIGIN;
        assert!(!is_read || at > secs(5) && at < secs(9), "{at:?}");
        assert_eq!(run.open_sockets(), 0);
    }
}

#[test]
fn a_server_that_answers_is_never_left() {
    let mut sim = Sim::seeded(4);
    sim.link("laptop", "api.test").latency(ms(200)..ms(400));
    echo(&sim);
    let ws = opened(&sim, |ws| ws.keepalive(secs(2)));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        handle.sleep(secs(1_000)).await;
        assert_eq!(ws.closed(), None);
        let rtt = ws.rtt().unwrap();
        assert!(rtt.min >= ms(400) && rtt.last <= ms(800), "{rtt:?}");
        ws.send("hello").await.unwrap();
        assert_eq!(text(ws.recv().await.unwrap()), "hello");
    });
    run.expect();
}

#[test]
fn a_ping_tells_the_round_trip_and_many_are_told_each() {
    let mut sim = Sim::seeded(5);
    sim.link("laptop", "api.test").latency(ms(30)..ms(31));
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let ws = ws.await;
        let rtt = ws.ping().await.unwrap();
        assert!(rtt >= ms(60) && rtt < ms(70), "{rtt:?}");
        for rtt in join_all((0..100).map(|_| ws.ping())).await {
            assert!(rtt.unwrap() < ms(70));
        }
    });
    run.expect();
}

#[test]
fn a_pong_and_a_close_are_told_at_once_although_a_recv_was_given_up_before() {
    let mut sim = Sim::seeded(5);
    sim.link("laptop", "api.test").latency(ms(30)..ms(31));
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        assert!(PollTimes::new(1, ws.recv()).await.is_none());
        let rtt = ws.ping().await.unwrap();
        assert!(rtt < ms(70), "{rtt:?}");
        assert!(PollTimes::new(1, ws.recv()).await.is_none());
        let begun = handle.now();
        close_in_order(&ws).await;
        let took = handle.now() - begun;
        assert!(took < ms(140), "{took:?}");
    });
    run.expect();
}

#[test]
fn no_message_within_the_read_deadline_ends_it_whatever_the_pings() {
    let mut sim = Sim::seeded(6);
    echo(&sim);
    let ws = opened(&sim, |ws| ws.keepalive(secs(2)).read_deadline(secs(10)));
    let run = sim.run(async move {
        let mut ws = ws.await;
        ws.send("one").await.unwrap();
        assert_eq!(text(ws.recv().await.unwrap()), "one");
        assert_eq!(ws.recv().await.unwrap_err().cause, Cause::ReadIdle);
    });
    run.expect();
    assert!(run.elapsed() >= secs(10) && run.elapsed() < secs(11));
}

#[test]
fn a_message_has_as_long_for_its_rest_and_for_all_of_it_as_was_asked_for() {
    // Ten bytes, of which one comes every 20 s.
    for (progress, total, ends) in [
        (secs(30), None, None),
        (secs(30), Some(secs(100)), Some(100)),
        (secs(10), None, Some(10)),
    ] {
        let mut sim = Sim::seeded(6);
        serve(&sim, |mut peer| async move {
            peer.conn.write_all([0x82, 10]).await?;
            for n in 0..10 {
                peer.conn.write_all([n]).await?;
                peer.conn.sleep(secs(20)).await;
            }
            peer.echo().await
        });
        let ws = opened(&sim, |ws| {
            ws.keepalive(Keepalive::off())
                .message_progress(progress)
                .message_total(total)
        });
        let handle = sim.handle();
        let run = sim.run(async move {
            let mut ws = ws.await;
            let begun = handle.now();
            let received = ws.recv().await;
            match ends {
                None => assert_eq!(received.unwrap().unwrap().len(), 10),
                Some(after) => {
                    assert_eq!(received.unwrap_err().cause, Cause::Stalled);
                    let took = handle.now() - begun;
                    assert!(took.as_secs().abs_diff(after) < 2, "{took:?}");
                }
            }
        });
        run.expect();
    }
}

#[test]
fn nobody_is_woken_for_an_idle_connection() {
    let mut sim = Sim::seeded(7);
    echo(&sim);
    let ws = opened(&sim, |ws| ws.keepalive(Keepalive::off()));
    let handle = sim.handle();
    let run = sim.run(async move {
        let ws = ws.await;
        handle.sleep(secs(3_000)).await;
        ws.closed()
    });
    assert_eq!(run.expect(), &None);
    // The client's own task looks once a second, and renews the name every half minute.
    assert!(run.stats().polls < 3_300, "{:?}", run.stats());
}
