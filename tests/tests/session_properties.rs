//! The invariants of POLICIES 5.11 for a session, by their numbers.

use std::collections::HashSet;
use std::time::Duration;

use fulmar_core::session::DropReason;
use fulmar_tests::properties::ws::ends::End;
use fulmar_tests::properties::ws::reconnects::{
    i5_5_attempts_at_accept_then_drop, i5_5_limits_are_always_reached,
};
use fulmar_tests::properties::ws::session::ws_session_ops;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn i5_3_i5_4_and_i5_8_every_message_ends_exactly_once_in_bounded_memory_and_closing_in_time(data in prop::collection::vec(any::<u8>(), 0..800)) {
        ws_session_ops(&data);
    }

    #[test]
    fn i5_5_the_limits_of_attempts_and_of_time_are_always_reached(data in prop::collection::vec(any::<u8>(), 0..200)) {
        i5_5_limits_are_always_reached(&data);
    }
}

/// Scripts in which messages end in few ways would prove little.
#[test]
fn the_scripts_of_i5_3_reach_every_end_and_fill_the_outbox() {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let (mut ends, mut repeated, mut reconnected, mut full) = (HashSet::new(), 0, 0, 0);
    for _ in 0..150 {
        let mut data = [0; 1500];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        let reached = ws_session_ops(&data);
        ends.extend(reached.ends);
        repeated += reached.repeated;
        reconnected += u32::from(reached.connections > 1);
        full += u32::from(reached.buffered > 300_000);
    }
    for reason in [
        DropReason::Expired,
        DropReason::Replaced,
        DropReason::Overflow,
        DropReason::Reconnect,
        DropReason::MaybeDelivered,
        DropReason::TooBig,
    ] {
        assert!(ends.contains(&End::Dropped(reason)), "{reason:?}");
    }
    for end in [End::Flushed, End::Acked, End::Returned] {
        assert!(ends.contains(&end), "{end:?}");
    }
    assert!(repeated > 30 && reconnected > 80 && full > 30);
}

#[test]
fn i5_5_a_server_that_accepts_and_drops_gets_few_attempts() {
    const SEEDS: u64 = 200;
    let times = [5, 15, 60, 120, 600, 3600].map(Duration::from_secs);
    let mut sums = [0; 6];
    for seed in 0..SEEDS {
        let attempts = i5_5_attempts_at_accept_then_drop(seed, &times);
        for (sum, attempts) in sums.iter_mut().zip(attempts) {
            *sum += attempts;
        }
    }
    for (time, sum) in times.iter().zip(sums) {
        let mean = f64::from(sum) / SEEDS as f64;
        let most = 8.0 + time.as_secs_f64() / 15.0;
        assert!(mean <= most, "{mean} in {time:?}");
    }
}
