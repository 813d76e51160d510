//! Keys, gates, rules of the user's own, and deadlines that travel.

use std::sync::{Arc, Mutex};

use fulmar_sim::{
    ClientBuilder, DeadlineHeader, IdempotencyKey, Profile, Retry, Ruling, Seen, Sim, StopReason,
    header,
};

use super::retries::{retry_after, scripted, status, steady, with};
use super::support::{assert_quiet, builder, client, echo, ms, secs};

/// Answers as told and keeps the values of one field.
pub(crate) fn fields(sim: &Sim, name: &'static str, code: u16) -> Arc<Mutex<Vec<Option<String>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    sim.serve("api.test:80", move |mut conn| {
        let seen = seen.clone();
        async move {
            while let Some(request) = conn.request().await? {
                let value = request.header(name).map(str::to_owned);
                seen.lock().unwrap().push(value);
                conn.sleep(ms(100)).await;
                conn.respond(code, "").await?;
            }
            Ok(())
        }
    });
    kept
}

#[test]
fn a_key_is_drawn_once_a_call_and_is_the_same_on_every_attempt() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "idempotency-key", 503);
    let client = with(
        &sim,
        steady(3).throttle(fulmar_sim::Backoff::constant(ms(100))),
    );
    let handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..2 {
            // Two retries in ten seconds are what the budget allows.
            handle.sleep(secs(11)).await;
            let post = client.post("http://api.test/pay").body("money");
            let response = post.idempotency_key(IdempotencyKey::Auto).send().await;
            assert!(response.unwrap().attempts() > 1);
        }
    });
    run.expect();
    let seen = seen.lock().unwrap();
    let first = seen[0].clone().unwrap();
    assert_eq!(first.len(), 34, "32 digits in quotes: {first}");
    assert_eq!(
        seen.iter()
            .filter(|key| **key == Some(first.clone()))
            .count(),
        3
    );
    let second = seen.last().unwrap();
    assert!(second.is_some() && *second != Some(first));
}

#[test]
fn a_key_of_ones_own_is_quoted_and_must_be_printable() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "idempotency-key", 200);
    let client = client(&sim);
    let run = sim.run(async move {
        let post = client.post("http://api.test/pay");
        post.idempotency_key("order \"7\"").send().await.unwrap();
        for key in ["", "tab\t", "caf\u{e9}"] {
            let post = client.post("http://api.test/pay").idempotency_key(key);
            let error = post.send().await.unwrap_err();
            assert!(error.to_string().contains("printable ASCII"), "{error}");
        }
    });
    run.expect();
    assert_eq!(*seen.lock().unwrap(), [Some(r#""order \"7\"""#.to_owned())]);
}

#[test]
fn retry_after_holds_back_the_retries_of_other_calls_to_the_origin() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |n| {
        let mut response = status(if n == 1 { 503 } else { 502 });
        if n == 1 {
            response.headers_mut().insert(header::RETRY_AFTER, 4.into());
        }
        Some(if n < 2 { response } else { status(200) })
    });
    let (client, handle) = (with(&sim, steady(3)), sim.handle());
    let run = sim.run(async move {
        let (first, clock) = (client.clone(), handle.clone());
        // Told nothing itself: 502, and a rest of 100 ms that ends after the other was told.
        handle.spawn(async move {
            let _ = first.get("http://api.test/told-nothing").send().await;
            clock.trace_line("laptop", "the first is through");
        });
        handle.sleep(ms(20)).await;
        // First attempts are not held back.
        let second = client.get("http://api.test/told").send().await.unwrap();
        assert_eq!(second.attempts(), 2);
        assert!(handle.now().since_origin() >= secs(4));
        let error = {
            handle.sleep(secs(1)).await;
            client.get("http://api.test/after").send().await
        };
        assert_eq!(error.unwrap().attempts(), 1);
    });
    run.expect();
    assert!(log.lock().unwrap().len() >= 4);
}

#[test]
fn a_call_that_fails_while_the_gate_is_shut_waits_for_it() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |n| {
        let mut response = status(if n == 0 { 503 } else { 502 });
        if n == 0 {
            response.headers_mut().insert(header::RETRY_AFTER, 4.into());
        }
        Some(if n < 2 { response } else { status(200) })
    });
    let (client, handle) = (with(&sim, steady(2)), sim.handle());
    let run = sim.run(async move {
        let post = client.post("http://api.test/told").retry(Retry::never());
        assert_eq!(post.send().await.unwrap().status().as_u16(), 503);
        let get = client.get("http://api.test/other").send().await.unwrap();
        assert_eq!((get.status().as_u16(), get.attempts()), (200, 2));
        assert!(handle.now().since_origin() >= secs(4));
    });
    run.expect();
}

/// A call that would wait for ten minutes is told to wait for five; another call fails meanwhile,
/// and tries again when, in seconds?
fn other_call_after(client: impl FnOnce(&Sim) -> ClientBuilder) -> u64 {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |n| {
        Some(match n {
            0 => retry_after(503, 300),
            1 => status(502),
            _ => status(200),
        })
    });
    let (client, handle) = (client(&sim).build().unwrap(), sim.handle());
    let run = sim.run(async move {
        let told = client.clone();
        handle.spawn(async move {
            let patient = steady(2).retry_after_max(secs(600));
            let get = told.get("http://api.test/told").retry(patient);
            let answer = get.timeout(secs(1_000)).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.attempts()), (200, 2));
            assert!(answer.elapsed() >= secs(300), "{:?}", answer.elapsed());
        });
        handle.sleep(secs(1)).await;
        let other = client.get("http://api.test/other").send().await.unwrap();
        assert_eq!((other.status().as_u16(), other.attempts()), (200, 2));
        let after = handle.now().since_origin();
        handle.sleep(secs(600)).await;
        after
    });
    run.expect().as_secs()
}

#[test]
fn the_patience_of_one_call_does_not_hold_the_others_back() {
    // A tenth of the wait is added at random.
    let usual = other_call_after(|sim| builder(sim).retry(steady(2)));
    assert!((60..=66).contains(&usual), "{usual}");
    let patient = steady(2).retry_after_max(secs(200));
    let set = other_call_after(|sim| builder(sim).retry(patient));
    assert!((200..=220).contains(&set), "{set}");
    let hasty = Profile::new().retry(steady(2).retry_after_max(secs(10)));
    let profile = other_call_after(|sim| builder(sim).profile("api.test", hasty));
    assert!((10..=11).contains(&profile), "{profile}");
}

#[test]
fn a_gate_beyond_the_deadline_stops_a_retry_at_once() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |n| {
        let mut response = status(if n == 0 { 503 } else { 502 });
        if n == 0 {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, 40.into());
        }
        Some(response)
    });
    let client = with(&sim, steady(3));
    let run = sim.run(async move {
        let told = client.get("http://api.test/told").retry(Retry::never());
        told.send().await.unwrap();
        let get = client.get("http://api.test/other").timeout(secs(5));
        get.send().await.unwrap()
    });
    let response = run.expect();
    assert_eq!(
        response.retry_stop_reason(),
        Some(StopReason::DeadlineWouldExpire)
    );
    assert!(response.retry_exhausted());
    assert!(run.elapsed() < secs(1));
}

#[test]
fn a_rule_of_the_users_own_decides_but_never_repeats_what_is_unsafe_by_accident() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |n| {
        Some(status(if n.is_multiple_of(2) { 404 } else { 200 }))
    });
    let rule = |ruling| {
        steady(3).classifier(move |seen: &Seen<'_>, _| {
            matches!(seen, Seen::Status(404)).then_some(ruling)
        })
    };
    let (safe, reckless) = (rule(Ruling::Retry), rule(Ruling::RetryUnsafe));
    let client = client(&sim);
    let run = sim.run(async move {
        let get = client.get("http://api.test/a").retry(safe.clone());
        assert_eq!(get.send().await.unwrap().attempts(), 2);
        let post = client.post("http://api.test/b").body("x").retry(safe);
        let response = post.send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (404, 1));
        let reason = Some(StopReason::MaybeProcessed);
        assert_eq!(response.retry_stop_reason(), reason);
        client.get("http://api.test/c").send().await.unwrap();
        let post = client.post("http://api.test/d").body("x").retry(reckless);
        assert_eq!(post.send().await.unwrap().attempts(), 2);
    });
    run.expect();
    assert_eq!(log.lock().unwrap().len(), 6);
}

#[test]
fn a_rule_holds_for_every_attempt_where_the_built_in_one_would_hold_for_one() {
    let attempts = |retry| {
        let mut sim = Sim::seeded(1);
        scripted(&sim, |_| Some(status(408)));
        let get = with(&sim, retry).get("http://api.test/");
        let run = sim.run(async move { get.send().await.unwrap().attempts() });
        *run.expect()
    };
    assert_eq!(attempts(steady(3)), 2);
    assert_eq!(
        attempts(steady(3).classifier(|_, _| Some(Ruling::Retry))),
        3
    );
}

#[test]
fn a_rule_may_call_a_failure_final_or_a_status_a_success() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |_| Some(status(503)));
    sim.host("down.test");
    let retry = steady(3).classifier(|seen, _| match seen {
        Seen::Status(503) => Some(Ruling::Success),
        Seen::Failure(_) => Some(Ruling::Fatal),
        _ => None,
    });
    let client = with(&sim, retry);
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(
            (response.attempts(), response.retry_stop_reason()),
            (1, None)
        );
        let error = client.get("http://down.test/").send().await.unwrap_err();
        assert_eq!(error.tries(), 1);
        assert_eq!(error.retry_stop_reason(), Some(StopReason::NotRetryable));
    });
    run.expect();
}

#[test]
fn i2_6_the_deadline_that_travels_shrinks_with_every_attempt() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "grpc-timeout", 502);
    echo(&sim, "other.test:80");
    let client = builder(&sim)
        .propagate_deadline("http://api.test/", DeadlineHeader::GrpcTimeout)
        .retry(steady(3))
        .build()
        .unwrap();
    let run = sim.run(async move {
        let get = client.get("http://api.test/x").timeout(secs(2));
        assert_eq!(get.send().await.unwrap().attempts(), 3);
        // Without a deadline there is nothing to tell.
        let get = client.get("http://api.test/x").retry(Retry::never());
        get.send().await.unwrap();
    });
    run.expect();
    let seen = seen.lock().unwrap().clone();
    let left =
        |value: &Option<String>| DeadlineHeader::GrpcTimeout.parse(value.as_ref()?.as_bytes());
    let left: Vec<_> = seen.iter().map(left).collect();
    // Name and transport take 3 ms, 2 ms are kept back; then 2 ms of way, 100 ms of work, 100 ms
    // of rest.
    let told = [2_000 - 5, 2_000 - 5 - 202, 2_000 - 5 - 404].map(|millis| Some(ms(millis)));
    assert_eq!(left, [told[0], told[1], told[2], None]);
}

#[test]
fn half_a_round_trip_is_kept_back_of_the_deadline_that_travels() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").latency(ms(40));
    let seen = fields(&sim, "grpc-timeout", 200);
    let client = builder(&sim)
        .propagate_deadline("http://api.test/", DeadlineHeader::GrpcTimeout)
        .build()
        .unwrap();
    let run = sim.run(async move {
        for path in ["fresh", "reused"] {
            let get = client.get(format!("http://api.test/{path}"));
            get.timeout(secs(2)).send().await.unwrap();
        }
    });
    run.expect();
    let seen = seen.lock().unwrap().clone();
    let left =
        |value: &Option<String>| DeadlineHeader::GrpcTimeout.parse(value.as_ref()?.as_bytes());
    let left: Vec<_> = seen.iter().map(left).collect();
    // The name takes 1 ms and the transport 80 ms, and 40 ms are kept back.
    let told = [2_000 - 1 - 80 - 40, 2_000 - 40].map(|millis| Some(ms(millis)));
    assert_eq!(left, told);
}

#[test]
fn only_origins_that_were_named_are_told_the_deadline() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "x-request-timeout", 200);
    let client = builder(&sim)
        .propagate_deadline("http://other.test/", DeadlineHeader::RequestTimeout)
        .build()
        .unwrap();
    let run = sim.run(async move {
        let get = client.get("http://api.test/x").timeout(secs(2));
        get.send().await.unwrap();
    });
    run.expect();
    assert_eq!(*seen.lock().unwrap(), [None]);
}

#[test]
fn an_attempt_with_nothing_left_to_tell_is_not_sent() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "grpc-timeout", 200);
    let client = builder(&sim)
        .propagate_deadline("http://api.test/", DeadlineHeader::GrpcTimeout)
        .build()
        .unwrap();
    let run = sim.run(async move {
        // Name and transport take 3 ms, and 2 ms are kept back.
        let get = client.get("http://api.test/x").timeout(ms(5));
        get.send().await.unwrap_err()
    });
    let error = run.expect();
    assert!(error.is_deadline(), "{error}");
    assert_eq!(error.fate(), fulmar_sim::Fate::NotProcessed);
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[test]
fn the_error_of_an_exhausted_call_tells_every_attempt() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    let client = with(&sim, steady(3));
    let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
    let error = run.expect();
    let text = format!("{error:#}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].contains("after 3 attempts (all attempts are used)"),
        "{text}"
    );
    assert!(lines[1].starts_with("  attempt 1: "), "{text}");
    assert!(
        lines[3].starts_with("  attempt 3 after a rest of 100ms: "),
        "{text}"
    );
    assert!(lines[3].contains(", request not processed, "), "{text}");
}

#[test]
fn an_error_within_the_body_tells_the_attempts_before_it() {
    let mut sim = Sim::seeded(1);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let count = Arc::new(count);
    sim.serve("api.test:80", move |mut conn| {
        let count = count.clone();
        async move {
            while conn.request().await?.is_some() {
                if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                    conn.respond(502, "").await?;
                    continue;
                }
                let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
                return conn.write_all(half).await;
            }
            Ok(())
        }
    });
    let client = with(&sim, steady(3));
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        response.bytes().await.unwrap_err()
    });
    let error = run.expect();
    assert_eq!((error.tries(), error.attempts().len()), (2, 2));
    let first = &error.attempts()[0];
    assert!(first.sent > 30 && first.received > 30, "{first:?}");
    assert_eq!(error.retry_stop_reason(), Some(StopReason::NotRetryable));
    assert_eq!(error.fate(), fulmar_sim::Fate::Processed);
}

#[test]
fn i1_8_a_request_in_backoff_holds_no_slot_whatever_failed() {
    for failure in 0..6_u32 {
        for reused in [false, true] {
            at_rest(failure, reused);
        }
    }
}

/// One call whose first attempt fails somehow, looked at every 10 ms of its rest.
fn at_rest(failure: u32, reused: bool) {
    let mut sim = Sim::seeded(u64::from(failure));
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let armed = failing.clone();
    sim.serve("api.test:80", move |mut conn| {
        let armed = armed.clone();
        async move {
            while let Some(request) = conn.request().await? {
                if !armed.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    conn.respond(200, request.path()).await?;
                    continue;
                }
                match failure {
                    0 => conn.respond(502, "").await?,
                    1 => conn.respond(503, vec![b'x'; 300_000]).await?,
                    2 => {
                        conn.write_all("HTTP/1.1 503 Busy\r\n\r\nuntil the end")
                            .await?;
                    }
                    3 => return Ok(()),
                    4 => conn.reset(),
                    _ => conn.write_all("HTTP/1.1 200 O").await?,
                }
                conn.sleep(ms(20)).await;
                if failure != 0 {
                    return Ok(());
                }
            }
            Ok(())
        }
    });
    let rest = fulmar_sim::Backoff::constant(secs(1));
    let retry = Retry::new(3)
        .transparent(false)
        .backoff(rest)
        .throttle(rest);
    let (client, handle) = (with(&sim, retry), sim.handle());
    let run = sim.run(async move {
        if reused {
            super::support::text(&client, "http://api.test/warm")
                .await
                .unwrap();
        }
        failing.store(true, std::sync::atomic::Ordering::Relaxed);
        let call = client.clone();
        handle.spawn(async move {
            let response = call.get("http://api.test/x").send().await.unwrap();
            assert_eq!(response.attempts(), 2);
        });
        // The failure takes its time, and what is left of its body 50 ms at most.
        handle.sleep(ms(200)).await;
        for _ in 0..70 {
            super::support::assert_quiet(client.gauges());
            handle.sleep(ms(10)).await;
        }
        handle.sleep(secs(2)).await;
    });
    run.expect();
}

/// A client whose every success pays for one retry, and which starts with one.
fn frugal(sim: &Sim) -> fulmar_sim::Client {
    let retry = steady(2).throttle(fulmar_sim::Backoff::constant(ms(100)));
    let mut pool = fulmar_sim::PoolConfig::new();
    (pool.budget.ratio, pool.budget.window_ratio) = (1.0, Some(1.0));
    (pool.budget.min, pool.budget.max, pool.budget.refill) = (1.0, 1.0, 0.0);
    builder(sim).retry(retry).pool(pool).build().unwrap()
}

#[test]
fn a_response_earns_the_budget_a_token_with_its_head_whoever_drops_its_body() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            match request.target() {
                "/down" => conn.respond(503, "").await?,
                "/switch" => {
                    let head = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
                    conn.write_all(head).await?;
                }
                _ => {
                    conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
                        .await?;
                }
            }
        }
        Ok(())
    });
    let client = frugal(&sim);
    let run = sim.run(async move {
        let down = || client.get("http://api.test/down").send();
        let mut attempts = Vec::new();
        for path in [None, Some("/large"), Some("/switch")] {
            if let Some(path) = path {
                let get = client.get(format!("http://api.test{path}")).upgrade("x");
                drop(get.send().await.unwrap());
            }
            for _ in 0..2 {
                attempts.push(down().await.unwrap().attempts());
            }
        }
        attempts
    });
    assert_eq!(*run.expect(), [2, 1, 2, 1, 2, 1]);
}

#[test]
fn calls_with_nothing_left_to_tell_leave_the_connections_that_they_were_given() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "grpc-timeout", 200);
    let client = builder(&sim)
        .propagate_deadline("http://api.test/", DeadlineHeader::GrpcTimeout)
        .build()
        .unwrap();
    let run = sim.run(async move {
        for (millis, is_sent) in [(2_000, true), (1, false), (1, false), (2_000, true)] {
            let get = client.get("http://api.test/x").timeout(ms(millis));
            assert_eq!(get.send().await.is_ok(), is_sent);
            assert_quiet(client.gauges());
        }
    });
    run.expect();
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!((run.stats().connections, run.leaks().len()), (1, 0));
}
