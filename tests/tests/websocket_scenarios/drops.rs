//! Handles and futures may be dropped at any point.

use fulmar_sim::websocket::CloseCode;
use fulmar_sim::{Client, Sim};

use crate::server::{URL, echo, serve};
use crate::support::{PollTimes, assert_quiet, client, join_all, ms, secs};

/// All that one can do, in a row.
async fn everything(client: Client) {
    let Ok(mut ws) = client.websocket(URL).connect().await else {
        return;
    };
    let _ = ws.send("hello").await;
    let _ = ws.recv().await;
    let _ = ws.send(vec![0; 300_000]).await;
    let _ = ws.flush().await;
    let _ = ws.recv().await;
    let _ = ws.ping().await;
    let _ = ws.close(CloseCode::NORMAL, "").await;
}

#[test]
fn dropped_at_every_poll_nothing_is_left() {
    let mut unfinished = 0;
    for polls in 1..200 {
        let mut sim = Sim::seeded(polls as u64);
        echo(&sim);
        let client = client(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let done = PollTimes::new(polls, everything(client.clone())).await;
            handle.sleep(secs(20)).await;
            assert_quiet(client.gauges());
            done.is_some()
        });
        assert_eq!(run.open_sockets(), 0);
        assert!(run.leaks().is_empty(), "{:?}", run.leaks());
        if *run.expect() {
            break;
        }
        unfinished += 1;
    }
    assert!((10..199).contains(&unfinished), "{unfinished}");
}

#[test]
fn a_close_whose_future_is_dropped_goes_on() {
    let mut sim = Sim::seeded(1);
    serve(&sim, |mut peer| async move {
        let code = peer.closing().await?.unwrap();
        peer.conn.sleep(ms(100)).await;
        peer.close(code, "").await
    });
    let ws = crate::server::opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let ws = ws.await;
        let close = PollTimes::new(1, ws.close(CloseCode::NORMAL, ""));
        assert!(close.await.is_none());
        handle.sleep(secs(1)).await;
        assert!(ws.closed().unwrap().clean);
    });
    run.expect();
}

#[test]
fn many_sockets_live_side_by_side_and_the_client_may_go_before_them() {
    let mut sim = Sim::seeded(2);
    echo(&sim);
    let client = crate::support::builder(&sim).websocket_limits(50, 50);
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let opening = (0..50).map(|_| client.websocket(URL).connect());
        let sockets = join_all(opening).await;
        drop(client);
        handle.sleep(secs(120)).await;
        let talks = sockets.into_iter().map(|ws| async move {
            let mut ws = ws.unwrap();
            for n in 0..20 {
                ws.send(format!("{n}")).await.unwrap();
                let back = ws.recv().await.unwrap().unwrap();
                assert_eq!(back.as_text(), Some(&*format!("{n}")));
            }
            ws.close(CloseCode::NORMAL, "").await.unwrap().clean
        });
        assert!(join_all(talks).await.into_iter().all(|clean| clean));
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let mut sim = Sim::seeded(3);
        sim.link("laptop", "api.test").latency(ms(1)..ms(9));
        echo(&sim);
        let client = client(&sim);
        sim.run(async move {
            join_all((0..5).map(|_| everything(client.clone()))).await;
        })
        .trace()
    };
    assert_eq!(trace(), trace());
}
