//! I5.4 by the allocator: what a session's messages take, whatever the server sends, the application
//! does not read and the transport does not take.
#![allow(clippy::cast_possible_wrap, reason = "no test holds so much memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::session::{Config, Delivery, Outgoing, Session};
use fulmar_core::time::Instant;
use fulmar_core::ws::{self, Agreed, Compression, Connection, Keepalive, Limits, Negotiated};
use fulmar_tests::properties::script::Script;
use fulmar_tests::websocket::{Bench, frame};
use proptest::prelude::*;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with the most that a thread held at a time.
struct Counting;

fn count(change: isize) {
    LIVE.with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

#[allow(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; it only passes on"
)]
// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Instant = Instant::ORIGIN;
/// Messages in the outbox, and in the inbox, and what each costs beside its bytes.
const MOST: usize = 64;
const HEADS: usize = 2 * MOST * 256;
/// What may wait for the transport: 64 KiB and a message of as much, in an allocation of twice that.
const TX: usize = 256 << 10;
/// Both directions of a compression with the longest windows (POLICIES 5.8).
const COMPRESSION: usize = (300 + 44) << 10;

/// Bytes of the outbox, of the inbox and of a message that comes.
#[derive(Clone, Copy)]
struct Bounds {
    outbox: usize,
    inbox: usize,
    message: usize,
}

/// One of them large, so that it is seen.
const BOUNDS: [Bounds; 3] = {
    const SMALL: Bounds = Bounds {
        outbox: 32 << 10,
        inbox: 32 << 10,
        message: 32 << 10,
    };
    const LARGE: usize = 1 << 20;
    [
        Bounds {
            outbox: LARGE,
            ..SMALL
        },
        Bounds {
            inbox: LARGE,
            ..SMALL
        },
        Bounds {
            message: LARGE,
            ..SMALL
        },
    ]
};

/// A session with its driver's buffers.
struct World {
    session: Session,
    rx: BytesMut,
    tx: WriteBuf,
    rng: ChaCha8Rng,
}

impl World {
    fn new(compresses: bool, bounds: Bounds) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let config = Config::new()
            .outbox(MOST, bounds.outbox)
            .inbox(MOST, bounds.inbox);
        let mut session = Session::new(config);
        session.start(NOW);
        let compression = compresses.then(Compression::default);
        let limits = Limits::new().message(bounds.message).frame(bounds.message);
        let connection = ws::Config::new()
            .keepalive(Keepalive::off())
            .compression(compression)
            .limits(limits);
        let connection = Connection::new(NOW, &connection, &negotiated(compresses), &mut rng);
        session.handle_connected(NOW, connection, false);
        Self {
            session,
            rx: BytesMut::new(),
            tx: WriteBuf::default(),
            rng,
        }
    }

    /// The server sends, and this side reads as its driver does: no more than it wants.
    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.session.wants_read() {
            let wanted = self.session.wanted(&self.rx);
            self.rx.reserve((16 << 10).max(wanted.min(256 << 10)));
            let room = self.rx.capacity() - self.rx.len();
            let (read, rest) = bytes.split_at(room.min(bytes.len()));
            self.rx.extend_from_slice(read);
            bytes = rest;
            self.session.handle_input(NOW);
            self.session.poll_input(NOW, &mut self.rx, &mut self.rng);
        }
    }

    fn fill(&mut self) {
        self.session.poll_transmit(NOW, &mut self.tx, &mut self.rng);
        while self.session.poll_event().is_some() {}
    }
}

fn negotiated(compresses: bool) -> Negotiated {
    Negotiated {
        protocol: None,
        compression: compresses.then_some(Agreed {
            client_bits: 15,
            server_bits: 15,
            client_takeover: true,
            server_takeover: true,
        }),
    }
}

/// Zeroes, compressed a thousandfold.
fn bomb(size: usize) -> Vec<u8> {
    let config = ws::Config::new().compression(Compression::default());
    let mut bench = Bench::negotiated(&config, &negotiated(true));
    bench.send(vec![0; size]);
    let (_, payload) = bench.sent().remove(0);
    frame(0xc2, &payload)
}

/// What the server sends next.
fn wire(compresses: bool, most: usize, script: &mut Script<'_>) -> Vec<u8> {
    let size = script.below(65_536) * most / 65_000;
    match script.below(6) {
        0 if compresses => bomb(size * 8),
        1 => frame(0x82, &vec![7; size]),
        2 => frame(0x82, &vec![7; size / 8]).repeat(script.below(8)),
        3 => frame(0x82, b"small").repeat(script.below(30)),
        4 => {
            let piece = frame(0x00, &vec![7; size / 40]);
            let mut bytes = frame(0x02, b"");
            bytes.extend(piece.repeat(script.below(40)));
            bytes.extend(frame(script.byte() & 0x80, b""));
            bytes
        }
        _ => frame(0x89, &[7; 100]).repeat(script.below(20)),
    }
}

/// I5.4: what was read and the message it is for may each be in twice the allocation, and the one
/// before is still there while either moves into a larger one: what comes counts five times.
fn i5_4_memory_is_bounded(data: &[u8]) {
    let mut script = Script::new(data);
    let compresses = script.below(2) == 0;
    let bounds = BOUNDS[script.below(3)];
    let coming = bounds.inbox + bounds.message;
    let codec = if compresses { COMPRESSION } else { 0 };
    let bound = bounds.outbox + 5 * coming + codec + TX + HEADS + (64 << 10);
    let before = LIVE.with(Cell::get);
    let mut world = World::new(compresses, bounds);
    while !script.is_over() && !world.session.is_closing() {
        let most = step(&mut world, compresses, bounds, &mut script) - before;
        assert!(most <= bound as isize, "I5.4: {most} of {bound}");
    }
}

/// The most that was held meanwhile, but for what is the server's.
fn step(world: &mut World, compresses: bool, bounds: Bounds, script: &mut Script<'_>) -> isize {
    match script.below(4) {
        0 => {
            world.session.recv(NOW);
            0
        }
        1 => {
            let payload = vec![script.byte(); script.below(65_536) * bounds.outbox / 65_000];
            let delivery = [Delivery::AtMostOnce, Delivery::AtLeastOnce][script.below(2)];
            let outgoing = Outgoing {
                delivery,
                ..Outgoing::from(payload)
            };
            // Given back where there is no room.
            let _ = world.session.send(NOW, outgoing);
            peak(|| world.fill())
        }
        _ => {
            let before = LIVE.with(Cell::get);
            let bytes = wire(compresses, bounds.message, script);
            let server = LIVE.with(Cell::get) - before;
            let most = peak(|| world.receive(&bytes)) - server;
            most.max(peak(|| world.fill()) - server)
        }
    }
}

fn peak(work: impl FnOnce()) -> isize {
    PEAK.with(|peak| peak.set(LIVE.with(Cell::get)));
    work();
    PEAK.with(Cell::get)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn i5_4_what_a_session_allocates_is_bounded(data in prop::collection::vec(any::<u8>(), 0..300)) {
        i5_4_memory_is_bounded(&data);
    }
}
