//! The numbered invariants of retries and deadlines, by their numbers.
//!
//! I1.1 and I1.6 are also shown on the wire, in `fate_matrix`; I1.8 and I2.6 with the whole client,
//! in `client_scenarios`.

use fulmar_tests::properties::call::lives;
use fulmar_tests::properties::{attempts, backoff, clocks, deadlines, retry_after, speed};
use proptest::prelude::*;

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident: $property:path, $most:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
            $(
                $(#[$doc])*
                #[test]
                fn $name(data in prop::collection::vec(any::<u8>(), 0..$most)) {
                    $property(&data);
                }
            )*
        }
    };
}

invariants! {
    i1_1_nothing_follows_what_may_have_been_processed:
        lives::i1_1_nothing_follows_what_may_have_been_processed, 1_000;
    i1_2_attempts_are_bounded: lives::i1_2_attempts_are_bounded, 1_000;
    i1_3_nothing_starts_at_the_deadline_or_later:
        lives::i1_3_nothing_starts_at_the_deadline_or_later, 1_000;
    i1_4_a_delay_is_between_zero_and_its_longest: backoff::backoff_delays, 140;
    i1_5_retries_stay_within_the_budget: lives::i1_5_retries_stay_within_the_budget, 1_000;
    i1_6_attempts_send_the_same_bytes: attempts::i1_6_attempts_send_the_same_bytes, 120;
    i1_7_a_call_has_one_end_and_one_label: lives::i1_7_a_call_has_one_end_and_one_label, 1_000;
    i1_8_a_call_at_rest_holds_nothing: attempts::i1_8_a_call_at_rest_holds_nothing, 120;
    i1_9_the_same_facts_give_the_same_decisions:
        lives::i1_9_the_same_facts_give_the_same_decisions, 1_000;
    i1_10_any_bytes_are_a_wait_or_none: retry_after::retry_after_values, 80;
    i2_1_the_limit_that_ran_out_is_the_one_that_an_oracle_finds: clocks::clocks_steps, 400;
    i2_2_never_early_and_never_late: deadlines::i2_2_never_early_and_never_late, 300;
    i2_3_asking_changes_nothing: deadlines::i2_3_asking_changes_nothing, 300;
    i2_4_suspended_clocks_do_not_advance: clocks::a_pause_only_moves_deadlines, 400;
    i2_5_no_time_is_unaccounted: deadlines::i2_5_no_time_is_unaccounted, 300;
    i2_6_what_is_told_of_a_deadline_shrinks:
        deadlines::i2_6_what_is_told_of_a_deadline_shrinks, 200;
    any_bytes_are_a_deadline_or_none: deadlines::deadline_values, 20;
    a_body_is_too_slow_at_the_very_second_that_an_oracle_finds: speed::min_speed, 200;
}

/// Scripts that repeat nothing and rest nowhere would prove nothing.
#[test]
fn the_scripts_of_i1_6_and_i1_8_repeat_and_rest() {
    let mut rng = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let (mut repeats, mut rests) = (0, 0);
    for _ in 0..200 {
        let mut data = [0; 120];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        repeats += attempts::i1_6_attempts_send_the_same_bytes(&data);
        rests += attempts::i1_8_a_call_at_rest_holds_nothing(&data);
    }
    assert!(repeats > 60, "{repeats}");
    assert!(rests > 60, "{rests}");
}
