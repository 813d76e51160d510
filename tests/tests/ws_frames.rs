//! Frames, messages, limits and masks: POLICIES 5.9 and 5.10, appendix A.9.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::collections::BTreeSet;

use bytes::Buf;
use fulmar_core::ws::{Cause, Compress, Event, Limits, Message, SendError, Violation};
use fulmar_tests::websocket::{Bench, frame, quiet};

fn violation_of(bench: &mut Bench, bytes: &[u8]) -> (Violation, Option<u16>) {
    let (_, closed) = bench.receive(bytes);
    let closed = closed.expect("the connection fails");
    let Cause::Violation(violation) = closed.cause else {
        panic!("{closed:?}");
    };
    assert_eq!(violation.close_code(), closed.code);
    let again = bench.events().1.unwrap();
    assert_eq!(again, closed, "the end is the same each time");
    (violation, bench.close_sent())
}

#[test]
fn malformed_frames_of_the_vectors_fail_the_connection_with_their_code() {
    let ping = frame(0x89, &[0; 126]);
    let inside = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    for (bytes, violation, code) in [
        (&b"\x81\x81\0\0\0\0a"[..], Violation::Masked, 1002),
        (b"\x83\x00", Violation::Opcode(3), 1002),
        (&ping, Violation::ControlTooLong, 1002),
        (b"\x09\x00", Violation::ControlFragmented, 1002),
        (b"\xa1\x00", Violation::ReservedBits, 1002),
        (b"\x91\x00", Violation::ReservedBits, 1002),
        (b"\xc1\x00", Violation::ReservedBits, 1002),
        (b"\xc9\x00", Violation::ReservedBits, 1002),
        (b"\x80\x00", Violation::Continuation, 1002),
        (&inside, Violation::Interleaved, 1002),
        (b"\x82\x7e\x00\x7d", Violation::LengthNotMinimal, 1002),
        (
            b"\x82\x7f\x80\0\0\0\0\0\0\0",
            Violation::LengthTooLong,
            1002,
        ),
        (
            b"\x81\x7f\0\0\0\0\x7f\0\0\0",
            Violation::FrameTooLarge,
            1009,
        ),
        (b"\x81\x02\xc0\xaf", Violation::Utf8, 1007),
        (b"\x88\x01\x03", Violation::CloseLength, 1002),
        (b"\x88\x02\x03\xed", Violation::CloseCode(1005), 1002),
        (b"\x88\x03\x03\xe8\xff", Violation::CloseReason, 1007),
    ] {
        let mut bench = Bench::new(&quiet());
        let found = violation_of(&mut bench, bytes);
        assert_eq!(found, (violation, Some(code)), "{bytes:x?}");
    }
}

#[test]
fn a_text_fails_with_its_second_byte_before_the_frame_is_whole() {
    let mut bench = Bench::new(&quiet());
    assert_eq!(bench.receive(b"\x81\x10ok"), (vec![], None));
    assert_eq!(bench.receive(b"\xe2").1, None, "may still be a character");
    assert_eq!(violation_of(&mut bench, b"\x28").0, Violation::Utf8);
    let mut overlong = Bench::new(&quiet());
    assert_eq!(
        violation_of(&mut overlong, b"\x81\x10\xc0\xaf"),
        (Violation::Utf8, Some(1007))
    );
}

#[test]
fn a_message_may_be_as_large_as_its_limit_and_not_a_byte_larger() {
    let limits = Limits::new().message(1000).frame(600);
    let bench = || Bench::new(&quiet().limits(limits));
    let first = frame(0x02, &[1; 600]);
    let message = bench().message(&[&first[..], &frame(0x80, &[2; 400])].concat());
    assert_eq!(message.len(), 1000);
    // The head alone is enough to refuse it.
    for (head, violation) in [
        (
            [&first[..], &b"\x80\x7e\x01\x91"[..]].concat(),
            Violation::MessageTooLarge,
        ),
        (b"\x82\x7e\x02\x59".to_vec(), Violation::FrameTooLarge),
    ] {
        assert_eq!(violation_of(&mut bench(), &head), (violation, Some(1009)));
    }
}

#[test]
fn fragments_and_empty_fragments_are_counted() {
    let limits = Limits::new().fragments(4).empty_fragments(2);
    let bench = || Bench::new(&quiet().limits(limits));
    let one = frame(0x00, b"x");
    let begin = frame(0x01, b"x");
    let five = [&begin[..], &one, &one, &one, &one].concat();
    assert_eq!(
        violation_of(&mut bench(), &five),
        (Violation::TooManyFragments, Some(1008))
    );
    let four = [&begin[..], &one, &one, &frame(0x80, b"")].concat();
    assert_eq!(bench().message(&four), Message::text("xxx"));
    let empty = [&begin[..], &frame(0, b""), &frame(0, b""), &frame(0, b"")].concat();
    assert_eq!(
        violation_of(&mut bench(), &empty),
        (Violation::EmptyFragments, Some(1008))
    );
}

#[test]
fn control_frames_between_fragments_are_answered_at_once() {
    let mut bench = Bench::new(&quiet());
    assert_eq!(bench.receive(&frame(0x01, b"Hel")), (vec![], None));
    assert_eq!(bench.receive(&frame(0x89, b"?")), (vec![], None));
    assert_eq!(bench.sent(), [(0x8a, b"?".to_vec())]);
    assert_eq!(bench.message(&frame(0x80, b"lo")), Message::text("Hello"));
}

#[test]
fn every_frame_has_a_mask_of_its_own() {
    let mut bench = Bench::new(&quiet());
    for _ in 0..100 {
        bench.send("same");
    }
    let keys: BTreeSet<_> = bench.written().iter().map(|frame| frame.key).collect();
    assert_eq!(keys.len(), 100);
}

#[test]
fn a_message_over_64_kib_goes_out_in_16_kib_frames_with_control_frames_between() {
    let mut bench = Bench::new(&quiet());
    bench.send(vec![7; 64 * 1024]);
    assert_eq!(bench.sent().len(), 1, "not fragmented at 64 KiB");
    bench.send(vec![7; 100 * 1024]);
    bench.receive(&frame(0x89, b"now"));
    let sent = bench.sent();
    let firsts: Vec<u8> = sent.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [0x8a, 0x02, 0, 0, 0, 0, 0, 0x80]);
    assert!(
        sent[1..7]
            .iter()
            .all(|(_, payload)| payload.len() == 16 * 1024)
    );
    let total: usize = sent[1..].iter().map(|(_, payload)| payload.len()).sum();
    assert_eq!(total, 100 * 1024);
}

#[test]
fn while_enough_waits_to_be_written_a_message_is_given_back() {
    let mut bench = Bench::new(&quiet());
    bench.send(vec![1; 40 * 1024]);
    bench.send(vec![2; 40 * 1024]);
    assert!(!bench.ws.is_ready(&bench.tx));
    let third = Message::binary(vec![3; 10]);
    let refused = bench
        .ws
        .send(third.clone(), Compress::Auto, &mut bench.tx, &mut bench.rng);
    assert_eq!(refused, Err(SendError::Full(third)));
    assert_eq!(bench.written().len(), 2);
    assert!(bench.ws.is_ready(&bench.tx));
}

#[test]
fn many_small_messages_leave_in_one_chunk() {
    let mut bench = Bench::new(&quiet());
    for n in 0..100_u32 {
        bench.send(n.to_string());
    }
    assert_eq!(bench.tx.chunks(), 1);
    assert_eq!(bench.sent().len(), 100);
}

#[test]
fn of_more_pings_than_can_wait_the_latest_are_answered() {
    let mut bench = Bench::new(&quiet());
    let pings: Vec<u8> = (0..40_u8).flat_map(|n| frame(0x89, &[n])).collect();
    bench.receive(&pings);
    let sent = bench.sent();
    assert_eq!(sent.len(), 16);
    assert_eq!(sent.last(), Some(&(0x8a, vec![39])));
}

#[test]
fn over_100_pings_a_second_for_ten_seconds_close_with_1008() {
    let mut bench = Bench::new(&quiet());
    let mut closed = None;
    for millis in (0..12_000).step_by(8) {
        bench.now = fulmar_tests::websocket::at(millis);
        closed = bench.receive(&frame(0x89, b"")).1;
        if closed.is_some() {
            break;
        }
        bench.written();
    }
    let closed = closed.expect("a flood");
    assert_eq!(closed.cause, Cause::Violation(Violation::PingFlood));
    assert_eq!(bench.now.as_nanos() / 1_000_000_000, 10);
    let mut patient = Bench::new(&quiet());
    for millis in (0..30_000).step_by(10) {
        patient.now = fulmar_tests::websocket::at(millis);
        assert_eq!(patient.receive(&frame(0x89, b"")).1, None, "100 a second");
        patient.written();
    }
}

#[test]
fn frames_that_follow_each_other_in_one_read_are_all_told() {
    let mut bench = Bench::new(&quiet());
    let bytes = [frame(0x81, b"one"), frame(0x82, b"two"), frame(0x81, b"")].concat();
    let (events, closed) = bench.receive(&bytes);
    let messages = [
        Message::text("one"),
        Message::binary(&b"two"[..]),
        Message::text(""),
    ];
    assert_eq!(events, messages.map(Event::Message));
    assert!(closed.is_none() && bench.rx.is_empty());
}

#[test]
fn a_large_frame_says_how_much_room_it_wants() {
    let mut bench = Bench::new(&quiet());
    let bytes = frame(0x82, &vec![0; 100_000]);
    bench.receive(&bytes[..1010]);
    assert_eq!(bench.ws.wanted(&bench.rx), 99_000);
    assert_eq!(bench.message(&bytes[1010..]).len(), 100_000);
    assert_eq!(bench.ws.wanted(&bench.rx), 0);
}

#[test]
fn a_head_that_promises_much_gets_room_for_little_more_than_came() {
    const LIMIT: usize = 16 << 20;
    let limits = Limits::default().frame(LIMIT).message(LIMIT);
    let mut bench = Bench::new(&quiet().limits(limits));
    let bytes = frame(0x82, &vec![0; LIMIT]);
    let mut cut = 0;
    for len in [1_010, 300_010, 6_000_010] {
        bench.receive(&bytes[cut..len]);
        cut = len;
        let wanted = bench.ws.wanted(&bench.rx);
        let most = (4 * (len - 10)).max(256 * 1024);
        assert_eq!(wanted, most.min(LIMIT - (len - 10)), "{len} bytes came");
    }
}

#[test]
fn a_message_for_which_there_was_room_is_taken_though_pongs_were_written_since() {
    let mut bench = Bench::new(&quiet());
    while bench.ws.is_ready(&bench.tx) {
        bench.send(Message::binary(vec![1; 1_000]));
    }
    // Room for one byte, and the server's pings fill it.
    bench.tx.advance(bench.tx.len() - (64 * 1024 - 1));
    assert!(bench.ws.is_ready(&bench.tx));
    for _ in 0..16 {
        bench.receive(&frame(0x89, &[9; 125]));
        bench
            .ws
            .poll_transmit(bench.now, &mut bench.tx, &mut bench.rng);
    }
    assert!(!bench.ws.is_ready(&bench.tx));
    bench.send(Message::text("taken"));
}
