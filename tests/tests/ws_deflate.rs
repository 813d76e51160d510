//! permessage-deflate: POLICIES 5.8, RFC 7692, and sections 12 and 13 of the Autobahn suite. The
//! server compresses and decompresses with zlib on its own.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use fulmar_core::ws::{
    Agreed, Cause, Compress, Compression, Config, Limits, Message, Negotiated, Violation,
};
use fulmar_tests::websocket::{Bench, frame, quiet};
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

const ALL: Agreed = Agreed {
    client_bits: 15,
    server_bits: 15,
    client_takeover: true,
    server_takeover: true,
};

fn bench(config: &Config, agreed: Agreed) -> Bench {
    let negotiated = Negotiated {
        compression: Some(agreed),
        protocol: None,
    };
    Bench::negotiated(config, &negotiated)
}

fn open() -> Bench {
    bench(&quiet(), ALL)
}

/// The server's side.
struct Server {
    deflate: Deflate,
    inflate: Inflate,
    agreed: Agreed,
}

impl Server {
    fn new(agreed: Agreed) -> Self {
        Self {
            deflate: Deflate::new(6, false, agreed.server_bits.max(9)),
            inflate: Inflate::new(false, agreed.client_bits.max(9)),
            agreed,
        }
    }

    fn deflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bytes.len() * 2 + 1024];
        let before = self.deflate.total_out();
        self.deflate
            .compress(bytes, &mut out, DeflateFlush::SyncFlush)
            .unwrap();
        out.truncate((self.deflate.total_out() - before) as usize);
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        if !self.agreed.server_takeover {
            self.deflate.reset();
        }
        out
    }

    fn inflate(&mut self, bytes: &[u8], most: usize) -> Vec<u8> {
        if !self.agreed.client_takeover {
            self.inflate = Inflate::new(false, self.agreed.client_bits.max(9));
        }
        let input = [bytes, &[0, 0, 0xff, 0xff]].concat();
        let mut out = vec![0; most + 64];
        let before = self.inflate.total_out();
        self.inflate
            .decompress(&input, &mut out, InflateFlush::SyncFlush)
            .unwrap();
        out.truncate((self.inflate.total_out() - before) as usize);
        out
    }
}

fn json(n: usize, size: usize) -> Vec<u8> {
    let item = format!("{{\"id\":{n},\"name\":\"the quick brown fox {n}\",\"ok\":true}},");
    item.bytes().cycle().take(size).collect()
}

#[test]
fn sections_12_and_13_every_size_and_every_agreement() {
    let no = |agreed: Agreed| Agreed {
        server_takeover: false,
        client_takeover: false,
        ..agreed
    };
    let bits = |client_bits, server_bits| Agreed {
        client_bits,
        server_bits,
        ..ALL
    };
    for agreed in [
        ALL,
        no(ALL),
        bits(9, 9),
        no(bits(9, 9)),
        bits(15, 8),
        bits(8, 15),
    ] {
        for size in [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072] {
            let mut server = Server::new(agreed);
            let mut bench = bench(&quiet(), agreed);
            for n in 0..6 {
                let plain = json(n, size);
                let packed = server.deflate(&plain);
                // In one frame, and every second time in fragments of 100 bytes.
                let message = if n % 2 == 0 {
                    bench.message(&frame(0xc1, &packed))
                } else {
                    let mut bytes = frame(0x41, b"");
                    for piece in packed.chunks(100) {
                        bytes.extend(frame(0x00, piece));
                    }
                    bytes.extend(frame(0x80, b""));
                    bench.message(&bytes)
                };
                assert!(message.as_bytes() == plain, "{agreed:?} {size}");
                bench.send(message);
                let sent = bench.sent();
                let compressed = sent[0].0 & 0x40 != 0;
                assert_eq!(
                    compressed,
                    size >= 1024 && agreed.client_bits > 8,
                    "{agreed:?} {size}"
                );
                assert!(sent[1..].iter().all(|(first, _)| first & 0x70 == 0));
                let payload: Vec<u8> = sent.into_iter().flat_map(|(_, payload)| payload).collect();
                let echoed = if compressed {
                    server.inflate(&payload, size)
                } else {
                    payload
                };
                assert!(echoed == plain, "{agreed:?} {size}");
            }
        }
    }
}

#[test]
fn examples_of_rfc_7692_section_7_2_3() {
    let hello = Message::text("Hello");
    let one: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut bench = open();
    assert_eq!(bench.message(&frame(0xc1, one)), hello);
    let fragments = [frame(0x41, &one[..3]), frame(0x80, &one[3..])].concat();
    assert_eq!(open().message(&fragments), hello);
    // With a window that outlives the message.
    assert_eq!(
        bench.message(&frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00])),
        hello
    );
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(open().message(&frame(0xc1, &stored)), hello);
    let final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let mut again = open();
    for _ in 0..3 {
        assert_eq!(again.message(&frame(0xc1, &final_block)), hello);
    }
    let ends_there = &final_block[..7];
    assert_eq!(again.message(&frame(0xc1, ends_there)), hello);
    assert_eq!(again.message(&frame(0xc1, one)), hello);
    let two_blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(open().message(&frame(0xc1, &two_blocks)), hello);
    assert_eq!(
        open().message(&frame(0xc1, b"\0")),
        Message::text(""),
        "an empty message"
    );
}

#[test]
fn the_bit_of_compression_is_for_the_first_frame_of_a_message_alone() {
    for bytes in [
        frame(0xc9, b""),
        frame(0xc8, b""),
        [frame(0x41, b"\xf2"), frame(0xc0, b"\x48")].concat(),
        [frame(0x01, b"a"), frame(0xc0, b"b")].concat(),
    ] {
        let closed = open().receive(&bytes).1.unwrap();
        assert_eq!(closed.cause, Cause::Violation(Violation::Compressed));
        assert_eq!(closed.code.0, 1002);
    }
}

#[test]
fn what_is_not_deflate_fails_with_1007() {
    for payload in [&[0xff, 0xff, 0xff][..], &[0x07, 0x00], &[0xf2, 0x00, 0x11]] {
        let closed = open().receive(&frame(0xc2, payload)).1.unwrap();
        assert_eq!(closed.code.0, 1007, "{payload:x?}");
    }
}

#[test]
fn a_bomb_is_noticed_within_a_step_of_16_kib() {
    let limits = Limits::new().message(1 << 20).frame(1 << 20);
    let mut server = Server::new(ALL);
    let bomb = server.deflate(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let mut bench = bench(&quiet().limits(limits), ALL);
    let bytes = frame(0xc2, &bomb);
    let mut most = 0;
    let mut closed = None;
    for piece in bytes.chunks(64) {
        closed = bench.receive(piece).1;
        most = most.max(bench.ws.buffered());
        if closed.is_some() {
            break;
        }
    }
    let closed = closed.unwrap();
    assert_eq!(closed.cause, Cause::Violation(Violation::MessageTooLarge));
    assert_eq!(closed.code.0, 1009);
    assert!(most <= (1 << 20) + 16 * 1024 + 1, "{most}");
}

#[test]
fn a_compressed_message_of_exactly_the_limit_is_taken() {
    let limits = Limits::new().message(50_000).frame(50_000);
    for (size, fits) in [(50_000, true), (50_001, false)] {
        let packed = Server::new(ALL).deflate(&json(1, size));
        let mut bench = bench(&quiet().limits(limits), ALL);
        let (events, closed) = bench.receive(&frame(0xc1, &packed));
        assert_eq!(
            (events.len() == 1, closed.is_none()),
            (fits, fits),
            "{size}"
        );
    }
}

#[test]
fn text_is_checked_after_decompression_as_it_comes() {
    let mut bad = json(1, 40_000);
    bad[20_000] = 0xff;
    let packed = Server::new(ALL).deflate(&bad);
    let closed = open().receive(&frame(0xc1, &packed)).1.unwrap();
    assert_eq!(closed.cause, Cause::Violation(Violation::Utf8));
}

#[test]
fn sensitive_short_and_incompressible_messages_go_out_as_they_are() {
    let mut bench = open();
    let first = |bench: &mut Bench| bench.sent()[0].0;
    bench.send(json(1, 1023));
    assert_eq!(first(&mut bench), 0x82, "short");
    bench.send(json(1, 1024));
    assert_eq!(first(&mut bench), 0xc2);
    let secret = Message::binary(json(1, 4096));
    bench
        .ws
        .send(secret, Compress::Never, &mut bench.tx, &mut bench.rng)
        .unwrap();
    assert_eq!(first(&mut bench), 0x82, "sensitive");
    let mut state = 1_u64;
    let mut noise = || {
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..2048).map(|_| byte()).collect::<Vec<u8>>()
    };
    let mut tried = 0;
    for _ in 0..80 {
        bench.send(noise());
        tried += usize::from(first(&mut bench) == 0xc2);
    }
    assert!((8..=10).contains(&tried), "{tried}");
    bench.send(String::from_utf8(json(1, 4096)).unwrap());
    assert_eq!(first(&mut bench), 0xc1, "texts are counted apart");
}

#[test]
fn plain_messages_between_compressed_ones_are_fine() {
    let mut server = Server::new(ALL);
    let mut bench = open();
    for n in 0..10 {
        let plain = json(n, 2000);
        let packed = server.deflate(&plain);
        assert!(bench.message(&frame(0xc2, &packed)).as_bytes() == plain);
        assert!(bench.message(&frame(0x82, &plain)).as_bytes() == plain);
    }
}

#[test]
fn the_low_memory_settings_work_with_their_own_agreement() {
    let agreed = Agreed {
        client_bits: 12,
        server_bits: 12,
        client_takeover: false,
        server_takeover: false,
    };
    let mut server = Server::new(agreed);
    let mut bench = bench(&quiet().compression(Compression::low_memory()), agreed);
    for n in 0..5 {
        let plain = json(n, 20_000);
        bench.send(plain.clone());
        let (first, payload) = bench.sent().remove(0);
        assert_eq!(first, 0xc2);
        assert!(server.inflate(&payload, 20_000) == plain);
    }
}

#[test]
fn a_message_that_ends_with_a_final_block_is_the_same_however_it_is_cut() {
    let hello = Message::text("Hello");
    let one: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for message in [
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
    ] {
        for cut in 0..=message.len() {
            for second in cut..=message.len() {
                let pieces = [
                    frame(0x41, &message[..cut]),
                    frame(0x00, &message[cut..second]),
                    frame(0x80, &message[second..]),
                ];
                let what = format!("{} bytes, cut at {cut} and {second}", message.len());
                let mut bench = open();
                assert_eq!(bench.message(&pieces.concat()), hello, "{what}");
                assert_eq!(bench.message(&frame(0xc1, one)), hello, "after {what}");
                // Byte by byte.
                let mut bench = open();
                let bytes = [&pieces.concat()[..], &frame(0xc1, one)].concat();
                let mut events = Vec::new();
                for byte in bytes {
                    let (some, closed) = bench.receive(&[byte]);
                    assert_eq!(closed, None, "{what}");
                    events.extend(some);
                }
                assert_eq!(events.len(), 2, "{what}");
            }
        }
    }
}

#[test]
fn every_level_and_window_is_read_back_with_no_larger_a_window() {
    let mut state = 7_u32;
    // Repeats of itself from any distance, and noise between.
    let mut plain = Vec::new();
    while plain.len() < 100_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let far = (state >> 8) as usize % 40_000;
        let from = plain.len().saturating_sub(far + 1);
        let copy = plain[from..(from + far % 300).min(plain.len())].to_vec();
        plain.extend(copy);
        plain.push((state >> 24) as u8);
    }
    for level in 0..=9 {
        for client_bits in 8..=15 {
            for client_takeover in [true, false] {
                let agreed = Agreed {
                    client_bits,
                    client_takeover,
                    ..ALL
                };
                let compression = Compression::new().level(level).threshold(1);
                let mut server = Server::new(agreed);
                let mut bench = bench(&quiet().compression(compression), agreed);
                for size in [1, 2, 63, 64, 65, 1000, 16_384, 100_000] {
                    bench.send(plain[..size].to_vec());
                    let sent = bench.sent();
                    let is_packed = sent[0].0 & 0x40 != 0;
                    let payload: Vec<u8> = sent.into_iter().flat_map(|(_, bytes)| bytes).collect();
                    let echoed = if is_packed {
                        server.inflate(&payload, size)
                    } else {
                        payload
                    };
                    let what = format!("level {level}, {client_bits} bits, {size} bytes");
                    assert!(echoed == plain[..size], "{what}");
                }
            }
        }
    }
}
