//! A user's own transport under the client.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::BytesMut;
use fulmar::net::{
    Answer, BoxFuture, Endpoint, Family, Fault, FromFuturesIo, Net, Sleep, SocketOptions, Stream,
    WriteBuf,
};
use fulmar::{Client, Instant};
use fulmar_smol::Smol;
use fulmar_tests::loopback::{Loopback, respond};
use futures_io::{AsyncRead, AsyncWrite};

/// Smol, but for its sockets: those are wrapped by hand.
struct Own(Smol);

impl Net for Own {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
    fn entropy(&self, dst: &mut [u8]) {
        self.0.entropy(dst);
    }
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        self.0.resolve(name, family)
    }
    fn connect(&self, to: &Endpoint, _: &SocketOptions) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let to = to.clone();
        Box::pin(async move {
            let Endpoint::Tcp(to) = to else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let socket = smol::Async::<TcpStream>::connect(to).await?;
            let stream: Box<dyn Stream> = Box::new(FromFuturesIo::new(socket).with_peer(to));
            Ok(stream)
        })
    }
    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        self.0.sleep(until)
    }
    fn spawn(&self, task: BoxFuture<()>) {
        self.0.spawn(task);
    }
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.0.block(work)
    }
}

#[test]
fn a_client_runs_on_it_and_uses_it_again() {
    let server = Loopback::start(|request, stream| {
        respond(stream, 200, &vec![b'x'; 100_000])?;
        Ok(request.target != "/last")
    });
    let client = Client::new(Own(Smol::new()));
    smol::block_on(async {
        for path in ["/a", "/b", "/last"] {
            let response = client.get(server.url(path)).send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), 100_000);
        }
        assert_eq!(server.accepted(), 1);
        server.wait_until_open(0);
        // It asks the transport itself, so it cannot be late.
        let response = client
            .post(server.url("/c"))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!((response.attempts(), response.is_reused()), (1, false));
    });
    assert_eq!(server.accepted(), 2);
}

/// What a transport was told, and what it has to say.
#[derive(Default)]
struct Script {
    incoming: VecDeque<io::Result<&'static [u8]>>,
    buffered: Vec<u8>,
    flushed: Vec<u8>,
    flush_blocked: bool,
    asked: Vec<usize>,
}

/// A transport that buffers, and need not be `Sync`.
struct Scripted(Arc<Mutex<Script>>, std::cell::Cell<()>);

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(buf.len());
        match script.incoming.pop_front() {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(bytes)) => {
                let n = bytes.len().min(buf.len());
                buf[..n].copy_from_slice(&bytes[..n]);
                if n < bytes.len() {
                    script.incoming.push_front(Ok(&bytes[n..]));
                }
                Poll::Ready(Ok(n))
            }
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().buffered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut script = self.0.lock().unwrap();
        if script.flush_blocked {
            return Poll::Pending;
        }
        let buffered = std::mem::take(&mut script.buffered);
        script.flushed.extend(buffered);
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

fn scripted(
    incoming: impl IntoIterator<Item = io::Result<&'static [u8]>>,
) -> (Arc<Mutex<Script>>, FromFuturesIo<Scripted>) {
    let script = Arc::new(Mutex::new(Script {
        incoming: incoming.into_iter().collect(),
        ..Script::default()
    }));
    let transport = Scripted(script.clone(), std::cell::Cell::new(()));
    (script, FromFuturesIo::new(transport))
}

fn read(stream: &mut impl Stream, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
    stream.poll_read(&mut Context::from_waker(Waker::noop()), buf)
}

#[test]
fn asking_whether_it_is_quiet_loses_no_byte() {
    let (_, mut stream) = scripted([Ok(&b"late"[..])]);
    assert!(!stream.is_quiet() && !stream.is_quiet());
    let mut buf = BytesMut::with_capacity(64);
    assert!(matches!(read(&mut stream, &mut buf), Poll::Ready(Ok(1))));
    assert!(matches!(read(&mut stream, &mut buf), Poll::Ready(Ok(3))));
    assert_eq!(&buf[..], b"late");
    assert!(read(&mut stream, &mut buf).is_pending());
    assert!(stream.is_quiet());
}

#[test]
fn an_ended_or_failed_transport_is_not_quiet() {
    let (_, mut stream) = scripted([Ok(&b""[..])]);
    assert!(!stream.is_quiet());
    let (_, mut stream) = scripted([Err(io::ErrorKind::ConnectionReset.into())]);
    assert!(!stream.is_quiet());
}

#[test]
fn what_a_transport_buffers_is_flushed_by_the_write_or_by_the_read_behind_it() {
    let (script, mut stream) = scripted([]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut tx = WriteBuf::default();
    tx.put_slice(b"one");
    assert!(matches!(
        stream.poll_write(&mut cx, &mut tx),
        Poll::Ready(Ok(3))
    ));
    assert_eq!(script.lock().unwrap().flushed, b"one");
    script.lock().unwrap().flush_blocked = true;
    tx.put_slice(b"two");
    assert!(matches!(
        stream.poll_write(&mut cx, &mut tx),
        Poll::Ready(Ok(3))
    ));
    assert_eq!(script.lock().unwrap().flushed, b"one");
    script.lock().unwrap().flush_blocked = false;
    assert!(read(&mut stream, &mut BytesMut::with_capacity(8)).is_pending());
    assert_eq!(script.lock().unwrap().flushed, b"onetwo");
}

#[test]
fn no_more_of_a_buffer_is_offered_than_reads_have_filled() {
    static MUCH: [u8; 100_000] = [7; 100_000];
    let (script, mut stream) = scripted([Ok(&MUCH[..])]);
    let mut buf = BytesMut::with_capacity(1 << 20);
    while read(&mut stream, &mut buf).is_ready() {}
    assert_eq!(buf.len(), MUCH.len());
    let asked = script.lock().unwrap().asked.clone();
    assert_eq!(&asked[..4], [2048, 4096, 8192, 16384]);
}

/// Smol, but for one thing: its streams panic when they are asked, while the flag is up.
struct Panicky(Own, Arc<AtomicBool>);

struct PanickyStream(Box<dyn Stream>, Arc<AtomicBool>);

impl Net for Panicky {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
    fn entropy(&self, dst: &mut [u8]) {
        self.0.entropy(dst);
    }
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        self.0.resolve(name, family)
    }
    fn connect(&self, to: &Endpoint, o: &SocketOptions) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (connecting, flag) = (self.0.connect(to, o), self.1.clone());
        Box::pin(async move {
            let stream: Box<dyn Stream> = Box::new(PanickyStream(connecting.await?, flag));
            Ok(stream)
        })
    }
    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        self.0.sleep(until)
    }
    fn spawn(&self, task: BoxFuture<()>) {
        self.0.spawn(task);
    }
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.0.block(work)
    }
}

impl PanickyStream {
    fn check(&self) {
        assert!(!self.1.load(Ordering::Relaxed), "as arranged");
    }
}

impl Stream for PanickyStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.check();
        self.0.poll_read(cx, buf)
    }
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        self.check();
        self.0.poll_write(cx, buf)
    }
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
    fn is_quiet(&mut self) -> bool {
        self.check();
        self.0.is_quiet()
    }
}

#[test]
fn a_transport_that_panics_leaves_its_place_in_the_pool_free() {
    let server = Loopback::start(|request, stream| {
        respond(stream, 200, &vec![b'x'; 10_000])?;
        Ok(request.target != "/last")
    });
    let flag = Arc::new(AtomicBool::new(false));
    let client = Client::new(Panicky(Own(Smol::new()), flag.clone()));
    let get = || smol::block_on(async { client.get(server.url("/a")).send().await });
    let read = |response: fulmar::Response| smol::block_on(response.bytes()).unwrap().len();
    let panics = |act: &dyn Fn()| {
        flag.store(true, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        flag.store(false, Ordering::Relaxed);
        assert_eq!(client.gauges().total, 0);
    };
    // At checkout.
    assert_eq!(read(get().unwrap()), 10_000);
    panics(&|| drop(get()));
    // In a body, and where the rest of one is drained.
    let response = Mutex::new(Some(get().unwrap()));
    panics(&|| {
        let _ = read(response.lock().unwrap().take().unwrap());
    });
    let response = Mutex::new(Some(get().unwrap()));
    panics(&|| {
        let body = response
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(body);
    });
    assert_eq!(read(get().unwrap()), 10_000);
}
