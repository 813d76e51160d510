//! Arbitrary bytes as the deadline of a caller.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fulmar_tests::properties::deadlines::deadline_values(data);
});
