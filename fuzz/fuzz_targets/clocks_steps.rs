//! Arbitrary schedules to the clocks of a call, beside an oracle that reads the log again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::clocks::clocks_steps(data));
