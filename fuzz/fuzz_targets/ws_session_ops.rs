//! Arbitrary commands to a session, an arbitrary server, and what became of each message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fulmar_tests::properties::ws::session::ws_session_ops(data);
});
