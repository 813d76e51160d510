//! Slow consumers: POLICIES 5.7.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use fulmar_core::session::{Config, Event, Loss, Received, SlowConsumer, State};
use fulmar_core::ws::{Cause, Message};
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, frame};

fn text(n: usize) -> Received {
    Received::Message(Message::text(n.to_string()))
}

fn deliver(bench: &mut Bench, range: std::ops::Range<usize>) {
    for n in range {
        bench.receive(&frame(0x81, n.to_string().as_bytes()));
    }
}

#[test]
fn a_full_inbox_pauses_reading_until_a_quarter_is_left() {
    let mut bench = Bench::open(Config::new().inbox(8, 1000));
    deliver(&mut bench, 0..8);
    assert!(!bench.session.wants_read());
    assert_eq!(bench.events(), [Event::Paused]);
    deliver(&mut bench, 8..9);
    assert_eq!(
        bench.session.inbox_len(),
        8,
        "what came after stays where it is"
    );
    for n in 0..5 {
        assert_eq!(bench.session.recv(bench.now), Some(text(n)));
        assert!(!bench.session.wants_read());
    }
    assert_eq!(bench.session.recv(bench.now), Some(text(5)));
    assert!(bench.session.wants_read());
    assert_eq!(bench.events(), [Event::Resumed]);
    bench.read();
    for n in 6..9 {
        assert_eq!(bench.session.recv(bench.now), Some(text(n)));
    }
    assert_eq!(bench.session.recv(bench.now), None);
}

#[test]
fn bytes_fill_the_inbox_too() {
    let mut bench = Bench::open(Config::new().inbox(100, 1000));
    bench.receive(&frame(0x82, &[0; 1000]));
    assert!(!bench.session.wants_read());
}

#[test]
fn pings_that_were_read_before_the_pause_are_still_answered() {
    let mut bench = Bench::open(Config::new().inbox(1, 1000));
    bench.receive(&[frame(0x89, b"?"), frame(0x81, b"fills it")].concat());
    assert_eq!(bench.written()[0].first, 0x8a);
}

#[test]
fn a_pause_of_30_s_admits_the_lag_and_connects_again() {
    let mut bench = Bench::open(Config::new().inbox(1, 1000));
    bench.now = at(1000);
    deliver(&mut bench, 0..1);
    let frames = bench.pass_to(at(32_500));
    assert_eq!(frames[0].payload, 1001_u16.to_be_bytes());
    let lagged = bench.events().into_iter().any(|event| {
        matches!(event, Event::Lost { loss: Loss::Closed(closed), .. }
            if closed.cause == Cause::Lagged)
    });
    assert!(lagged);
    assert_eq!(bench.session.state(), State::Backoff);
    assert_eq!(
        bench.session.recv(bench.now),
        Some(text(0)),
        "what was received is kept"
    );
}

#[test]
fn the_oldest_are_dropped_and_the_application_is_told_how_many() {
    let config = Config::new()
        .inbox(3, 1000)
        .slow_consumer(SlowConsumer::DropOldest);
    let mut bench = Bench::open(config);
    deliver(&mut bench, 0..10);
    assert!(bench.session.wants_read());
    assert_eq!(bench.session.recv(bench.now), Some(Received::Lagged(7)));
    for n in 7..10 {
        assert_eq!(bench.session.recv(bench.now), Some(text(n)));
    }
}

#[test]
fn a_newer_message_of_a_key_replaces_the_one_that_waits() {
    let key = |message: &Message| message.as_text()?.split('=').next().map(Into::into);
    let config = Config::new()
        .inbox(2, 1000)
        .slow_consumer(SlowConsumer::conflate(key));
    let mut bench = Bench::open(config);
    for message in ["a=1", "b=1", "a=2", "b=2"] {
        bench.receive(&frame(0x81, message.as_bytes()));
    }
    assert_eq!(
        bench.session.recv(bench.now),
        Some(Received::Message("a=2".into()))
    );
    assert_eq!(
        bench.session.recv(bench.now),
        Some(Received::Message("b=2".into()))
    );
    for message in ["a=3", "b=3", "c=3"] {
        bench.receive(&frame(0x81, message.as_bytes()));
    }
    assert_eq!(bench.session.recv(bench.now), Some(Received::Lagged(1)));
}

#[test]
fn messages_that_wait_survive_their_connection() {
    let mut bench = Bench::open(Config::new());
    deliver(&mut bench, 0..3);
    bench.drop_connection();
    bench.reconnect();
    deliver(&mut bench, 3..4);
    for n in 0..4 {
        assert_eq!(bench.session.recv(bench.now), Some(text(n)));
    }
}
