//! Dials, as calls meet them: many addresses, literals, failures that all share.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{
    Backoff, Client, Error, Fate, Fault, Kind, Limits, Phase, Retry, Sim, StopReason,
};

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

/// Three origins, and descriptors for two connections: those to the first two are idle, the first
/// for longer.
fn with_two_descriptors(client: &Client, sim: &Sim) -> impl Future<Output = ()> + use<> {
    for host in ["old.test:80", "young.test:80", "new.test:80"] {
        echo(sim, host);
    }
    sim.between(.., Fault::descriptors("laptop", 2));
    let (client, handle) = (client.clone(), sim.handle());
    async move {
        for host in ["old", "young"] {
            let url = format!("http://{host}.test/");
            text(&client, &url).await.unwrap();
            handle.sleep(ms(1000)).await;
        }
        assert_eq!(client.gauges().idle, 2);
    }
}

#[test]
fn without_a_descriptor_the_connection_that_idled_longest_is_closed_and_the_dial_repeated() {
    let mut sim = Sim::seeded(1);
    let retry = Retry::new(3).backoff(Backoff::constant(ms(1)));
    let client = builder(&sim).retry(retry).build().unwrap();
    let idle = with_two_descriptors(&client, &sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        idle.await;
        let begun = handle.now();
        let response = client.get("http://new.test/x").send().await.unwrap();
        assert_eq!(response.attempts(), 2);
        // A lookup, and no round trip before the rest of 250 ms.
        assert_eq!(handle.now() - begun, ms(1 + 250 + 2 + 2));
        response.text().await.unwrap();
        let gauges = client.gauges();
        assert_eq!((gauges.idle, gauges.connecting), (2, 0));
        // The other one serves still: nobody has to connect, and nobody could.
        let response = client.get("http://young.test/").send().await.unwrap();
        assert_eq!(response.attempts(), 1);
    });
    run.expect();
    assert_eq!(run.stats().connections, 3);
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn what_this_side_ran_out_of_is_told_apart_and_retried_within_the_budget() {
    let mut sim = Sim::seeded(1);
    sim.between(.., Fault::descriptors("laptop", 0));
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let mut errors = Vec::new();
        for _ in 0..2 {
            errors.push(text(&client, "http://api.test/").await.unwrap_err());
        }
        // Here it is the name that fails, and not this side.
        errors.push(text(&client, "http://nowhere.test/").await.unwrap_err());
        errors
    });
    let [first, second, other] = &run.expect()[..] else {
        panic!("three calls");
    };
    let end = |error: &Error| (error.tries(), error.retry_stop_reason());
    assert_eq!(end(first), (3, Some(StopReason::MaxAttempts)));
    // Two retries in ten seconds are what the budget allows.
    assert_eq!(end(second), (1, Some(StopReason::BudgetEmpty)));
    for error in [first, second] {
        assert!(error.is_resource_exhausted() && error.is_connect());
        assert_eq!(
            (error.kind(), error.fate()),
            (Kind::Connect, Fate::NotProcessed)
        );
    }
    assert!(other.is_connect() && !other.is_resource_exhausted());
    assert!(run.elapsed() >= ms(2 * 250));
    assert_eq!(run.stats().connections, 0);
}
