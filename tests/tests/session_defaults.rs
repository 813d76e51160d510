//! The numbers of POLICIES 0.2, 5.4 to 5.6, where nobody set others.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use fulmar_core::session::{
    Config, ConnectFailure, Delivery, Event, Outgoing, SendError, State, StopReason,
};
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, frame};

const MIB: usize = 1 << 20;

fn refused(retry_after: Option<Duration>) -> ConnectFailure {
    ConnectFailure::Status {
        status: 503,
        retry_after,
    }
}

/// The shortest and the longest that the last delay is, over 1,000 seeds.
fn delays(run: impl Fn(&mut Bench)) -> (Duration, Duration) {
    let delay = |seed| {
        let mut bench = Bench::seeded(Config::new(), seed);
        run(&mut bench);
        let events = bench.events().into_iter().rev();
        let mut delays = events.filter_map(|event| match event {
            Event::Backoff { delay, .. } => Some(delay),
            _ => None,
        });
        delays.next().unwrap()
    };
    let delays: Vec<_> = (0..1000).map(delay).collect();
    (*delays.iter().min().unwrap(), *delays.iter().max().unwrap())
}

#[test]
fn delays_have_their_floors_and_caps() {
    let fail = |times| {
        move |bench: &mut Bench| {
            for _ in 0..times {
                bench.wait();
                bench.refuse(refused(None));
            }
        }
    };
    let told =
        |secs| move |bench: &mut Bench| bench.refuse(refused(Some(Duration::from_secs(secs))));
    let closed = |code, fails: usize| {
        move |bench: &mut Bench| {
            for _ in 0..fails {
                bench.wait();
                bench.refuse(refused(None));
            }
            bench.wait();
            bench.connect();
            bench.close_from_server(code, "");
        }
    };
    let cases: [(&str, (Duration, Duration), u32, u32); 9] = [
        ("the first attempt", delays(fail(1)), 100, 1000),
        ("the third", delays(fail(3)), 100, 4000),
        ("the tenth", delays(fail(10)), 100, 30_000),
        ("a loss", delays(closed(1001, 0)), 0, 5000),
        ("a restart", delays(closed(1012, 0)), 5000, 30_000),
        ("try again", delays(closed(1013, 0)), 100, 5000),
        ("try again, later", delays(closed(1013, 7)), 100, 60_000),
        ("a short Retry-After", delays(told(3)), 3000, 4000),
        ("a long Retry-After", delays(told(100)), 100_000, 110_000),
    ];
    for (what, (least, most), from, to) in cases {
        let (least, most) = (least.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3);
        let (from, to) = (f64::from(from), f64::from(to));
        let part = (to - from) / 50.0;
        assert!(least >= from && least < from + part, "{what}: {least}");
        assert!(most <= to && most > to - part, "{what}: {most}");
    }
}

#[test]
fn attempts_end_after_15_minutes() {
    for (millis, state) in [(900_000, State::Backoff), (900_001, State::Stopped)] {
        let mut bench = Bench::new(Config::new());
        bench.now = at(millis);
        bench.refuse(refused(None));
        assert_eq!(bench.session.state(), state);
    }
    let mut bench = Bench::new(Config::new());
    bench.now = at(900_001);
    bench.refuse(ConnectFailure::Invalid);
    assert!(
        matches!(bench.session.stopped(), Some(StopReason::Fatal(_))),
        "what is fatal is that first"
    );
}

#[test]
fn the_outbox_holds_1024_messages_or_8_mib() {
    let mut bench = Bench::new(Config::new());
    for _ in 0..1024 {
        bench.send("m");
    }
    let full = |bench: &mut Bench| {
        let one_more = bench.session.send(bench.now, "m");
        matches!(one_more, Err(SendError::Full(_)))
    };
    assert!(full(&mut bench));
    let mut bench = Bench::new(Config::new());
    bench.send(vec![0; 4 * MIB]);
    bench.send(vec![0; 4 * MIB - 1]);
    bench.send("m");
    assert!(full(&mut bench));
}

#[test]
fn what_is_unacknowledged_is_256_messages_or_4_mib() {
    let kept = |len| Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(vec![0; len])
    };
    for (lengths, is_full) in [
        (vec![1; 255], false),
        (vec![1; 256], true),
        (vec![4 * MIB - 1], false),
        (vec![4 * MIB], true),
    ] {
        let mut bench = Bench::open(Config::new());
        for len in lengths {
            bench.send(kept(len));
        }
        bench.written();
        let one_more = bench.session.send(bench.now, kept(1));
        assert_eq!(matches!(one_more, Err(SendError::Full(_))), is_full);
    }
}

#[test]
fn the_inbox_holds_256_messages_or_4_mib() {
    for (messages, len, is_full) in [
        (255, 1, false),
        (256, 1, true),
        (4, MIB - 1, false),
        (4, MIB, true),
    ] {
        let mut bench = Bench::open(Config::new());
        for _ in 0..messages {
            bench.receive(&frame(0x82, &vec![0; len]));
        }
        assert_eq!(!bench.session.wants_read(), is_full, "{messages} of {len}");
    }
}

#[test]
fn there_are_1024_subscriptions_sent_100_a_second() {
    let mut bench = Bench::new(Config::new());
    let add = |bench: &mut Bench, n: usize| {
        bench
            .session
            .subscribe(n.to_string().into(), n.to_string().into())
    };
    assert!((0..1024).all(|n| add(&mut bench, n)));
    assert!(!add(&mut bench, 1024));
    bench.connect();
    let frames = bench.written().len() + bench.pass_to(at(1000)).len();
    assert_eq!(frames, 101);
}
