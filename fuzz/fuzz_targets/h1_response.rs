//! Arbitrary bytes as a response, in arbitrary pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::h1::h1_response(data));
