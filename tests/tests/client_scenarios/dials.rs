//! Dials, as calls meet them: many addresses, literals, failures that all share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{Error, Fault, Limits, Phase, Retry, Sim};

use super::support::{TlsConn, assert_quiet, builder, client, echo, join_all, ms, secure, text};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9));

#[test]
fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.host("api.test").addrs([FIRST, SECOND]);
    sim.between(.., Fault::half_open("10.9.0.1"));
    let client = client(&sim);
    let run = sim.run(async move {
        let response = client.get("http://api.test/x").send().await.unwrap();
        assert_eq!(response.attempts(), 1);
        response.text().await.unwrap()
    });
    assert_eq!(run.expect(), "/x");
    assert_eq!(run.elapsed(), ms(1 + 250 + 2 + 2));
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn an_address_that_refuses_costs_the_least_distance_of_two_attempts() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.host("api.test").addrs([FIRST, SECOND]);
    sim.between(.., Fault::refuse("10.9.0.1"));
    let client = client(&sim);
    let run = sim.run(async move { text(&client, "http://api.test/x").await });
    assert_eq!(run.expect().as_deref().unwrap(), "/x");
    // RFC 8305 section 5: attempts begin at least 10 ms apart.
    assert_eq!(run.elapsed(), ms(1 + 10 + 2 + 2));
}

#[test]
fn a_handshake_that_fails_moves_on_to_the_next_address() {
    let mut sim = Sim::seeded(1);
    let count = Arc::new(AtomicUsize::new(0));
    sim.host("api.test").addrs([FIRST, SECOND]);
    sim.serve("api.test:443", move |mut conn| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                conn.read(100).await?;
                return Ok(());
            }
            let mut tls = TlsConn::new(conn, "api.test");
            while tls.request().await? {
                tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await?;
            }
            Ok(())
        }
    });
    let client = secure(&sim).build().unwrap();
    let run = sim.run(async move {
        let response = client.get("https://api.test/x").send().await.unwrap();
        (response.attempts(), response.text().await.unwrap())
    });
    assert_eq!(*run.expect(), (1, "ok".to_owned()));
}

#[test]
fn address_literals_are_not_resolved() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test").addrs([FIRST, SIX]);
    sim.between(.., Fault::dns_silent("api.test"));
    sim.serve("api.test:8080", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let host = request.header("host").unwrap_or_default().to_owned();
            conn.respond(200, host).await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        for host in ["10.9.0.1:8080", "[fd00::9]:8080"] {
            let url = format!("http://{host}/");
            assert_eq!(text(&client, &url).await.unwrap(), host);
        }
    });
    run.expect();
    assert_eq!(run.elapsed(), ms(2 * (2 + 2)));
}

#[test]
fn a_name_that_does_not_exist_fails_all_who_wait_for_it_at_once() {
    let mut sim = Sim::seeded(1);
    let limits = Limits::new().per_origin(1);
    let client = builder(&sim).limits(limits).build().unwrap();
    let run = sim.run(async move {
        let calls = (0..5).map(|_| text(&client, "http://nowhere.test/"));
        let errors: Vec<Error> = join_all(calls)
            .await
            .into_iter()
            .map(Result::unwrap_err)
            .collect();
        assert_quiet(client.gauges());
        errors
    });
    for error in run.expect() {
        assert_eq!(error.phase(), Some(Phase::Dns), "{error}");
    }
    assert!(run.elapsed() < ms(10), "{:?}", run.elapsed());
}

#[test]
fn a_burst_into_a_refused_port_ends_with_an_error_for_each() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    let limits = Limits::new().per_origin(4);
    let client = builder(&sim)
        .limits(limits)
        .retry(Retry::never())
        .build()
        .unwrap();
    let run = sim.run(async move {
        let calls = (0..40).map(|_| text(&client, "http://api.test/"));
        let errors = join_all(calls)
            .await
            .into_iter()
            .filter_map(Result::err)
            .count();
        assert_quiet(client.gauges());
        errors
    });
    assert_eq!(*run.expect(), 40);
}

#[test]
fn a_pool_timeout_of_zero_still_dials_and_still_takes_an_idle_connection() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let timeouts = fulmar_sim::Timeouts::new().pool(std::time::Duration::ZERO);
    let client = builder(&sim).timeouts(timeouts).build().unwrap();
    let run = sim.run(async move {
        for _ in 0..3 {
            assert_eq!(text(&client, "http://api.test/x").await.unwrap(), "/x");
        }
    });
    run.expect();
    assert_eq!(run.stats().connections, 1);
}
