//! The numbered invariants of the pool, by their numbers.

use fulmar_tests::properties::pool;
use proptest::prelude::*;

macro_rules! invariants {
    ($cases:literal; $($(#[$doc:meta])* $name:ident: $property:path, $most:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases($cases) })]
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
    300;
    i3_1_connections_add_up_and_stay_within_the_limits:
        pool::i3_1_connections_add_up_and_stay_within_the_limits, 1_500;
    i3_3_who_asked_first_is_served_first: pool::i3_3_who_asked_first_is_served_first, 1_500;
    i3_4_no_route_starves: pool::i3_4_no_route_starves, 800;
    i3_5_a_connection_is_in_one_place: pool::i3_5_a_connection_is_in_one_place, 1_500;
    i3_6_shared_connections_stay_within_their_capacity:
        pool::i3_6_shared_connections_stay_within_their_capacity, 1_500;
    i3_7_no_more_dials_than_askers: pool::i3_7_no_more_dials_than_askers, 1_500;
}

/// Fewer of those that take longer.
mod long {
    use super::*;

    invariants! {
        40;
        i3_7_a_cold_burst_opens_one_shared_connection:
            pool::i3_7_a_cold_burst_opens_one_shared_connection, 8;
        i3_8_the_work_of_one_tick_is_bounded: pool::i3_8_the_work_of_one_tick_is_bounded, 2_000;
        i3_9_a_killed_connection_fails_no_request:
            pool::i3_9_a_killed_connection_fails_no_request, 120;
    }

    #[test]
    fn i3_2_who_gives_up_leaves_nothing_behind() {
        for seed in 0..4 {
            let mut data = vec![0; 400_000];
            rand_core::Rng::fill_bytes(&mut rng(seed), &mut data);
            let (operations, cancelled) = pool::i3_2_who_gives_up_leaves_nothing_behind(&data);
            assert!(
                operations >= 100_000 && cancelled > 5_000,
                "{operations}, {cancelled}"
            );
        }
    }
}

/// Kills that never cost an attempt, or after which the budget decides, would prove nothing.
#[test]
fn the_kills_of_i3_9_cost_attempts() {
    let mut rng = rng(9);
    let (mut repeats, mut requests, mut over_budget) = (0, 0, 0);
    for _ in 0..100 {
        let mut data = [0; 120];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        let killed = pool::i3_9_a_killed_connection_fails_no_request(&data);
        repeats += killed.repeats;
        requests += killed.requests;
        over_budget += killed.over_budget;
    }
    println!("{repeats} repeats for {requests} requests, {over_budget} over budget");
    assert!(repeats > 50 && over_budget < requests / 20);
}

fn rng(seed: u8) -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::from_seed(
        proptest::test_runner::RngAlgorithm::ChaCha,
        &[seed; 32],
    )
}
