//! The end of a client, and the ends of its connections.

use std::sync::{Arc, Mutex};

use fulmar_sim::trace::{Event, Record};
use fulmar_sim::{
    Backoff, Client, Error, Fate, Fault, Instant, Kind, Limits, Observer, PoolConfig, Retry, Sim,
};

use super::support::{assert_quiet, builder, client, echo, join, join_all, ms, secs, silent, text};

/// Answers each request after a second.
fn slow(sim: &Sim, addr: &str) {
    sim.serve(addr, |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.sleep(secs(1)).await;
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
}

fn is_closed<T>(result: Result<T, Error>) -> bool {
    result.is_err_and(|error| error.kind() == Kind::Closed)
}

#[test]
fn what_is_under_way_finishes_and_what_is_new_fails() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test:80");
    echo(&sim, "idle.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://idle.test/").await.unwrap();
        let begun = client.deadline(ms(0));
        let under_way = text(&client, "http://api.test/a");
        let shutdown = async {
            handle.sleep(ms(100)).await;
            let down = client.shutdown(client.deadline(secs(10)));
            let late = async {
                handle.sleep(ms(100)).await;
                assert_eq!(client.gauges().idle, 0);
                is_closed(text(&client, "http://idle.test/late").await)
            };
            let ((), is_late_closed) = join(down, late).await;
            (is_late_closed, client.deadline(ms(0)) - begun)
        };
        let (answer, (is_late_closed, took)) = join(under_way, shutdown).await;
        assert_eq!(answer.unwrap(), "/a");
        assert!(is_late_closed && client.is_closed());
        assert!(took >= secs(1) && took < secs(2), "{took:?}");
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn what_outlives_the_deadline_fails_then_and_closes() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    sim.serve("body.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
            .await?;
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let body = client.get("http://body.test/").send().await.unwrap();
        let begun = client.deadline(ms(0));
        let head = text(&client, "http://api.test/");
        let shutdown = async {
            handle.sleep(ms(100)).await;
            client.shutdown(client.deadline(secs(2))).await;
            client.deadline(ms(0)) - begun
        };
        let (head, (body, took)) = join(head, join(body.text(), shutdown)).await;
        assert_eq!(took, ms(2_100));
        assert_eq!(head.as_ref().unwrap_err().fate(), Fate::MaybeProcessed);
        assert!(is_closed(head) && is_closed(body));
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn who_waits_for_a_connection_or_rests_before_a_retry_fails_at_once() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    sim.host("refused.test");
    let retry = Retry::new(5).backoff(Backoff::constant(secs(60)));
    let limits = Limits::new().per_origin(1);
    let client = builder(&sim).limits(limits).retry(retry).build().unwrap();
    sim.between(.., Fault::half_open("hole.test"));
    sim.host("hole.test");
    let handle = sim.handle();
    let run = sim.run(async move {
        let urls = [
            "http://api.test/busy",
            "http://api.test/waiting",
            "http://refused.test/resting",
            "http://hole.test/dialling",
        ];
        let ends: Mutex<Vec<(&str, bool, Instant)>> = Mutex::default();
        let calls = join_all(urls.map(|url| {
            let (client, ends) = (&client, &ends);
            async move {
                let is_closed = is_closed(text(client, url).await);
                let end = (url, is_closed, client.deadline(ms(0)));
                ends.lock().unwrap().push(end);
            }
        }));
        let shutdown = async {
            handle.sleep(secs(1)).await;
            client.shutdown(client.deadline(secs(3))).await;
        };
        join(calls, shutdown).await;
        assert_quiet(client.gauges());
        ends.into_inner().unwrap()
    });
    for (url, is_closed, at) in run.expect() {
        let end = if url.ends_with("busy") {
            secs(4)
        } else {
            secs(1)
        };
        assert_eq!((*is_closed, *at - Instant::ORIGIN), (true, end), "{url}");
    }
}

#[test]
fn several_may_shut_down_at_once_and_again_and_all_return_when_nothing_is_left() {
    let mut sim = Sim::seeded(1);
    slow(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let call = text(&client, "http://api.test/a");
        let shutdowns = async {
            handle.sleep(ms(100)).await;
            let dropped = client.shutdown(client.deadline(ms(1)));
            super::support::PollTimes::new(1, dropped).await;
            let all = [secs(5), secs(10), secs(20)];
            let all = all.map(|after| client.shutdown(client.deadline(after)));
            join_all(all).await;
            let ended = client.deadline(ms(0));
            client.shutdown(Instant::MAX).await;
            client.shutdown(ended).await;
            assert_eq!(client.deadline(ms(0)), ended, "it is down already");
        };
        let (answer, ()) = join(call, shutdowns).await;
        assert_eq!(answer.unwrap(), "/a", "the dropped one's deadline is gone");
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert!(run.elapsed() < secs(2), "{:?}", run.elapsed());
}

#[test]
fn a_response_that_nobody_reads_does_not_hold_a_shutdown_up() {
    let mut sim = Sim::seeded(1);
    super::support::raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    );
    let client = client(&sim);
    let run = sim.run(async move {
        let held = client.get("http://api.test/").send().await.unwrap();
        client.shutdown(client.deadline(secs(1))).await;
        assert_eq!(client.gauges().busy, 1);
        drop(held);
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert!(run.elapsed() < secs(2), "{:?}", run.elapsed());
}

#[test]
fn a_cancelled_burst_into_a_black_hole_leaves_few_dials_at_once() {
    let mut sim = Sim::seeded(1);
    sim.host("hole.test");
    sim.between(.., Fault::half_open("hole.test"));
    echo(&sim, "api.test:80");
    let limits = Limits::new().total(300).per_origin(300).idle_per_origin(4);
    let client = builder(&sim).limits(limits).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let burst = join_all((0..300).map(|_| text(&client, "http://hole.test/")));
        let cancelled = super::support::until(&handle, client.deadline(ms(500)), burst).await;
        assert!(cancelled.is_none());
        assert_eq!(client.gauges().connecting, 4);
        assert_eq!(text(&client, "http://api.test/x").await.unwrap(), "/x");
        // The tasks are gone as well: their sockets are.
        handle.sleep(ms(1)).await;
        client
    });
    let _client: &Client = run.expect();
    assert!(run.elapsed() < secs(1), "{:?}", run.elapsed());
}

/// Keeps what it hears.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Record>>>);

impl Observer for Ears {
    fn event(&self, record: &Record) {
        self.0.lock().unwrap().push(record.clone());
    }
}

#[test]
fn an_observer_hears_why_an_idle_connection_went() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "a.test:80");
    echo(&sim, "b.test:80");
    sim.serve("closes.test:80", |mut conn| async move {
        if let Some(request) = conn.request().await? {
            conn.respond(200, request.path()).await?;
        }
        conn.sleep(ms(100)).await;
        Ok(())
    });
    let ears = Ears::default();
    let mut pool = PoolConfig::new();
    pool.idle_timeout = Some(secs(5));
    pool.limits = Limits::new().total(1);
    let client = builder(&sim)
        .pool(pool)
        .observer(ears.clone())
        .build()
        .unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://a.test/").await.unwrap();
        text(&client, "http://b.test/").await.unwrap();
        handle.sleep(secs(6)).await;
        text(&client, "http://closes.test/").await.unwrap();
        handle.sleep(secs(2)).await;
        text(&client, "http://a.test/").await.unwrap();
        client.shutdown(client.deadline(secs(1))).await;
    });
    run.expect();
    let records = ears.0.lock().unwrap();
    let whys = records.iter().filter_map(|record| match record.event {
        Event::Evicted { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(
        whys.collect::<Vec<_>>(),
        [
            "its room was needed",
            "expired",
            "closed by the peer while idle",
            "the client is closed"
        ]
    );
}

#[test]
fn a_server_that_accepts_and_closes_is_not_hammered() {
    let mut sim = Sim::seeded(1);
    let accepted = Arc::new(Mutex::new(0));
    let count = accepted.clone();
    sim.serve("api.test:80", move |mut conn| {
        *count.lock().unwrap() += 1;
        async move {
            conn.request().await?;
            Ok(())
        }
    });
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        for _ in 0..40 {
            assert!(text(&client, "http://api.test/").await.is_err());
        }
    });
    run.expect();
    // Dialled as fast as the network allows it would be over in a quarter of a second.
    assert!(run.elapsed() > secs(10), "{:?}", run.elapsed());
}
