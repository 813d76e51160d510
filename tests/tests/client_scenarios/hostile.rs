//! Hostile peers, odd executors, jumping clocks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use fulmar_sim::{Fault, Kind, Limits, Phase, Retry, Sim, Timeouts};

use super::support::{assert_quiet, builder, client, drain, echo, ms, raw, secs, silent, text};

/// Passes the wake on, and is another waker each time.
struct Relay(Waker);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls with a new waker each time, and drops the former one.
struct NewWaker<F>(Pin<Box<F>>);

impl<F: Future> Future for NewWaker<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let relay = Waker::from(Arc::new(Relay(cx.waker().clone())));
        self.0.as_mut().poll(&mut Context::from_waker(&relay))
    }
}

/// Polls so often each time, for nothing.
struct Spurious<F>(Pin<Box<F>>, usize);

impl<F: Future> Future for Spurious<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        for _ in 0..self.1 {
            if let Poll::Ready(output) = self.0.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }
}

#[test]
fn a_waker_that_changes_with_every_poll_loses_no_wake() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/stall" {
                conn.sleep(secs(100)).await;
            }
            conn.sleep(ms(10)).await;
            conn.respond(200, vec![b'x'; 100_000]).await?;
        }
        Ok(())
    });
    let timeouts = Timeouts::new().first_byte(secs(2));
    let client = builder(&sim)
        .timeouts(timeouts)
        .limits(Limits::new().per_origin(1));
    let client = client.retry(Retry::never()).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let first = client.clone();
        handle.spawn(async move {
            text(&first, "http://api.test/").await.unwrap();
        });
        let call = async {
            // Queued, exchanging, reading; then timing out.
            let text = text(&client, "http://api.test/").await.unwrap();
            let error = client
                .get("http://api.test/stall")
                .send()
                .await
                .unwrap_err();
            (text.len(), error)
        };
        NewWaker(Box::pin(call)).await
    });
    let (len, error) = run.expect();
    assert_eq!((*len, error.phase()), (100_000, Some(Phase::FirstByte)));
}

#[test]
fn polls_for_nothing_change_nothing() {
    let elapsed = |polls: usize| {
        let mut sim = Sim::seeded(1);
        echo(&sim, "api.test:80");
        sim.between(ms(20)..ms(90), Fault::reset("api.test"));
        let client = client(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let calls = async {
                for _ in 0..50 {
                    let _ = text(&client, "http://api.test/x").await;
                    handle.sleep(ms(1)).await;
                }
            };
            Spurious(Box::pin(calls), polls).await;
            assert_quiet(client.gauges());
        });
        run.expect();
        run.elapsed()
    };
    assert_eq!(elapsed(1), elapsed(7));
}

#[test]
fn a_call_polled_after_its_end_says_so() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let mut sending = Box::pin(client.get("http://api.test/").send());
        sending.as_mut().await.unwrap();
        for _ in 0..3 {
            let error = sending.as_mut().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Request, "{error}");
        }
        let mut invalid = Box::pin(client.get("nonsense").send());
        for _ in 0..3 {
            invalid.as_mut().await.unwrap_err();
        }
        drop((sending, invalid));
        assert_quiet(client.gauges());
    });
    run.expect();
}

#[test]
fn a_call_may_move_between_tasks() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.sleep(secs(1)).await;
            conn.respond(200, "moved").await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut sending = Box::pin(client.get("http://api.test/").send());
        let polled =
            std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_ready())).await;
        assert!(!polled);
        let (tx, rx) = tokio::sync::oneshot::channel();
        handle.spawn(async move {
            let _ = tx.send(sending.await.unwrap().text().await.unwrap());
        });
        rx.await.unwrap()
    });
    assert_eq!(run.expect(), "moved");
}

#[test]
fn a_jump_of_the_clock_ends_what_is_due_and_nothing_else() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "slow.test:80");
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/a").await.unwrap();
        // Nobody polls anything of the client's own for an hour.
        let mut held = Box::pin(client.get("http://slow.test/").timeout(secs(5)).send());
        let _ = std::future::poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx).is_ready())).await;
        handle.sleep(secs(3000)).await;
        let begun = handle.now();
        let error = held.await.unwrap_err();
        assert!(error.is_deadline(), "{error}");
        assert_eq!(handle.now(), begun, "overdue is overdue at once");
        assert_eq!(text(&client, "http://api.test/b").await.unwrap(), "/b");
        assert_quiet(client.gauges());
    });
    run.expect();
}

#[test]
fn a_fast_body_does_not_starve_others() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").window(1 << 20);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        let many = b"1\r\nx\r\n".repeat(10_000);
        loop {
            conn.write_all(&many).await?;
        }
    });
    let client = builder(&sim)
        .timeouts(Timeouts::new().total(ms(20)))
        .build()
        .unwrap();
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        drain(response).await
    });
    let error = run.expect().as_ref().unwrap_err();
    assert!(
        error.is_deadline() || error.kind() == Kind::Protocol,
        "{error}"
    );
}

#[test]
fn endless_interim_responses_are_an_error() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        loop {
            conn.write_all("HTTP/1.1 102 Processing\r\n\r\n").await?;
        }
    });
    let client = client(&sim);
    let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap_err() });
    assert_eq!(run.expect().kind(), Kind::Protocol);
}

#[test]
fn an_endless_head_is_an_error() {
    for line in [
        "X-Filler: 0123456789012345678901234567890123456789\r\n",
        "x",
    ] {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", move |mut conn| async move {
            conn.request().await?;
            conn.write_all("HTTP/1.1 200 OK\r\n").await?;
            let many = line.repeat(100);
            loop {
                conn.write_all(&many).await?;
            }
        });
        let client = client(&sim);
        let run = sim.run(async move { text(&client, "http://api.test/").await.unwrap_err() });
        assert_eq!(run.expect().kind(), Kind::Protocol, "{}", run.expect());
        assert!(run.stats().bytes < 1 << 20);
    }
}

#[test]
fn every_cut_of_a_response_reads_the_same() {
    let response = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n\
                    Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n6\r\n world\r\n0\r\nT: u\r\n\r\n";
    for max in 1..40 {
        let mut sim = Sim::seeded(1);
        raw(&sim, "api.test:80", response);
        sim.between(.., Fault::segment("api.test", max));
        let client = client(&sim);
        let run = sim.run(async move {
            let text = text(&client, "http://api.test/").await;
            (text, client.gauges().idle)
        });
        let (text, idle) = run.expect();
        assert_eq!(
            (text.as_deref().unwrap(), *idle),
            ("hello world", 1),
            "cut at {max}"
        );
    }
}

#[test]
fn random_bytes_are_never_a_panic_nor_a_hang() {
    let draws = Arc::new(AtomicUsize::new(0));
    let pieces: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"\0",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 x\r\n\r\n",
        b"Connection: close\r\n",
        b"ffffffffffffffff\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"X: y\r\n z\r\n",
        b"\r",
        b"\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"HTTP/1.1 999 \r\n\r\n",
        b"Retry-After: 1\r\n",
        b"HTTP/1.1 503 x\r\n",
    ];
    for seed in 0..300_u64 {
        let mut sim = Sim::seeded(seed);
        let count = draws.clone();
        sim.serve("api.test:80", move |mut conn| {
            let count = count.clone();
            async move {
                while conn.request_head().await?.is_some() {
                    for _ in 0..conn.uniform(1..9) {
                        count.fetch_add(1, Ordering::Relaxed);
                        let piece = pieces[conn.uniform(0..pieces.len() as u64) as usize];
                        conn.write_all(piece).await?;
                    }
                    if conn.chance(0.3) {
                        return Ok(());
                    }
                }
                Ok(())
            }
        });
        let timeouts = Timeouts::new().total(secs(20));
        let client = builder(&sim).timeouts(timeouts).build().unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            for _ in 0..5 {
                let begun = handle.now();
                let _ = text(&client, "http://api.test/").await;
                assert!(handle.now() - begun <= secs(20));
            }
            handle.sleep(ms(60)).await;
            assert_quiet(client.gauges());
        });
        run.expect();
        assert_eq!(run.leaks(), [""; 0], "seed {seed}");
    }
}
