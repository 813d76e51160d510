//! Settings at their ends, and clocks that jump: no panic, and no deadline that stays due.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use fulmar_core::time::Instant;
use fulmar_core::ws::{CloseCode, Config, Keepalive, KeepaliveMode, Limits};
use fulmar_tests::websocket::{Bench, close_frame};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What may be done to a connection, one after the other.
const STEPS: [fn(&mut Bench); 9] = [
    |bench| assert!(bench.ws.ping().is_some() || !bench.ws.is_open()),
    |bench| drop(bench.sent()),
    |bench| drop(bench.receive(b"\x01\x05he")),
    |bench| bench.ws.pause(bench.now),
    |bench| bench.ws.resume(bench.now),
    |bench| drop(bench.receive(b"\x89\x00")),
    |bench| bench.ws.close(bench.now, CloseCode::NORMAL, "").unwrap(),
    |bench| drop(bench.sent()),
    |bench| drop(bench.receive(&close_frame(1000, ""))),
];

/// Every deadline that is due is told; none stays due.
fn settle(bench: &mut Bench, what: &str) {
    for _ in 0..4 {
        let due = bench.ws.poll_timeout().filter(|next| *next <= bench.now);
        if due.is_none() {
            return;
        }
        bench.ws.handle_timeout(bench.now, &mut bench.rng);
        bench.written();
    }
    panic!("{what}: a deadline stays due");
}

/// A connection lives through all steps, and the clock jumps ahead before one of them.
fn live(config: &Config, jump: (usize, Instant, Duration), what: &str) {
    let mut bench = Bench::new(config);
    let (at, begin, by) = jump;
    bench.now = begin;
    bench.ws.handle_timeout(bench.now, &mut bench.rng);
    for (place, step) in STEPS.iter().enumerate() {
        if place == at {
            bench.now = bench.now + by;
            settle(&mut bench, what);
        }
        step(&mut bench);
        settle(&mut bench, what);
    }
    bench.now = Instant::MAX;
    bench.ws.handle_timeout(bench.now, &mut bench.rng);
    assert!(bench.ws.is_done(), "{what}");
}

fn live_through_every_jump(config: &Config, what: &str) {
    let late = Instant::MAX - Duration::from_secs(30);
    for begin in [Instant::ORIGIN, late] {
        for at in 0..STEPS.len() {
            for by in [Duration::ZERO, HOUR, DAY, Duration::MAX] {
                live(
                    config,
                    (at, begin, by),
                    &format!("{what}, {by:?} before {at}"),
                );
            }
        }
    }
}

#[test]
fn every_setting_may_be_as_small_or_as_large_as_it_goes() {
    type Set = fn(Config, Duration) -> Config;
    const TIMES: [(&str, Set); 6] = [
        ("close_timeout", Config::close_timeout),
        ("eof_timeout", Config::eof_timeout),
        ("message_idle", |config, time| config.message_idle(time)),
        ("message_progress", |config, time| {
            config.message_progress(time)
        }),
        ("message_total", |config, time| config.message_total(time)),
        ("slow_consumer", |config, time| config.slow_consumer(time)),
    ];
    for (name, set) in TIMES {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let config = set(Config::new(), time);
            config.validate().unwrap();
            live_through_every_jump(&config, &format!("{name} of {time:?}"));
        }
    }
    for count in [0, 1, u32::MAX] {
        let bytes = usize::try_from(count).unwrap();
        for limits in [
            Limits::new().fragments(count).empty_fragments(count),
            Limits::new().pings_per_second(count),
            Limits::new().frame(bytes).message(bytes),
            Limits::new().frame(0).message(usize::MAX),
            Limits::new().frame(usize::MAX).message(usize::MAX),
        ] {
            let config = Config::new().limits(limits);
            config.validate().unwrap();
            live_through_every_jump(&config, &format!("{limits:?}"));
        }
    }
}

#[test]
fn every_keepalive_that_is_valid_works() {
    use KeepaliveMode::{FixedPing, IdlePing, Off, ServerPing};
    let times = [0, 1, 2, 20_000_000_000].map(Duration::from_nanos);
    let times = times.into_iter().chain([Duration::MAX / 2, Duration::MAX]);
    let mut valid = 0;
    for mode in [IdlePing, FixedPing, ServerPing, Off] {
        for interval in times.clone() {
            for timeout in times.clone() {
                for missed in [0, 1, 3, u32::MAX] {
                    for jitter in [false, true] {
                        let keepalive = Keepalive::every(interval).mode(mode).jitter(jitter);
                        let keepalive = keepalive.timeout(timeout).missed(missed);
                        let config = Config::new().keepalive(keepalive);
                        if config.validate().is_ok() {
                            valid += 1;
                            live_through_every_jump(&config, &format!("{keepalive:?}"));
                        }
                    }
                }
            }
        }
    }
    assert!(valid > 100, "{valid}");
}

#[test]
fn a_long_frame_is_not_made_room_for_before_it_comes() {
    let limits = Limits::new().frame(usize::MAX).message(usize::MAX);
    let mut bench = Bench::new(&Config::new().limits(limits));
    let head = [&[0x82, 127][..], &(i64::MAX as u64).to_be_bytes()].concat();
    let (events, closed) = bench.receive(&head);
    assert_eq!((events.len(), closed), (0, None));
    assert!(bench.rx.capacity() < 1 << 20);
}
