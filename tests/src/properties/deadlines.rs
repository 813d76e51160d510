//! What holds of a call's clocks whatever the schedule, without an oracle.

use std::time::Duration;

use fulmar_core::deadline::{Clocks, DeadlineHeader, Telling, Timeouts};
use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;

use super::script::Script;

/// Runs a schedule, and looks at the clocks after every step.
fn schedule(data: &[u8], mut look: impl FnMut(&mut Clocks, Instant)) {
    let mut script = Script::new(data);
    let limit = |script: &mut Script<'_>| match script.below(4) {
        0 => None,
        _ => Some(Duration::from_millis(script.below(256) as u64 * 10)),
    };
    let timeouts = Timeouts::none()
        .pool(limit(&mut script))
        .dns(limit(&mut script))
        .connect(limit(&mut script))
        .tls(limit(&mut script))
        .write(limit(&mut script))
        .first_byte(limit(&mut script))
        .between_bytes(limit(&mut script))
        .attempt(limit(&mut script))
        .total(limit(&mut script))
        .min_speed(script.below(3) as u64, Duration::from_secs(1))
        .split_deadline(script.below(2) > 0);
    let mut now = Instant::from_nanos(script.below(256) as u64);
    let mut clocks = Clocks::new(now, &timeouts, None);
    while !script.is_over() {
        now = now + Duration::from_millis(script.below(64) as u64);
        match script.below(8) {
            0 => clocks.begin_attempt(now),
            1 => clocks.end_attempt(now),
            2 => clocks.suspended(now, true),
            3 => clocks.suspended(now, false),
            4 => clocks.progress(now, script.below(3)),
            5 => clocks.restart(now),
            _ => clocks.entered(now, Phase::ALL[script.below(Phase::COUNT)]),
        }
        look(&mut clocks, now);
    }
}

/// I2.2: a limit runs out at its instant: not a nanosecond before it, and no later.
///
/// # Panics
///
/// Where it does not hold.
pub fn i2_2_never_early_and_never_late(data: &[u8]) {
    schedule(data, |clocks, now| match clocks.poll_timeout() {
        Some((at, phase)) => {
            let before = at - Duration::from_nanos(1);
            assert!(
                before == at || clocks.expired(before).is_none(),
                "{clocks:?}"
            );
            assert_eq!(clocks.expired(at), Some(phase), "{clocks:?}");
            let hour_late = at + Duration::from_secs(3_600);
            assert_eq!(clocks.expired(hour_late), Some(phase), "{clocks:?}");
            let bound = clocks.lower_bound(now).expect("no later than the next");
            assert!(bound <= at, "{bound} is registered, and {at} is due");
        }
        None => assert_eq!(clocks.expired(Instant::MAX), None),
    });
}

/// I2.3: to ask early, late or twice changes nothing.
///
/// # Panics
///
/// Where it does not hold.
pub fn i2_3_asking_changes_nothing(data: &[u8]) {
    schedule(data, |clocks, now| {
        let before = format!("{clocks:?}");
        for at in [Instant::ORIGIN, now, now, Instant::MAX] {
            let _ = (
                clocks.expired(at),
                clocks.poll_timeout(),
                clocks.lower_bound(at),
            );
        }
        assert_eq!(format!("{clocks:?}"), before);
    });
}

/// I2.5: every nanosecond of the call is in a phase, suspended, or at rest.
///
/// # Panics
///
/// Where it does not hold.
pub fn i2_5_no_time_is_unaccounted(data: &[u8]) {
    schedule(data, |clocks, now| {
        let mut done = clocks.clone();
        done.finish(now);
        let sum = done.spent(Phase::Attempt) + done.suspended_for() + done.rested_for();
        assert_eq!(sum, done.elapsed(now), "{done:?}");
        assert_eq!(sum, done.spent(Phase::Total));
        let phases: Duration = Phase::ALL[..Phase::Attempt as usize]
            .iter()
            .map(|phase| done.spent(*phase))
            .sum();
        assert_eq!(phases, done.spent(Phase::Attempt));
    });
}

/// I2.6: what is told of a deadline shrinks from attempt to attempt, and is at most what is left
/// beyond half a round trip, however long that takes.
///
/// # Panics
///
/// Where it does not hold.
pub fn i2_6_what_is_told_of_a_deadline_shrinks(data: &[u8]) {
    let mut script = Script::new(data);
    let headers = [
        DeadlineHeader::GrpcTimeout,
        DeadlineHeader::EnvoyExpected,
        DeadlineHeader::RequestTimeout,
    ];
    let header = headers[script.below(3)];
    let deadline = Instant::from_nanos(super::backoff::number(&mut script) >> 16);
    let (mut now, mut told) = (Instant::ORIGIN, Duration::MAX);
    let mut telling = Telling::new(header);
    while !script.is_over() {
        now = now + Duration::from_micros(script.below(65_536) as u64 * 50);
        let rtt = match script.below(256) as u64 {
            0 => None,
            n => Some(Duration::from_micros(n * n * 10)),
        };
        let way = Duration::from_millis(2).max(rtt.unwrap_or_default() / 2);
        let Some(value) = telling.value(now, deadline, rtt) else {
            let unit = Duration::from_millis(1);
            assert!(
                deadline - now < way + unit || told <= unit,
                "{now} of {deadline}, {rtt:?}"
            );
            continue;
        };
        let left = header.parse(value.as_bytes()).expect("its own value");
        assert!(
            left + way <= deadline - now,
            "{value} at {now} of {deadline}"
        );
        assert!(left < told, "{value} at {now} of {deadline}");
        told = left;
    }
}

/// Any bytes are a deadline or none; and what is told of one that was read is no longer.
///
/// # Panics
///
/// Where it does not hold.
pub fn deadline_values(data: &[u8]) {
    for header in [
        DeadlineHeader::GrpcTimeout,
        DeadlineHeader::EnvoyExpected,
        DeadlineHeader::RequestTimeout,
    ] {
        let Some(left) = header.parse(data) else {
            continue;
        };
        let again = header.format(left);
        let told = again.map(|value| header.parse(value.as_bytes()).expect("its own value"));
        assert!(told.is_none_or(|told| told <= left), "{told:?} of {left:?}");
        let fields = [(header.name().as_bytes(), data)];
        assert_eq!(DeadlineHeader::least(fields), Some(left));
    }
}
