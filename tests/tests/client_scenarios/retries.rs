//! Retries end to end: what is repeated, when, and what is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fulmar_sim::{Backoff, Client, Fault, Jitter, Kind, Phase, Retry, Sim, StopReason, header};

use super::support::{PollTimes, assert_quiet, builder, echo, ms, raw_then_close, secs, text};

pub(crate) fn steady(attempts: u32) -> Retry {
    Retry::new(attempts).backoff(Backoff::constant(ms(100)).jitter(Jitter::None))
}

pub(crate) fn with(sim: &Sim, retry: Retry) -> Client {
    builder(sim).retry(retry).build().unwrap()
}

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// Answers the n-th request (over all connections) as `answer` says, and logs them.
pub(crate) fn scripted(
    sim: &Sim,
    answer: impl Fn(usize) -> Option<http::Response<Bytes>> + Send + Sync + 'static,
) -> Log {
    let log = Log::default();
    let (count, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    let kept = log.clone();
    sim.serve("api.test:80", move |mut conn| {
        let (log, count, answer) = (log.clone(), count.clone(), answer.clone());
        async move {
            while let Some(request) = conn.request().await? {
                let body = String::from_utf8_lossy(request.body()).into_owned();
                log.lock()
                    .unwrap()
                    .push(format!("{} {} {body}", request.method(), request.path()));
                match answer(count.fetch_add(1, Ordering::Relaxed)) {
                    Some(response) => conn.respond_with(response).await?,
                    None => return Ok(()),
                }
            }
            Ok(())
        }
    });
    kept
}

pub(crate) fn status(status: u16) -> http::Response<Bytes> {
    http::Response::builder()
        .status(status)
        .body(Bytes::from(status.to_string()))
        .unwrap()
}

pub(crate) fn retry_after(code: u16, seconds: u32) -> http::Response<Bytes> {
    let mut response = status(code);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.into());
    response
}

#[test]
fn two_refusals_that_say_when_and_then_success() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |n| {
        Some(if n < 2 {
            retry_after(503, 2)
        } else {
            status(200)
        })
    });
    let client = with(&sim, steady(3));
    let run = sim.run(async move {
        let response = client.get("http://api.test/x").send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
        assert!(!response.retry_exhausted());
        response.text().await.unwrap()
    });
    assert_eq!(run.expect(), "200");
    assert!(run.elapsed() >= secs(4), "{:?}", run.elapsed());
    assert!(run.elapsed() <= secs(7), "{:?}", run.elapsed());
    assert_eq!(log.lock().unwrap().len(), 3);
    assert_eq!(
        run.stats().connections,
        1,
        "a refusal with a complete body keeps its connection"
    );
}

#[test]
fn a_request_at_rest_owns_no_connection() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |_| Some(retry_after(503, 5)));
    let client = with(&sim, steady(2));
    let handle = sim.handle();
    let run = sim.run(async move {
        let call = client.clone();
        handle.spawn(async move {
            let _ = call.get("http://api.test/x").send().await;
        });
        handle.sleep(ms(1000)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
}

#[test]
fn a_long_refusal_is_closed_before_the_rest() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |n| {
        let mut response = if n == 0 {
            retry_after(503, 5)
        } else {
            status(200)
        };
        *response.body_mut() = vec![b'x'; 200_000].into();
        Some(response)
    });
    let client = with(&sim, steady(2));
    let handle = sim.handle();
    let run = sim.run(async move {
        let call = client.clone();
        handle.spawn(async move {
            let response = call.get("http://api.test/x").send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), 200_000);
        });
        handle.sleep(ms(100)).await;
        assert_eq!(client.gauges().total, 0);
        handle.sleep(secs(10)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
}

#[test]
fn a_refused_port_that_opens_later_is_reached() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |_| Some(status(200)));
    sim.between(..ms(150), Fault::refuse("api.test"));
    let client = with(&sim, steady(4));
    let run = sim.run(async move {
        let response = client
            .post("http://api.test/x")
            .body("once")
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.attempts())
    });
    let (status, attempts) = *run.expect();
    assert_eq!(status, 200);
    assert!((2..=4).contains(&attempts), "{attempts}");
    assert_eq!(*log.lock().unwrap(), ["POST /x once"]);
}

#[test]
fn the_last_refusal_is_returned_as_a_response_that_can_be_read() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |_| Some(status(502)));
    let client = with(&sim, steady(3));
    let run = sim.run(async move {
        let response = client.get("http://api.test/x").send().await.unwrap();
        assert!(response.retry_exhausted());
        assert_eq!(response.retry_stop_reason(), Some(StopReason::MaxAttempts));
        assert_eq!((response.status().as_u16(), response.attempts()), (502, 3));
        let text = response.text().await.unwrap();
        assert_quiet(client.gauges());
        text
    });
    assert_eq!(run.expect(), "502");
    assert_eq!(run.elapsed(), ms(5 + 100 + 2 + 100 + 2));
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[test]
fn a_refusal_that_asks_for_too_long_a_wait_is_returned_at_once() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |_| Some(retry_after(503, 3600)));
    let client = with(&sim, steady(3));
    let run = sim.run(async move { client.get("http://api.test/x").send().await.unwrap() });
    let response = run.expect();
    assert_eq!(
        response.retry_stop_reason(),
        Some(StopReason::RetryAfterTooLong)
    );
    assert_eq!(run.elapsed(), ms(5));
}

#[test]
fn no_rest_ends_after_the_deadline() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |_| Some(retry_after(503, 5)));
    let client = with(&sim, steady(3));
    let run = sim.run(async move {
        client
            .get("http://api.test/x")
            .timeout(secs(4))
            .send()
            .await
            .unwrap()
    });
    assert_eq!(
        run.expect().retry_stop_reason(),
        Some(StopReason::DeadlineWouldExpire)
    );
    assert_eq!(run.elapsed(), ms(5));
}

#[test]
fn an_unknown_name_is_not_asked_for_again() {
    let mut sim = Sim::seeded(1);
    let client = with(&sim, steady(3));
    let run = sim.run(async move { text(&client, "http://nowhere.test/").await.unwrap_err() });
    let error = run.expect();
    assert_eq!(
        (error.kind(), error.phase(), error.tries()),
        (Kind::Connect, Some(Phase::Dns), 1)
    );
    assert!(!error.retry_exhausted());
    assert_eq!(run.elapsed(), ms(1));
}

#[test]
fn a_free_attempt_happens_even_where_one_attempt_is_all() {
    let mut sim = Sim::seeded(1);
    raw_then_close(&sim, "api.test:80", "");
    let client = with(&sim, Retry::new(1));
    let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap_err() });
    // A fresh connection that dies is no stale one: it counts.
    assert_eq!(run.expect().tries(), 1);
    assert_eq!(run.elapsed(), ms(5));
}

/// Calls that fail, one a second; how many requests the server saw of them.
fn requests_of_failing_calls(calls: u64, fields: &'static str) -> u64 {
    let mut sim = Sim::seeded(1);
    let log = Log::default();
    let seen = log.clone();
    sim.serve("api.test:80", move |mut conn| {
        let log = seen.clone();
        async move {
            while let Some(request) = conn.request().await? {
                log.lock().unwrap().push(request.path().to_owned());
                let fine = request.path() == "/fine";
                let status = if fine { "200 OK" } else { "502 Bad Gateway" };
                conn.write_all(format!(
                    "HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n"
                ))
                .await?;
                if !fields.is_empty() {
                    return Ok(());
                }
            }
            Ok(())
        }
    });
    let client = with(&sim, steady(2));
    let handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..50 {
            client.get("http://api.test/fine").send().await.unwrap();
            handle.sleep(secs(1)).await;
        }
        for _ in 0..calls {
            client.get("http://api.test/bad").send().await.unwrap();
            handle.sleep(secs(1)).await;
        }
    });
    run.expect();
    let bad = log
        .lock()
        .unwrap()
        .iter()
        .filter(|path| *path == "/bad")
        .count();
    bad as u64
}

#[test]
fn failures_earn_no_retries_and_successes_do_even_where_connections_close() {
    for fields in ["", "Connection: close\r\n"] {
        let retries = requests_of_failing_calls(100, fields) - 100;
        // Three to begin with and a tenth for each of 50 successes, at most 6 for what the route
        // has seen in a minute; a hundredth a second. A tenth for each failure would be 10 more.
        assert!((5..=9).contains(&retries), "{fields:?}: {retries} retries");
    }
}

/// What a call paid for retries, in tokens, and the dials it made, where it was dropped after so
/// many polls. Its first dial is refused; none after that is.
fn dialled(polls: usize) -> (u32, usize, bool) {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.between(..ms(50), Fault::refuse("api.test"));
    let dials = Arc::new(AtomicUsize::new(0));
    let count = dials.clone();
    let client = builder(&sim)
        .retry(steady(3))
        .observer(move |record: &fulmar_core::trace::Record| {
            let is_dial = matches!(record.event, fulmar_core::trace::Event::DialStarted);
            count.fetch_add(usize::from(is_dial), Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let tokens = || {
            let get = client.get("http://api.test/");
            client.explain(&get).unwrap().retry.tokens
        };
        let before = tokens();
        let get = client.get("http://api.test/").send();
        let done = PollTimes::new(polls, get).await.is_some();
        handle.sleep(ms(50)).await;
        // A success gives a tenth back, and time less.
        ((before - tokens() + 200) / 1_000, done)
    });
    let (paid, done) = *run.expect();
    (paid, dials.load(Ordering::Relaxed), done)
}

#[test]
fn a_retry_that_dialled_is_paid_for_wherever_it_is_dropped() {
    for polls in 1.. {
        let (paid, dials, done) = dialled(polls);
        assert_eq!(paid as usize, dials - 1, "{polls} polls");
        if done {
            assert_eq!(dials, 2);
            break;
        }
    }
}
