//! Random scripts on calls.

use fulmar_tests::properties::call::call_steps;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_call_decides_as_specified_whatever_the_facts(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        call_steps(&data);
    }
}
