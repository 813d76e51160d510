//! Many requests under many faults: every call ends in time, nothing leaks, and a seed is a story.

use std::ops::Range;
use std::time::Duration;

use fulmar_core::trace::Record;
use fulmar_sim::{Client, Fault, Limits, Sim, Timeouts};

use super::support::{assert_quiet, builder, drain, echo, join_all, ms, secs, text};

const LIMIT: Duration = secs(10);

/// A server that is rude now and then.
fn moody(sim: &Sim, addr: &str) {
    sim.serve(addr, |mut conn| async move {
        while let Some(request) = conn.request().await? {
            match conn.uniform(0..40) {
                0 => return Ok(()),
                1 => {
                    conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
                        .await?;
                    return Ok(());
                }
                2 => conn.respond(503, "later").await?,
                3 => {
                    conn.sleep(ms(300)).await;
                    conn.respond(200, "late").await?;
                }
                4 => {
                    conn.reset();
                    return Ok(());
                }
                5 => conn.write_all("garbage\r\n\r\n").await?,
                6 => conn.respond(200, vec![b'l'; 100_000]).await?,
                7 => {
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    conn.write_all(head).await?;
                    for _ in 0..5 {
                        conn.write_all("5\r\nhello\r\n").await?;
                        conn.sleep(ms(1)).await;
                    }
                    conn.write_all("0\r\n\r\n").await?;
                }
                _ => conn.respond(200, request.path()).await?,
            }
        }
        Ok(())
    });
}

/// A fault every other second or so, from a generator of its own.
fn bad_minutes(seed: u64) -> Vec<(Range<Duration>, Fault)> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) % below
    };
    let mut plan = Vec::new();
    for step in 0..60 {
        let from = ms(step * 1000 + draw(1000));
        let to = from + ms(1 + draw(1500));
        let host = ["a.test", "b.test"][draw(2) as usize];
        plan.push((
            from..to,
            match draw(8) {
                0 | 1 => Fault::reset(host),
                2 => Fault::refuse(host),
                3 => Fault::half_open(host),
                4 => Fault::partition(host),
                5 => Fault::slow(host, 20_000),
                6 => Fault::dns_error(host),
                _ => Fault::segment(host, 50),
            },
        ));
    }
    plan
}

struct Storm {
    done: usize,
    failed: usize,
    trace: String,
    events: u64,
}

async fn caller(
    client: Client,
    handle: fulmar_sim::Handle,
    number: usize,
    calls: usize,
) -> (usize, usize) {
    let (mut done, mut failed) = (0, 0);
    for call in 0..calls {
        let host = ["a.test", "b.test"][(number + call) % 2];
        let url = format!("http://{host}/{number}/{call}");
        let begun = handle.now();
        let request = if call % 5 == 0 {
            client.post(&*url).body("money")
        } else {
            client.get(&*url)
        };
        let outcome = match request.send().await {
            // Some lose interest halfway.
            Ok(response) if call % 7 == 3 => {
                drop(response);
                Ok(0)
            }
            Ok(response) => drain(response).await,
            Err(error) => Err(error),
        };
        assert!(
            handle.now() - begun <= LIMIT,
            "a call outlived its deadline"
        );
        match outcome {
            Ok(_) => done += 1,
            Err(error) => {
                assert!(error.phase().is_some(), "{error}");
                failed += 1;
            }
        }
        handle
            .sleep(ms(100 + (number as u64 * 37 + call as u64 * 11) % 400))
            .await;
    }
    (done, failed)
}

fn storm(seed: u64, callers: usize, calls: usize, observed: bool) -> Storm {
    let mut sim = Sim::seeded(seed);
    sim.link("laptop", "a.test")
        .latency(ms(1)..ms(20))
        .loss(0.01);
    sim.link("laptop", "b.test").latency(ms(5)..ms(6));
    moody(&sim, "a.test:80");
    moody(&sim, "b.test:80");
    sim.plan(&bad_minutes(seed));
    let handle = sim.handle();
    let mut builder = builder(&sim)
        .timeouts(Timeouts::new().connect(secs(2)).read(secs(3)).total(LIMIT))
        .limits(Limits::new().total(40).per_origin(25));
    if observed {
        let handle = handle.clone();
        builder = builder.observer(move |record: &Record| {
            handle.trace_line("client", format!("call {}: {}", record.call, record.event));
        });
    }
    let client = builder.build().unwrap();
    let run = sim.run(async move {
        let callers = (0..callers).map(|n| caller(client.clone(), handle.clone(), n, calls));
        let outcomes = join_all(callers.map(Box::pin)).await;
        handle.sleep(secs(3)).await;
        assert_quiet(client.gauges());
        outcomes
            .into_iter()
            .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    });
    assert_eq!(run.leaks(), [""; 0]);
    let (done, failed) = *run.expect();
    let trace = if observed { run.trace() } else { String::new() };
    Storm {
        done,
        failed,
        trace,
        events: run.stats().events,
    }
}

#[test]
fn ten_thousand_requests_under_random_faults_all_end_in_time_and_leave_nothing() {
    let begun = std::time::Instant::now();
    let storm = storm(0x00C0_FFEE, 100, 100, false);
    let took = begun.elapsed();
    println!(
        "{} answered, {} failed, {} events, {took:?}",
        storm.done, storm.failed, storm.events
    );
    assert_eq!(storm.done + storm.failed, 10_000);
    assert!(storm.done > 7_000, "{} answered", storm.done);
    assert!(
        storm.failed > 50,
        "{} failed: what a quiet storm",
        storm.failed
    );
    assert!(
        storm.events < 1_000_000,
        "{} events for ten thousand requests",
        storm.events
    );
}

#[test]
fn one_seed_is_one_story_to_the_byte() {
    let (first, second) = (storm(7, 20, 20, true), storm(7, 20, 20, true));
    assert!(first.trace.lines().count() > 1000);
    for (line, other) in first.trace.lines().zip(second.trace.lines()) {
        assert_eq!(line, other);
    }
    assert_eq!(first.trace.len(), second.trace.len());
    assert_ne!(first.trace, storm(8, 20, 20, true).trace);
}

#[test]
fn many_small_storms_pass() {
    for seed in 0..40 {
        let storm = storm(seed, 10, 20, false);
        assert_eq!(storm.done + storm.failed, 200, "seed {seed}");
    }
}

/// One call after the other under one fault that comes and goes.
fn under(fault: Fault) -> (usize, usize) {
    let mut sim = Sim::seeded(3);
    echo(&sim, "a.test:80");
    sim.between(secs(2)..secs(6), fault);
    let timeouts = Timeouts::new()
        .connect(ms(900))
        .read(secs(1))
        .total(secs(4));
    let client = builder(&sim).timeouts(timeouts).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let (mut done, mut failed) = (0, 0);
        while handle.now() < super::support::at(secs(15)) {
            let begun = handle.now();
            match text(&client, "http://a.test/x").await {
                Ok(_) => done += 1,
                Err(_) => failed += 1,
            }
            assert!(handle.now() - begun <= secs(4));
            handle.sleep(ms(50)).await;
        }
        assert_quiet(client.gauges());
        // The network is well again, and so are we.
        assert_eq!(text(&client, "http://a.test/y").await.unwrap(), "/y");
        (done, failed)
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

#[test]
fn each_fault_alone_is_survived() {
    for fault in [
        Fault::reset("a.test"),
        Fault::refuse("a.test"),
        Fault::half_open("a.test"),
        Fault::partition("a.test"),
        Fault::slow("a.test", 200),
        Fault::segment("a.test", 1),
        Fault::dns_error("a.test"),
        Fault::dns_silent("a.test"),
        Fault::corrupt("a.test"),
    ] {
        let name = format!("{fault:?}");
        let (done, failed) = under(fault);
        assert!(done > 100, "{name}: {done} done, {failed} failed");
    }
}
