//! A network that fails once, at an exact place.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use fulmar_sim::net::{
    Answer, BoxFuture, Endpoint, Family, Fault, FaultKind, Net, Sleep, SocketOptions, Stream,
    WriteBuf,
};
use fulmar_sim::{Instant, Phase, SimNet};

use super::cell::{How, Place};

impl How {
    fn read(self) -> Poll<io::Result<usize>> {
        match self {
            Self::Rst => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Self::Silence => Poll::Pending,
            _ => Poll::Ready(Ok(0)),
        }
    }

    fn write(self) -> Poll<io::Result<usize>> {
        match self {
            Self::Rst => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Self::Silence => Poll::Pending,
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn connect(self) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let kind = match self {
            Self::Silence => return Box::pin(std::future::pending()),
            Self::Lasting => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::ConnectionRefused,
        };
        Box::pin(async move { Err(kind.into()) })
    }
}

/// The most bytes of a head that the client takes.
pub(crate) const HEAD_LIMIT: usize = 512;
/// Bytes of the request that pass before a later write fails.
pub(crate) const WRITTEN: usize = 10;
/// Bytes of the response's body, and how many of them pass before a fault within it.
pub(crate) const BODY: usize = 10;
pub(crate) const DELIVERED: usize = 3;
/// Until when names and connections fail.
const DIALS_FAIL: Duration = Duration::from_millis(5);
/// When names come that are late: after the limit on them, and before the next attempt.
const NAMES_COME: Duration = Duration::from_millis(60);

const IDLE: u8 = 0;
const ARMED: u8 = 1;
const SPENT: u8 = 2;

/// The faults in what is read.
const READS: [Place; 6] = [
    Place::Tls,
    Place::FirstByte,
    Place::Head,
    Place::BodyStart,
    Place::Body,
    Place::Answer,
];

/// The one fault.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) place: Place,
    pub(crate) how: How,
    state: AtomicU8,
}

impl Plan {
    pub(crate) fn new(place: Place, how: How) -> Arc<Self> {
        let state = AtomicU8::new(IDLE);
        Arc::new(Self { place, how, state })
    }

    pub(crate) fn arm(&self) {
        self.state.store(ARMED, Ordering::Relaxed);
    }

    /// Whether it happens now, and not again.
    fn strikes(&self, at: &[Place]) -> bool {
        at.contains(&self.place)
            && self
                .state
                .compare_exchange(ARMED, SPENT, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Plan {
    /// What is read in place of the bytes that came.
    fn instead_of(&self, came: &[u8]) -> Vec<u8> {
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let kept = match (self.place, self.how) {
            (Place::Answer, How::Status(status, is_told)) => {
                let when = if is_told { "Retry-After: 1\r\n" } else { "" };
                let head = format!("HTTP/1.1 {status} No\r\n{when}Content-Length: 0\r\n\r\n");
                return head.into_bytes();
            }
            (Place::Tls | Place::FirstByte, How::Malformed) => {
                return b"220 mail ready\r\n\r\n".into();
            }
            (Place::Head, How::Malformed) => {
                let long = "x".repeat(HEAD_LIMIT);
                return format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n").into_bytes();
            }
            (Place::BodyStart, How::Malformed) => return format!("{CHUNKED}x\r\n").into_bytes(),
            (Place::Body, How::Malformed) => {
                return format!("{CHUNKED}3\r\n012\r\nx\r\n").into_bytes();
            }
            (Place::Head, _) => 10,
            (Place::BodyStart, _) => came.len() - BODY,
            (Place::Body, _) => came.len() - BODY + DELIVERED,
            _ => 0,
        };
        came[..kept].to_vec()
    }
}

pub(crate) struct Flaky {
    pub(crate) inner: SimNet,
    pub(crate) plan: Arc<Plan>,
}

impl Flaky {
    fn dial_fails(&self, place: Place) -> bool {
        self.plan.place == place && self.now() < Instant::ORIGIN + DIALS_FAIL
    }
}

impl Net for Flaky {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall(&self) -> SystemTime {
        self.inner.wall()
    }

    fn entropy(&self, dst: &mut [u8]) {
        self.inner.entropy(dst);
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let answer = self.inner.resolve(name, family);
        let kind = match self.plan.how {
            _ if !self.dial_fails(Place::Dns) => return answer,
            How::Silence => {
                // All who ask wait for one query: it must end some time.
                let slept = self.inner.sleep(Instant::ORIGIN + NAMES_COME);
                return Box::pin(async move {
                    slept.await;
                    answer.await
                });
            }
            How::Lasting => FaultKind::NameNotFound,
            _ => FaultKind::NameFailed,
        };
        Box::pin(async move { Err(Fault::new(kind, Phase::Dns)) })
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        if self.dial_fails(Place::Connect) {
            return self.plan.how.connect();
        }
        let (connected, plan) = (self.inner.connect(to, options), self.plan.clone());
        Box::pin(async move {
            let inner = connected.await?;
            Ok(Box::new(FlakyStream {
                inner,
                plan,
                writes_left: None,
                ends: false,
            }) as Box<dyn Stream>)
        })
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        self.inner.sleep(until)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.inner.spawn(task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.block(work)
    }
}

struct FlakyStream {
    inner: Box<dyn Stream>,
    plan: Arc<Plan>,
    /// After so many bytes writes fail.
    writes_left: Option<usize>,
    /// What is read from here on is the end.
    ends: bool,
}

impl Stream for FlakyStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.ends {
            return self.plan.how.read();
        }
        let before = buf.len();
        let read = ready!(self.inner.poll_read(cx, buf))?;
        if !self.plan.strikes(&READS) {
            return Poll::Ready(Ok(read));
        }
        // A response comes in one piece, of which a part gets through, or another in its place.
        let came = buf.split_off(before);
        buf.extend_from_slice(&self.plan.instead_of(&came));
        // After a whole one the connection works.
        self.ends = self.plan.place != Place::Answer;
        match buf.len() - before {
            0 => self.plan.how.read(),
            read => Poll::Ready(Ok(read)),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        if self.plan.strikes(&[Place::Write, Place::WriteLater]) {
            let is_later = self.plan.place == Place::WriteLater;
            self.writes_left = Some(if is_later { WRITTEN } else { 0 });
        }
        match self.writes_left {
            None => self.inner.poll_write(cx, buf),
            Some(0) => {
                self.ends = self.plan.how != How::Silence;
                self.plan.how.write()
            }
            Some(left) => {
                let mut part = WriteBuf::default();
                let chunk = buf.chunk();
                part.put_slice(&chunk[..left.min(chunk.len())]);
                let written = ready!(self.inner.poll_write(cx, &mut part))?;
                buf.advance(written);
                self.writes_left = Some(left - written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }

    fn is_quiet(&mut self) -> bool {
        self.inner.is_quiet()
    }

    fn park(&mut self) {
        self.inner.park();
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer()
    }
}
