//! What comes of any bytes, cut anywhere: I5.6, and I5.4 for one connection.

use std::sync::Arc;

use fulmar_core::ws::{Agreed, Closed, Compression, Config, Event, Limits, Negotiated};

use crate::properties::script::Script;
use crate::websocket::{Bench, frame, quiet};

/// Limits small enough for scripts to reach: of a message, of a frame. The second are below what one
/// short frame may hold.
const SMALL: [[usize; 2]; 2] = [[2000, 1000], [90, 60]];

fn config([message, frame]: [usize; 2]) -> Config {
    let limits = Limits::new()
        .message(message)
        .frame(frame)
        .fragments(6)
        .empty_fragments(3);
    quiet().limits(limits)
}

/// Both sides compress, with the longest windows.
pub(super) fn compressed() -> Negotiated {
    Negotiated {
        protocol: None,
        compression: Some(Agreed {
            client_bits: 15,
            server_bits: 15,
            client_takeover: true,
            server_takeover: true,
        }),
    }
}

/// A compressed message as a server sends it, from this crate's compressor on the other side.
struct Packer(Bench);

impl Packer {
    fn new() -> Self {
        let compression = Compression::default().threshold(0);
        Self(Bench::negotiated(
            &quiet().compression(compression),
            &compressed(),
        ))
    }

    /// The message's payload in one to three frames.
    fn pack(&mut self, message: &[u8], script: &mut Script<'_>) -> Vec<u8> {
        self.0.send(message.to_vec());
        let sent = self.0.sent().remove(0);
        let (opcode, payload) = (sent.0 & 0x42, sent.1);
        let pieces = payload.len().div_ceil(script.below(3) + 1).max(1);
        let count = payload.chunks(pieces).count();
        let frames = payload.chunks(pieces).enumerate().flat_map(|(n, piece)| {
            let opcode = if n == 0 { opcode } else { 0 };
            frame(if n + 1 == count { 0x80 } else { 0 } | opcode, piece)
        });
        frames.collect()
    }
}

/// What a server may send, and what it may not.
fn wire(script: &mut Script<'_>) -> Vec<u8> {
    let mut packer = Packer::new();
    let mut bytes = Vec::new();
    while !script.is_over() && bytes.len() < 20_000 {
        let first = match script.below(18) {
            0..=4 => 0x81,
            5..=6 => 0x82,
            7 => 0x01,
            8 => 0x00,
            9 => 0x80,
            10 => 0x89,
            11 => 0x8a,
            12 => 0xc1,
            13 => 0x88,
            14 => script.byte(),
            15 | 16 => {
                let message = payload(0x82, script);
                bytes.extend(packer.pack(&message, script));
                continue;
            }
            _ => {
                let raw = script.below(6);
                bytes.extend((0..raw).map(|_| script.byte()));
                continue;
            }
        };
        let payload = payload(first, script);
        bytes.extend(frame(first, &payload));
    }
    bytes
}

fn payload(first: u8, script: &mut Script<'_>) -> Vec<u8> {
    match script.below(4) {
        _ if first == 0x88 => 1000_u16.to_be_bytes().to_vec(),
        0 => Vec::new(),
        1 => "a\u{e9}\u{20ac}\u{1f600}"
            .as_bytes()
            .repeat(script.below(120)),
        2 => vec![b'x'; script.below(1300)],
        _ => {
            let len = script.below(20);
            (0..len).map(|_| script.byte()).collect()
        }
    }
}

type Heard = (Vec<Event>, Option<Arc<Closed>>, Vec<(u8, Vec<u8>)>);

/// What comes of the bytes, given in those pieces; memory is watched on the way. With `short`, what
/// is one short frame is asked for first, as drivers do.
fn hear<'a>(
    negotiated: &Negotiated,
    limits: [usize; 2],
    pieces: impl Iterator<Item = &'a [u8]>,
    short: bool,
) -> Heard {
    let [message, frame] = limits;
    let mut bench = Bench::negotiated(&config(limits), negotiated);
    let mut heard: Heard = Default::default();
    for piece in pieces {
        bench.rx.extend_from_slice(piece);
        bench.ws.handle_input(bench.now);
        heard.1 = read(&mut bench, &mut heard.0, short);
        if heard.1.is_some() {
            break;
        }
        assert!(bench.ws.buffered() <= message, "I5.4: what is kept");
        assert!(
            bench.rx.len() < frame.max(125) + 14,
            "I5.4: what is not a frame yet"
        );
    }
    heard.2 = bench.sent();
    heard
}

fn read(bench: &mut Bench, events: &mut Vec<Event>, short: bool) -> Option<Arc<Closed>> {
    loop {
        let now = bench.now;
        while short && let Some(message) = bench.ws.poll_short(|| now, &mut bench.rx) {
            events.push(Event::Message(message));
        }
        match bench.ws.poll_event(now, &mut bench.rx) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return None,
            Err(closed) => return Some(closed),
        }
    }
}

/// I5.6: events, the end and the answers are a function of the bytes. I5.4: so is the memory.
///
/// # Panics
///
/// Where they are not.
pub fn i5_6_any_split_gives_identical_events(data: &[u8]) {
    let mut script = Script::new(data);
    let cuts: Vec<usize> = (0..6).map(|_| script.below(200) + 1).collect();
    let negotiated = if script.below(2) == 0 {
        compressed()
    } else {
        Negotiated::default()
    };
    split_invariant(&wire(&mut script), &cuts, &negotiated);
}

/// The same for bytes that are nothing but bytes.
///
/// # Panics
///
/// Where it is violated.
pub fn ws_frames(data: &[u8]) {
    let (cut, bytes) = data.split_first().unwrap_or((&0, data));
    split_invariant(bytes, &[usize::from(*cut) + 1], &Negotiated::default());
    i5_6_any_split_gives_identical_events(data);
}

/// Arbitrary bytes as compressed messages: no panic, bounded memory, the same however cut.
///
/// # Panics
///
/// Where it is violated.
pub fn ws_deflate(data: &[u8]) {
    let mut bytes = Vec::new();
    for message in data.chunks(300) {
        bytes.extend(frame(0xc2, message));
    }
    split_invariant(&bytes, &[data.len() % 97 + 1], &compressed());
}

fn split_invariant(bytes: &[u8], cuts: &[usize], negotiated: &Negotiated) {
    for limits in SMALL {
        split_within(limits, bytes, cuts, negotiated);
    }
}

/// Whole, in pieces of those lengths, byte by byte, and cut once at each place.
fn split_within(limits: [usize; 2], bytes: &[u8], cuts: &[usize], negotiated: &Negotiated) {
    let whole = hear(negotiated, limits, std::iter::once(bytes), false);
    let at_once = hear(negotiated, limits, std::iter::once(bytes), true);
    assert_eq!(at_once, whole);
    for short in [false, true] {
        let in_pieces = hear(negotiated, limits, cut(bytes, cuts), short);
        assert_eq!(in_pieces, whole);
    }
    if bytes.len() < 3000 {
        assert_eq!(hear(negotiated, limits, bytes.chunks(1), false), whole);
    }
    if bytes.len() < 200 {
        for place in 0..bytes.len() {
            let (before, after) = bytes.split_at(place);
            let halves = [before, after].into_iter();
            let heard = hear(negotiated, limits, halves, true);
            assert_eq!(heard, whole, "cut at {place}");
        }
    }
}

fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    lengths.iter().cycle().map_while(move |length| {
        let (piece, left) = rest.split_at_checked(*length).unwrap_or((rest, &[]));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}
