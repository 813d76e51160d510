//! Bodies that can be read once and are kept while they are sent.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_sim::{Body, Client, Handle, Response, RetryVerdict, Sim, StopReason};

use super::retries::{scripted, status, steady};
use super::support::{at, builder, join_all, ms, secs, until};
use super::uploads::Poller;

const KIB: usize = 1024;
const URL: &str = "http://api.test/x";

/// A body of so many bytes, no two stretches of which are the same, in uneven chunks. Read again
/// after its end it panics.
fn spooled(len: usize, is_sized: bool) -> Body {
    let (mut place, mut is_over) = (0, false);
    let stream = Poller(move |_: &mut Context<'_>| {
        assert!(!is_over, "a stream is not polled after its end");
        let chunk: Bytes = (place..len.min(place + 5_000)).map(byte).collect();
        place += chunk.len();
        is_over = chunk.is_empty();
        let next = (!is_over).then_some(Ok::<_, std::io::Error>(chunk));
        Poll::Ready(next)
    });
    Body::spooled(stream, is_sized.then_some(len as u64))
}

fn byte(place: usize) -> u8 {
    (place * 31 + place / 251) as u8
}

/// Answers with these statuses in turn and keeps the bodies; 0 closes without an answer, and 1 keeps silent
/// for a second.
fn served(sim: &Sim, answers: &'static [u16]) -> Arc<Mutex<Vec<Bytes>>> {
    let (bodies, count) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let (kept, count) = (bodies.clone(), Arc::new(count));
    sim.serve("api.test:80", move |mut conn| {
        let (bodies, count) = (bodies.clone(), count.clone());
        async move {
            while let Some(request) = conn.request().await? {
                bodies.lock().unwrap().push(request.body().clone());
                match answers.get(count.fetch_add(1, Ordering::Relaxed)) {
                    Some(0) => return Ok(()),
                    Some(1) => conn.sleep(secs(1)).await,
                    Some(status) => conn.respond(*status, "").await?,
                    None => conn.respond(200, "").await?,
                }
            }
            Ok(())
        }
    });
    kept
}

async fn put(client: &Client, body: Body) -> Result<Response, fulmar_sim::Error> {
    client.put(URL).body(body).send().await
}

fn limited(sim: &Sim, total: usize, per_body: usize) -> Client {
    let builder = builder(sim).retry(steady(2));
    builder.spool_limits(total, per_body).build().unwrap()
}

/// What a call came to whose first two attempts failed, and the bodies that the server got.
fn replayed(
    len: usize,
    is_sized: bool,
    answers: &'static [u16],
) -> (Result<u32, Option<StopReason>>, Vec<Bytes>) {
    let mut sim = Sim::seeded(1);
    let bodies = served(&sim, answers);
    let client = builder(&sim).retry(steady(3)).build().unwrap();
    let run = sim.run(async move {
        match put(&client, spooled(len, is_sized)).await {
            Ok(response) if response.status() == 200 => Ok(response.attempts()),
            Ok(response) => Err(response.retry_stop_reason()),
            Err(error) => Err(error.retry_stop_reason()),
        }
    });
    assert_eq!(run.leaks(), [""; 0]);
    let bodies = bodies.lock().unwrap().clone();
    (run.into_output(), bodies)
}

#[test]
fn a_spooled_body_is_sent_again_byte_for_byte_up_to_64_kib() {
    for answers in [&[503, 503][..], &[0, 0]] {
        for is_sized in [false, true] {
            for len in [0, 1, 10 * KIB, 64 * KIB] {
                let (outcome, bodies) = replayed(len, is_sized, answers);
                let whole: Bytes = (0..len).map(byte).collect();
                assert_eq!(outcome, Ok(3), "{len} {is_sized} {answers:?}");
                assert!(
                    bodies == [whole.clone(), whole.clone(), whole],
                    "{len} {is_sized}"
                );
            }
            let (outcome, bodies) = replayed(64 * KIB + 1, is_sized, answers);
            assert_eq!(outcome, Err(Some(StopReason::BodyNotReplayable)));
            assert_eq!(bodies.len(), 1);
        }
    }
}

#[test]
fn a_stream_that_ended_is_not_asked_again_by_a_later_attempt() {
    let mut sim = Sim::seeded(1);
    let log = scripted(&sim, |n| (n > 0).then(|| status(200)));
    let client = builder(&sim).retry(steady(3)).build().unwrap();
    let mut ends = 0;
    let body = Body::stream(Poller(move |_: &mut Context<'_>| {
        ends += 1;
        assert_eq!(ends, 1, "polled after its end");
        Poll::Ready(None::<Result<Bytes, std::io::Error>>)
    }));
    let run = sim.run(async move { put(&client, body).await.unwrap().attempts() });
    assert_eq!(*run.expect(), 2);
    assert_eq!(log.lock().unwrap().len(), 2);
}

/// Two uploads at once, of 40 KiB each, whose first attempts fail.
fn two_at_once(total: usize, per_body: usize) -> Vec<bool> {
    let mut sim = Sim::seeded(1);
    served(&sim, &[503, 503]);
    let client = limited(&sim, total, per_body);
    let run = sim.run(async move {
        let calls = (0..2).map(|_| put(&client, spooled(40 * KIB, false)));
        let responses = join_all(calls).await;
        let is_ok = |response: &Result<Response, _>| response.as_ref().unwrap().status() == 200;
        responses.iter().map(is_ok).collect()
    });
    run.into_output()
}

#[test]
fn all_bodies_of_a_client_keep_no_more_than_its_limit() {
    assert_eq!(two_at_once(80 * KIB, 64 * KIB), [true, true]);
    let some = two_at_once(80 * KIB - 1, 64 * KIB);
    assert_eq!(some.iter().filter(|is_ok| **is_ok).count(), 1, "{some:?}");
    assert_eq!(two_at_once(0, 64 * KIB), [false, false]);
    assert_eq!(two_at_once(80 * KIB, 0), [false, false]);
}

#[test]
fn to_explain_says_whether_anything_is_kept() {
    let sim = Sim::seeded(1);
    let verdict = |client: &Client| {
        let explained = client
            .explain(&client.put(URL).body(spooled(1, false)))
            .unwrap();
        (explained.retry.verdict, explained.retry.to_string())
    };
    let (kept, text) = verdict(&limited(&sim, 1, 1));
    assert_eq!(kept, RetryVerdict::Repeatable);
    assert!(text.contains("its body is kept while it is sent"), "{text}");
    for (total, per_body) in [(0, 1), (1, 0)] {
        let (gone, _) = verdict(&limited(&sim, total, per_body));
        assert_eq!(gone, RetryVerdict::IfBodyUntouched);
    }
}

/// Runs `first`, which spools 40 KiB and fails in its first attempt; whether 60 KiB fit afterwards
/// where 64 KiB may be kept in all.
fn is_given_back<F, Fut>(answers: &'static [u16], first: F) -> bool
where
    F: FnOnce(Client, Handle) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    let mut sim = Sim::seeded(1);
    served(&sim, answers);
    let client = limited(&sim, 64 * KIB, 64 * KIB);
    let handle = sim.handle();
    let run = sim.run(async move {
        let _still_there = first(client.clone(), handle).await;
        let response = put(&client, spooled(60 * KIB, true)).await;
        response.is_ok_and(|response| response.status() == 200 && response.attempts() > 1)
    });
    run.into_output()
}

#[test]
fn what_was_kept_is_given_back_however_the_call_ends() {
    let kept = || spooled(40 * KIB, true);
    // Without an end it is not: what is looked at here shows.
    assert!(!is_given_back(
        &[503, 503, 503],
        move |client, handle| async move {
            let other = client.clone();
            handle.spawn(async move {
                let _ = put(&other, kept()).await;
            });
            handle.sleep(ms(50)).await;
        }
    ));
    // With a response.
    assert!(is_given_back(&[200, 503], move |client, _| async move {
        put(&client, kept()).await.unwrap();
    }));
    // With one after a repeat.
    assert!(is_given_back(
        &[503, 200, 503],
        move |client, _| async move {
            put(&client, kept()).await.unwrap();
        }
    ));
    // With an error.
    assert!(is_given_back(&[0, 0, 503], move |client, _| async move {
        put(&client, kept()).await.unwrap_err();
    }));
    // Dropped while it waits for the response, and at rest.
    for answers in [&[1, 503][..], &[503, 503]] {
        assert!(is_given_back(answers, move |client, handle| async move {
            let call = put(&client, kept());
            assert!(until(&handle, at(ms(50)), call).await.is_none());
        }));
    }
    // With a response or an error, and the future is still there.
    for answers in [&[200, 503][..], &[0, 0, 503]] {
        assert!(is_given_back(answers, move |client, _| async move {
            let mut call = Box::pin(client.put(URL).body(kept()).send());
            let _ = poll_fn(|cx| call.as_mut().poll(cx)).await;
            // Not awaited again.
            Some(call)
        }));
    }
}

#[test]
fn what_was_kept_is_given_back_once_an_early_response_is_delivered() {
    let mut sim = Sim::seeded(1);
    let count = Arc::new(AtomicUsize::new(0));
    sim.serve("api.test:80", move |mut conn| {
        let count = count.clone();
        async move {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                conn.request_head().await?;
                conn.sleep(ms(100)).await;
                conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    .await?;
                conn.sleep(secs(3)).await;
                return Ok(());
            }
            for code in [503, 200] {
                conn.request().await?;
                conn.respond(code, "").await?;
            }
            Ok(())
        }
    });
    let client = limited(&sim, 64 * KIB, 64 * KIB);
    let (handle, mut first) = (sim.handle(), true);
    let run = sim.run(async move {
        let mut sleep = Box::pin(handle.sleep(secs(2)));
        let endless = Body::spooled(
            Poller(move |cx: &mut Context<'_>| {
                if !std::mem::take(&mut first) {
                    std::task::ready!(sleep.as_mut().poll(cx));
                }
                Poll::Ready(Some(Ok::<_, std::io::Error>(Bytes::from(vec![
                    1;
                    40 * KIB
                ]))))
            }),
            None,
        );
        let early = put(&client, endless).await.unwrap();
        let second = put(&client, spooled(60 * KIB, true)).await.unwrap();
        assert_eq!(early.status(), 200);
        (second.status().as_u16(), second.attempts())
    });
    assert_eq!(*run.expect(), (200, 2));
}

#[test]
fn what_a_repeat_never_sent_is_given_back_once_its_response_was_read() {
    let mut sim = Sim::seeded(1);
    let count = Arc::new(AtomicUsize::new(0));
    sim.serve("api.test:80", move |mut conn| {
        let count = count.clone();
        async move {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                conn.request().await?;
                conn.respond(503, "").await?;
                // The repeat asks whether to send its body, and this is a no.
                conn.request_head().await?;
                conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                    .await?;
                conn.sleep(ms(10)).await;
                return conn.write_all("no").await;
            }
            for code in [503, 200] {
                conn.request().await?;
                conn.respond(code, "").await?;
            }
            Ok(())
        }
    });
    let client = limited(&sim, 64 * KIB, 64 * KIB);
    let run = sim.run(async move {
        let kept = client.put(URL).body(spooled(40 * KIB, true));
        let mut early = kept.header("Expect", "100-continue").send().await.unwrap();
        assert_eq!((early.status().as_u16(), early.attempts()), (200, 2));
        while early.chunk().await.unwrap().is_some() {}
        let second = put(&client, spooled(60 * KIB, true)).await.unwrap();
        // The first one is still there.
        drop(early);
        (second.status().as_u16(), second.attempts())
    });
    assert_eq!(*run.expect(), (200, 2));
}
