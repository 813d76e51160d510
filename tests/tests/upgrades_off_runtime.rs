//! An upgraded connection that is polled where no runtime is: on a bare thread.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use fulmar_tests::loopback::{Loopback, respond};
use fulmar_tokio::{Client, Tokio, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// Switches where it is asked to, and then sends back what comes; else it says its path.
fn server() -> Loopback {
    Loopback::start(|request, stream| {
        if request.target != "/switch" {
            respond(stream, 200, request.target.as_bytes())?;
            return Ok(true);
        }
        stream.write_all(SWITCH)?;
        let mut reading = stream.try_clone()?;
        std::io::copy(&mut reading, stream)?;
        Ok(false)
    })
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Got on a runtime, and not polled there.
fn upgraded(runtime: &Runtime, client: &Client, server: &Loopback) -> Upgraded {
    runtime.block_on(async {
        let get = client.get(server.url("/switch")).upgrade("echo");
        get.send().await.unwrap().upgrade().await.unwrap()
    })
}

async fn text(client: &Client, url: String) -> String {
    let response = client.get(url).send().await.unwrap();
    response.text().await.unwrap()
}

/// Polls once, with nobody to be woken.
fn poll_read(stream: &mut Upgraded) -> Poll<std::io::Result<usize>> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut [0; 8])
}

#[test]
fn it_waits_there_and_goes_on_in_its_runtime_and_so_does_the_client() {
    let (server, runtime, client) = (server(), current_thread(), Client::new(Tokio::new()));
    let mut stream = upgraded(&runtime, &client, &server);
    // A thread that has never seen the runtime.
    stream = thread::spawn(move || {
        assert!(poll_read(&mut stream).is_pending());
        stream
    })
    .join()
    .unwrap();
    let back = runtime.block_on(async {
        let call = text(&client, server.url("/a")).await;
        assert_eq!(call, "/a", "nobody who waits is told that nothing runs");
        poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"hello"))
            .await
            .unwrap();
        poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx))
            .await
            .unwrap();
        let mut buf = [0; 5];
        let mut read = 0;
        while read < buf.len() {
            read += poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf[read..]))
                .await
                .unwrap();
        }
        buf
    });
    assert_eq!(&back, b"hello");
    assert_eq!(client.gauges().busy, 1);
    drop(stream);
    assert_eq!(client.gauges().busy, 0);
}

#[test]
fn once_its_runtime_is_gone_it_fails_and_the_client_runs_on_the_next() {
    let (server, runtime, client) = (server(), current_thread(), Client::new(Tokio::new()));
    let mut stream = upgraded(&runtime, &client, &server);
    drop(runtime);
    let polled = poll_read(&mut stream);
    assert!(
        matches!(polled, Poll::Ready(Err(_))),
        "nobody would ever wake it: {polled:?}"
    );
    let other = current_thread();
    assert_eq!(other.block_on(text(&client, server.url("/b"))), "/b");
    drop(stream);
    assert_eq!(client.gauges().busy, 0);
}

#[test]
fn calls_that_wait_on_another_runtime_do_not_fail_for_it() {
    let (server, first, second) = (server(), current_thread(), current_thread());
    let client = Client::new(Tokio::new());
    let mut stream = upgraded(&first, &client, &server);
    let mut call = Box::pin(client.get(server.url("/c")).send());
    let waits = second.block_on(poll_fn(|cx| {
        Poll::Ready(call.as_mut().poll(cx).is_pending())
    }));
    assert!(waits);
    drop(first);
    let _ = thread::spawn(move || poll_read(&mut stream))
        .join()
        .unwrap();
    let response = second.block_on(call).unwrap();
    assert_eq!(second.block_on(response.text()).unwrap(), "/c");
}
