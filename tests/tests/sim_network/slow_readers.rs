//! Programs that read slowly, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{Fault, Sim};

use crate::support::{connect, echoing, exchange, ms, pattern, read_up_to, write};

/// A server that swallows, and how much it did.
fn sink(sim: &Sim) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    sim.serve("sink.test:80", move |mut conn| {
        let counted = Arc::clone(&counted);
        async move {
            loop {
                let bytes = conn.read(64 * 1024).await?;
                if bytes.is_empty() {
                    return Ok(());
                }
                counted.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        }
    });
    count
}

#[test]
fn a_peer_that_stops_reading_stops_its_writer_when_the_window_is_full() {
    let mut sim = Sim::seeded(1);
    sim.check();
    let count = sink(&sim);
    sim.between(ms(0)..ms(5000), Fault::slow_reader("sink.test", 0));
    let (net, seen) = (sim.net("laptop"), Arc::clone(&count));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "sink.test").await.unwrap();
        write(&mut socket, pattern(65_536)).await.unwrap();
        assert!(handle.now().since_origin() < ms(10), "the window takes it");
        write(&mut socket, "x").await.unwrap();
        assert!(handle.now().since_origin() >= ms(5000), "there was no room");
        seen.load(Ordering::Relaxed)
    });
    assert_eq!(run.into_output(), 65_536);
}

#[test]
fn a_slow_reader_reads_so_many_bytes_a_second_then_as_fast_as_ever() {
    let mut sim = Sim::seeded(1);
    sim.check();
    let count = sink(&sim);
    sim.between(ms(0)..ms(2000), Fault::slow_reader("sink.test", 1000));
    let (net, handle) = (sim.net("laptop"), sim.handle());
    let seen = Arc::clone(&count);
    let run = sim.run(async move {
        let mut socket = connect(&net, "sink.test").await.unwrap();
        write(&mut socket, pattern(60_000)).await.unwrap();
        handle.sleep(ms(1000)).await;
        let slow = seen.load(Ordering::Relaxed);
        handle.sleep(ms(1000)).await;
        (slow, seen.load(Ordering::Relaxed))
    });
    let (slow, all) = run.into_output();
    assert!((900..=1100).contains(&slow), "{slow}");
    assert_eq!(all, 60_000);
}

#[test]
fn a_client_can_be_the_slow_reader() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(0)..ms(1000), Fault::slow_reader("laptop", 0));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"hello").await.unwrap()
    });
    assert_eq!(run.expect(), b"hello");
    assert_eq!(run.elapsed(), ms(1000));
}

#[test]
fn a_reset_reaches_a_reader_that_does_not_read() {
    let (mut sim, net) = echoing(1);
    sim.between(.., Fault::slow_reader("laptop", 0));
    sim.at(ms(500), Fault::reset("api.test"));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "hello").await.unwrap();
        read_up_to(&mut socket, 5).await
    });
    // What had arrived is still there to be read, then the reset: never a hang.
    assert!(run.output().is_some());
    assert_eq!(run.elapsed(), ms(500));
}
