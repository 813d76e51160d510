//! Random scripts on the clocks of a call.

use fulmar_tests::properties::clocks::{a_pause_only_moves_deadlines, clocks_steps};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn the_clocks_agree_with_an_oracle_that_reads_the_log_again(data in prop::collection::vec(any::<u8>(), 0..400)) {
        clocks_steps(&data);
    }

    #[test]
    fn a_pause_of_the_application_only_moves_deadlines(data in prop::collection::vec(any::<u8>(), 0..400)) {
        a_pause_only_moves_deadlines(&data);
    }
}
