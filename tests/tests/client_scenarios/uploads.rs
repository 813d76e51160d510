//! Request bodies on their way out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_sim::{Body, Client, Error, Fate, Kind, Phase, Retry, Sim, Timeouts};

use super::support::{builder, ms, secs};

/// A stream that is a closure.
pub(crate) struct Poller<F>(pub(crate) F);

impl<F, T> futures_core::Stream for Poller<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<T>> + Unpin,
{
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        (self.0)(cx)
    }
}

/// So many chunks of a kilobyte, counted as they are taken.
pub(crate) fn kilobytes(
    count: usize,
    taken: &Arc<AtomicUsize>,
) -> impl futures_core::Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (taken, mut left) = (taken.clone(), count);
    Poller(move |_: &mut Context<'_>| {
        Poll::Ready(left.checked_sub(1).map(|rest| {
            left = rest;
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![b'u'; 1024]))
        }))
    })
}

/// Chunks, and a wait before each.
pub(crate) fn slow_stream(
    sim: &Sim,
    chunks: &'static [&'static str],
    pause: std::time::Duration,
) -> impl futures_core::Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (handle, mut chunks) = (sim.handle(), chunks.iter());
    let mut sleep = Box::pin(handle.sleep(pause));
    Poller(move |cx: &mut Context<'_>| {
        std::task::ready!(sleep.as_mut().poll(cx));
        sleep = Box::pin(handle.sleep(pause));
        Poll::Ready(
            chunks
                .next()
                .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))),
        )
    })
}

fn receives(sim: &Sim) -> Arc<Mutex<Vec<Bytes>>> {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = bodies.clone();
    sim.serve("api.test:80", move |mut conn| {
        let bodies = bodies.clone();
        async move {
            while let Some(request) = conn.request().await? {
                bodies.lock().unwrap().push(request.body().clone());
                conn.respond(200, request.body().len().to_string()).await?;
            }
            Ok(())
        }
    });
    kept
}

pub(crate) fn never(sim: &Sim, timeouts: Timeouts) -> Client {
    builder(sim)
        .timeouts(timeouts)
        .retry(Retry::never())
        .build()
        .unwrap()
}

async fn put(client: &Client, body: impl Into<Body>) -> Result<String, Error> {
    client
        .put("http://api.test/")
        .body(body)
        .send()
        .await?
        .text()
        .await
}

#[test]
fn an_upload_takes_no_more_of_the_users_stream_than_the_peer_makes_room_for() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        for _ in 0..100 {
            conn.sleep(ms(100)).await;
            conn.read(1024).await?;
        }
        Ok(())
    });
    let client = never(&sim, Timeouts::new());
    let taken = Arc::new(AtomicUsize::new(0));
    let body = Body::stream(kilobytes(1_000_000, &taken));
    let handle = sim.handle();
    let run = sim.run(async move {
        let call = client.clone();
        handle.spawn(async move {
            let _ = put(&call, body).await;
        });
        handle.sleep(secs(5)).await;
        taken.load(Ordering::Relaxed)
    });
    let taken = *run.expect();
    // The window, what waits to be written, and what the server has read.
    assert!((64..64 + 64 + 16 + 50 + 4).contains(&taken), "{taken} KiB");
}

#[test]
fn a_slow_upload_of_the_users_own_is_no_write_timeout() {
    let mut sim = Sim::seeded(1);
    let bodies = receives(&sim);
    let client = never(&sim, Timeouts::new().write(ms(100)).first_byte(ms(100)));
    let body = Body::stream(slow_stream(&sim, &["a", "b", "c"], secs(5)));
    let run = sim.run(async move { put(&client, body).await });
    assert_eq!(run.expect().as_deref().unwrap(), "3");
    assert_eq!(bodies.lock().unwrap()[0], "abc");
}

/// With its size before it and two line ends, a thousand bytes.
const CHUNK: &str = match str::from_utf8(&[b'x'; 993]) {
    Ok(chunk) => chunk,
    Err(_) => "",
};

#[test]
fn every_byte_that_the_peer_takes_starts_the_write_clock_anew() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").window(1000);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        conn.sleep(ms(1900)).await;
        loop {
            conn.sleep(secs(1)).await;
            if conn.read(1000).await?.ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        conn.respond(200, "slow").await
    });
    let client = never(&sim, Timeouts::new().write(secs(3)));
    // A chunk each second, as long as the window: it waits for 0.9 s and is then taken whole.
    let body = Body::stream(slow_stream(&sim, &[CHUNK; 18], secs(1)));
    let run = sim.run(async move { put(&client, body).await });
    assert_eq!(run.expect().as_deref().unwrap(), "slow");
}

#[test]
fn a_peer_that_does_not_read_is_a_write_timeout_although_the_users_stream_waits_too() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").window(1000);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        conn.sleep(secs(100)).await;
        Ok(())
    });
    let client = never(&sim, Timeouts::new().write(secs(3)));
    let (handle, mut left) = (sim.handle(), 1);
    let mut sleep = Box::pin(handle.sleep(secs(1)));
    let body = Body::stream(Poller(move |cx: &mut Context<'_>| {
        std::task::ready!(sleep.as_mut().poll(cx));
        if left == 0 {
            return Poll::Pending;
        }
        left -= 1;
        Poll::Ready(Some(io::Result::Ok(Bytes::from(vec![b'x'; 50_000]))))
    }));
    let run = sim.run(async move {
        let error = put(&client, body).await.unwrap_err();
        (error.is_timeout(), error.phase())
    });
    assert_eq!(*run.expect(), (true, Some(fulmar_sim::Phase::Write)));
    assert!(run.elapsed() < secs(6), "{:?}", run.elapsed());
}

#[test]
fn an_early_answer_whose_connection_is_reset_behind_it_is_delivered() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        conn.write_all("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await
    });
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let response = client
            .put("http://api.test/")
            .body(vec![0; 1 << 20])
            .send()
            .await;
        response.map(|response| response.status().as_u16())
    });
    // Whether the answer outruns the reset is the network's business: never a write failure that
    // hides an answer that is there.
    match run.expect() {
        Ok(status) => assert_eq!(*status, 413),
        Err(error) => assert_eq!(error.fate(), Fate::MaybeProcessed, "{error}"),
    }
}

#[test]
fn an_early_answer_whose_body_stalls_times_out() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        conn.write_all("HTTP/1.1 413 Content Too Large\r\nContent-Length: 30\r\n\r\nbig")
            .await?;
        conn.sleep(secs(100)).await;
        Ok(())
    });
    let client = never(&sim, Timeouts::new().between_bytes(ms(350)));
    let body = Body::stream(slow_stream(&sim, &["a", "b", "c"], secs(40)));
    let run = sim.run(async move { put(&client, body).await.unwrap_err() });
    let error = run.expect();
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Timeout, Some(Phase::Body)),
        "{error}"
    );
    assert_eq!(run.elapsed(), ms(5 + 350));
}

#[test]
fn an_endless_stream_of_empty_chunks_does_not_starve_others() {
    let mut sim = Sim::seeded(1);
    receives(&sim);
    let client = never(&sim, Timeouts::new().total(secs(1)));
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = polls.clone();
    let body = Body::stream(Poller(move |_: &mut Context<'_>| {
        // A stream without end would hang the test instead of failing it.
        let ends = counter.fetch_add(1, Ordering::Relaxed) > 100_000;
        Poll::Ready((!ends).then(|| io::Result::Ok(Bytes::new())))
    }));
    let run = sim.run(async move { put(&client, body).await.map(|_| ()) });
    run.expect().as_ref().unwrap();
    // One hundred thousand in one poll of the call: others would not have had a turn.
    assert!(run.stats().polls > 500, "{} polls", run.stats().polls);
}
