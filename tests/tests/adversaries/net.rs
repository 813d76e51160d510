//! The simulator's network, bent: its clock, its timers and its streams as the test wants them.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use fulmar_sim::net::{
    Answer, BoxFuture, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream, WriteBuf,
};
use fulmar_sim::{Client, ClientBuilder, Instant, Sim, SimNet};

use crate::support::ms;

/// How the clock differs from the timers', which are the simulator's.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    True,
    /// So much ahead.
    Ahead(Duration),
    /// So much behind.
    Behind(Duration),
    /// It stands still, there.
    At(Instant),
}

/// What a timer does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timers {
    True,
    /// Fires so much too early, however often it is set.
    Early(Duration),
    /// Fires so much too late.
    Late(Duration),
    /// Wakes its task each millisecond, for nothing.
    Restless,
}

/// What streams do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Honest,
    /// Takes nothing, and says so.
    TakesNothing,
    /// Takes one byte, and claims all of them and one more.
    ClaimsToHaveWritten,
    /// Takes everything, and admits to one byte.
    HidesWhatItWrote,
    /// Claims a byte more than it read.
    ClaimsToHaveRead,
    /// Reads, and says that that was the end.
    HidesWhatItRead,
    /// Takes back what it gave before.
    Unreads,
    /// Waits, and wakes nobody.
    ForgetsTheReader,
    ForgetsTheWriter,
    /// Fails to end.
    FailsToShutDown,
    /// Panics, whatever it is asked.
    Panics,
    /// Panics when it is dropped.
    PanicsWhenDropped,
    /// Has a message whenever it is read; the clock is a millisecond further then.
    Pours,
    /// Says of an idle connection what is not so.
    IsNeverQuiet,
    IsAlwaysQuiet,
}

/// When a task that is spawned runs first.
#[derive(Clone, Copy)]
pub(crate) enum Spawns {
    /// When its turn comes.
    Later,
    /// Before `spawn` returns, too.
    AtOnce,
}

/// What can be bent while the client runs.
#[derive(Clone)]
pub(crate) struct Bend(Arc<Mutex<Bends>>);

struct Bends {
    clock: Clock,
    timers: Timers,
    streams: Habit,
    spawns: Spawns,
}

impl Bend {
    pub(crate) fn clock(&self, clock: Clock) {
        self.0.lock().unwrap().clock = clock;
    }

    pub(crate) fn timers(&self, timers: Timers) {
        self.0.lock().unwrap().timers = timers;
    }

    pub(crate) fn streams(&self, habit: Habit) {
        self.0.lock().unwrap().streams = habit;
    }

    /// Puts the clock further ahead.
    fn pass(&self, time: Duration) {
        let mut bends = self.0.lock().unwrap();
        bends.clock = Clock::Ahead(match bends.clock {
            Clock::Ahead(by) => by + time,
            _ => time,
        });
    }

    fn habit(&self) -> Habit {
        self.0.lock().unwrap().streams
    }

    pub(crate) fn spawns(&self, spawns: Spawns) {
        self.0.lock().unwrap().spawns = spawns;
    }
}

/// A builder of a client on such a network, and what bends it.
pub(crate) fn bent(sim: &Sim) -> (ClientBuilder, Bend) {
    let bend = Bend(Arc::new(Mutex::new(Bends {
        clock: Clock::True,
        timers: Timers::True,
        streams: Habit::Honest,
        spawns: Spawns::Later,
    })));
    let net = Bent {
        inner: sim.net("laptop"),
        bend: bend.clone(),
    };
    (Client::builder(net), bend)
}

struct Bent {
    inner: SimNet,
    bend: Bend,
}

impl Net for Bent {
    fn now(&self) -> Instant {
        let clock = self.bend.0.lock().unwrap().clock;
        match clock {
            Clock::True => self.inner.now(),
            Clock::Ahead(by) => self.inner.now() + by,
            Clock::Behind(by) => self.inner.now() - by,
            Clock::At(at) => at,
        }
    }

    fn wall(&self) -> SystemTime {
        self.inner.wall()
    }

    fn entropy(&self, dst: &mut [u8]) {
        self.inner.entropy(dst);
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        self.inner.resolve(name, family)
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let connecting = self.inner.connect(to, options);
        let bend = self.bend.clone();
        Box::pin(async move {
            let inner = connecting.await?;
            let stream: Box<dyn Stream> = Box::new(BentStream { inner, bend });
            Ok(stream)
        })
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        let timers = self.bend.0.lock().unwrap().timers;
        let mut sleep = BentSleep {
            inner: self.inner.sleep(until),
            timers,
            tick: None,
            net: self.inner.clone(),
        };
        sleep.reset(until);
        Box::new(sleep)
    }

    /// As most runtimes, it survives a task that panics.
    fn spawn(&self, mut task: BoxFuture<()>) {
        let spawns = self.bend.0.lock().unwrap().spawns;
        if let Spawns::AtOnce = spawns {
            let mut cx = Context::from_waker(Waker::noop());
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)));
            if !matches!(polled, Ok(Poll::Pending)) {
                return;
            }
        }
        self.inner.spawn(Box::pin(poll_fn(move |cx| {
            let polled = AssertUnwindSafe(|| task.as_mut().poll(cx));
            catch_unwind(polled).unwrap_or(Poll::Ready(()))
        })));
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.block(work)
    }
}

struct BentSleep {
    inner: Box<dyn Sleep>,
    timers: Timers,
    tick: Option<Box<dyn Sleep>>,
    net: SimNet,
}

impl Future for BentSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Timers::Restless = self.timers {
            let mut tick = self.net.sleep(self.net.now() + ms(1));
            let _ = Pin::new(&mut tick).poll(cx);
            self.tick = Some(tick);
        }
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl Sleep for BentSleep {
    fn reset(&mut self, until: Instant) {
        self.inner.reset(match self.timers {
            Timers::Early(by) => until - by,
            Timers::Late(by) => until + by,
            _ => until,
        });
    }
}

struct BentStream {
    inner: Box<dyn Stream>,
    bend: Bend,
}

impl Stream for BentStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        assert!(self.bend.habit() != Habit::Panics, "on purpose");
        if self.bend.habit() == Habit::ForgetsTheReader {
            return Poll::Pending;
        }
        if self.bend.habit() == Habit::Pours {
            self.bend.pass(ms(1));
            buf.extend_from_slice(b"\x82\x05drops");
            return Poll::Ready(Ok(7));
        }
        let polled = self.inner.poll_read(cx, buf);
        match (self.bend.habit(), polled) {
            (Habit::ClaimsToHaveRead, Poll::Ready(Ok(n))) => Poll::Ready(Ok(n + 1)),
            (Habit::HidesWhatItRead, Poll::Ready(Ok(_))) => Poll::Ready(Ok(0)),
            (Habit::Unreads, Poll::Ready(Ok(n))) => {
                buf.clear();
                Poll::Ready(Ok(n))
            }
            (_, polled) => polled,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        assert!(self.bend.habit() != Habit::Panics, "on purpose");
        let offered = buf.len();
        match self.bend.habit() {
            Habit::TakesNothing => return Poll::Ready(Ok(0)),
            Habit::ForgetsTheWriter => return Poll::Pending,
            Habit::ClaimsToHaveWritten => {
                bytes::Buf::advance(buf, 1);
                return Poll::Ready(Ok(offered + 1));
            }
            _ => {}
        }
        let polled = self.inner.poll_write(cx, buf);
        match (self.bend.habit(), polled) {
            (Habit::HidesWhatItWrote, Poll::Ready(Ok(_))) => Poll::Ready(Ok(1)),
            (_, polled) => polled,
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(self.bend.habit() != Habit::Panics, "on purpose");
        if self.bend.habit() == Habit::FailsToShutDown {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        self.inner.poll_shutdown(cx)
    }

    fn is_quiet(&mut self) -> bool {
        match self.bend.habit() {
            Habit::Panics => panic!("on purpose"),
            Habit::IsNeverQuiet => false,
            Habit::IsAlwaysQuiet => true,
            _ => self.inner.is_quiet(),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer()
    }
}

impl Drop for BentStream {
    fn drop(&mut self) {
        assert!(self.bend.habit() != Habit::PanicsWhenDropped, "on purpose");
    }
}
