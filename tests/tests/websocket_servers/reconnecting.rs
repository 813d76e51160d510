//! When a session connects again, and when it stops.

use std::time::{Duration, Instant};

use fulmar_tokio::Backoff;
use fulmar_tokio::session::{Config, Event, Events, Loss, Received, StopReason};
use fulmar_tokio::websocket::{Cause, CloseCode, Keepalive};

use crate::server::Server;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Quick to reconnect.
pub(crate) fn quick() -> Config {
    let backoff = Backoff::exponential(ms(10)).max(ms(200));
    Config::from(backoff).initial_spread(ms(50))
}

/// The next event of which `of` makes something.
async fn next<T>(events: &mut Events, of: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = events.next().await.expect("the session goes on");
        if let Some(found) = of(event) {
            return found;
        }
    }
}

async fn opened(events: &mut Events, wanted: u32) {
    next(events, |event| match event {
        Event::Opened { epoch, .. } => (epoch == wanted).then_some(()),
        _ => None,
    })
    .await;
}

async fn lost(events: &mut Events) -> Loss {
    next(events, |event| match event {
        Event::Lost { loss, .. } => Some(loss),
        _ => None,
    })
    .await
}

pub(crate) async fn its_close_codes_say_whether_to_connect_again(server: Server) {
    let open = |code: u16| {
        server
            .at(&format!("/close/{code}/why"))
            .reconnect(quick())
            .open()
    };
    assert_eq!(
        open(1000).stopped().await,
        StopReason::Ended(CloseCode::NORMAL)
    );
    for fatal in [1002, 1003, 1007, 1008, 1010, 3003] {
        let StopReason::Fatal(loss) = open(fatal).stopped().await else {
            panic!("{fatal} is fatal");
        };
        assert_eq!(loss.code(), CloseCode(fatal));
        assert!(loss.to_string().contains("why"), "{loss}");
    }
    for passing in [1001, 1011, 1014, 3000, 4000, 4999] {
        let session = open(passing);
        let mut events = session.events();
        assert_eq!(lost(&mut events).await.code(), CloseCode(passing));
        opened(&mut events, 2).await;
    }
    let slowly = [(1012, 5, 30), (1013, 0, 60)];
    for (code, least, most) in slowly {
        let session = open(code);
        let mut events = session.events();
        let delay = next(&mut events, |event| match event {
            Event::Backoff { delay, .. } => Some(delay),
            _ => None,
        });
        let delay = delay.await.as_secs();
        assert!((least..=most).contains(&delay), "{code}: {delay} s");
    }
}

pub(crate) async fn fatal_statuses_stop_a_session(server: Server) {
    for status in [400, 401, 403, 404, 426] {
        let opening = server.at(&format!("/status/{status}"));
        let session = opening.reconnect(quick()).open();
        let reason = session.recv().await.unwrap_err();
        assert_eq!(reason, StopReason::Fatal(Loss::Status(status)));
        assert_eq!(session.last_error().unwrap().status().unwrap(), status);
    }
}

pub(crate) async fn when_it_is_busy_the_session_comes_back_when_it_says(server: Server) {
    let begun = Instant::now();
    let session = server.at("/busy").reconnect(quick()).open();
    let mut events = session.events();
    assert_eq!(lost(&mut events).await, Loss::Status(503));
    opened(&mut events, 1).await;
    assert!(begun.elapsed() >= ms(1_000), "{:?}", begun.elapsed());
    let _ = session.send("now").await.unwrap();
    let received = session.recv().await.unwrap();
    assert_eq!(received, Some(Received::Message("now".into())));
}

pub(crate) async fn silence_makes_a_session_connect_again(server: Server) {
    let keepalive = Keepalive::every(ms(400)).timeout(ms(200));
    let opening = server.at("/mute").keepalive(keepalive);
    let session = opening.reconnect(quick()).open();
    let mut events = session.events();
    let Loss::Closed(closed) = lost(&mut events).await else {
        panic!("an open connection was lost");
    };
    assert!(
        matches!(closed.cause, Cause::KeepaliveTimeout { .. }),
        "{closed}"
    );
    opened(&mut events, 2).await;
    let _ = session.send("hello again").await.unwrap();
    let received = session.recv().await.unwrap();
    assert_eq!(received, Some(Received::Message("hello again".into())));
}

pub(crate) async fn a_slow_consumer_admits_its_lag_and_begins_anew(server: Server) {
    let opening = server.at("/crowd").slow_consumer(ms(300));
    let config = quick().inbox(10, 1 << 20).resync(true);
    let session = opening.reconnect(config).open();
    let mut events = session.events();
    opened(&mut events, 1).await;
    session.resync_done();
    let Loss::Closed(closed) = lost(&mut events).await else {
        panic!("an open connection was lost");
    };
    assert_eq!(closed.cause, Cause::Lagged);
    let previous = next(&mut events, |event| match event {
        Event::Resync {
            epoch: 2, previous, ..
        } => Some(previous),
        _ => None,
    });
    assert_eq!(previous.await, Some(Loss::Closed(closed)));
    session.resync_done();
    // What came before is still there, and what the new connection brings follows it.
    let (mut last, mut beginnings) = (None, 0);
    while beginnings < 2 {
        let Some(Received::Message(message)) = session.recv().await.unwrap() else {
            panic!("nothing is dropped");
        };
        let number = message.as_text().unwrap().split(' ').next().unwrap();
        let number: u32 = number.parse().unwrap();
        let follows = last.is_some_and(|last| number == last + 1);
        assert!(follows || number == 0, "{number} after {last:?}");
        beginnings += u32::from(number == 0);
        last = Some(number);
    }
}

pub(crate) async fn attempts_end_while_it_is_away(mut server: Server) {
    let config = quick().max_attempts(3);
    let session = server.at("/").reconnect(config).open();
    let mut events = session.events();
    opened(&mut events, 1).await;
    server.end();
    let StopReason::Exhausted { attempts, last } = session.stopped().await else {
        panic!("it gives up");
    };
    assert_eq!(attempts, 3);
    assert!(matches!(last, Loss::Fault(_)), "{last}");
    let mut delays = 0;
    while let Some(event) = events.next().await {
        delays += u32::from(matches!(event, Event::Backoff { .. }));
    }
    assert_eq!(delays, 3);
}
