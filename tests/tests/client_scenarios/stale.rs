//! Connections that died while they were idle.

use fulmar_sim::{Fate, Kind, Retry, Sim, StopReason};

use super::retries::{Log, steady, with};
use super::support::{assert_quiet, ms, text};

/// A server that closes every connection after the first response, without saying so.
fn closes_after_one(sim: &Sim, lag: std::time::Duration) -> Log {
    let log = Log::default();
    let kept = log.clone();
    sim.serve("api.test:80", move |mut conn| {
        let log = log.clone();
        async move {
            if let Some(request) = conn.request().await? {
                log.lock()
                    .unwrap()
                    .push(format!("{} {}", request.method(), request.path()));
                conn.respond(200, request.path()).await?;
                conn.sleep(lag).await;
            }
            Ok(())
        }
    });
    kept
}

#[test]
fn a_get_survives_a_connection_that_went_stale_in_the_pool() {
    let mut sim = Sim::seeded(1);
    // The end is under way when the second request goes out.
    let log = closes_after_one(&sim, ms(10));
    sim.link("laptop", "api.test").latency(ms(20));
    let client = with(&sim, Retry::new(1));
    let handle = sim.handle();
    let run = sim.run(async move {
        assert_eq!(text(&client, "http://api.test/a").await.unwrap(), "/a");
        handle.sleep(ms(5)).await;
        let response = client.get("http://api.test/b").send().await.unwrap();
        assert_eq!(response.attempts(), 2, "the first was free");
        assert_eq!(response.text().await.unwrap(), "/b");
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(*log.lock().unwrap(), ["GET /a", "GET /b"]);
}

#[test]
fn a_post_on_a_connection_that_went_stale_says_that_it_may_have_been_processed() {
    let mut sim = Sim::seeded(1);
    closes_after_one(&sim, ms(10));
    sim.link("laptop", "api.test").latency(ms(20));
    let client = with(&sim, steady(3));
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/a").await.unwrap();
        handle.sleep(ms(5)).await;
        let error = client
            .post("http://api.test/b")
            .body("x")
            .send()
            .await
            .unwrap_err();
        assert_quiet(client.gauges());
        error
    });
    let error = run.expect();
    assert_eq!(
        (error.kind(), error.fate()),
        (Kind::Io, Fate::MaybeProcessed)
    );
    assert_eq!(error.retry_stop_reason(), Some(StopReason::MaybeProcessed));
    assert!(error.attempts()[0].reused);
}

#[test]
fn a_connection_seen_to_be_closed_is_not_used_at_all() {
    let mut sim = Sim::seeded(1);
    closes_after_one(&sim, ms(10));
    let client = with(&sim, Retry::never());
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/a").await.unwrap();
        handle.sleep(ms(50)).await;
        let response = client
            .post("http://api.test/b")
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(response.attempts(), 1);
    });
    run.expect();
}

#[test]
fn a_request_timeout_of_an_idle_connection_is_not_taken_for_an_answer() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        if let Some(request) = conn.request().await? {
            conn.respond(200, request.path()).await?;
            conn.sleep(ms(50)).await;
            conn.write_all(
                "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            )
            .await?;
        }
        Ok(())
    });
    let client = with(&sim, Retry::never());
    let handle = sim.handle();
    let run = sim.run(async move {
        assert_eq!(text(&client, "http://api.test/a").await.unwrap(), "/a");
        handle.sleep(ms(100)).await;
        let response = client
            .post("http://api.test/b")
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 1));
    });
    run.expect();
}

#[test]
fn a_put_on_a_connection_that_went_stale_is_sent_again_whole() {
    let mut sim = Sim::seeded(1);
    let log = Log::default();
    let seen = log.clone();
    sim.link("laptop", "api.test").latency(ms(20));
    sim.serve("api.test:80", move |mut conn| {
        let log = seen.clone();
        async move {
            if let Some(request) = conn.request().await? {
                let body = String::from_utf8_lossy(request.body()).into_owned();
                log.lock().unwrap().push(body);
                conn.respond(200, "").await?;
                conn.sleep(ms(10)).await;
            }
            Ok(())
        }
    });
    let client = with(&sim, Retry::new(1));
    let handle = sim.handle();
    let run = sim.run(async move {
        for body in ["first", "second"] {
            let put = client.put("http://api.test/").body(body);
            let response = put.send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200);
            handle.sleep(ms(5)).await;
        }
    });
    run.expect();
    assert_eq!(*log.lock().unwrap(), ["first", "second"]);
}

#[test]
fn the_siblings_of_a_connection_that_went_stale_are_not_tried_one_by_one() {
    let mut sim = Sim::seeded(1);
    closes_after_one(&sim, ms(10));
    sim.link("laptop", "api.test").latency(ms(20));
    let client = with(&sim, Retry::new(1));
    let handle = sim.handle();
    let run = sim.run(async move {
        let calls = (0..8).map(|_| text(&client, "http://api.test/a"));
        for text in super::support::join_all(calls).await {
            text.unwrap();
        }
        assert_eq!(client.gauges().idle, 8);
        handle.sleep(ms(5)).await;
        let response = client.get("http://api.test/b").send().await.unwrap();
        (response.attempts(), client.gauges().total)
    });
    assert_eq!(*run.expect(), (2, 1));
    assert_eq!(run.stats().connections, 8 + 1);
}

#[test]
fn a_post_does_not_take_a_connection_that_was_idle_for_long() {
    let mut sim = Sim::seeded(1);
    super::support::echo(&sim, "api.test:80");
    let client = with(&sim, steady(3));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut reused = Vec::new();
        text(&client, "http://api.test/a").await.unwrap();
        for idle in [3, 3, 5] {
            handle.sleep(std::time::Duration::from_secs(idle)).await;
            let post = client.post("http://api.test/b").body("x");
            reused.push(post.send().await.unwrap().is_reused());
        }
        handle.sleep(std::time::Duration::from_secs(5)).await;
        reused.push(
            client
                .get("http://api.test/c")
                .send()
                .await
                .unwrap()
                .is_reused(),
        );
        reused
    });
    assert_eq!(*run.expect(), [true, true, false, true]);
}
