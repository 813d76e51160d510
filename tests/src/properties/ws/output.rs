//! How long a control frame waits behind a message in progress: I5.7.

use bytes::{Buf, Bytes};
use fulmar_core::ws::Compression;

use super::input::compressed;
use crate::properties::script::Script;
use crate::websocket::{Bench, client_frames, quiet};

/// The payload of a fragment, and the longest head of a client's frame.
const FRAGMENT: u64 = 16 * 1024 + 14;

/// What may wait for the transport before no more is added, and the pongs of a script.
const WAITING: u64 = 64 * 1024;
const PONGS: u64 = 60 * 10;

/// What the transport has taken, and what is to be found in it.
struct Wire {
    bench: Bench,
    taken: Vec<u8>,
    pings: Vec<Ping>,
}

/// A ping that came, and how much was written, and taken, by then.
struct Ping {
    payload: Vec<u8>,
    written: u64,
    taken: u64,
}

impl Wire {
    fn new(data: Bytes, compresses: bool) -> Self {
        let mut bench = if compresses {
            let config = quiet().compression(Compression::default());
            Bench::negotiated(&config, &compressed())
        } else {
            Bench::new(&quiet())
        };
        bench.send(data);
        Self {
            bench,
            taken: Vec::new(),
            pings: Vec::new(),
        }
    }

    fn fill(&mut self) {
        let bench = &mut self.bench;
        bench
            .ws
            .poll_transmit(bench.now, &mut bench.tx, &mut bench.rng);
    }

    fn take(&mut self, most: usize) {
        let bytes = most.min(self.bench.tx.len());
        let bytes = self.bench.tx.copy_to_bytes(bytes);
        self.taken.extend_from_slice(&bytes);
    }

    fn ping(&mut self) {
        let payload = (self.pings.len() as u32).to_be_bytes().to_vec();
        self.bench.receive(&crate::websocket::frame(0x89, &payload));
        self.pings.push(Ping {
            payload,
            written: self.bench.ws.written(),
            taken: self.taken.len() as u64,
        });
    }

    /// The frames that were taken: where each begins, its first byte, its payload.
    fn frames(&self) -> Vec<(u64, u8, Vec<u8>)> {
        let (frames, used) = client_frames(&self.taken);
        assert_eq!(used, self.taken.len(), "whole frames");
        let mut at = 0;
        let head = |len: usize| match len {
            0..126 => 6,
            126..65536 => 8,
            _ => 14,
        };
        let frames = frames.into_iter().map(|frame| {
            let begins = at;
            at += (head(frame.payload.len()) + frame.payload.len()) as u64;
            (begins, frame.first, frame.payload)
        });
        frames.collect()
    }
}

/// I5.7: with any message in progress, compressed or not, what is written between a ping and its
/// pong is one fragment of 16 KiB at most, behind the 64 KiB and the fragment that may wait for the
/// transport already. Of many pings only the last are answered.
///
/// # Panics
///
/// Where it is more.
pub fn i5_7_a_pong_waits_for_one_fragment_at_most(data: &[u8]) {
    let mut script = Script::new(data);
    let compresses = script.below(2) == 0;
    let size = 64 * 1024 + 1 + script.below(65_536) * 4;
    // Bytes that do not compress, in either half of the cases.
    let noise = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    let data: Bytes = if script.below(2) == 0 {
        noise.collect()
    } else {
        vec![0; size].into()
    };
    let mut wire = Wire::new(data, compresses);
    while wire.bench.ws.is_sending() || !wire.bench.tx.is_empty() {
        match script.below(4) {
            1 => wire.ping(),
            2 => wire.take(script.below(60_000)),
            _ => wire.take(100_000),
        }
        wire.fill();
    }
    wire.fill();
    wire.take(usize::MAX);
    let frames = wire.frames();
    assert!(frames.iter().any(|(_, first, _)| first & 0x0f < 8));
    let pongs = |ping: &Ping| {
        let mut pongs = frames.iter().filter(|(_, first, _)| *first == 0x8a);
        let pong = pongs.find(|(.., payload)| *payload == ping.payload);
        pong.map(|(begins, ..)| *begins)
    };
    for (n, ping) in wire.pings.iter().enumerate() {
        let begins = pongs(ping);
        let soon = (ping.written + FRAGMENT).min(ping.taken + WAITING + FRAGMENT + PONGS);
        assert!(begins.is_none_or(|begins| begins <= soon), "I5.7");
        let is_one_of_the_last = n + 16 >= wire.pings.len();
        assert!(begins.is_some() || !is_one_of_the_last, "I5.7: no pong");
    }
}

/// I5.7: a message of that size, and a ping that comes when so many bytes of it were taken.
///
/// # Panics
///
/// Where its pong waits for more than one fragment.
pub fn a_pong_in_a_message(size: usize, behind: u64) {
    let mut wire = Wire::new(vec![0; size].into(), false);
    while wire.bench.ws.written() < behind {
        wire.fill();
        wire.bench.tx.clear();
    }
    wire.fill();
    let waiting = wire.bench.tx.len();
    wire.ping();
    wire.fill();
    wire.take(usize::MAX);
    wire.fill();
    wire.take(usize::MAX);
    let frames = wire.frames();
    let pong = frames.iter().find(|(_, first, _)| *first == 0x8a);
    let begins = pong.map(|(begins, ..)| *begins);
    assert!(begins.is_some_and(|begins| begins <= waiting as u64 + FRAGMENT));
    assert!(wire.bench.ws.is_sending());
}
