//! Machines under clocks that jump.

use fulmar_tests::properties::jumps::{budget_jumps, dial_jumps, pool_jumps};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn the_pool_keeps_its_limits_whatever_the_clock_does(data in prop::collection::vec(any::<u8>(), 0..600)) {
        pool_jumps(&data);
    }

    #[test]
    fn a_dial_keeps_its_limits_whatever_the_clock_does(data in prop::collection::vec(any::<u8>(), 0..300)) {
        dial_jumps(&data);
    }

    #[test]
    fn a_budget_keeps_its_caps_whatever_the_clock_does(data in prop::collection::vec(any::<u8>(), 0..400)) {
        budget_jumps(&data);
    }
}
