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

use super::cell::Place;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Rst,
}

impl End {
    fn read(self) -> io::Result<usize> {
        match self {
            Self::Fin => Ok(0),
            Self::Rst => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn write(self) -> io::Error {
        match self {
            Self::Fin => io::ErrorKind::BrokenPipe.into(),
            Self::Rst => io::ErrorKind::ConnectionReset.into(),
        }
    }
}

/// Bytes of the request that pass before a later write fails.
pub(crate) const WRITTEN: usize = 10;
/// Until when names and connections fail.
const DIALS_FAIL: Duration = Duration::from_millis(5);

const IDLE: u8 = 0;
const ARMED: u8 = 1;
const SPENT: u8 = 2;

/// The one fault.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) place: Place,
    pub(crate) end: End,
    state: AtomicU8,
}

impl Plan {
    pub(crate) fn new(place: Place, end: End) -> Arc<Self> {
        let state = AtomicU8::new(IDLE);
        Arc::new(Self { place, end, state })
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
        if self.dial_fails(Place::Dns) {
            return Box::pin(async { Err(Fault::new(FaultKind::NameFailed, Phase::Dns)) });
        }
        self.inner.resolve(name, family)
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        if self.dial_fails(Place::Connect) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
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
            return Poll::Ready(self.plan.end.read());
        }
        if self.plan.strikes(&[Place::Tls]) {
            self.ends = true;
            return Poll::Ready(self.plan.end.read());
        }
        let before = buf.len();
        let read = ready!(self.inner.poll_read(cx, buf))?;
        if !self
            .plan
            .strikes(&[Place::FirstByte, Place::Head, Place::Body])
        {
            return Poll::Ready(Ok(read));
        }
        // The response comes in one piece, of which a part gets through.
        let kept = match self.plan.place {
            Place::Head => 10,
            Place::Body => read - 7,
            _ => 0,
        };
        self.ends = true;
        buf.truncate(before + kept);
        Poll::Ready(if kept == 0 {
            self.plan.end.read()
        } else {
            Ok(kept)
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        if self.plan.strikes(&[Place::Write, Place::WriteLater]) {
            let is_later = self.plan.place == Place::WriteLater;
            self.writes_left = Some(if is_later { WRITTEN } else { 0 });
        }
        match self.writes_left {
            None => self.inner.poll_write(cx, buf),
            Some(0) => {
                self.ends = true;
                Poll::Ready(Err(self.plan.end.write()))
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
