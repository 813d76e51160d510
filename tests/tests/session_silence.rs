//! Connections that are cut because nothing goes over them: FEATURES row 124.

use std::time::Duration;

use fulmar_core::fault::FaultKind;
use fulmar_core::session::{Config, Event};
use fulmar_core::ws::{self, Keepalive};
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, frame};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Eof,
    Fault(FaultKind),
    Close(u16),
}

use End::{Close, Eof};

const RESET: End = End::Fault(FaultKind::Reset);

/// A session whose connection has that keepalive.
fn open(keepalive: Keepalive) -> Bench {
    let mut bench = Bench::new(Config::new());
    bench.connection = ws::Config::new().keepalive(keepalive.jitter(false));
    bench.connect();
    bench.events();
    bench
}

/// What is told of the silence behind a loss: how long it was.
fn told(bench: &mut Bench, end: End) -> Option<Duration> {
    match end {
        Eof => bench.drop_connection(),
        End::Fault(kind) => {
            let (now, rng) = (bench.now, &mut bench.rng);
            bench.session.handle_fault(now, kind, rng);
        }
        Close(code) => bench.close_from_server(code, ""),
    }
    let events = bench.events();
    let told = events.iter().enumerate().filter_map(|(place, event)| {
        let Event::CutWhileSilent { silent, .. } = event else {
            return None;
        };
        assert!(
            matches!(events[place - 1], Event::Lost { .. }),
            "right behind the loss"
        );
        Some(*silent)
    });
    let told: Vec<_> = told.collect();
    assert!(told.len() <= 1, "once per loss");
    told.first().copied()
}

#[test]
fn an_end_without_a_reason_behind_a_long_silence_is_told() {
    let every = |interval| Keepalive::every(secs(interval));
    for (keepalive, silent, end, is_told) in [
        (every(90), 60, Eof, true),
        (every(90), 60, RESET, true),
        (every(90), 60, Close(1000), true),
        (every(90), 60, Close(1001), true),
        (Keepalive::off(), 600, Eof, true),
        (Keepalive::off(), 30, Eof, true),
        (every(20), 20, RESET, true),
        (every(90), 28, Eof, false),
        (every(20), 19, Eof, false),
        // These say why.
        (every(90), 60, Close(1012), false),
        (every(90), 60, Close(1011), false),
        (every(90), 60, Close(4000), false),
        (every(90), 60, End::Fault(FaultKind::TimedOut), false),
    ] {
        let mut bench = open(keepalive);
        bench.pass_to(at(silent * 1000));
        let expected = is_told.then_some(secs(silent));
        assert_eq!(
            told(&mut bench, end),
            expected,
            "{keepalive:?} {silent} {end:?}"
        );
    }
}

#[test]
fn what_comes_breaks_a_silence_and_so_does_a_message_but_not_a_ping() {
    let mut heard = open(Keepalive::every(secs(90)));
    heard.pass_to(at(50_000));
    heard.receive(&frame(0x82, b"news"));
    heard.pass_to(at(60_000));
    assert_eq!(told(&mut heard, Eof), None);

    let mut pinged = open(Keepalive::every(secs(90)).timeout(secs(20)));
    pinged.pass_to(at(91_000));
    assert_eq!(told(&mut pinged, RESET), Some(secs(91)));

    for (end, expected) in [(RESET, Some(secs(70))), (Eof, None), (Close(1000), None)] {
        let mut said = open(Keepalive::off());
        said.pass_to(at(70_000));
        said.send("is anybody there");
        said.written();
        said.pass_to(at(71_000));
        assert_eq!(told(&mut said, end), expected, "{end:?}");
    }

    let mut answered = open(Keepalive::off());
    answered.pass_to(at(70_000));
    answered.send("is anybody there");
    answered.written();
    answered.receive(&frame(0x82, b"yes"));
    assert_eq!(told(&mut answered, RESET), None);
}

#[test]
fn a_silence_of_this_side_is_none_of_the_server() {
    let config = Config::new().inbox(1, 1000);
    let mut bench = Bench::new(config);
    bench.connection = ws::Config::new()
        .keepalive(Keepalive::off())
        .slow_consumer(None);
    bench.connect();
    bench.receive(&frame(0x82, b"fills it"));
    bench.pass_to(at(100_000));
    assert!(bench.session.recv(bench.now).is_some());
    assert_eq!(told(&mut bench, Eof), None);
}
