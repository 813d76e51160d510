//! The invariants of POLICIES 5.11 for a session.

use std::time::Duration;

use fulmar_tests::properties::ws_session::{i5_5_accept_then_drop_is_bounded, ws_session_ops};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn i5_3_every_message_ends_exactly_once_whatever_the_network_does(data in prop::collection::vec(any::<u8>(), 0..800)) {
        ws_session_ops(&data);
    }
}

#[test]
fn i5_5_a_server_that_accepts_and_drops_gets_few_attempts() {
    const SEEDS: u64 = 200;
    let time = Duration::from_secs(600);
    let all: u32 = (0..SEEDS)
        .map(|seed| i5_5_accept_then_drop_is_bounded(seed, time))
        .sum();
    let mean = f64::from(all) / SEEDS as f64;
    assert!(mean <= 8.0 + 600.0 / 15.0, "{mean}");
}
