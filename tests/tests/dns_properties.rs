//! Names and races: each invariant of the policies by its number.

use fulmar_tests::properties::dial::race;
use fulmar_tests::properties::dns;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn i4_1_attempts_keep_their_distance(data in script(80)) {
        race::i4_1_attempts_keep_their_distance(&data);
    }

    #[test]
    fn i4_2_no_address_is_tried_twice(data in script(80)) {
        race::i4_2_no_address_is_tried_twice(&data);
    }

    #[test]
    fn i4_3_one_wins_and_the_others_are_closed_with_it(data in script(80)) {
        race::i4_3_one_wins_and_the_others_are_closed_with_it(&data);
    }

    #[test]
    fn i4_4_ipv6_goes_first_if_it_answers_within_fifty_milliseconds(data in script(80)) {
        race::i4_4_ipv6_goes_first_if_it_answers_within_fifty_milliseconds(&data);
    }

    #[test]
    fn i4_5_a_race_ends_by_its_deadline_and_begins_nothing_after(data in script(80)) {
        race::i4_5_a_race_ends_by_its_deadline_and_begins_nothing_after(&data);
    }

    #[test]
    fn i4_6_the_cache_agrees_with_the_whole_past(data in script(600)) {
        dns::i4_6_cache_steps(&data);
    }

    #[test]
    fn i4_7_a_flapping_resolver_fails_nobody_for_an_hour_after_the_first_success(
        data in script(300),
    ) {
        dns::i4_7_a_flapping_resolver_fails_nobody_for_an_hour_after_the_first_success(&data);
    }
}

fn script(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// Races in which nothing of the kind happens would prove nothing.
#[test]
fn the_races_of_i4_1_to_i4_5_have_what_these_are_about() {
    let mut rng = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let properties = [
        race::i4_1_attempts_keep_their_distance,
        race::i4_2_no_address_is_tried_twice,
        race::i4_3_one_wins_and_the_others_are_closed_with_it,
        race::i4_4_ipv6_goes_first_if_it_answers_within_fifty_milliseconds,
        race::i4_5_a_race_ends_by_its_deadline_and_begins_nothing_after,
    ];
    let mut shown = [0; 5];
    for _ in 0..200 {
        let mut data = [0; 80];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        for (shown, property) in shown.iter_mut().zip(properties) {
            *shown += u32::from(property(&data));
        }
    }
    assert!(shown.iter().all(|shown| *shown > 10), "{shown:?}");
}
