//! Settings at their ends: the socket works, or says why it does not, and ends in time.

use std::future::Future;
use std::time::Duration;

use fulmar_sim::session::Config;
use fulmar_sim::websocket::{CloseCode, Keepalive, KeepaliveMode, Limits, WebSocketBuilder};
use fulmar_sim::{Handle, Sim};

use crate::server::{URL, echo};
use crate::support::{assert_quiet, client, secs};

type Set = fn(WebSocketBuilder, Duration) -> WebSocketBuilder;

const SETTINGS: [(&str, Set); 7] = [
    ("keepalive", |ws, time| ws.keepalive(time)),
    ("a server that pings", |ws, time| {
        ws.keepalive(Keepalive::every(time).mode(KeepaliveMode::ServerPing))
    }),
    ("no timeout of a ping", |ws, time| {
        ws.keepalive(Keepalive::every(time).timeout(Duration::ZERO))
    }),
    ("read_deadline", |ws, time| ws.read_deadline(time)),
    ("close_timeout", WebSocketBuilder::close_timeout),
    ("slow_consumer", |ws, time| ws.slow_consumer(time)),
    ("no limits", |ws, _| {
        ws.limits(Limits::new().frame(usize::MAX).message(usize::MAX))
    }),
];

const TIMES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::MAX,
];

/// Plays with every setting at every time, each of which takes less than `most`.
fn each<Fut>(most: Duration, play: impl Fn(WebSocketBuilder, Handle) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    for (name, set) in SETTINGS {
        for time in TIMES {
            let mut sim = Sim::seeded(1);
            echo(&sim);
            let client = client(&sim);
            let played = play(set(client.websocket(URL), time), sim.handle());
            let run = sim.run(async move {
                played.await;
                assert_quiet(client.gauges());
            });
            if let Some(failure) = run.failure() {
                panic!("{name} of {time:?}: {failure:?}");
            }
            assert!(run.elapsed() < most, "{name} of {time:?}");
        }
    }
}

#[test]
fn a_socket_with_any_setting_at_its_end_ends_in_time() {
    each(secs(10), |websocket, handle| async move {
        if let Ok(mut ws) = websocket.connect().await {
            let _ = ws.send("a").await;
            let _ = ws.recv().await;
            let _ = ws.ping().await;
            handle.sleep(secs(2)).await;
            ws.close(CloseCode::NORMAL, "").await.unwrap();
        }
    });
}

#[test]
fn a_session_over_a_socket_with_any_setting_at_its_end_closes_in_time() {
    each(secs(30), |websocket, handle| async move {
        let session = websocket.reconnect(Config::new()).open();
        drop(session.send("a").await);
        handle.sleep(secs(20)).await;
        session.close_after_flush(secs(1)).await;
    });
}
