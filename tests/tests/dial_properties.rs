//! Happy eyeballs under every order of events.

use fulmar_tests::properties::dial::dial_steps;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_dial_keeps_its_gaps_and_its_limits_and_ends_by_its_deadline(
        data in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        dial_steps(&data);
    }
}
