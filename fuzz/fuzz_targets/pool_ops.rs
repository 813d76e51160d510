//! Arbitrary commands to the pool, beside its reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fulmar_tests::properties::pool::pool_ops(data);
});
