//! Arbitrary traffic to a retry budget, beside its bounds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::budget::budget_ops(data));
