//! What of the runtimes is not in the suite: unix sockets, and runtimes that go away.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::{Future, poll_fn};
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fulmar::net::{FaultKind, Net};
use fulmar::session::{Config, Delivery, Event, Loss, Outgoing, Session, StopReason, Undelivered};
use fulmar::websocket::{Cause, CloseCode};
use fulmar::{Backoff, Client, Retry};
use fulmar_tests::loopback::Loopback;

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
            #[cfg(unix)]
            fn a_unix_socket_is_a_stream_like_any_other() {
                unix_socket::<$runtime>();
            }

            #[test]
            #[cfg(unix)]
            fn a_client_on_a_unix_socket_sends_the_host_of_the_url_and_keeps_the_connection() {
                client_on_unix_socket::<$runtime>();
            }

            #[cfg(unix)]
            #[test]
            fn a_request_over_a_unix_socket_takes_no_connection_over_tcp_and_the_other_way_round() {
                request_over_unix_socket::<$runtime>();
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

#[cfg(unix)]
fn client_on_unix_socket<R: Runtime>() {
    use std::io::{BufRead, BufReader};

    let runtime = R::start();
    let name = format!(
        "fulmar-client-{}-{}",
        std::process::id(),
        std::any::type_name::<R>()
    );
    let path = std::env::temp_dir().join(name.replace("::", "-"));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            if let Some(host) = line.to_ascii_lowercase().strip_prefix("host: ") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", host.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(host.as_bytes()).unwrap();
            }
        }
    });
    let client = Client::builder(runtime.net()).unix_socket(&path);
    let client = client.build().unwrap();
    for _ in 0..2 {
        let host = runtime.block_on(text(&client, "http://docker.test/v1/info".into()));
        assert_eq!(host, "docker.test");
    }
    drop(client);
    server.join().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[cfg(unix)]
fn request_over_unix_socket<R: Runtime>() {
    use std::io::{BufRead, BufReader};

    let (runtime, tcp) = (R::start(), Loopback::echo());
    let name = std::any::type_name::<R>().replace("::", "-");
    let name = format!("fulmar-request-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for line in lines.map_while(Result::ok).filter(String::is_empty) {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix";
            stream.write_all(answer).unwrap();
            drop(line);
        }
    });
    let client = Client::new(runtime.net());
    // The same origin by turns: what idles of one transport is never the other's.
    for n in 0..3 {
        let body = runtime.block_on(text(&client, tcp.url("/tcp")));
        assert_eq!(body, "/tcp");
        let call = client.get(tcp.url("/")).unix_socket(&path).send();
        let response = runtime.block_on(async { call.await.unwrap() });
        assert_eq!(response.is_reused(), n > 0);
        let body = runtime.block_on(async { response.text().await.unwrap() });
        assert_eq!(body, "unix");
    }
    assert_eq!((tcp.requests().len(), client.gauges().total), (3, 2));
    drop(client);
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

/// A server that accepts a WebSocket and says nothing.
fn websockets() -> Loopback {
    Loopback::start(|request, stream| {
        let key = request.header("sec-websocket-key").unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        write!(
            stream,
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )?;
        std::io::copy(stream, &mut std::io::sink())?;
        Ok(false)
    })
}

fn ends_with_its_runtime<R: Runtime>() {
    let (first, server) = (R::start(), websockets());
    let client = Client::new(first.net());
    let opening = client.websocket(server.url("/")).connect();
    let mut ws = first.block_on(opening).unwrap();
    drop(first);
    let gone = Cause::Fault(FaultKind::RuntimeGone);
    assert_eq!(ws.closed().unwrap().cause, gone);
    let second = R::start();
    assert_eq!(second.block_on(ws.recv()).unwrap_err().cause, gone);
    assert!(second.block_on(ws.send("x")).is_err());
    assert_eq!(client.gauges().busy, 0);
    server.wait_until_open(0);
}

#[test]
fn a_websocket_ends_with_its_runtime() {
    ends_with_its_runtime::<TokioCurrentThread>();
    ends_with_its_runtime::<TokioMultiThread>();
    ends_with_its_runtime::<SmolCurrentThread>();
}

/// Whoever waits for the socket on threads of no runtime hears that it has ended.
fn waits_end_with_their_runtime<R: Runtime>() {
    let (runtime, server) = (R::start(), websockets());
    let client = Client::new(runtime.net());
    let opening = client.websocket(server.url("/")).connect();
    let (mut sender, mut receiver) = runtime.block_on(opening).unwrap().split();
    let gone = Cause::Fault(FaultKind::RuntimeGone);
    let waiting = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let heard = scope.spawn(|| smol::block_on(receiver.recv()).unwrap_err());
        let ponged = scope.spawn(|| {
            let mut ping = std::pin::pin!(sender.ping());
            let mut polled = false;
            smol::block_on(poll_fn(|cx| {
                let ponged = ping.as_mut().poll(cx);
                if !std::mem::replace(&mut polled, true) {
                    waiting.wait();
                }
                ponged
            }))
            .unwrap_err()
        });
        waiting.wait();
        drop(runtime);
        for ended in [heard, ponged] {
            assert_eq!(ended.join().unwrap().cause, gone);
        }
    });
    assert!(smol::block_on(sender.send("x")).is_err());
    let closed = smol::block_on(sender.close(CloseCode::NORMAL, "")).unwrap();
    assert_eq!(closed.cause, gone);
}

#[test]
fn who_waits_for_a_websocket_elsewhere_hears_of_the_end_of_its_runtime() {
    waits_end_with_their_runtime::<TokioCurrentThread>();
    waits_end_with_their_runtime::<TokioMultiThread>();
    waits_end_with_their_runtime::<SmolCurrentThread>();
}

/// Knows the event that is waited for.
type IsThere = fn(&Event) -> bool;

/// Waits until the session tells the event that `is_there` knows, if one is waited for.
fn await_event(session: &Session, is_there: Option<IsThere>) {
    let Some(is_there) = is_there else { return };
    let mut events = session.events();
    smol::block_on(async {
        while let Some(event) = events.next().await {
            if is_there(&event) {
                return;
            }
        }
    });
}

/// Whoever waits for the session on threads of no runtime hears that it has stopped.
fn session_ends_with_its_runtime<R: Runtime>(url: &str, is_there: Option<IsThere>) {
    let runtime = R::start();
    let client = Client::new(runtime.net());
    let config = Config::from(Backoff::constant(Duration::from_secs(600)));
    let kept = Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from("kept")
    };
    let opening = client.websocket(url).reconnect(config.outbox(1, 1 << 20));
    let session = runtime.block_on(async { opening.open() });
    let mut sent = smol::block_on(session.send(kept.clone())).unwrap();
    thread::scope(|scope| {
        let waits: [Box<dyn FnOnce() + Send>; 4] = [
            Box::new(|| drop(smol::block_on(session.recv()).unwrap_err())),
            Box::new(|| drop(smol::block_on(session.send(kept)).unwrap_err())),
            Box::new(|| drop(smol::block_on(session.stopped()))),
            Box::new(|| {
                let end = smol::block_on(sent.acked());
                assert_eq!(end, Err(Undelivered::Returned));
            }),
        ];
        let waits = waits.map(|wait| scope.spawn(wait));
        let going = scope.spawn(|| await_event(&session, is_there));
        runtime.block_on(async {
            while !going.is_finished() {
                smol::future::yield_now().await;
            }
        });
        drop(runtime);
        for wait in waits {
            wait.join().unwrap();
        }
    });
    assert!(matches!(
        session.stop_reason(),
        Some(StopReason::Fatal(Loss::Fault(fault))) if fault.kind == FaultKind::RuntimeGone
    ));
    assert_eq!(session.take_undelivered().len(), 1);
    assert_eq!(client.gauges().busy + client.gauges().connecting, 0);
}

#[test]
fn a_session_ends_with_its_runtime_and_everybody_hears_of_it() {
    let open = websockets();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/", deaf.local_addr().unwrap());
    let closed = "http://127.0.0.1:1/".to_owned();
    let states: [(String, Option<IsThere>); 3] = [
        (
            open.url("/"),
            Some(|event| matches!(event, Event::Opened { .. })),
        ),
        (closed, Some(|event| matches!(event, Event::Backoff { .. }))),
        (silent, None),
    ];
    for (url, is_there) in states {
        session_ends_with_its_runtime::<TokioCurrentThread>(&url, is_there);
        session_ends_with_its_runtime::<TokioMultiThread>(&url, is_there);
        session_ends_with_its_runtime::<SmolCurrentThread>(&url, is_there);
    }
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

#[test]
fn a_call_where_no_runtime_runs_any_more_fails_at_once_and_says_so() {
    let server = Loopback::echo();
    let client = Client::builder(fulmar_tokio::Tokio::new())
        .retry(Retry::new(5))
        .build()
        .unwrap();
    let runtime = TokioMultiThread::start();
    let first = client.get(server.url("/a")).send();
    assert_eq!(runtime.block_on(first).unwrap().status(), 200);
    drop(runtime);
    let mut polls = 0;
    let mut call = Box::pin(client.get(server.url("/b")).send());
    let error = smol::block_on(poll_fn(|cx| {
        polls += 1;
        call.as_mut().poll(cx)
    }))
    .unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("runtime"), "{error}");
    let reason = error.retry_stop_reason();
    assert_eq!(reason, Some(fulmar_tokio::StopReason::NotRetryable));
    assert!(polls <= 3, "it spun {polls} times");
    let gauges = client.gauges();
    assert_eq!((gauges.waiting, gauges.connecting, gauges.busy), (0, 0, 0));
    // With a runtime it goes on as ever.
    let again = TokioMultiThread::start();
    let call = client.get(server.url("/c")).send();
    assert_eq!(again.block_on(call).unwrap().status(), 200);
}
