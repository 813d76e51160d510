//! The close handshake: every cell of the table of POLICIES 5.3.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use fulmar_core::fault::FaultKind;
use fulmar_core::ws::{Cause, CloseCode, CloseError, Compress, Message, SendError, State};
use fulmar_tests::websocket::{Bench, at, close_frame, frame, quiet};

fn open() -> Bench {
    Bench::new(&quiet())
}

/// We sent Close 1000 at the origin.
fn local_closing() -> Bench {
    let mut bench = open();
    bench.ws.close(bench.now, CloseCode::NORMAL, "bye").unwrap();
    assert_eq!(bench.sent(), [(0x88, b"\x03\xe8bye".to_vec())]);
    assert_eq!(bench.ws.state(), State::LocalClosing);
    bench
}

/// We got Close 1001 and have not answered.
fn remote_closing() -> Bench {
    let mut bench = open();
    assert_eq!(bench.receive(&close_frame(1001, "restart")), (vec![], None));
    assert_eq!(bench.ws.state(), State::RemoteClosing);
    bench
}

fn ended(bench: &mut Bench) -> (u16, bool, Cause) {
    let closed = bench.events().1.expect("an end");
    assert!(bench.ws.is_done());
    assert_eq!(bench.ws.poll_timeout(), None);
    (closed.code.0, closed.clean, closed.cause)
}

#[test]
fn open_and_close_flushes_the_message_in_progress_and_gives_the_server_5_s() {
    let mut bench = open();
    bench.send(vec![0; 200 * 1024]);
    bench.ws.close(bench.now, CloseCode::NORMAL, "").unwrap();
    let sent = bench.sent();
    let bytes: usize = sent.iter().take(sent.len() - 1).map(|(_, p)| p.len()).sum();
    assert_eq!(bytes, 200 * 1024);
    assert_eq!(sent.last().unwrap().0, 0x88);
    assert_eq!(bench.ws.poll_timeout(), Some(at(5000)));
    let refused = bench
        .ws
        .send("late".into(), Compress::Auto, &mut bench.tx, &mut bench.rng);
    assert_eq!(refused, Err(SendError::Closed(Message::text("late"))));
}

#[test]
fn open_and_a_close_frame_is_echoed_and_the_server_has_1_s_to_end_the_transport() {
    let mut bench = remote_closing();
    assert_eq!(bench.sent(), [(0x88, b"\x03\xe9restart".to_vec())]);
    assert_eq!(bench.ws.state(), State::WaitEof);
    assert_eq!(bench.ws.poll_timeout(), Some(at(1000)));
    bench.pass_to(at(1000));
    assert_eq!(ended(&mut bench), (1001, true, Cause::Peer));
}

#[test]
fn open_and_an_empty_close_frame_is_echoed_empty_and_told_as_1005() {
    let mut bench = open();
    bench.receive(&frame(0x88, b""));
    assert_eq!(bench.sent(), [(0x88, vec![])]);
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1005, true, Cause::Peer));
}

#[test]
fn a_close_frame_stops_the_message_in_progress() {
    let mut bench = open();
    bench.send(vec![0; 100 * 1024]);
    bench.receive(&close_frame(1000, ""));
    assert_eq!(bench.sent().len(), 1, "the echo alone");
}

#[test]
fn open_and_eof_or_a_fault_is_1006() {
    let mut bench = open();
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1006, false, Cause::Eof));
    let mut bench = open();
    bench.ws.handle_fault(FaultKind::Reset);
    assert_eq!(
        ended(&mut bench),
        (1006, false, Cause::Fault(FaultKind::Reset))
    );
}

#[test]
fn local_closing_and_close_again_does_nothing() {
    let mut bench = local_closing();
    bench.ws.close(at(3000), CloseCode::GOING_AWAY, "").unwrap();
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.ws.poll_timeout(), Some(at(5000)));
}

#[test]
fn local_closing_and_the_answer_waits_1_s_for_the_end() {
    let mut bench = local_closing();
    bench.now = at(2000);
    bench.receive(&close_frame(1000, ""));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.ws.state(), State::WaitEof);
    assert_eq!(bench.ws.poll_timeout(), Some(at(3000)));
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1000, true, Cause::Local));
}

#[test]
fn local_closing_delivers_data_until_the_answer() {
    let mut bench = local_closing();
    assert_eq!(bench.message(&frame(0x81, b"last")), Message::text("last"));
    let after = [close_frame(1000, ""), frame(0x81, b"too late")].concat();
    assert_eq!(bench.receive(&after), (vec![], None));
    assert!(bench.rx.is_empty());
}

#[test]
fn local_closing_and_eof_or_a_fault_has_the_sent_code_and_is_not_clean() {
    let mut bench = local_closing();
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1000, false, Cause::Eof));
    let mut bench = local_closing();
    bench.ws.handle_fault(FaultKind::BrokenPipe);
    assert_eq!(
        ended(&mut bench),
        (1000, false, Cause::Fault(FaultKind::BrokenPipe))
    );
}

#[test]
fn local_closing_without_an_answer_is_a_close_timeout() {
    let mut bench = local_closing();
    bench.pass_to(at(4999));
    assert!(!bench.ws.is_done());
    bench.pass_to(at(5000));
    assert_eq!(ended(&mut bench), (1006, false, Cause::CloseTimeout));
}

#[test]
fn a_server_that_does_not_read_cannot_hold_up_the_close() {
    let mut bench = open();
    bench.send(vec![0; 1 << 20]);
    bench.ws.close(bench.now, CloseCode::NORMAL, "").unwrap();
    // Nothing is ever written.
    bench
        .ws
        .poll_transmit(bench.now, &mut bench.tx, &mut bench.rng);
    bench.ws.handle_timeout(at(5000), &mut bench.rng);
    assert_eq!(ended(&mut bench), (1006, false, Cause::CloseTimeout));
}

#[test]
fn both_sides_may_close_at_once() {
    let mut bench = open();
    bench.send(vec![0; 100 * 1024]);
    bench.ws.close(bench.now, CloseCode::NORMAL, "").unwrap();
    bench.receive(&close_frame(1001, ""));
    assert_eq!(bench.sent(), [(0x88, b"\x03\xe8".to_vec())], "ours, once");
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1001, true, Cause::Local));
}

/// The server's Close frame does not start the close timeout anew.
#[test]
fn a_close_that_crosses_the_servers_has_one_timeout() {
    let mut bench = open();
    bench.send(vec![0; 300_000]);
    let closed = bench.ws.close(bench.now, CloseCode::NORMAL, "");
    assert_eq!(closed, Ok(()));
    bench.now = at(3_000);
    bench.receive(&close_frame(1001, ""));
    bench.now = at(5_000);
    bench.ws.handle_timeout(bench.now, &mut bench.rng);
    assert!(bench.ws.is_done());
}

#[test]
fn remote_closing_ignores_all_but_the_end() {
    let mut bench = remote_closing();
    bench.ws.close(bench.now, CloseCode::NORMAL, "").unwrap();
    assert_eq!(bench.receive(&close_frame(1000, "")), (vec![], None));
    assert_eq!(bench.receive(b"\xff\xff\xff"), (vec![], None));
    bench.ws.handle_eof();
    assert_eq!(ended(&mut bench), (1001, true, Cause::Peer));
}

#[test]
fn remote_closing_and_a_write_error_is_not_clean() {
    let mut bench = remote_closing();
    bench.ws.handle_fault(FaultKind::Reset);
    assert_eq!(ended(&mut bench), (1001, false, Cause::Peer));
}

#[test]
fn codes_and_reasons_that_may_not_be_sent_are_refused_and_change_nothing() {
    let mut bench = open();
    for code in [0, 999, 1004, 1005, 1006, 1012, 1015, 2999, 5000] {
        let code = CloseCode(code);
        assert_eq!(
            bench.ws.close(bench.now, code, ""),
            Err(CloseError::Code(code))
        );
    }
    let long = "x".repeat(124);
    let refused = bench.ws.close(bench.now, CloseCode::NORMAL, &long);
    assert_eq!(refused, Err(CloseError::Reason(124)));
    assert!(bench.ws.is_open());
}

#[test]
fn a_violation_is_told_at_once_and_the_close_frame_is_best_effort() {
    let mut bench = open();
    let (_, closed) = bench.receive(b"\x83\x00");
    assert_eq!(closed.unwrap().code, CloseCode::PROTOCOL);
    assert!(!bench.ws.is_done());
    assert_eq!(bench.close_sent(), Some(1002));
    bench.pass_to(at(1000));
    assert!(bench.ws.is_done());
}
