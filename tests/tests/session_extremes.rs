//! Settings of a session at their ends, and clocks that jump: no panic, no deadline that stays due,
//! and no storm of attempts.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use fulmar_core::backoff::Backoff;
use fulmar_core::session::{
    Action, CloseAction, CloseTable, Config, ConnectFailure, Delivery, Event, Outgoing, Pace, State,
};
use fulmar_core::time::Instant;
use fulmar_core::ws::CloseCode;
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, frame};

const HOUR: Duration = Duration::from_secs(3600);
const TIMES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(30),
    Duration::MAX,
];

/// What may happen to a session, one after the other.
const STEPS: [fn(&mut Bench); 10] = [
    |bench| drop(bench.session.send(bench.now, hasty())),
    |bench| assert!(bench.session.subscribe("a".into(), "a".into())),
    |bench| assert!(bench.session.subscribe("b".into(), "b".into())),
    connect,
    |bench| drop(bench.written()),
    |bench| bench.receive(&frame(0x82, b"heard")),
    |bench| bench.close_from_server(4000, ""),
    refuse,
    connect,
    |bench| {
        let _ = bench.session.close(bench.now, HOUR, CloseCode::NORMAL, "");
    },
];

fn hasty() -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ttl: Some(Duration::MAX),
        ..Outgoing::from("hasty")
    }
}

fn connect(bench: &mut Bench) {
    if bench.session.state() == State::Backoff {
        wait(bench);
    }
    if bench.session.state() == State::Connecting {
        bench.connect();
    }
}

fn refuse(bench: &mut Bench) {
    if bench.session.state() == State::Backoff {
        wait(bench);
    }
    if bench.session.state() == State::Connecting {
        bench.refuse(ConnectFailure::Status {
            status: 503,
            retry_after: Some(Duration::MAX),
        });
    }
}

/// A backoff ends, if it ever does.
fn wait(bench: &mut Bench) {
    if bench.session.poll_timeout().is_some() {
        bench.wait();
    }
}

fn settle(bench: &mut Bench, what: &str) {
    for _ in 0..5 {
        let next = bench.session.poll_timeout();
        if next.is_none_or(|next| next > bench.now) {
            return;
        }
        bench.session.handle_timeout(bench.now, &mut bench.rng);
        bench.written();
    }
    panic!("{what}: a deadline stays due");
}

fn live_through_every_jump(config: &Config, what: &str) {
    for jump in 0..STEPS.len() {
        for by in [Duration::ZERO, HOUR, 24 * HOUR, Duration::MAX] {
            let what = format!("{what}, {by:?} before {jump}");
            let mut bench = Bench::new(config.clone());
            for (place, step) in STEPS.iter().enumerate() {
                if place == jump {
                    bench.now = bench.now + by;
                    settle(&mut bench, &what);
                }
                step(&mut bench);
                settle(&mut bench, &what);
            }
            bench.now = Instant::MAX;
            for _ in 0..5 {
                bench.session.handle_timeout(bench.now, &mut bench.rng);
                bench.written();
            }
            assert_eq!(bench.session.state(), State::Stopped, "{what}");
        }
    }
}

#[test]
fn every_setting_may_be_as_small_or_as_large_as_it_goes() {
    type Set = fn(Config, Duration) -> Config;
    const SETTINGS: [(&str, Set); 8] = [
        ("backoff", |config, time| {
            config.backoff(Backoff::constant(time))
        }),
        ("initial_spread", Config::initial_spread),
        ("stable_after", Config::stable_after),
        ("max_elapsed", |config, time| config.max_elapsed(time)),
        ("resync_timeout", |config, time| {
            config.resync(true).resync_timeout(time)
        }),
        ("subscriptions", |config, time| {
            config.subscriptions(2, time)
        }),
        ("pace", |config, time| {
            let pace = Pace::First(time, Duration::ZERO);
            let table = CloseTable::default();
            config.closes(table.rule(0..=u16::MAX, CloseAction::Reconnect(pace)))
        }),
        ("no time", |config, _| config.max_elapsed(None)),
    ];
    for (name, set) in SETTINGS {
        for time in TIMES {
            let config = set(Config::new(), time);
            config.validate().unwrap();
            live_through_every_jump(&config, &format!("{name} of {time:?}"));
        }
    }
    for count in [1, usize::MAX] {
        let bounds = Config::new().outbox(count, count).window(count, count);
        let config = bounds.inbox(count, count).max_attempts(u32::MAX);
        config.validate().unwrap();
        live_through_every_jump(&config, &format!("bounds of {count}"));
    }
}

#[test]
fn a_backoff_of_nothing_waits_all_the_same() {
    for delay in [Duration::ZERO, Duration::from_millis(3)] {
        let mut bench = Bench::new(Config::new().backoff(Backoff::constant(delay)));
        let mut attempts = 0;
        while bench.now < at(10_000) {
            assert_eq!(bench.session.state(), State::Connecting);
            bench.refuse(ConnectFailure::Status {
                status: 503,
                retry_after: None,
            });
            attempts += 1;
            bench.wait();
        }
        // From 100 to 200 ms each.
        assert!((50..=100).contains(&attempts), "{attempts}: {delay:?}");
        let backoff = |event: &Event| matches!(event, Event::Backoff { .. });
        let events = bench.events();
        assert_eq!(events.iter().filter(|e| backoff(e)).count(), attempts);
        assert!(matches!(
            bench.session.poll_action(),
            Some(Action::Connect(_))
        ));
    }
}
