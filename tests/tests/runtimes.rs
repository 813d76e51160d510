//! The same client on every runtime, over real sockets.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use fulmar::net::Net;
use fulmar::{Backoff, Body, Bytes, Client, Retry, Timeouts};
use fulmar_tests::loopback::{Loopback, respond};

/// A runtime and how to run something on it.
trait Runtime {
    fn start() -> Self;
    fn net(&self) -> impl Net;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

struct TokioCurrentThread(tokio::runtime::Runtime);

impl Runtime for TokioCurrentThread {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(builder.enable_all().build().unwrap())
    }
    fn net(&self) -> impl Net {
        fulmar_tokio::Tokio::new()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

struct TokioMultiThread(tokio::runtime::Runtime);

impl Runtime for TokioMultiThread {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(2).enable_all().build().unwrap())
    }
    fn net(&self) -> impl Net {
        fulmar_tokio::Tokio::new()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

struct Smol;

impl Runtime for Smol {
    fn start() -> Self {
        Self
    }
    fn net(&self) -> impl Net {
        fulmar_smol::Smol::new()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }
}

struct SmolCurrentThread(Arc<smol::Executor<'static>>);

impl Runtime for SmolCurrentThread {
    fn start() -> Self {
        Self(Arc::default())
    }
    fn net(&self) -> impl Net {
        fulmar_smol::Smol::on(&self.0)
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(self.0.run(future))
    }
}

struct AsyncStd;

impl Runtime for AsyncStd {
    fn start() -> Self {
        Self
    }
    fn net(&self) -> impl Net {
        fulmar_async_std::AsyncStd::new()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_std::task::block_on(future)
    }
}

struct Blocking;

impl Runtime for Blocking {
    fn start() -> Self {
        Self
    }
    fn net(&self) -> impl Net {
        fulmar_blocking::Blocking::new()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        fulmar_blocking::block_on(future)
    }
}

macro_rules! on {
    ($($module:ident: $runtime:ty),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn a_connection_is_opened_and_used_again() {
                opened_and_used_again::<$runtime>();
            }
            #[test]
            fn a_name_is_resolved() {
                resolved::<$runtime>();
            }
            #[test]
            fn a_peer_that_says_nothing_is_a_timeout() {
                timeout::<$runtime>();
            }
            #[test]
            fn a_port_where_nobody_listens_is_refused() {
                refused::<$runtime>();
            }
            #[test]
            fn a_passing_failure_is_retried() {
                retried::<$runtime>();
            }
            #[test]
            fn two_hundred_calls_at_once_share_connections_and_leave_none_open() {
                concurrent::<$runtime>();
            }
            #[test]
            fn a_body_of_unknown_length_is_streamed_up() {
                upload::<$runtime>();
            }
            #[test]
            fn a_large_body_is_streamed_down() {
                download::<$runtime>();
            }
            #[test]
            fn a_half_read_response_may_be_dropped_on_a_bare_thread() {
                dropped_half_read::<$runtime>();
            }
            #[test]
            fn a_connection_that_closes_while_idle_is_noticed() {
                closed_while_idle::<$runtime>();
            }
            #[test]
            fn a_timer_fires_when_it_says_and_can_be_moved() {
                timer::<$runtime>();
            }
            #[test]
            #[cfg(unix)]
            fn a_unix_socket_is_a_stream_like_any_other() {
                unix_socket::<$runtime>();
            }
        }
    )*};
}

on!(
    tokio_current_thread: TokioCurrentThread,
    tokio_multi_thread: TokioMultiThread,
    on_smol: Smol,
    smol_current_thread: SmolCurrentThread,
    on_async_std: AsyncStd,
    blocking: Blocking,
);

async fn text(client: &Client, url: String) -> String {
    let response = client.get(url).send().await.unwrap();
    response.text().await.unwrap()
}

fn opened_and_used_again<R: Runtime>() {
    let (runtime, server) = (R::start(), Loopback::echo());
    let client = Client::new(runtime.net());
    runtime.block_on(async {
        for n in 0..20 {
            let response = client
                .get(server.url(&format!("/{n}")))
                .send()
                .await
                .unwrap();
            assert_eq!(response.is_reused(), n > 0);
            assert_eq!(response.text().await.unwrap(), format!("/{n}"));
        }
    });
    assert_eq!(server.accepted(), 1);
    drop(client);
    runtime.block_on(async { server.wait_until_open(0) });
}

fn resolved<R: Runtime>() {
    let runtime = R::start();
    let net = runtime.net();
    let found = runtime.block_on(net.resolve("localhost", fulmar::net::Family::V4));
    let addrs = found.unwrap().addrs;
    assert!(
        addrs.contains(&std::net::Ipv4Addr::LOCALHOST.into()),
        "{addrs:?}"
    );
    assert!(addrs.iter().all(std::net::IpAddr::is_ipv4));
    let missing = runtime.block_on(net.resolve("no-such-name.invalid", fulmar::net::Family::Any));
    assert!(missing.is_err());
}

fn timeout<R: Runtime>() {
    let runtime = R::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let timeouts = Timeouts::new().total(Duration::from_millis(50));
    let client = Client::builder(runtime.net())
        .timeouts(timeouts)
        .build()
        .unwrap();
    let error = runtime.block_on(client.get(url).send()).unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert_eq!(client.gauges().busy, 0);
}

fn refused<R: Runtime>() {
    let runtime = R::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(runtime.net());
    let call = client.get(url).retry(Retry::never());
    let error = runtime.block_on(call.send()).unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(
        error.fault().map(|fault| fault.kind),
        Some(fulmar::net::FaultKind::Refused),
        "{error}"
    );
}

fn retried<R: Runtime>() {
    let runtime = R::start();
    let asked = AtomicUsize::new(0);
    let server = Loopback::start(move |_, stream| {
        let status = [503, 503, 200][asked.fetch_add(1, Ordering::Relaxed).min(2)];
        respond(stream, status, b"")?;
        Ok(true)
    });
    let backoff = Backoff::exponential(Duration::from_millis(5));
    let client = Client::builder(runtime.net())
        .retry(Retry::new(3).backoff(backoff))
        .build()
        .unwrap();
    let response = runtime
        .block_on(client.get(server.url("/")).send())
        .unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
}

fn concurrent<R: Runtime>() {
    let (runtime, server) = (R::start(), Loopback::echo());
    let client = Client::new(runtime.net());
    let calls = (0..200).map(|n| {
        let (client, url) = (client.clone(), server.url(&format!("/{n}")));
        async move { assert_eq!(text(&client, url).await, format!("/{n}")) }
    });
    runtime.block_on(all(calls));
    assert!(server.accepted() <= 64, "{} connections", server.accepted());
    assert_eq!(server.requests().len(), 200, "nothing was sent twice");
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.connecting, gauges.waiting), (0, 0, 0));
    drop(client);
    runtime.block_on(async { server.wait_until_open(0) });
}

/// Runs all of them at once.
async fn all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Chunks, each after a turn of others.
struct Chunks {
    left: usize,
    waited: bool,
}

impl futures_core::Stream for Chunks {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Bytes::from(vec![b'x'; 10_000]))))
    }
}

fn upload<R: Runtime>() {
    let runtime = R::start();
    let server = Loopback::start(|request, stream| {
        respond(stream, 200, request.body.len().to_string().as_bytes())?;
        Ok(true)
    });
    let client = Client::new(runtime.net());
    let body = Body::stream(Chunks {
        left: 300,
        waited: false,
    });
    let length = runtime.block_on(async {
        let response = client
            .post(server.url("/"))
            .body(body)
            .send()
            .await
            .unwrap();
        response.text().await.unwrap()
    });
    assert_eq!(length, "3000000");
}

fn download<R: Runtime>() {
    let runtime = R::start();
    let server = Loopback::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")?;
        for n in 0..50_u8 {
            stream.write_all(&[n; 100_000])?;
        }
        Ok(true)
    });
    let client = Client::new(runtime.net());
    runtime.block_on(async {
        let mut response = client.get(server.url("/")).send().await.unwrap();
        let mut read = 0;
        while let Some(chunk) = response.chunk().await.unwrap() {
            for byte in chunk {
                assert_eq!(usize::from(byte), read / 100_000);
                read += 1;
            }
        }
        assert_eq!(read, 5_000_000);
    });
    assert_eq!(client.gauges().idle, 1);
}

fn dropped_half_read<R: Runtime>() {
    let runtime = R::start();
    let server = Loopback::start(|request, stream| {
        if request.target == "/long" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")?;
            stream.write_all(&[b'x'; 50_000])?;
        } else {
            respond(stream, 200, b"short")?;
        }
        Ok(true)
    });
    let client = Client::new(runtime.net());
    let url = server.url("/long");
    let mut response = runtime.block_on(client.get(url.clone()).send()).unwrap();
    assert!(runtime.block_on(response.chunk()).unwrap().is_some());
    thread::spawn(move || drop(response)).join().unwrap();
    assert_eq!(
        runtime.block_on(text(&client, server.url("/next"))),
        "short"
    );
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
    let response = runtime.block_on(client.get(url).send()).unwrap();
    drop((client, runtime));
    // Nothing is left but the response itself.
    thread::spawn(move || drop(response)).join().unwrap();
    server.wait_until_open(0);
}

fn closed_while_idle<R: Runtime>() {
    let runtime = R::start();
    let server = Loopback::start(|_, stream| {
        respond(stream, 200, b"once")?;
        Ok(false)
    });
    let client = Client::new(runtime.net());
    let net = runtime.net();
    runtime.block_on(async {
        assert_eq!(text(&client, server.url("/a")).await, "once");
        assert_eq!(client.gauges().idle, 1);
        let patience = net.now() + Duration::from_secs(20);
        // The client's own task looks once a second.
        while client.gauges().idle > 0 {
            assert!(net.now() < patience, "never noticed");
            net.sleep(net.now() + Duration::from_millis(20)).await;
        }
        // Not repeatable: it would fail had it been sent where nobody reads.
        let response = client
            .post(server.url("/b"))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!((response.attempts(), response.is_reused()), (1, false));
    });
    assert_eq!(server.accepted(), 2);
}

fn timer<R: Runtime>() {
    let runtime = R::start();
    let net = runtime.net();
    runtime.block_on(async {
        let begun = net.now();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut timer = net.sleep(begun + Duration::from_secs(3600));
        poll_fn(|cx| {
            assert!(Pin::new(&mut timer).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        timer.reset(after(30));
        (&mut timer).await;
        assert!(net.now() >= after(30));
        timer.reset(after(60));
        (&mut timer).await;
        assert!(net.now() >= after(60));
        timer.reset(begun);
        timer.await;
        let mut never = net.sleep(fulmar::Instant::MAX);
        poll_fn(|cx| {
            assert!(Pin::new(&mut never).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
}

#[cfg(unix)]
fn unix_socket<R: Runtime>() {
    use bytes::BytesMut;
    use fulmar::net::{Endpoint, SocketOptions, WriteBuf};
    use std::io::Read;

    let runtime = R::start();
    let net = runtime.net();
    let name = format!(
        "fulmar-{}-{}",
        std::process::id(),
        std::any::type_name::<R>()
    );
    let path = std::env::temp_dir().join(name.replace("::", "-"));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(&asked).unwrap();
    });
    runtime.block_on(async {
        let endpoint = Endpoint::Unix(path.clone());
        let mut stream = net
            .connect(&endpoint, &SocketOptions::default())
            .await
            .unwrap();
        assert!(stream.is_quiet());
        let mut tx = WriteBuf::default();
        tx.put_slice(b"ping");
        let written = poll_fn(|cx| stream.poll_write(cx, &mut tx)).await.unwrap();
        assert_eq!(written, 4);
        let mut rx = BytesMut::with_capacity(64);
        while rx.len() < 4 {
            assert!(poll_fn(|cx| stream.poll_read(cx, &mut rx)).await.unwrap() > 0);
        }
        assert_eq!(&rx[..], b"ping");
        assert_eq!(
            poll_fn(|cx| stream.poll_read(cx, &mut rx)).await.unwrap(),
            0
        );
        assert!(!stream.is_quiet(), "it is closed");
    });
    server.join().unwrap();
    std::fs::remove_file(path).unwrap();
}

fn outlives<R: Runtime>() {
    let (first, server) = (R::start(), Loopback::echo());
    let client = Client::new(first.net());
    assert_eq!(first.block_on(text(&client, server.url("/a"))), "/a");
    drop(first);
    let second = R::start();
    assert_eq!(second.block_on(text(&client, server.url("/b"))), "/b");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_client_outlives_the_runtime_that_it_was_made_for() {
    outlives::<TokioCurrentThread>();
    outlives::<TokioMultiThread>();
    outlives::<Smol>();
    outlives::<AsyncStd>();
    outlives::<Blocking>();
}

#[test]
fn without_its_own_executor_a_client_of_smol_fails_its_calls_and_hangs_none() {
    let (runtime, server) = (SmolCurrentThread::start(), Loopback::echo());
    let client = Client::new(runtime.net());
    assert_eq!(runtime.block_on(text(&client, server.url("/a"))), "/a");
    drop(runtime);
    let elsewhere = Loopback::echo();
    let call = client.get(elsewhere.url("/b")).retry(Retry::never());
    let error = smol::block_on(call.send()).unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(client.gauges().connecting, 0);
}
