//! The cases of the Autobahn test suite, by its numbers, against the machine: an application that
//! echoes every message, and a server written here. Sections 12 and 13 are in `ws_deflate.rs`.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use fulmar_core::ws::{Config, Event, Limits};
use fulmar_tests::websocket::opcode::{BINARY, CLOSE, PONG, TEXT};
use fulmar_tests::websocket::{Bench, close_frame, frame, quiet};

/// What the client sends: the first byte without FIN, and the payload of the whole message.
type Sent = (u8, Vec<u8>);

struct Outcome {
    sent: Vec<Sent>,
    /// The code of the client's Close frame; 0 for an empty one.
    close: Option<u16>,
}

/// Plays the pieces, each in a read of its own, and then the server's Close frame.
fn play_with(config: &Config, pieces: &[&[u8]]) -> Outcome {
    let mut bench = Bench::new(config);
    let mut outcome = Outcome {
        sent: Vec::new(),
        close: None,
    };
    let mut partial: Option<Sent> = None;
    let end = close_frame(1000, "");
    for piece in pieces.iter().copied().chain([&end[..]]) {
        bench.rx.extend_from_slice(piece);
        bench.ws.handle_input(bench.now);
        while let Ok(Some(event)) = bench.ws.poll_event(bench.now, &mut bench.rx) {
            if let Event::Message(message) = event {
                bench.send(message);
                take(&mut bench, &mut partial, &mut outcome);
            }
        }
        take(&mut bench, &mut partial, &mut outcome);
    }
    outcome
}

fn take(bench: &mut Bench, partial: &mut Option<Sent>, outcome: &mut Outcome) {
    for (first, payload) in bench.sent() {
        match first & 0x0f {
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                outcome.close = Some(code.unwrap_or_default());
            }
            PONG => outcome.sent.push((PONG, payload)),
            0 => partial.as_mut().unwrap().1.extend(payload),
            opcode => *partial = Some((opcode, payload)),
        }
        if first & 0x80 != 0 && first & 0x0f < 8 {
            outcome.sent.extend(partial.take());
        }
    }
}

/// Plays the bytes in one read, in reads of three bytes, and byte by byte: all the same.
fn play(bytes: &[u8]) -> Outcome {
    let whole = play_with(&quiet(), &[bytes]);
    for size in [1, 3] {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        let cut = play_with(&quiet(), &pieces);
        assert_eq!(cut.sent, whole.sent, "in pieces of {size}");
        assert_eq!(cut.close, whole.close, "in pieces of {size}");
    }
    whole
}

fn echoes(number: &str, bytes: &[u8], sent: &[(u8, &[u8])]) {
    let outcome = play(bytes);
    let sent: Vec<Sent> = sent
        .iter()
        .map(|(op, payload)| (*op, payload.to_vec()))
        .collect();
    assert_eq!(outcome.sent, sent, "case {number}");
    assert_eq!(outcome.close, Some(1000), "case {number}");
}

fn fails(number: &str, bytes: &[u8], sent: &[(u8, &[u8])], code: u16) {
    let outcome = play(bytes);
    let sent: Vec<Sent> = sent
        .iter()
        .map(|(op, payload)| (*op, payload.to_vec()))
        .collect();
    assert_eq!(outcome.sent, sent, "case {number}");
    assert_eq!(outcome.close, Some(code), "case {number}");
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

#[test]
fn section_1_framing() {
    for (n, size) in [0, 125, 126, 127, 128, 65535, 65536]
        .into_iter()
        .enumerate()
    {
        let text = vec![b'*'; size];
        echoes(
            &format!("1.1.{}", n + 1),
            &frame(0x81, &text),
            &[(TEXT, &text)],
        );
        let bytes = vec![0xfe; size];
        echoes(
            &format!("1.2.{}", n + 1),
            &frame(0x82, &bytes),
            &[(BINARY, &bytes)],
        );
    }
    for (number, first, opcode) in [("1.1.8", 0x81, TEXT), ("1.2.8", 0x82, BINARY)] {
        let payload = vec![b'*'; 65536];
        let bytes = frame(first, &payload);
        let pieces: Vec<_> = bytes.chunks(997).collect();
        let outcome = play_with(&quiet(), &pieces);
        assert_eq!(outcome.sent, [(opcode, payload)], "case {number}");
    }
}

#[test]
fn section_2_pings_and_pongs() {
    let bytes = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    let long = [0xfe; 125];
    echoes("2.1", &frame(0x89, b""), &[(PONG, b"")]);
    echoes(
        "2.2",
        &frame(0x89, b"Hello, world!"),
        &[(PONG, b"Hello, world!")],
    );
    echoes("2.3", &frame(0x89, &bytes), &[(PONG, &bytes)]);
    echoes("2.4, 2.6", &frame(0x89, &long), &[(PONG, &long)]);
    fails("2.5", &frame(0x89, &[0xfe; 126]), &[], 1002);
    echoes("2.7", &frame(0x8a, b""), &[]);
    echoes("2.8", &frame(0x8a, b"unsolicited"), &[]);
    let pong_then_ping = join(&[frame(0x8a, b"unsolicited"), frame(0x89, b"ping")]);
    echoes("2.9", &pong_then_ping, &[(PONG, b"ping")]);
    let payloads: Vec<_> = (0..10).map(|n| format!("payload-{n}")).collect();
    let all: Vec<_> = payloads
        .iter()
        .map(|text| frame(0x89, text.as_bytes()))
        .collect();
    let pongs: Vec<_> = payloads
        .iter()
        .map(|text| (PONG, text.as_bytes()))
        .collect();
    echoes("2.10, 2.11", &all.concat(), &pongs);
}

#[test]
fn section_3_reserved_bits() {
    let hello = frame(0x81, b"Hello, world!");
    fails("3.1", &frame(0x81 | 0x10, b"Hello, world!"), &[], 1002);
    for (number, bits) in [("3.2", 0x20), ("3.3", 0x30), ("3.4", 0x40)] {
        let bytes = join(&[hello.clone(), frame(0x81 | bits, b"x"), frame(0x89, b"")]);
        fails(number, &bytes, &[(TEXT, b"Hello, world!")], 1002);
    }
    fails("3.5", &frame(0x82 | 0x50, &[0; 8]), &[], 1002);
    fails("3.6", &frame(0x89 | 0x60, b""), &[], 1002);
    fails("3.7", &frame(0x88 | 0x70, b""), &[], 1002);
}

#[test]
fn section_4_opcodes() {
    let hello = frame(0x81, b"Hello, world!");
    for opcode in (3..=7).chain(11..=15) {
        let number = format!("4.{}.x, opcode {opcode}", 1 + opcode / 11);
        fails(&number, &frame(0x80 | opcode, b""), &[], 1002);
        fails(&number, &frame(0x80 | opcode, b"reserved"), &[], 1002);
        let after = join(&[hello.clone(), frame(0x80 | opcode, b"x"), frame(0x89, b"")]);
        fails(&number, &after, &[(TEXT, b"Hello, world!")], 1002);
    }
}

#[test]
fn section_5_fragmentation() {
    let (a, b) = (b"fragment1", b"fragment2");
    let both: &[u8] = b"fragment1fragment2";
    let begin = || frame(0x01, a);
    let end = || frame(0x80, b);
    let ping = || frame(0x89, b"ping");
    fails("5.1", &join(&[frame(0x09, a), end()]), &[], 1002);
    fails("5.2", &join(&[frame(0x0a, a), end()]), &[], 1002);
    echoes("5.3 to 5.5", &join(&[begin(), end()]), &[(TEXT, both)]);
    let between = join(&[begin(), ping(), end()]);
    echoes("5.6 to 5.8", &between, &[(PONG, b"ping"), (TEXT, both)]);
    let text = || frame(0x81, b"Hello, world!");
    fails(
        "5.9 to 5.11",
        &join(&[frame(0x80, b"none"), text()]),
        &[],
        1002,
    );
    fails(
        "5.12 to 5.14",
        &join(&[frame(0x00, b"none"), text()]),
        &[],
        1002,
    );
    let then_none = join(&[begin(), end(), frame(0x00, b"none"), text()]);
    fails("5.15", &then_none, &[(TEXT, both)], 1002);
    let none_then_text = join(&[frame(0x00, a), frame(0x01, b), frame(0x80, b"x")]);
    fails("5.16", &none_then_text, &[], 1002);
    let none_then_text = join(&[frame(0x80, a), frame(0x01, b), frame(0x80, b"x")]);
    fails("5.17", &none_then_text, &[], 1002);
    fails("5.18", &join(&[begin(), frame(0x81, b)]), &[], 1002);
    let five = join(&[
        frame(0x01, b"1"),
        frame(0x00, b"2"),
        frame(0x89, b"first"),
        frame(0x00, b"3"),
        frame(0x00, b"4"),
        frame(0x89, b"second"),
        frame(0x80, b"5"),
    ]);
    echoes(
        "5.19, 5.20",
        &five,
        &[(PONG, b"first"), (PONG, b"second"), (TEXT, b"12345")],
    );
}

#[test]
fn section_6_utf_8() {
    let text = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!".as_bytes();
    echoes("6.1.1", &frame(0x81, b""), &[(TEXT, b"")]);
    let empty = join(&[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")]);
    echoes("6.1.2", &empty, &[(TEXT, b"")]);
    let middle = join(&[frame(0x01, b""), frame(0x00, b"middle"), frame(0x80, b"")]);
    echoes("6.1.3", &middle, &[(TEXT, b"middle")]);
    echoes("6.2.1", &frame(0x81, text), &[(TEXT, text)]);
    for cut in 0..=text.len() {
        let bytes = join(&[frame(0x01, &text[..cut]), frame(0x80, &text[cut..])]);
        echoes("6.2.2", &bytes, &[(TEXT, text)]);
    }
    let each: Vec<_> = text.iter().map(|byte| frame(0x00, &[*byte])).collect();
    let each = join(&[frame(0x01, b""), each.concat(), frame(0x80, b"")]);
    echoes("6.2.3", &each, &[(TEXT, text)]);
    echoes(
        "6.2.4",
        &frame(0x81, "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes()),
        &[(TEXT, "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes())],
    );
    let bad = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    fails("6.3.1", &frame(0x81, bad), &[], 1007);
    let each: Vec<_> = bad.iter().map(|byte| frame(0x00, &[*byte])).collect();
    let each = join(&[frame(0x01, b""), each.concat(), frame(0x80, b"")]);
    fails("6.3.2", &each, &[], 1007);
}

#[test]
fn section_6_4_fails_before_the_message_or_the_frame_is_whole() {
    for (number, bytes) in [
        (
            "6.4.1",
            join(&[
                frame(0x01, b"\xce\xba\xe1\xbd\xb9"),
                frame(0x00, b"\xf4\x90\x80\x80"),
            ]),
        ),
        (
            "6.4.2",
            join(&[frame(0x01, b"\xce\xba"), frame(0x00, b"\xf4\x90")]),
        ),
        (
            "6.4.3",
            b"\x81\x15\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80".to_vec(),
        ),
        ("6.4.4", b"\x81\x15\xce\xba\xe1\xbd\xb9\xf4\x90".to_vec()),
    ] {
        let mut bench = Bench::new(&quiet());
        let closed = bench.receive(&bytes).1.unwrap();
        assert_eq!(closed.code.0, 1007, "case {number}");
    }
}

/// Every sequence of Markus Kuhn's stress test that sections 6.5 to 6.23 are made of.
#[test]
fn sections_6_5_to_6_23_utf_8_sequences() {
    let valid: [&[u8]; 32] = [
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbf\xbe",
        b"\xf0\x9f\xbf\xbe",
        b"\xf0\x9f\xbf\xbf",
        b"\xf0\xaf\xbf\xbe",
        b"\xf0\xaf\xbf\xbf",
        b"\xf0\xbf\xbf\xbe",
        b"\xf0\xbf\xbf\xbf",
        b"\xf1\x8f\xbf\xbe",
        b"\xf1\x8f\xbf\xbf",
        b"\xf1\x9f\xbf\xbe",
        b"\xf1\x9f\xbf\xbf",
        b"\xf1\xaf\xbf\xbe",
        b"\xf1\xaf\xbf\xbf",
        b"\xf2\x8f\xbf\xbe",
        b"\xf2\xbf\xbf\xbf",
        b"\xf3\x8f\xbf\xbe",
        b"\xf3\xaf\xbf\xbf",
        b"\xf3\xbf\xbf\xbe",
        b"\xf3\xbf\xbf\xbf",
        b"\xf4\x8f\xbf\xbe",
        b"hello\x24world\xc2\xa2\xe2\x82\xac\xf0\xa4\xad\xa2",
    ];
    for sequence in valid {
        echoes(
            "6.5 to 6.9, 6.22, 6.23",
            &frame(0x81, sequence),
            &[(TEXT, sequence)],
        );
    }
    let invalid: [&[u8]; 44] = [
        b"\xce\xba\xe1\xbd",
        b"\xce\xba\xe1",
        b"\xce",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80",
        b"\x80\xbf\x80\xbf",
        b"\x80\xbf\x80\xbf\x80",
        b"\xc0\x20\xc1\x20",
        b"\xe0\x20\xe1\x20",
        b"\xf0\x20\xf1\x20",
        b"\xf8\x20",
        b"\xfc\x20",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
    ];
    for sequence in invalid {
        fails("6.6, 6.8 to 6.21", &frame(0x81, sequence), &[], 1007);
        let fragments = join(&[frame(0x01, sequence), frame(0x80, b"")]);
        fails("6.6, 6.8 to 6.21", &fragments, &[], 1007);
    }
}

#[test]
fn section_7_close() {
    let hello = frame(0x81, b"Hello World!");
    let close = close_frame(1000, "");
    let after = |more: Vec<u8>| join(&[hello.clone(), close.clone(), more]);
    echoes("7.1.1", &after(vec![]), &[(TEXT, b"Hello World!")]);
    echoes("7.1.2", &after(close.clone()), &[(TEXT, b"Hello World!")]);
    echoes(
        "7.1.3",
        &after(frame(0x89, b"")),
        &[(TEXT, b"Hello World!")],
    );
    echoes("7.1.4", &after(hello.clone()), &[(TEXT, b"Hello World!")]);
    let inside = join(&[frame(0x01, b"part"), close.clone(), frame(0x80, b"rest")]);
    echoes("7.1.5", &inside, &[]);
    fails("7.3.1", &frame(0x88, b""), &[], 0);
    fails("7.3.2", &frame(0x88, b"a"), &[], 1002);
    echoes("7.3.3", &close_frame(1000, ""), &[]);
    echoes("7.3.4", &close_frame(1000, "Hello World!"), &[]);
    echoes("7.3.5", &close_frame(1000, &"*".repeat(123)), &[]);
    fails(
        "7.3.6",
        &frame(0x88, &[&b"\x03\xe8"[..], &[b'*'; 124]].concat()),
        &[],
        1002,
    );
    let bad = [&b"\x03\xe8"[..], b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"].concat();
    fails("7.5.1", &frame(0x88, &bad), &[], 1007);
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        fails("7.7.x", &close_frame(code, ""), &[], code);
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999] {
        fails("7.9.x", &close_frame(code, ""), &[], 1002);
    }
    for code in [5000, 65535] {
        fails("7.13.x", &close_frame(code, ""), &[], 1002);
    }
}

#[test]
fn case_7_1_6_a_close_behind_much_data_is_answered() {
    let large = frame(0x82, &vec![0; 256 * 1024]);
    let outcome = play_with(&quiet(), &[&large, &frame(0x81, b"Hello World!")]);
    assert_eq!(outcome.sent.len(), 2);
    assert_eq!(outcome.close, Some(1000));
}

#[test]
fn section_9_sizes_fragments_and_chops() {
    let limit = 4 << 20;
    let config = quiet().limits(Limits::new().message(limit).frame(limit));
    for (number, size) in [
        ("9.1.1, 9.2.1", 64 << 10),
        ("9.1.2, 9.2.2", 256 << 10),
        ("9.1.3, 9.2.3", 1 << 20),
        ("9.1.4 to 9.1.6, 9.2.4 to 9.2.6", 4 << 20),
    ] {
        for (first, opcode) in [(0x81, TEXT), (0x82, BINARY)] {
            let payload = vec![b'*'; size];
            let bytes = frame(first, &payload);
            let pieces: Vec<_> = bytes.chunks(64 * 1024).collect();
            let outcome = play_with(&config, &pieces);
            assert!(outcome.sent == [(opcode, payload)], "case {number}");
        }
    }
    let payload = vec![b'*'; 256 << 10];
    for fragment in [
        64,
        256,
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
    ] {
        for (first, opcode) in [(0x01, TEXT), (0x02, BINARY)] {
            let config =
                config.limits(Limits::new().message(limit).frame(limit).fragments(1 << 20));
            let mut bytes = frame(first, b"");
            for piece in payload.chunks(fragment) {
                bytes.extend(frame(0x00, piece));
            }
            bytes.extend(frame(0x80, b""));
            let pieces: Vec<_> = bytes.chunks(16 * 1024).collect();
            let outcome = play_with(&config, &pieces);
            assert!(
                outcome.sent == [(opcode, payload.clone())],
                "9.3, 9.4: {fragment}"
            );
        }
    }
    for chop in [64, 128, 256, 512, 1024, 2048] {
        for (first, opcode) in [(0x81, TEXT), (0x82, BINARY)] {
            let bytes = frame(first, &payload);
            let pieces: Vec<_> = bytes.chunks(chop).collect();
            let outcome = play_with(&config, &pieces);
            assert!(
                outcome.sent == [(opcode, payload.clone())],
                "9.5, 9.6: {chop}"
            );
        }
    }
    for size in [0, 16, 64, 256, 1024, 4096] {
        let messages = frame(0x82, &vec![7; size]).repeat(1000);
        let pieces: Vec<_> = messages.chunks(8192).collect();
        let outcome = play_with(&quiet(), &pieces);
        assert_eq!(outcome.sent.len(), 1000, "9.7, 9.8: {size}");
    }
}

#[test]
fn section_10_fragments_of_1300_bytes() {
    let payload = vec![b'*'; 65536];
    let mut bytes = frame(0x01, b"");
    for piece in payload.chunks(1300) {
        bytes.extend(frame(0x00, piece));
    }
    bytes.extend(frame(0x80, b""));
    let outcome = play_with(&quiet().fragments(1300, 1300), &[&bytes]);
    assert_eq!(outcome.sent, [(TEXT, payload)]);
}
