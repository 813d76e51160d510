//! Names and their addresses: one cache, kept up to date, that connections follow.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fulmar_sim::net::{Answer, BoxFuture, Family, Fault as NetFault, FaultKind, Net};
use fulmar_sim::{Client, Dns, Fault, Kind, Phase, PoolConfig, Resolve, Retry, Sim, Timeouts};

use super::support::{at, builder, client, echo, join_all, ms, secs, text, until};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9));

/// Answers from a list, and counts.
struct Listed {
    asked: Arc<AtomicUsize>,
    net: fulmar_sim::SimNet,
    /// How long it takes for IPv6 and for all else.
    takes: (Duration, Duration),
    split: bool,
    answer: fn(usize, Family) -> Result<Answer, NetFault>,
}

impl Listed {
    fn new(sim: &Sim, answer: fn(usize, Family) -> Result<Answer, NetFault>) -> Self {
        Self {
            asked: Arc::default(),
            net: sim.net("laptop"),
            takes: (ms(1), ms(1)),
            split: false,
            answer,
        }
    }
}

impl Resolve for Listed {
    fn resolve(&self, _: &str, family: Family) -> BoxFuture<Result<Answer, NetFault>> {
        let nth = self.asked.fetch_add(1, Ordering::Relaxed);
        let takes = if family == Family::V6 {
            self.takes.0
        } else {
            self.takes.1
        };
        let sleep = self.net.sleep(self.net.now() + takes);
        let answer = (self.answer)(nth, family);
        Box::pin(async move {
            sleep.await;
            answer
        })
    }

    fn is_split(&self) -> bool {
        self.split
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what a resolver returns")]
fn found(addrs: &[IpAddr], ttl: Option<Duration>) -> Result<Answer, NetFault> {
    let addrs = addrs.to_vec();
    Ok(Answer { addrs, ttl })
}

/// A server of both addresses that closes every connection, so that each request dials.
fn closing(sim: &Sim) {
    sim.host("api.test").addrs([FIRST, SECOND, SIX]);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await
    });
}

#[test]
fn many_who_wait_share_one_lookup_and_the_next_needs_none() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let resolver = Listed::new(&sim, |_, _| found(&[FIRST], None));
    let asked = resolver.asked.clone();
    let client = builder(&sim).resolver(resolver).build().unwrap();
    let run = sim.run(async move {
        for _ in 0..2 {
            let calls = (0..50).map(|_| text(&client, "http://api.test/"));
            assert!(join_all(calls).await.iter().all(Result::is_ok));
        }
    });
    run.expect();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn whoever_asked_first_may_go_and_the_lookup_goes_on() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let mut resolver = Listed::new(&sim, |_, _| found(&[FIRST], None));
    resolver.takes.1 = ms(100);
    let asked = resolver.asked.clone();
    let client = builder(&sim).resolver(resolver).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let first = until(&handle, at(ms(50)), text(&client, "http://api.test/")).await;
        assert!(first.is_none());
        text(&client, "http://api.test/").await.unwrap();
    });
    run.expect();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(run.elapsed(), ms(100 + 2 + 2));
}

#[test]
fn clients_with_other_settings_share_one_cache() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let resolver = Listed::new(&sim, |_, _| found(&[FIRST], None));
    let asked = resolver.asked.clone();
    let dns = Dns::builder().resolver(resolver).build().unwrap();
    let fast = Timeouts::new().connect(secs(1));
    let fast = builder(&sim).timeouts(fast).dns(&dns).build().unwrap();
    let slow = builder(&sim).dns(&dns).build().unwrap();
    let run = sim.run(async move {
        text(&fast, "http://api.test/").await.unwrap();
        text(&slow, "http://api.test/").await.unwrap();
    });
    run.expect();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn without_a_cache_each_dial_asks() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let resolver = Listed::new(&sim, |_, _| found(&[FIRST], None));
    let asked = resolver.asked.clone();
    let client = builder(&sim).resolver(resolver).no_dns_cache();
    let client = client.build().unwrap();
    let run = sim.run(async move {
        for _ in 0..3 {
            text(&client, "http://api.test/").await.unwrap();
        }
    });
    run.expect();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[test]
fn named_addresses_are_not_looked_up() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "backup.test:80");
    sim.host("backup.test").addrs([SECOND]);
    let client = builder(&sim).resolve("API.test", [SECOND]).build().unwrap();
    let run = sim.run(async move { text(&client, "http://api.test/x").await.unwrap() });
    assert_eq!(run.expect(), "/x");
    assert_eq!(run.elapsed(), ms(2 + 2));
}

#[test]
fn settings_of_names_that_contradict_each_other_do_not_build() {
    let sim = Sim::seeded(1);
    let kind = |builder: fulmar_sim::ClientBuilder| builder.build().unwrap_err().kind();
    let both = builder(&sim).dns(&Dns::new()).dns_ttl(secs(10));
    assert_eq!(kind(both), Kind::Builder);
    assert_eq!(kind(builder(&sim).dns_ttl(ms(999))), Kind::Builder);
    assert_eq!(
        kind(builder(&sim).dns_ttl(secs(9)).no_dns_cache()),
        Kind::Builder
    );
    assert!(builder(&sim).dns_ttl(secs(300)).build().is_ok());
}

#[test]
fn a_resolver_that_fails_every_other_time_fails_no_call() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let resolver = Listed::new(&sim, |nth, _| match nth % 2 {
        0 => found(&[FIRST], Some(secs(20))),
        _ => Err(NetFault::new(FaultKind::NameFailed, Phase::Dns)),
    });
    let asked = resolver.asked.clone();
    let client = builder(&sim).resolver(resolver).retry(Retry::never());
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        while handle.now() < at(secs(3_500)) {
            text(&client, "http://api.test/").await.unwrap();
            handle.sleep(secs(45)).await;
        }
    });
    run.expect();
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 20, "{asked}");
}

#[test]
fn a_call_waits_out_the_second_after_a_failed_lookup() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    sim.between(..ms(500), Fault::dns_error("api.test"));
    let client = client(&sim);
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        response.attempts()
    });
    assert_eq!(*run.expect(), 2);
    assert_eq!(run.elapsed(), ms(1 + 1000 + 1 + 2 + 2));
}

/// A busy connection and an idle one to an address that leaves its name, and what comes after.
#[test]
fn connections_to_an_address_that_left_its_name_are_drained() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test").addrs([FIRST]).ttl(secs(2));
    sim.host("new.test").addrs([SECOND]);
    for host in ["api.test:80", "new.test:80"] {
        let handle = sim.handle();
        sim.serve(host, move |mut conn| {
            let handle = handle.clone();
            async move {
                while let Some(request) = conn.request().await? {
                    if request.path() == "/slow" {
                        handle.sleep(secs(4)).await;
                    }
                    conn.respond(200, host).await?;
                }
                Ok(())
            }
        });
    }
    sim.between(secs(1).., Fault::dns_changed("api.test", "new.test"));
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let slow = text(&client, "http://api.test/slow");
        let rest = async {
            assert_eq!(
                text(&client, "http://api.test/").await.unwrap(),
                "api.test:80"
            );
            // Renewed ahead of its end by the connections alone, and the answer counts at once.
            handle.sleep_until(at(ms(3_500))).await;
            let gauges = client.gauges();
            assert_eq!((gauges.idle, gauges.busy), (0, 1));
            assert_eq!(
                text(&client, "http://api.test/").await.unwrap(),
                "new.test:80"
            );
        };
        let (slow, ()) = both(slow, rest).await;
        assert_eq!(slow.unwrap(), "api.test:80");
        let gauges = client.gauges();
        assert_eq!(
            (gauges.idle, gauges.busy),
            (1, 0),
            "closed after its response"
        );
    });
    run.expect();
}

/// How often a name is looked up in five minutes, with an answer that holds for ten seconds and one
/// connection, which `request` opens and keeps.
fn lookups_of<F: Future>(request: impl FnOnce(Client) -> F) -> usize {
    let mut sim = Sim::seeded(1);
    sim.host("api.test").addrs([FIRST]);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.header("upgrade").is_some() {
                conn.write_all("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
                    .await?;
            } else {
                conn.respond(200, "").await?;
            }
        }
        Ok(())
    });
    let resolver = Listed::new(&sim, |_, _| found(&[FIRST], Some(secs(10))));
    let asked = resolver.asked.clone();
    let config = PoolConfig {
        idle_timeout: Some(secs(600)),
        ..PoolConfig::new()
    };
    let client = builder(&sim).resolver(resolver).pool(config);
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let kept = request(client.clone()).await;
        handle.sleep(secs(300)).await;
        assert_eq!(client.gauges().total, 1);
        drop(kept);
    });
    run.expect();
    asked.load(Ordering::Relaxed)
}

/// IPv4 addresses in IPv6 (RFC 4291 section 2.5.5.2), as `getaddrinfo` gives them with `AI_V4MAPPED`.
#[test]
fn an_address_that_a_resolver_spells_as_ipv6_keeps_its_connections() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test").addrs([FIRST]);
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    sim.serve("api.test:80", move |mut conn| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while conn.request().await?.is_some() {
                conn.respond(200, "").await?;
            }
            Ok(())
        }
    });
    // Sometimes in both spellings: the address is the same.
    let resolver = Listed::new(&sim, |nth, _| {
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 9, 0, 1).to_ipv6_mapped());
        found(&[mapped, FIRST][..=nth % 2], Some(secs(2)))
    });
    let client = builder(&sim).resolver(resolver);
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..20 {
            text(&client, "http://api.test/").await.unwrap();
            handle.sleep(secs(1)).await;
        }
    });
    run.expect();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[test]
fn an_idle_connection_has_its_name_renewed_and_an_upgraded_one_does_not() {
    let idle = lookups_of(|client| async move {
        text(&client, "http://api.test/").await.unwrap();
    });
    assert!(idle > 25, "{idle}");
    let upgraded = lookups_of(|client| async move {
        let get = client.get("http://api.test/").upgrade("x");
        get.send().await.unwrap().upgrade().await.unwrap()
    });
    // Those within the half minute in which the name was used.
    assert!(upgraded <= 4, "{upgraded}");
}

#[test]
fn a_renewal_that_fails_retires_nothing() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.host("api.test").addrs([FIRST]).ttl(secs(2));
    sim.between(secs(1).., Fault::dns_error("api.test"));
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/x").await.unwrap();
        handle.sleep(secs(10)).await;
        assert_eq!(client.gauges().idle, 1);
    });
    run.expect();
}

async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut done_a, mut done_b) = (None, None);
    std::future::poll_fn(move |cx| {
        if done_a.is_none() {
            done_a = ready(a.as_mut().poll(cx));
        }
        if done_b.is_none() {
            done_b = ready(b.as_mut().poll(cx));
        }
        match (done_a.take(), done_b.take()) {
            (Some(a), Some(b)) => std::task::Poll::Ready((a, b)),
            (a, b) => {
                (done_a, done_b) = (a, b);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(poll: std::task::Poll<T>) -> Option<T> {
    match poll {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn an_ipv6_black_hole_costs_a_quarter_of_a_second() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    sim.between(.., Fault::half_open("fd00::9"));
    let mut resolver = Listed::new(&sim, |_, family| match family {
        Family::V6 => found(&[SIX], None),
        _ => found(&[FIRST], None),
    });
    resolver.split = true;
    let client = builder(&sim).resolver(resolver).build().unwrap();
    let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap() });
    run.expect();
    assert_eq!(run.elapsed(), ms(1 + 250 + 2 + 2));
}

#[test]
fn a_slow_aaaa_answer_costs_fifty_milliseconds() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    let mut resolver = Listed::new(&sim, |_, family| match family {
        Family::V6 => found(&[SIX], None),
        _ => found(&[FIRST], None),
    });
    resolver.split = true;
    resolver.takes = (secs(2), ms(1));
    let client = builder(&sim).resolver(resolver).build().unwrap();
    let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap() });
    run.expect();
    assert_eq!(run.elapsed(), ms(1 + 50 + 2 + 2));
}

#[test]
fn where_all_addresses_are_dead_a_call_fails_by_its_connect_timeout() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    for dead in ["10.9.0.1", "10.9.0.2", "fd00::9"] {
        sim.between(.., Fault::half_open(dead));
    }
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap_err() });
    assert_eq!(run.expect().phase(), Some(Phase::Connect));
    assert_eq!(run.elapsed(), secs(5));
}

#[test]
fn of_two_addresses_a_dead_one_costs_a_quarter_of_a_second_once() {
    let mut sim = Sim::seeded(1);
    closing(&sim);
    sim.host("api.test").addrs([FIRST, SECOND]);
    sim.between(.., Fault::half_open("10.9.0.1"));
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut took = Vec::new();
        for _ in 0..3 {
            let begun = handle.now();
            text(&client, "http://api.test/").await.unwrap();
            took.push(handle.now() - begun);
        }
        took
    });
    assert_eq!(*run.expect(), [ms(1 + 250 + 2 + 2), ms(2 + 2), ms(2 + 2)]);
}
