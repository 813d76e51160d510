//! Random scripts on the pool.

use std::cell::Cell;

use fulmar_tests::properties::pool::{
    pool_asks, pool_following_ops, pool_lanes, pool_ops, pool_shared_ops,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(250)
    }
}

/// At least 100,000 operations, or as many as `POOL_OPERATIONS` says: `just pool-model`.
#[test]
fn the_pool_agrees_with_a_model_that_searches_vectors() {
    let wanted = std::env::var("POOL_OPERATIONS").map_or(100_000, |operations| {
        operations.parse().expect("a number of operations")
    });
    let operations = Cell::new(0);
    while operations.get() < wanted {
        let scripts = prop::collection::vec(any::<u8>(), 0..2400);
        let run = TestRunner::new(config()).run(&scripts, |data| {
            operations.set(operations.get() + pool_ops(&data));
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{failure}"));
    }
    println!("{} operations, equal outcomes", operations.get());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lanes_are_served_by_their_shares_and_shed_from_below(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        pool_lanes(&data);
    }

    #[test]
    fn an_ask_gets_what_its_preview_says_and_nobody_is_forgotten(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        pool_asks(&data);
    }

    #[test]
    fn shared_connections_are_given_out_within_their_capacity(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        pool_shared_ops(&data);
    }

    #[test]
    fn a_route_follows_its_name_for_those_who_would_have_to_leave(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        pool_following_ops(&data);
    }
}

/// Scripts that upgrade and retire nothing would prove nothing.
#[test]
fn the_scripts_of_routes_that_follow_upgrade_and_retire() {
    let mut rng = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let mut shown = 0;
    for _ in 0..100 {
        let mut data = [0; 600];
        rand_core::Rng::fill_bytes(&mut rng, &mut data);
        shown += u32::from(pool_following_ops(&data));
    }
    assert!(shown > 90, "{shown}");
}
