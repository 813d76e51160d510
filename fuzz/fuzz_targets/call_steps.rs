//! Arbitrary facts to a call and its clocks, beside their reference models.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::call::call_steps(data));
