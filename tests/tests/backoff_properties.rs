//! Delays, and the draws behind them, for any settings.

use fulmar_tests::properties::backoff::{a_draw_is_within_its_range, backoff_delays};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_delay_is_within_its_bounds_for_any_settings(data in prop::collection::vec(any::<u8>(), 0..140)) {
        backoff_delays(&data);
    }

    #[test]
    fn a_draw_is_within_its_range_for_any_words(data in prop::collection::vec(any::<u8>(), 0..40)) {
        a_draw_is_within_its_range(&data);
    }
}
