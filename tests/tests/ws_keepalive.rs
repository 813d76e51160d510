//! Keepalive, and the clocks of messages: POLICIES 5.1 and 5.2, the timelines of appendix A.9.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use fulmar_core::time::Instant;
use fulmar_core::ws::{Cause, Config, Event, Keepalive, KeepaliveMode};
use fulmar_tests::websocket::{Bench, at, frame, quiet};

const PING: u8 = 0x89;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Interval 20 s, timeout 10 s, no jitter.
fn keepalive(mode: KeepaliveMode) -> Config {
    Config::new().keepalive(Keepalive::every(secs(20)).mode(mode).jitter(false))
}

fn fixed() -> Bench {
    Bench::new(&keepalive(KeepaliveMode::FixedPing))
}

/// Runs until the connection is dead or `end`: the pings, and when it died.
fn run(bench: &mut Bench, end: Instant) -> (Vec<Instant>, Option<Instant>) {
    let mut pings = Vec::new();
    while let Some(next) = bench.ws.poll_timeout().filter(|next| *next <= end) {
        let sent = bench.pass_to(next);
        pings.extend(sent.iter().filter(|sent| sent.1 == PING).map(|sent| sent.0));
        if let Some(closed) = bench.ws.closed() {
            assert!(matches!(closed.cause, Cause::KeepaliveTimeout { .. }));
            assert_eq!(closed.code.0, 1006);
            assert!(bench.ws.is_done(), "no Close handshake on a dead path");
            return (pings, Some(next));
        }
    }
    bench.now = end;
    (pings, None)
}

/// The payload of the ping that is written at `then`.
fn ping_at(bench: &mut Bench, then: Instant) -> Vec<u8> {
    bench.now = then;
    bench.ws.handle_timeout(then, &mut bench.rng);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, PING);
    sent[0].1.clone()
}

fn byte_at(bench: &mut Bench, then: Instant) {
    run(bench, then);
    // The beginning of a frame, then its end: a byte need not be a message.
    bench.receive(if bench.rx.is_empty() {
        b"\x82"
    } else {
        b"\x00"
    });
}

#[test]
fn silence_after_open_is_a_ping_at_20_and_death_at_30() {
    assert_eq!(
        run(&mut fixed(), at(100_000)),
        (vec![at(20_000)], Some(at(30_000)))
    );
    let mut idle = Bench::new(&keepalive(KeepaliveMode::IdlePing));
    assert_eq!(
        run(&mut idle, at(100_000)),
        (vec![at(20_000)], Some(at(30_000)))
    );
}

#[test]
fn one_byte_at_29_9_is_life_and_the_next_ping_is_at_40_and_death_at_50() {
    let mut bench = fixed();
    byte_at(&mut bench, at(29_900));
    assert_eq!(
        run(&mut bench, at(100_000)),
        (vec![at(40_000)], Some(at(50_000)))
    );
}

#[test]
fn data_without_a_gap_and_a_late_pong_is_never_dead() {
    let mut bench = fixed();
    let ping = ping_at(&mut bench, at(20_000));
    for second in 25..=75 {
        byte_at(&mut bench, at(second * 1000));
        assert!(bench.ws.is_open(), "{second}");
    }
    byte_at(&mut bench, at(76_000));
    let (events, _) = bench.receive(&frame(0x8a, &ping));
    assert!(matches!(events[..], [Event::Pong { rtt, .. }] if rtt == secs(56)));
    assert_eq!(run(&mut bench, at(79_999)), (vec![], None));
}

#[test]
fn data_without_a_gap_and_without_any_pong_is_dead_at_80() {
    let mut bench = fixed();
    let mut died = None;
    for second in 20..=100 {
        died = run(&mut bench, at(second * 1000)).1;
        if died.is_some() {
            break;
        }
        byte_at(&mut bench, at(second * 1000));
    }
    assert_eq!(died, Some(at(80_000)));
}

#[test]
fn while_reading_is_paused_nothing_is_dead_and_the_clocks_go_on_afterwards() {
    let mut bench = fixed();
    let ping = ping_at(&mut bench, at(20_000));
    bench.now = at(21_000);
    bench.ws.pause(bench.now);
    assert_eq!(run(&mut bench, at(45_000)), (vec![at(40_000)], None));
    bench.ws.resume(at(45_000));
    // Of the 10 s, 9 were left at 21.
    let mut silent = fixed();
    ping_at(&mut silent, at(20_000));
    silent.ws.pause(at(21_000));
    silent.now = at(45_000);
    silent.ws.resume(at(45_000));
    silent.ws.handle_timeout(at(45_000), &mut silent.rng);
    assert_eq!(run(&mut silent, at(100_000)).1, Some(at(54_000)));
    // The pong that waited in the socket.
    let (events, closed) = bench.receive(&frame(0x8a, &ping));
    assert!(closed.is_none() && events.len() == 1);
    assert_eq!(run(&mut bench, at(59_000)).1, None);
}

#[test]
fn idle_pings_are_saved_while_data_flows_but_for_every_third_interval() {
    let mut bench = Bench::new(&keepalive(KeepaliveMode::IdlePing));
    let mut pings = Vec::new();
    for second in 1..=130 {
        let mut sent = run(&mut bench, at(second * 1000)).0;
        pings.append(&mut sent);
        bench.receive(&frame(0x82, b"x"));
        if !pings.is_empty() && pings.len() % 2 == 1 && second % 60 == 1 {
            // Answered, so that the hard rule does not end it.
            break;
        }
    }
    assert_eq!(pings, [at(60_000)]);
}

#[test]
fn a_pong_answers_the_pings_before_it_and_a_forged_one_none() {
    let mut bench = fixed();
    let first = bench.ws.ping().unwrap();
    let second = bench.ws.ping().unwrap();
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    let mut forged = sent[1].1.clone();
    forged[0] ^= 1;
    assert_eq!(bench.receive(&frame(0x8a, &forged)), (vec![], None));
    bench.now = at(30);
    let (events, _) = bench.receive(&frame(0x8a, &sent[1].1));
    let rtt = Duration::from_millis(30);
    let written = 2 * (2 + 4 + 8) - 14;
    assert_eq!(
        events,
        [Event::Pong {
            id: second,
            rtt,
            written
        }]
    );
    assert!(first < second);
    assert_eq!(bench.receive(&frame(0x8a, &sent[0].1)), (vec![], None));
    let known = bench.ws.rtt().unwrap();
    assert_eq!((known.last, known.min, known.smoothed), (rtt, rtt, rtt));
}

#[test]
fn round_trip_times_are_smoothed_by_an_eighth() {
    let mut bench = fixed();
    for millis in [80, 160] {
        bench.ws.ping().unwrap();
        let payload = bench.sent().remove(0).1;
        bench.now = bench.now + Duration::from_millis(millis);
        bench.receive(&frame(0x8a, &payload));
    }
    let rtt = bench.ws.rtt().unwrap();
    assert_eq!(rtt.smoothed, Duration::from_millis(90));
    assert_eq!(rtt.min, Duration::from_millis(80));
}

#[test]
fn pings_without_pongs_are_bounded() {
    let mut bench = fixed();
    let asked = (0..100).filter(|_| bench.ws.ping().is_some()).count();
    assert_eq!(asked, 32);
    assert_eq!(bench.sent().len(), 32);
    assert_eq!(bench.ws.ping(), None);
}

#[test]
fn three_missed_pongs_are_pings_one_timeout_apart() {
    let keepalive = Keepalive::every(secs(20)).missed(3).jitter(false);
    let config = Config::new().keepalive(keepalive.mode(KeepaliveMode::FixedPing));
    let (pings, died) = run(&mut Bench::new(&config), at(100_000));
    assert_eq!(pings, [at(20_000), at(30_000), at(40_000)]);
    assert_eq!(died, Some(at(50_000)));
}

#[test]
fn a_server_that_is_to_ping_is_dead_after_an_interval_and_the_timeout() {
    let config = keepalive(KeepaliveMode::ServerPing);
    let mut bench = Bench::new(&config);
    assert_eq!(run(&mut bench, at(100_000)), (vec![], Some(at(30_000))));
    let mut bench = Bench::new(&config);
    bench.now = at(25_000);
    bench.receive(&frame(PING, b""));
    bench.written();
    assert_eq!(run(&mut bench, at(100_000)), (vec![], Some(at(55_000))));
}

#[test]
fn intervals_are_shortened_by_up_to_a_tenth() {
    let mut bench = Bench::new(&Config::new().keepalive(Keepalive::every(secs(20))));
    let first = run(&mut bench, at(100_000)).0[0];
    assert!(first >= at(18_000) && first < at(20_000), "{first}");
}

#[test]
fn off_means_no_ping_and_no_death() {
    let mut bench = Bench::new(&quiet());
    assert_eq!(bench.ws.poll_timeout(), None);
    bench.ws.ping();
    assert_eq!(bench.sent().len(), 1, "the user's own still goes out");
    assert_eq!(bench.ws.poll_timeout(), None);
}

#[test]
fn off_and_a_ping_of_the_application_is_no_timer_whatever_may_be_missed() {
    let off = Keepalive::off().missed(2);
    let mut bench = Bench::new(&Config::new().keepalive(off));
    bench.ws.ping();
    let pings = bench.sent();
    assert_eq!(pings.len(), 1);
    assert_eq!(bench.ws.poll_timeout(), None);
}

#[test]
fn a_timeout_that_is_early_or_twice_changes_nothing() {
    let mut bench = fixed();
    bench.ws.handle_timeout(at(19_999), &mut bench.rng);
    assert_eq!(bench.sent(), []);
    ping_at(&mut bench, at(20_000));
    bench.ws.handle_timeout(at(20_000), &mut bench.rng);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.ws.poll_timeout(), Some(at(30_000)));
}

fn cause_at(bench: &mut Bench, end: Instant) -> Option<(Cause, Instant)> {
    while let Some(next) = bench.ws.poll_timeout().filter(|next| *next <= end) {
        bench.now = bench.now.max(next);
        bench.ws.handle_timeout(bench.now, &mut bench.rng);
        if let Some(closed) = bench.ws.closed() {
            return Some((closed.cause, bench.now));
        }
    }
    bench.now = end;
    None
}

#[test]
fn pings_and_fragments_do_not_reset_the_read_deadline_but_messages_do() {
    let config = quiet().message_idle(secs(20));
    let mut bench = Bench::new(&config);
    assert_eq!(cause_at(&mut bench, at(15_000)), None);
    bench.receive(&frame(0x82, b"a message"));
    assert_eq!(cause_at(&mut bench, at(30_000)), None);
    bench.receive(&[frame(PING, b""), frame(0x02, b"a part")].concat());
    assert_eq!(
        cause_at(&mut bench, at(60_000)),
        Some((Cause::ReadIdle, at(35_000)))
    );
    assert_eq!(bench.close_sent(), Some(1001));
}

#[test]
fn the_read_deadline_stands_still_while_paused() {
    let mut bench = Bench::new(&quiet().message_idle(secs(20)).slow_consumer(None));
    assert_eq!(cause_at(&mut bench, at(15_000)), None);
    bench.ws.pause(bench.now);
    assert_eq!(cause_at(&mut bench, at(115_000)), None);
    bench.ws.resume(bench.now);
    assert_eq!(
        cause_at(&mut bench, at(200_000)),
        Some((Cause::ReadIdle, at(120_000)))
    );
}

#[test]
fn a_message_that_stops_for_30_s_is_stalled_and_a_ping_is_no_byte_of_it() {
    let mut bench = Bench::new(&quiet());
    bench.receive(&frame(0x02, b"begins"));
    assert_eq!(cause_at(&mut bench, at(20_000)), None);
    bench.receive(&frame(PING, b""));
    assert_eq!(cause_at(&mut bench, at(29_999)), None);
    assert_eq!(
        cause_at(&mut bench, at(30_000)),
        Some((Cause::Stalled, at(30_000)))
    );
}

#[test]
fn a_message_that_trickles_has_120_s() {
    let mut bench = Bench::new(&quiet());
    bench.receive(b"\x82\x7e\xff\xff");
    let mut stalled = None;
    for second in (0..200).step_by(10) {
        stalled = cause_at(&mut bench, at(second * 1000));
        if stalled.is_some() {
            break;
        }
        bench.receive(b"x");
    }
    assert_eq!(stalled, Some((Cause::Stalled, at(120_000))));
}

#[test]
fn a_pause_of_30_s_is_a_lag() {
    let mut bench = Bench::new(&quiet());
    bench.now = at(5000);
    bench.ws.pause(bench.now);
    assert_eq!(cause_at(&mut bench, at(34_999)), None);
    assert_eq!(
        cause_at(&mut bench, at(35_000)),
        Some((Cause::Lagged, at(35_000)))
    );
    assert_eq!(bench.close_sent(), Some(1001));
}

#[test]
fn what_came_at_an_unknown_time_counts_as_of_the_next_look() {
    let mut bench = Bench::new(&keepalive(KeepaliveMode::IdlePing));
    bench.ws.note_input();
    bench.ws.handle_timeout(at(5_000), &mut bench.rng);
    assert_eq!(run(&mut bench, at(26_000)), (vec![at(25_000)], None));
    // The deadline after a ping is looked at after what is noted.
    bench.ws.note_input();
    let (pings, died) = run(&mut bench, at(60_000));
    assert_eq!(pings, [at(55_000)]);
    assert_eq!(died, None);
}

#[test]
fn a_ping_that_is_asked_for_makes_no_others_where_this_side_sends_none() {
    for mode in [KeepaliveMode::Off, KeepaliveMode::ServerPing] {
        let interval = secs(10_000);
        let keepalive = Keepalive::every(interval).mode(mode).missed(3);
        let mut bench = Bench::new(&Config::new().keepalive(keepalive));
        bench.ws.ping().unwrap();
        assert_eq!(bench.sent().len(), 1);
        assert_eq!(bench.pass_to(at(9_000_000)), [], "{mode:?}");
    }
}
