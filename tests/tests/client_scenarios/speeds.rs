//! Bodies that move too slowly to be waited for.

use std::time::Duration;

use fulmar_core::retry::Cause;
use fulmar_sim::{AttemptOutcome, Body, Client, Error, Fate, Phase, Sim, StopReason, Timeouts};

use super::support::{builder, drain, echo, ms, secs};
use super::uploads::slow_stream;

/// 100 bytes/s over 3 s, and no other limit.
fn guarded(sim: &Sim) -> Client {
    let timeouts = Timeouts::none().min_speed(100, secs(3));
    builder(sim).timeouts(timeouts).build().unwrap()
}

/// Sends a head, then so many bytes every half second.
fn dripping(sim: &Sim, bytes: usize) {
    sim.serve("api.test:80", move |mut conn| async move {
        conn.request().await?;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n";
        conn.write_all(head).await?;
        for _ in 0..2_000_usize.div_ceil(bytes) {
            conn.sleep(ms(500)).await;
            conn.write_all(vec![b'x'; bytes]).await?;
        }
        conn.request().await.map(|_| ())
    });
}

async fn read(client: Client) -> Result<u64, Error> {
    drain(client.get("http://api.test/").send().await?).await
}

#[test]
fn a_body_that_drips_is_too_slow_after_one_window() {
    let mut sim = Sim::seeded(1);
    dripping(&sim, 40);
    let client = guarded(&sim);
    let run = sim.run(read(client));
    let error = run.expect().as_ref().unwrap_err();
    assert!(error.is_timeout() && !error.is_deadline(), "{error}");
    assert_eq!(
        (error.phase(), error.fate()),
        (Some(Phase::Body), Fate::Processed)
    );
    // Five times 40 bytes: the sixth leaves after 3 s.
    assert_eq!(error.too_slow(), Some(66));
    assert_eq!(error.retry_stop_reason(), Some(StopReason::NotRetryable));
    assert!(
        error.to_string().contains("too slow, 66 bytes/s"),
        "{error}"
    );
    assert_eq!(run.elapsed(), ms(5) + secs(3));
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_body_that_is_just_fast_enough_comes_whole() {
    let mut sim = Sim::seeded(1);
    dripping(&sim, 60);
    let client = guarded(&sim);
    assert_eq!(*sim.run(read(client)).expect().as_ref().unwrap(), 2_000);
}

#[test]
fn a_reader_that_does_not_ask_makes_no_peer_slow() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, vec![b'x'; 1 << 20]).await?;
        conn.request().await.map(|_| ())
    });
    let (client, handle) = (guarded(&sim), sim.handle());
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        let mut bytes = 0;
        while let Some(chunk) = response.chunk().await.unwrap() {
            bytes += chunk.len();
            handle.sleep(secs(40)).await;
        }
        bytes
    });
    assert_eq!(*run.expect(), 1 << 20);
}

#[test]
fn an_upload_that_the_peer_takes_too_slowly_is_not_sent_again() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while !conn.read(10).await?.is_empty() {
            conn.sleep(secs(1)).await;
        }
        Ok(())
    });
    let client = guarded(&sim);
    let run = sim.run(async move {
        let put = client.put("http://api.test/").body(vec![0; 1 << 20]);
        put.send().await.unwrap_err()
    });
    let error = run.expect();
    assert_eq!(
        (error.phase(), error.fate()),
        (Some(Phase::Write), Fate::MaybeProcessed)
    );
    assert!(error.too_slow().is_some(), "{error}");
    assert_eq!((error.tries(), error.retry_exhausted()), (1, false));
    let outcome = &error.attempts()[0].outcome;
    assert_eq!(
        *outcome,
        AttemptOutcome::Failed(Cause::TooSlow(Phase::Write))
    );
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn an_upload_that_waits_for_its_own_source_is_not_too_slow() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = guarded(&sim);
    let body = Body::stream(slow_stream(&sim, &["a", "b", "c"], secs(20)));
    let run = sim.run(async move {
        let put = client.put("http://api.test/").body(body);
        put.send().await.map(|response| response.status())
    });
    assert_eq!(run.expect().as_ref().unwrap().as_u16(), 200);
}

#[test]
fn a_window_that_cannot_be_measured_fails_the_build() {
    for window in [Duration::ZERO, ms(1_500), secs(3_601), Duration::MAX] {
        let sim = Sim::seeded(1);
        let timeouts = Timeouts::new().min_speed(1, window);
        let error = builder(&sim).timeouts(timeouts).build().unwrap_err();
        assert!(
            error.is_builder() && error.to_string().contains("min_speed"),
            "{error}"
        );
    }
}
