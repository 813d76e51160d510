//! The same seed leads to the same trace, and actors do not disturb each other.

use std::io;

use fulmar_sim::net::Net;
use fulmar_sim::{Fault, Run, Sim};

use crate::support::{connect, echo, exchange, ms, write};

/// Ten exchanges over a bad link, with another host's traffic beside them or not.
fn play(seed: u64, is_crowded: bool) -> (Run<Vec<u64>>, [u8; 16]) {
    let mut sim = Sim::seeded(seed);
    sim.serve("api.test:80", |conn| async move {
        conn.sleep(ms(conn.uniform(0..50))).await;
        echo(conn).await
    });
    sim.link("laptop", "api.test")
        .latency(ms(20)..ms(80))
        .loss(0.1);
    sim.between(ms(500)..ms(900), Fault::reset("api.test:80"));
    sim.serve("other.test:80", echo);
    sim.link("phone", "other.test")
        .latency(ms(1)..ms(9))
        .loss(0.3);
    let net = sim.net("laptop");
    if is_crowded {
        let phone = sim.net("phone");
        sim.spawn(async move {
            while let Ok(mut socket) = connect(&phone, "other.test").await {
                let _ = exchange(&mut socket, b"crowd").await;
            }
        });
    }
    let mut entropy = [0; 16];
    net.entropy(&mut entropy);
    let run = sim.run(async move {
        let mut times = Vec::new();
        for _ in 0..10 {
            let once = async {
                let mut socket = connect(&net, "api.test").await?;
                exchange(&mut socket, b"hello").await?;
                io::Result::Ok(())
            };
            let _ = once.await;
            times.push(net.now().as_nanos());
        }
        times
    });
    (run, entropy)
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let ((one, _), (two, _)) = (play(7, true), play(7, true));
    assert_eq!(one.expect(), two.expect());
    assert_eq!(one.trace(), two.trace());
    assert!(one.trace().lines().count() > 100);
}

#[test]
fn another_seed_gives_another_trace() {
    let ((one, first), (two, second)) = (play(7, false), play(8, false));
    assert_ne!(one.expect(), two.expect());
    assert_ne!(one.trace(), two.trace());
    assert_ne!(first, second);
}

#[test]
fn an_unrelated_actor_does_not_shift_anothers_draws() {
    let ((alone, first), (crowded, second)) = (play(7, false), play(7, true));
    assert_eq!(alone.expect(), crowded.expect());
    assert_eq!(first, second);
    assert!(crowded.trace().contains("phone>other.test"));
}

#[test]
fn hosts_do_not_share_entropy() {
    let sim = Sim::seeded(1);
    let draw = |host: &str| {
        let mut bytes = [0; 32];
        sim.net(host).entropy(&mut bytes);
        bytes
    };
    assert_ne!(draw("laptop"), draw("phone"));
}

#[test]
fn a_trace_takes_lines_of_its_user() {
    let mut sim = Sim::seeded(1);
    sim.trace_line("test", "begins");
    let handle = sim.handle();
    let run = sim.run(async move {
        handle.sleep(ms(1500)).await;
        handle.trace_line("observer", "retry 2 in 30 ms");
    });
    run.expect();
    let lines = "0.000000000s 000000 test begins\n1.500000000s 000001 observer retry 2 in 30 ms\n";
    assert_eq!(run.trace(), lines);
}

#[test]
fn ten_thousand_exchanges_are_played() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(req) = conn.request().await? {
            conn.respond(200, req.path()).await?;
        }
        Ok(())
    });
    sim.link("laptop", "api.test")
        .latency(ms(20)..ms(80))
        .loss(0.01);
    let (net, handle) = (sim.net("laptop"), sim.handle());
    for _ in 0..100 {
        let net = net.clone();
        handle.spawn(async move {
            let Ok(mut socket) = connect(&net, "api.test").await else {
                return;
            };
            for _ in 0..100 {
                let request = "GET /users/1 HTTP/1.1\r\nhost: api.test\r\n\r\n";
                assert!(write(&mut socket, request).await.is_ok());
                let Ok(answer) = crate::support::read(&mut socket).await else {
                    return;
                };
                assert!(answer.ends_with(b"\r\n\r\n/users/1"));
            }
        });
    }
    let nap = sim.sleep(ms(60_000));
    let run = sim.run(nap);
    run.expect();
    println!("{:?}", run.stats());
    assert_eq!(run.trace().matches("client gets").count(), 10_000);
}
