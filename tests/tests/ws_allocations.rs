//! What a connection allocates for a small message, either way: nothing. And what it holds when it
//! idles.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

#[path = "client_scenarios/support.rs"]
#[expect(dead_code, reason = "a test of memory needs little of it")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::time::Instant;
use fulmar_core::ws::{Compress, Config, Connection, Event, Message, Negotiated};
use fulmar_sim::Sim;
use fulmar_tests::websocket::frame;

use crate::support::{TlsConn, secure};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not freed.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting each thread's calls and bytes.
struct Counting;

#[allow(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; it only passes on"
)]
// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promises are those of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get().wrapping_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get().wrapping_add(size).wrapping_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const NOW: Instant = Instant::ORIGIN;

fn connection(rng: &mut ChaCha8Rng) -> Connection {
    Connection::new(NOW, &Config::new(), &Negotiated::default(), rng)
}

#[test]
fn small_messages_are_sent_without_an_allocation() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut ws = connection(&mut rng);
    let mut tx = WriteBuf::with_capacity(64 * 1024);
    // Static, because the first clone of other bytes allocates their count.
    let message = Message::Binary(Bytes::from_static(&[1; 64]));
    let made = allocations(|| {
        for _ in 0..100 {
            for _ in 0..500 {
                let sent = ws.send(message.clone(), Compress::Auto, &mut tx, &mut rng);
                assert!(sent.is_ok());
            }
            ws.poll_transmit(NOW, &mut tx, &mut rng);
            tx.advance(tx.len());
        }
    });
    assert_eq!(made, 0);
}

#[test]
fn small_messages_that_are_let_go_are_received_without_an_allocation() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut ws = connection(&mut rng);
    let mut rx = BytesMut::with_capacity(64 * 1024);
    let block = [frame(0x81, &[b'x'; 64]), frame(0x82, &[7; 64])]
        .concat()
        .repeat(250);
    let mut read = || {
        rx.reserve(block.len());
        rx.extend_from_slice(&block);
        ws.handle_input(NOW);
        let mut count = 0;
        while let Ok(Some(Event::Message(_))) = ws.poll_event(NOW, &mut rx) {
            count += 1;
        }
        assert_eq!(count, 500);
    };
    // The first slice of the buffer makes it a shared one.
    read();
    let made = allocations(|| (0..100).for_each(|_| read()));
    assert_eq!(made, 0);
}

#[test]
fn an_idle_connection_holds_no_heap_and_is_small() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let made = allocations(|| drop(connection(&mut rng)));
    assert_eq!(made, 0);
    assert!(
        size_of::<Connection>() <= 720,
        "{}",
        size_of::<Connection>()
    );
}

#[test]
fn an_idle_websocket_gives_back_its_buffers_those_of_tls_too() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "api.test");
        let head = tls.head().await?.unwrap();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let accept = tungstenite::handshake::derive_accept_key(key.unwrap().1.as_bytes());
        let head = format!(
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        tls.write(head.as_bytes()).await?;
        tls.write(&frame(0x81, b"hello")).await?;
        while tls.fill().await? {}
        Ok(())
    });
    let client = secure(&sim).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = client.websocket("wss://api.test/").connect().await.unwrap();
        drop(ws.recv().await.unwrap());
        let used = LIVE.with(Cell::get);
        handle.sleep(Duration::from_secs(2)).await;
        let given_back = used.wrapping_sub(LIVE.with(Cell::get)).cast_signed();
        // 8 KiB of plaintext, and what a record of ciphertext needs.
        assert!(given_back > 20 * 1024, "{given_back}");
    });
    run.expect();
}

#[test]
fn short_messages_that_nobody_reads_hold_no_buffer_each() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        let request = conn.request().await?.unwrap();
        let key = request.header("sec-websocket-key").unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        conn.write_all(head).await?;
        conn.sleep(Duration::from_secs(1)).await;
        // Pongs fill up the buffer in which the message came, and are not kept.
        let pongs = frame(0x8a, &[0; 125]).repeat(64 * 1024 / 127);
        for _ in 0..255 {
            conn.write_all(frame(0x82, b"short")).await?;
            conn.write_all(pongs.clone()).await?;
        }
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let client = support::client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = client.websocket("ws://api.test/").connect().await.unwrap();
        let before = LIVE.with(Cell::get);
        handle.sleep(Duration::from_secs(20)).await;
        let held = LIVE.with(Cell::get).wrapping_sub(before).cast_signed();
        assert!(held < 1024 * 1024, "{held}");
        for _ in 0..255 {
            assert_eq!(ws.recv().await.unwrap().unwrap().as_bytes(), b"short");
        }
    });
    run.expect();
}
