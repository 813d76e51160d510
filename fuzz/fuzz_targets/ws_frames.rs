//! Arbitrary bytes to a WebSocket connection, cut in two ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fulmar_tests::properties::ws::input::ws_frames(data));
