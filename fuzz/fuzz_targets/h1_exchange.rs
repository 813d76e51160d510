//! Arbitrary commands and bytes through whole exchanges of one connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::h1::h1_exchange(data));
