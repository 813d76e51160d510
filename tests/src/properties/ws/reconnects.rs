//! How often a session connects to a server that takes it and drops it: I5.5.

use std::time::Duration;

use fulmar_core::session::{Config, ConnectFailure, State, StopReason};

use crate::durable::Bench;
use crate::properties::script::Script;
use crate::websocket::frame;

/// How long the first connection has to be open for its loss to be where the time begins.
const STABLE: Duration = Duration::from_secs(30);
/// The longest there is between an attempt and the next: the throttled backoff and its connection.
const LONGEST: Duration = Duration::from_secs(60 + 100);

/// I5.5: how many attempts a server gets within each of those times that accepts, says a word and
/// drops, and never has the attempts forgotten.
///
/// # Panics
///
/// Where they are forgotten.
pub fn i5_5_attempts_at_accept_then_drop(seed: u64, times: &[Duration]) -> Vec<u32> {
    let mut bench = Bench::seeded(Config::new().max_elapsed(None), seed);
    let uptime = Duration::from_millis(seed % 1000);
    let mut began = Vec::new();
    let last = times.iter().max().copied().unwrap_or_default();
    while bench.now.since_origin() <= last {
        accept_then_drop(&mut bench, uptime);
        assert_eq!(bench.session.attempts() as usize, began.len() + 1, "I5.5");
        bench.wait();
        began.push(bench.now.since_origin());
    }
    let within = |time: &Duration| began.iter().filter(|began| *began <= time).count() as u32;
    times.iter().map(within).collect()
}

fn accept_then_drop(bench: &mut Bench, uptime: Duration) {
    bench.connect();
    bench.receive(&frame(0x82, b"welcome"));
    while bench.session.recv(bench.now).is_some() {}
    bench.pass_to(bench.now + uptime);
    bench.drop_connection();
    bench.events();
}

/// I5.5: whatever a server does short of a stable connection, every attempt is counted, and the
/// limits of attempts and of time are reached: not before, and not an attempt later.
///
/// # Panics
///
/// Where it is violated.
pub fn i5_5_limits_are_always_reached(data: &[u8]) {
    let mut script = Script::new(data);
    let which = script.below(3);
    let most = (which != 0).then(|| script.below(12) as u32);
    let time = (which != 1).then(|| Duration::from_secs(script.below(900) as u64));
    let config = Config::new().max_attempts(most).max_elapsed(time);
    let mut bench = Bench::seeded(config, u64::from(script.byte()));
    let (mut lost, mut since) = (0, Duration::ZERO);
    let mut last_loss = Duration::ZERO;
    while bench.session.state() != State::Stopped {
        bench.wait();
        let begun = bench.now.since_origin();
        let overdue = time.is_some_and(|time| last_loss.saturating_sub(since) > time);
        assert!(!overdue, "I5.5: an attempt at {}", bench.now);
        attempt(&mut bench, &mut script);
        let now = bench.now.since_origin();
        if lost == 0 && now.saturating_sub(begun) >= STABLE {
            since = now;
        }
        last_loss = now;
        lost += 1;
        assert_eq!(bench.session.attempts(), lost, "I5.5: forgotten");
        assert!(most.is_none_or(|most| lost <= most + 1), "I5.5: {lost}");
    }
    let over = time.is_some_and(|time| {
        let after = bench.now.since_origin().saturating_sub(since);
        assert!(after <= time + LONGEST, "I5.5: stopped after {after:?}");
        after > time
    });
    assert!(over || most == Some(lost - 1), "I5.5: too early, {lost}");
    let stopped = bench.session.stopped();
    let exhausted =
        matches!(stopped, Some(StopReason::Exhausted { attempts, .. }) if *attempts == lost - 1);
    assert!(exhausted, "I5.5: {stopped:?}");
}

/// One attempt that leads to no stable connection.
fn attempt(bench: &mut Bench, script: &mut Script<'_>) {
    if script.below(3) == 0 {
        return bench.refuse(ConnectFailure::Status {
            status: [429, 500, 503, 408][script.below(4)],
            retry_after: None,
        });
    }
    bench.connect();
    let speaks = script.below(3) > 0;
    let longest = if speaks { 29_999 } else { 90_000 };
    let uptime = Duration::from_millis(script.below(65_536) as u64 * longest / 65_535);
    if speaks {
        bench.receive(&frame(0x82, b"welcome"));
        while bench.session.recv(bench.now).is_some() {}
    }
    bench.pass_to(bench.now + uptime);
    match script.below(3) {
        0 if speaks => {
            let code = [1001, 1005, 1011, 1012, 1013, 3008, 4000][script.below(7)];
            if code == 1005 {
                bench.receive(&frame(0x88, b""));
            } else {
                bench.receive(&crate::websocket::close_frame(code, ""));
            }
            bench.written();
            bench.drop_connection();
        }
        _ => bench.drop_connection(),
    }
}
