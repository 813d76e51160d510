//! What of a body is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use fulmar_sim::{Body, Fate, Fault, Kind, Phase, Sim, StopReason};

use super::retries::{Log, scripted, status, steady, with};
use super::support::ms;

fn counted_stream(
    text: &'static str,
    pulls: &Arc<AtomicUsize>,
) -> impl futures_core::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let (pulls, mut left) = (pulls.clone(), Some(text));
    super::uploads::Poller(move |_: &mut std::task::Context<'_>| {
        Poll::Ready(left.take().map(|text| {
            pulls.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(text.as_bytes()))
        }))
    })
}

#[test]
fn a_stream_that_nobody_pulled_from_is_still_whole_after_a_failed_dial() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |_| Some(status(200)));
    sim.between(..ms(50), Fault::refuse("api.test"));
    let client = with(&sim, steady(4));
    let pulls = Arc::new(AtomicUsize::new(0));
    let body = Body::stream(counted_stream("payload", &pulls));
    let run = sim.run(async move {
        client
            .put("http://api.test/x")
            .body(body)
            .send()
            .await
            .unwrap()
            .attempts()
    });
    assert!(*run.expect() > 1);
    assert_eq!(*log.lock().unwrap(), ["PUT /x payload"]);
    assert_eq!(pulls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_stream_refused_before_it_was_pulled_from_is_whole_in_the_next_attempt() {
    let mut sim = Sim::seeded(1);
    let log = Log::default();
    let seen = log.clone();
    sim.serve("api.test:80", move |mut conn| {
        let log = seen.clone();
        async move {
            let Some(head) = conn.request_head().await? else { return Ok(()) };
            if head.header("expect").is_some() {
                log.lock().unwrap().push("expects".into());
                return conn
                    .write_all("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
            }
            let mut body = Vec::new();
            while !body.ends_with(b"0\r\n\r\n") && head.header("content-length").is_none_or(|n| n != "0") {
                let read = conn.read(1024).await?;
                if read.is_empty() {
                    break;
                }
                body.extend_from_slice(&read);
            }
            log.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
            conn.respond(200, "ok").await
        }
    });
    let client = with(&sim, steady(3));
    let pulls = Arc::new(AtomicUsize::new(0));
    let body = Body::stream(counted_stream("payload", &pulls));
    let run = sim.run(async move {
        let put = client
            .put("http://api.test/x")
            .header("Expect", "100-continue")
            .body(body);
        put.send().await.unwrap().status().as_u16()
    });
    assert_eq!(*run.expect(), 200);
    assert_eq!(
        *log.lock().unwrap(),
        ["expects", "7\r\npayload\r\n0\r\n\r\n"]
    );
}

/// A factory that promises nine bytes and makes these bodies, one after the other.
fn made(bodies: &'static [&'static [&'static str]]) -> Body {
    let count = AtomicUsize::new(0);
    let make = move || {
        let chunks = bodies[count.fetch_add(1, Ordering::Relaxed)];
        let mut chunks = chunks.iter();
        super::uploads::Poller(move |_: &mut std::task::Context<'_>| {
            let chunk = chunks.next();
            Poll::Ready(chunk.map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk))))
        })
    };
    Body::factory(make, Some(9))
}

#[test]
fn a_factory_that_makes_another_length_the_second_time_ends_the_call_and_its_connection() {
    const SAME: &[&str] = &["some", "bytes"];
    for (again, why) in [
        (&["some", "byte"][..], "shorter"),
        (&[], "shorter"),
        (&["some", "bytes!"], "longer"),
        (&["some", "bytes", "!"], "longer"),
    ] {
        let mut sim = Sim::seeded(1);
        let log = scripted(&sim, |n| (n > 0).then(|| status(200)));
        let client = with(&sim, steady(5));
        let body = made(vec![SAME, again].leak());
        let run = sim.run(async move {
            let put = client.put("http://api.test/x").body(body);
            let error = put.send().await.unwrap_err();
            assert_eq!(client.gauges().total, 0, "{error}");
            error
        });
        assert_eq!(run.leaks(), [""; 0]);
        let error = run.into_output();
        assert_eq!((error.kind(), error.tries()), (Kind::BodyReplayMismatch, 2));
        assert_eq!(error.phase(), Some(Phase::Write));
        assert_eq!(error.retry_stop_reason(), Some(StopReason::NotRetryable));
        assert!(error.is_request() && error.fate() == Fate::MaybeProcessed);
        let text = error.to_string();
        assert!(text.contains("not the same again"), "{text}");
        assert!(text.contains(why), "{again:?}: {text}");
        assert_eq!(*log.lock().unwrap(), ["PUT /x somebytes"], "{again:?}");
    }
}

#[test]
fn a_factory_that_is_wrong_in_the_first_attempt_that_asks_it_has_nothing_to_differ_from() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |_| Some(status(200)));
    sim.between(..ms(50), Fault::refuse("api.test"));
    let client = with(&sim, steady(4));
    let run = sim.run(async move {
        let put = client.put("http://api.test/x").body(made(&[&["some"]]));
        put.send().await.unwrap_err()
    });
    let error = run.into_output();
    assert!(
        error.tries() > 1 && error.kind() == Kind::Request,
        "{error}"
    );
    assert_eq!(log.lock().unwrap().len(), 0);
}
