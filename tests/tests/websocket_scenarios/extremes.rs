//! Settings at their ends: the socket works, or says why it does not, and ends in time.

use std::time::Duration;

use fulmar_sim::Sim;
use fulmar_sim::session::Config;
use fulmar_sim::websocket::{CloseCode, Keepalive, KeepaliveMode, Limits, WebSocketBuilder};

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

#[test]
fn a_socket_with_any_setting_at_its_end_ends_in_time() {
    for (name, set) in SETTINGS {
        for time in TIMES {
            let mut sim = Sim::seeded(1);
            echo(&sim);
            let (client, handle) = (client(&sim), sim.handle());
            let run = sim.run(async move {
                if let Ok(mut ws) = set(client.websocket(URL), time).connect().await {
                    let _ = ws.send("a").await;
                    let _ = ws.recv().await;
                    let _ = ws.ping().await;
                    handle.sleep(secs(2)).await;
                    ws.close(CloseCode::NORMAL, "").await.unwrap();
                }
                assert_quiet(client.gauges());
            });
            if let Some(failure) = run.failure() {
                panic!("{name} of {time:?}: {failure:?}");
            }
            assert!(run.elapsed() < secs(10), "{name} of {time:?}");
        }
    }
}

#[test]
fn a_session_over_a_socket_with_any_setting_at_its_end_closes_in_time() {
    for (name, set) in SETTINGS {
        for time in TIMES {
            let mut sim = Sim::seeded(1);
            echo(&sim);
            let (client, handle) = (client(&sim), sim.handle());
            let run = sim.run(async move {
                let websocket = set(client.websocket(URL), time);
                let session = websocket.reconnect(Config::new()).open();
                drop(session.send("a").await);
                handle.sleep(secs(20)).await;
                session.close_after_flush(secs(1)).await;
                assert_quiet(client.gauges());
            });
            if let Some(failure) = run.failure() {
                panic!("{name} of {time:?}: {failure:?}");
            }
            assert!(run.elapsed() < secs(30), "{name} of {time:?}");
        }
    }
}
