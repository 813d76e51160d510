//! Connections that may not be any: a fresh one, or one to another address.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use fulmar_sim::{Instant, Session, Sim};
use fulmar_tests::websocket::close_frame;

use crate::server::{URL, switch};
use crate::support::{builder, client, join, ms, secs, text};
use crate::town::{backoff, numbered, opened, quick, session};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

/// When each handshake came, and to which host.
type Asked = Arc<Mutex<Vec<(&'static str, Instant)>>>;

/// Two hosts, one at each address. Both answer requests; the first tells each WebSocket to try again
/// later, and so does the second if it `is_busy`.
fn two(sim: &Sim, is_busy: bool) -> Asked {
    let asked = Asked::default();
    for (host, addr) in [("first", FIRST), ("second", SECOND)] {
        sim.host(host).addrs([addr]);
        let asked = asked.clone();
        sim.serve(&format!("{host}:80"), move |mut conn| {
            let asked = asked.clone();
            async move {
                while let Some(request) = conn.request().await? {
                    if request.header("upgrade").is_none() {
                        conn.respond(200, host).await?;
                        continue;
                    }
                    asked.lock().unwrap().push((host, conn.now()));
                    conn.write_all(switch(&request, "")).await?;
                    if host == "first" || is_busy {
                        conn.write_all(close_frame(1013, "busy")).await?;
                        conn.read(1024).await?;
                        return Ok(());
                    }
                    while !conn.read(1024).await?.is_empty() {}
                }
                Ok(())
            }
        });
    }
    asked
}

fn hosts(asked: &Asked) -> Vec<&'static str> {
    asked
        .lock()
        .unwrap()
        .iter()
        .map(|(host, _)| *host)
        .collect()
}

#[test]
fn a_misdirected_handshake_is_tried_again_on_a_connection_that_has_not_served() {
    for is_session in [true, false] {
        let mut sim = Sim::seeded(1);
        let connections = Arc::new(Mutex::new(0));
        let count = connections.clone();
        sim.serve("api.test:80", move |mut conn| {
            *count.lock().unwrap() += 1;
            let is_first = *count.lock().unwrap() == 1;
            async move {
                while let Some(request) = conn.request().await? {
                    if request.header("upgrade").is_none() {
                        conn.respond(200, "ok").await?;
                    } else if is_first {
                        conn.respond(421, "not here").await?;
                    } else {
                        conn.write_all(switch(&request, "")).await?;
                    }
                }
                Ok(())
            }
        });
        let client = client(&sim);
        let run = sim.run(async move {
            assert_eq!(text(&client, "http://api.test/").await.unwrap(), "ok");
            assert_eq!(client.gauges().idle, 1);
            let opening = client.websocket(URL);
            if is_session {
                let session = opening.reconnect(quick()).open();
                opened(&mut session.events()).await;
            } else {
                opening.connect().await.map(drop).unwrap();
            }
            assert_eq!(client.gauges().idle, 1, "the first serves requests still");
        });
        run.expect();
        assert_eq!(*connections.lock().unwrap(), 2);
    }
}

async fn goes_elsewhere(session: Session) {
    let mut events = session.events();
    opened(&mut events).await;
    assert_eq!(backoff(&mut events).await, (ms(0), 1));
    opened(&mut events).await;
}

#[test]
fn who_is_told_to_try_again_later_goes_to_another_address_at_once() {
    for is_cached in [true, false] {
        let mut sim = Sim::seeded(2);
        let asked = two(&sim, false);
        sim.host("api.test").addrs([FIRST, SECOND]);
        let client = if is_cached {
            builder(&sim)
        } else {
            builder(&sim).no_dns_cache()
        };
        let client = client.build().unwrap();
        let run = sim.run(async move {
            goes_elsewhere(client.websocket(URL).reconnect(quick()).open()).await;
        });
        run.expect();
        assert_eq!(hosts(&asked), ["first", "second"], "{is_cached}");
        let asked = asked.lock().unwrap();
        assert!(asked[1].1 - asked[0].1 < ms(100));
    }
}

#[test]
fn a_connection_to_the_address_it_comes_from_does_not_do_even_if_it_idles() {
    let mut sim = Sim::seeded(3);
    let asked = two(&sim, false);
    let client = builder(&sim).resolve("api.test", [FIRST, SECOND]).build();
    let client = client.unwrap();
    let run = sim.run(async move {
        let url = "http://api.test/";
        let (one, other) = join(text(&client, url), text(&client, url)).await;
        assert_eq!(
            (one.unwrap(), other.unwrap()),
            ("first".into(), "first".into())
        );
        goes_elsewhere(client.websocket(URL).reconnect(quick()).open()).await;
        assert_eq!(client.gauges().idle, 1);
    });
    run.expect();
    assert_eq!(hosts(&asked), ["first", "second"]);
}

#[test]
fn it_goes_elsewhere_at_once_only_once_and_then_waits_longer_each_time() {
    let mut sim = Sim::seeded(4);
    let asked = two(&sim, true);
    let client = builder(&sim).resolve("api.test", [FIRST, SECOND]).build();
    let opening = client.unwrap().websocket(URL).reconnect(quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        for (attempt, most) in [(1, 0), (2, 10), (3, 20)] {
            let (delay, counted) = backoff(&mut events).await;
            assert_eq!(counted, attempt);
            assert!(delay <= secs(most), "{delay:?}");
        }
        opened(&mut events).await;
    });
    run.expect();
    assert_eq!(hosts(&asked), ["first", "second", "first", "second"]);
}

#[test]
fn with_one_address_it_waits_from_5_to_60_s() {
    let mut sim = Sim::seeded(5);
    numbered(
        &sim,
        |_, mut peer| async move { peer.close(1013, "busy").await },
    );
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let mut delays = Vec::new();
        for _ in 0..8 {
            delays.push(backoff(&mut events).await.0);
        }
        delays
    });
    let delays = run.expect();
    for (delay, most) in delays.iter().zip([5, 10, 20, 40, 60, 60, 60, 60]) {
        assert!(*delay >= ms(100) && *delay <= secs(most), "{delays:?}");
    }
    assert!(delays.iter().any(|delay| *delay > secs(5)), "{delays:?}");
}
