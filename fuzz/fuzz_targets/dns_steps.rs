//! Arbitrary questions and answers to the cache of names, beside its reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::dns::i4_6_cache_steps(data));
