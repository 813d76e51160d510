//! Every limit on time passes at its exact instant and says what it was.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::{Client, Error, Fate, Fault, Kind, Phase, PoolConfig, Retry, Sim, Timeouts};
use futures_core::Stream;

use super::support::{at, builder, drain, echo, ms, raw, secs, secure, silent, text};

/// A request that fails: the error, and when it came.
pub(crate) fn failure(sim: &mut Sim, client: Client, url: &'static str) -> (Error, Duration) {
    let run = sim.run(async move {
        let error = match client.get(url).send().await {
            Ok(response) => drain(response).await.expect_err("it fails"),
            Err(error) => error,
        };
        // The dial belongs to the pool, and its own task may end it a moment later.
        let gauges = client.gauges();
        assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
        error
    });
    let elapsed = run.elapsed();
    assert_eq!(run.leaks(), [""; 0]);
    (run.into_output(), elapsed)
}

fn never(sim: &Sim, timeouts: Timeouts) -> Client {
    builder(sim)
        .timeouts(timeouts)
        .retry(Retry::never())
        .build()
        .unwrap()
}

#[track_caller]
pub(crate) fn assert_timeout(error: &Error, phase: Phase, fate: Fate) {
    assert_eq!(
        (error.kind(), error.phase(), error.fate()),
        (Kind::Timeout, Some(phase), fate)
    );
    assert!(error.is_timeout());
    let text = error.to_string();
    assert!(
        text.contains(phase.as_str()) && text.contains(&fate.to_string()),
        "{text}"
    );
}

#[test]
fn name_resolution_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.between(.., Fault::dns_silent("api.test"));
    let client = never(&sim, Timeouts::new().dns(ms(700)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Dns, Fate::NotProcessed);
    assert!(error.is_connect());
    assert_eq!(elapsed, ms(700));
}

#[test]
fn a_dial_into_a_black_hole_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.between(.., Fault::half_open("api.test"));
    let client = never(&sim, Timeouts::new().connect(ms(900)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Connect, Fate::NotProcessed);
    assert!(error.is_connect());
    assert_eq!(elapsed, ms(900));
}

#[test]
fn the_limit_on_the_dial_includes_name_resolution() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    sim.host("laptop").dns_latency(ms(400));
    sim.between(.., Fault::half_open("api.test"));
    let client = never(&sim, Timeouts::new().connect(ms(900)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Connect, Fate::NotProcessed);
    assert_eq!(elapsed, ms(900));
}

#[test]
fn a_limit_on_the_dial_shorter_than_that_on_names_ends_name_resolution() {
    let mut sim = Sim::seeded(1);
    sim.between(.., Fault::dns_silent("api.test"));
    let client = never(&sim, Timeouts::new().connect(ms(300)).dns(secs(3)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    assert_eq!(elapsed, ms(300));
}

#[test]
fn a_tls_handshake_without_an_answer_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", |mut conn| async move {
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let timeouts = Timeouts::new().tls(ms(600));
    let client = secure(&sim)
        .timeouts(timeouts)
        .retry(Retry::never())
        .build()
        .unwrap();
    let (error, elapsed) = failure(&mut sim, client, "https://api.test/");
    assert_timeout(&error, Phase::Tls, Fate::NotProcessed);
    // Name 1 ms, transport 2 ms.
    assert_eq!(elapsed, ms(3 + 600));
}

#[test]
fn waiting_for_a_connection_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let mut pool = PoolConfig::new();
    pool.limits.per_origin = Some(1);
    let timeouts = Timeouts::new().pool(ms(250));
    let client = builder(&sim).timeouts(timeouts).pool(pool).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let holder = client.clone();
        handle.spawn(async move {
            let _ = holder.get("http://api.test/").send().await;
        });
        handle.sleep(ms(100)).await;
        let error = client.get("http://api.test/").send().await.unwrap_err();
        assert_eq!(handle.now(), at(ms(100 + 250)));
        assert_eq!((client.gauges().waiting, client.gauges().busy), (0, 1));
        error
    });
    assert_timeout(run.expect(), Phase::Pool, Fate::NotProcessed);
}

#[test]
fn a_peer_that_does_not_read_times_the_request_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |conn| async move {
        conn.sleep(secs(60)).await;
        Ok(())
    });
    let client = never(&sim, Timeouts::new().write(ms(400)));
    let run = sim.run(async move {
        client
            .post("http://api.test/")
            .body(vec![0; 1 << 20])
            .send()
            .await
            .unwrap_err()
    });
    assert_timeout(run.expect(), Phase::Write, Fate::MaybeProcessed);
    // The window took its bytes the moment the connection was there.
    assert_eq!(run.elapsed(), ms(3 + 400));
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_response_that_does_not_begin_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = never(&sim, Timeouts::new().first_byte(ms(500)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::FirstByte, Fate::MaybeProcessed);
    assert_eq!(elapsed, ms(3 + 500));
}

#[test]
fn an_interim_response_starts_the_wait_for_the_first_byte_anew() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        for _ in 0..3 {
            conn.sleep(ms(400)).await;
            conn.write_all("HTTP/1.1 102 Processing\r\n\r\n").await?;
        }
        conn.sleep(secs(60)).await;
        Ok(())
    });
    let client = never(&sim, Timeouts::new().first_byte(ms(500)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::FirstByte, Fate::MaybeProcessed);
    // Read at 4 ms, three times 400 ms later, a millisecond under way.
    assert_eq!(elapsed, ms(5 + 1200 + 500));
}

#[test]
fn a_head_that_does_not_end_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", "HTTP/1.1 200 OK\r\nContent-");
    let client = never(&sim, Timeouts::new().head(ms(300)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Head, Fate::MaybeProcessed);
    assert_eq!(elapsed, ms(5 + 300));
}

#[test]
fn a_head_that_drips_is_no_progress() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nX: ").await?;
        loop {
            conn.sleep(ms(50)).await;
            conn.write_all("y").await?;
        }
    });
    let client = never(&sim, Timeouts::new().head(ms(320)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Head, Fate::MaybeProcessed);
    assert_eq!(elapsed, ms(5 + 320));
}

#[test]
fn a_body_that_stalls_times_out_at_its_instant() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    );
    let client = never(&sim, Timeouts::new().between_bytes(ms(350)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Body, Fate::Processed);
    assert_eq!(elapsed, ms(5 + 350));
}

#[test]
fn every_byte_of_a_body_starts_its_clock_anew() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            .await?;
        for _ in 0..10 {
            conn.sleep(ms(349)).await;
            conn.write_all("x").await?;
        }
        conn.request().await.map(|_| ())
    });
    let client = never(&sim, Timeouts::new().between_bytes(ms(350)));
    let run = sim.run(async move { text(&client, "http://api.test/").await });
    assert_eq!(run.expect().as_deref().unwrap(), "xxxxxxxxxx");
    assert_eq!(run.elapsed(), ms(5 + 10 * 349));
}

#[test]
fn an_attempt_times_out_at_its_instant_and_the_next_one_has_its_own_time() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = never(&sim, Timeouts::new().attempt(ms(800)));
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Attempt, Fate::MaybeProcessed);
    assert_eq!(elapsed, ms(800));

    let mut sim = Sim::seeded(1);
    let backoff = fulmar_sim::Backoff::constant(ms(100)).jitter(fulmar_sim::Jitter::None);
    silent(&sim, "api.test:80");
    let retry = Retry::new(2).backoff(backoff);
    let timeouts = Timeouts::new().attempt(ms(800));
    let client = builder(&sim)
        .timeouts(timeouts)
        .retry(retry)
        .build()
        .unwrap();
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Attempt, Fate::MaybeProcessed);
    assert_eq!((error.tries(), error.attempts().len()), (2, 2));
    assert!(error.retry_exhausted());
    assert_eq!(elapsed, ms(800 + 100 + 800));
}

#[test]
fn a_slow_consumer_is_not_a_slow_peer() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, vec![b'x'; 1 << 20]).await?;
        conn.request().await.map(|_| ())
    });
    let client = never(&sim, Timeouts::new().between_bytes(ms(100)));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        let (mut bytes, mut chunks) = (0, 0);
        handle.sleep(secs(30)).await;
        while let Some(chunk) = response.chunk().await.unwrap() {
            bytes += chunk.len();
            chunks += 1;
            if chunks % 4 == 0 {
                handle.sleep(secs(5)).await;
            }
        }
        bytes
    });
    assert_eq!(*run.expect(), 1 << 20);
}

#[test]
fn a_timeout_leaves_no_connection_to_be_reused() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/slow" {
                conn.sleep(ms(200)).await;
            }
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
    let client = never(&sim, Timeouts::new().first_byte(ms(100)));
    let handle = sim.handle();
    let run = sim.run(async move {
        client.get("http://api.test/slow").send().await.unwrap_err();
        assert_eq!(client.gauges().total, 0);
        // The late answer to the first must not be taken for one to the second.
        assert_eq!(text(&client, "http://api.test/a").await.unwrap(), "/a");
        handle.sleep(ms(300)).await;
        assert_eq!(text(&client, "http://api.test/b").await.unwrap(), "/b");
    });
    run.expect();
}

#[test]
fn timeouts_of_a_request_are_checked_as_the_clients_are() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let timeouts = Timeouts::new().write(secs(8)).total(secs(6));
        client
            .get("http://api.test/")
            .timeouts(timeouts)
            .send()
            .await
            .map(drop)
    });
    assert_eq!(run.expect().as_ref().unwrap_err().kind(), Kind::Request);
    assert_eq!(run.stats().connections, 0);
}

#[test]
fn a_request_may_have_less_time_than_a_phase_of_the_clients() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = never(&sim, Timeouts::new().write(secs(8)));
    let run = sim.run(async move {
        let get = client.get("http://api.test/").timeout(secs(6));
        get.send().await.map(drop)
    });
    assert!(run.expect().as_ref().unwrap_err().is_deadline());
    assert_eq!(run.elapsed(), secs(6));
}

/// An upload without a byte, which ends when its future does.
struct Late(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Stream for Late {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll(cx).map(|()| None)
    }
}

#[test]
fn a_head_that_stops_half_way_times_out_whatever_the_upload_does() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.read(4096).await?;
        conn.write_all("HTTP/1.1 200 OK\r\nX-").await?;
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let post = client.post("http://api.test/");
        let body = fulmar_sim::Body::stream(Late(Box::pin(std::future::pending())));
        post.body(body).send().await.map(drop)
    });
    assert_eq!(
        run.expect().as_ref().unwrap_err().phase(),
        Some(Phase::Head)
    );
    assert!(run.elapsed() < secs(16), "{:?}", run.elapsed());
}

#[test]
fn an_interim_head_in_two_parts_leaves_no_clock_on_a_body_that_takes_its_time() {
    let mut sim = Sim::seeded(1);
    let handle = sim.handle();
    sim.serve("api.test:80", |mut conn| async move {
        conn.read(4096).await?;
        conn.write_all("HTTP/1.1 103 Early Hints\r\nX-").await?;
        conn.sleep(ms(10)).await;
        conn.write_all("A: b\r\n\r\n").await?;
        let mut read = Vec::new();
        while !read.ends_with(b"0\r\n\r\n") {
            read.extend_from_slice(&conn.read(1024).await?);
        }
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
    });
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let late = Late(Box::pin(async move { handle.sleep(secs(25)).await }));
        let post = client.post("http://api.test/");
        post.body(fulmar_sim::Body::stream(late))
            .send()
            .await
            .map(drop)
    });
    assert!(run.expect().is_ok(), "{:?}", run.expect());
}
