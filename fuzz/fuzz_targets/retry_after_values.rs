//! Arbitrary bytes as `Retry-After`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fulmar_tests::properties::retry_after::retry_after_values(data);
});
