//! Arbitrary bytes as a response head, read by two parsers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fulmar_tests::properties::head::h1_heads_as_httparse(data);
});
