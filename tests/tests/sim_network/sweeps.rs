//! Many seeds and many plans.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fulmar_sim::{Fault, Sim, plan_source};

use crate::support::{connect, echo, ms, pattern, read, write};

const LEN: usize = 20_000;

/// Three faults that a seed decides.
fn plan(seed: u64) -> Vec<(Range<Duration>, Fault)> {
    let mut state = seed;
    let mut draw = move |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut fault = || {
        let from = ms(draw(2000));
        let fault = match draw(7) {
            0 => Fault::reset("api.test"),
            1 => Fault::refuse("api.test"),
            2 => Fault::half_open("api.test"),
            3 => Fault::partition("laptop"),
            4 => Fault::slow("api.test", 1 + draw(50_000)),
            5 => Fault::segment("api.test", 1 + draw(100) as usize),
            _ => Fault::dns_error("api.test"),
        };
        (from..from + ms(draw(2000)), fault)
    };
    (0..3).map(|_| fault()).collect()
}

/// Writes the pattern in pieces and reads the echo, until all is back or something failed.
fn play(seed: u64) -> (Vec<u8>, String) {
    let mut sim = Sim::seeded(seed);
    sim.limit(Duration::from_secs(3600 * 24));
    sim.serve("api.test:80", echo);
    sim.link("laptop", "api.test")
        .latency(ms(1)..ms(300))
        .loss(0.05)
        .window(4096);
    sim.plan(&plan(seed));
    let net = sim.net("laptop");
    let echoed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&echoed);
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await?;
        for piece in pattern(LEN).chunks(500) {
            write(&mut socket, piece.to_vec()).await?;
            let mut back = 0;
            while back < piece.len() {
                let bytes = read(&mut socket).await?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                back += bytes.len();
                sink.lock()
                    .map_err(|_| io::ErrorKind::Other)?
                    .extend_from_slice(&bytes);
            }
        }
        io::Result::Ok(())
    });
    // It completes, fails, or hangs in the dark: all are fine here.
    let _ = run.failure();
    assert_eq!(run.open_sockets(), 0, "{}", run.trace());
    let echoed = std::mem::take(&mut *echoed.lock().unwrap_or_else(PoisonError::into_inner));
    (echoed, run.trace())
}

#[test]
fn whatever_happens_the_echo_is_a_prefix_of_what_was_written() {
    let mut whole = 0;
    for seed in 0..300 {
        let (echoed, _) = play(seed);
        assert_eq!(
            echoed[..],
            pattern(LEN)[..echoed.len()],
            "{seed}: {}",
            plan_source(&plan(seed))
        );
        whole += usize::from(echoed.len() == LEN);
    }
    assert!(
        whole > 30 && whole < 270,
        "{whole} of 300 plans let all bytes pass"
    );
}

#[test]
fn every_plan_is_played_the_same_way_twice() {
    for seed in 0..50 {
        assert_eq!(play(seed), play(seed), "{seed}");
    }
}
