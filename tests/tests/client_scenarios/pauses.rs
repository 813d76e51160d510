//! A body that is polled as a stream, by a task that turns to something else.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use fulmar_sim::{Body, Bytes, Client, Error, Instant, Phase, Retry, Sim, Timeouts};
use futures_core::Stream;

use super::support::{at, builder, ms, secs};

/// Sends a first byte at once and a second one after so long.
fn second_byte_after(sim: &Sim, wait: Duration) {
    sim.serve("api.test:80", move |mut conn| async move {
        conn.request().await?;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na";
        conn.write_all(head).await?;
        conn.sleep(wait).await;
        conn.write_all("b").await?;
        conn.sleep(secs(600)).await;
        Ok(())
    });
}

fn patient(sim: &Sim, timeouts: Timeouts) -> Client {
    let client = builder(sim).timeouts(timeouts).retry(Retry::never());
    client.build().unwrap()
}

/// The body behind its first byte, polled once more, which was in vain.
async fn half_read(client: &Client) -> Body {
    let response = client.get("http://api.test/").send().await.unwrap();
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
    poll_fn(|cx| {
        assert!(Pin::new(&mut body).poll_next(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    body
}

async fn next(body: &mut Body) -> Option<Result<Bytes, Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await
}

/// Half reads a body whose second byte comes so late, does something else for that long, having said
/// so or not, and asks again: what that gives, and when.
fn away(
    second: Duration,
    timeouts: Timeouts,
    says_so: bool,
    away_for: Duration,
) -> (Result<Bytes, Error>, Instant) {
    let mut sim = Sim::seeded(1);
    second_byte_after(&sim, second);
    let (client, handle) = (patient(&sim, timeouts), sim.handle());
    let run = sim.run(async move {
        let mut body = half_read(&client).await;
        if says_so {
            body.pause();
        }
        handle.sleep(away_for).await;
        let chunk = next(&mut body).await.unwrap();
        (chunk, handle.now())
    });
    run.into_output()
}

fn limit(between_bytes: u64) -> Timeouts {
    Timeouts::new().between_bytes(secs(between_bytes))
}

/// Name 1 ms, transport 2 ms, and the exchange 2 ms.
const BEGUN: Duration = ms(5);

#[test]
fn a_body_that_is_paused_does_not_time_out_however_long_that_is() {
    for away_for in [1, 9, 11, 100] {
        let (chunk, now) = away(secs(105), limit(10), true, secs(away_for));
        // Asked again, the peer has its ten seconds anew from where they stood.
        if away_for == 100 {
            assert_eq!(chunk.unwrap(), "b");
            assert_eq!(now, at(BEGUN + secs(105)));
        } else {
            assert!(chunk.unwrap_err().timed_out_in(Phase::Body));
            assert_eq!(now, at(BEGUN + secs(away_for + 10)));
        }
    }
}

#[test]
fn a_pause_does_not_extend_the_overall_deadline() {
    let (chunk, now) = away(secs(105), limit(10).total(secs(60)), true, secs(100));
    assert!(chunk.unwrap_err().is_deadline());
    assert_eq!(now, at(BEGUN + secs(100)));
}

#[test]
fn what_came_while_nobody_polled_is_handed_out_rather_than_a_timeout() {
    for says_so in [false, true] {
        let (chunk, now) = away(secs(5), limit(10), says_so, secs(300));
        assert_eq!(chunk.unwrap(), "b", "says so: {says_so}");
        assert_eq!(now, at(BEGUN + secs(300)));
        // Even if it came later than the limit.
        let (chunk, _) = away(secs(50), limit(10), says_so, secs(300));
        assert_eq!(chunk.unwrap(), "b", "says so: {says_so}");
    }
}

#[test]
fn a_poll_in_vain_is_a_request_that_stands_until_another_poll() {
    let (chunk, now) = away(secs(400), limit(10), false, secs(300));
    assert!(chunk.unwrap_err().timed_out_in(Phase::Body));
    assert_eq!(now, at(BEGUN + secs(300)));
    let (chunk, now) = away(secs(400), limit(10), false, secs(4));
    assert!(chunk.unwrap_err().timed_out_in(Phase::Body));
    assert_eq!(now, at(BEGUN + secs(10)), "from the first poll on");
}

#[test]
fn after_a_chunk_nobody_asks() {
    let mut sim = Sim::seeded(1);
    second_byte_after(&sim, secs(305));
    let (client, handle) = (patient(&sim, limit(10)), sim.handle());
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        let mut body = response.into_body();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        handle.sleep(secs(300)).await;
        next(&mut body).await.unwrap()
    });
    assert_eq!(run.into_output().unwrap(), "b");
}

#[test]
fn a_pause_does_not_count_for_the_least_speed() {
    let slow = Timeouts::new().between_bytes(None).min_speed(1, secs(30));
    let (chunk, _) = away(secs(105), slow, true, secs(100));
    assert_eq!(chunk.unwrap(), "b");
    let (chunk, _) = away(secs(105), slow, false, secs(100));
    assert!(chunk.unwrap_err().too_slow().is_some());
}

#[test]
fn a_body_that_is_not_a_responses_has_nothing_to_pause() {
    let mut body = Body::from("here");
    body.pause();
    assert_eq!(body.len(), Some(4));
}
