//! The invariants of POLICIES 5.11 for one connection, by their numbers.

use std::collections::BTreeSet;

use fulmar_tests::properties::ws::answers::i5_2_who_answers_in_time_is_never_dropped;
use fulmar_tests::properties::ws::closing::i5_8_closing_takes_6_s_at_most;
use fulmar_tests::properties::ws::input::{
    i5_6_any_split_gives_identical_events, ws_deflate, ws_frames,
};
use fulmar_tests::properties::ws::life::i5_1_dead_exactly_when_the_oracle_says_so;
use fulmar_tests::properties::ws::output::{
    a_pong_in_a_message, i5_7_a_pong_waits_for_one_fragment_at_most,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn i5_1_a_server_is_dead_exactly_when_the_oracle_says_so(data in prop::collection::vec(any::<u8>(), 0..400)) {
        i5_1_dead_exactly_when_the_oracle_says_so(&data);
    }

    #[test]
    fn i5_2_a_server_that_answers_in_time_is_never_dropped(data in prop::collection::vec(any::<u8>(), 0..800)) {
        i5_2_who_answers_in_time_is_never_dropped(&data);
    }

    #[test]
    fn i5_4_and_i5_6_any_split_of_frames_gives_identical_events_in_bounded_memory(data in prop::collection::vec(any::<u8>(), 0..120)) {
        i5_6_any_split_gives_identical_events(&data);
    }

    #[test]
    fn i5_6_any_split_of_any_bytes_gives_identical_events(data in prop::collection::vec(any::<u8>(), 0..300)) {
        ws_frames(&data);
    }

    #[test]
    fn i5_4_and_i5_6_any_bytes_as_compressed_messages_end_the_same_however_cut(data in prop::collection::vec(any::<u8>(), 0..600)) {
        ws_deflate(&data);
    }

    #[test]
    fn i5_7_a_pong_waits_for_one_fragment_of_a_message_in_progress_at_most(data in prop::collection::vec(any::<u8>(), 0..60)) {
        i5_7_a_pong_waits_for_one_fragment_at_most(&data);
    }

    #[test]
    fn i5_8_closing_a_connection_takes_6_s_at_most_whatever_the_server_does(data in prop::collection::vec(any::<u8>(), 0..80)) {
        i5_8_closing_takes_6_s_at_most(&data);
    }
}

#[test]
fn i5_7_a_pong_waits_for_one_fragment_of_a_message_of_100_mib() {
    a_pong_in_a_message(100 << 20, 50_000_000);
}

/// Scripts in which nobody dies would prove nothing.
#[test]
fn the_scripts_of_i5_1_end_in_every_way() {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let fates = (0..300).map(|_| {
        let mut data = [0; 400];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        i5_1_dead_exactly_when_the_oracle_says_so(&data)
    });
    let kinds: BTreeSet<_> = fates.collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

/// Found by chance: text that is not UTF-8, and behind it what is not DEFLATE; a reserved opcode, and
/// behind it a length that is too long.
#[test]
fn of_two_violations_the_first_is_told_however_cut() {
    i5_6_any_split_gives_identical_events(&[0, 32, 220, 87, 8, 114, 88]);
    ws_frames(&[0, 195, 127, 128, 0, 0, 0, 0, 0, 0, 0]);
}
