//! The limits of a name that does not resolve and of a head that does not end, on tokio's clock.
//!
//! No socket is opened: the clock is paused from the beginning, so that time passes by itself and
//! exactly where nothing else is to be done.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, FromFuturesIo, Net, Sleep,
    SocketOptions, Stream,
};
use fulmar_tokio::{Client, Fate, Instant, Phase, Retry, Timeouts, Tokio};
use futures_io::{AsyncRead, AsyncWrite};

/// Tokio, but for what it leads to.
struct Own {
    tokio: Tokio,
    /// Whether names resolve; where they do not, nobody ever answers.
    resolves: bool,
}

impl Net for Own {
    fn now(&self) -> Instant {
        self.tokio.now()
    }
    fn wall(&self) -> SystemTime {
        self.tokio.wall()
    }
    fn entropy(&self, dst: &mut [u8]) {
        self.tokio.entropy(dst);
    }
    fn resolve(&self, _: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        if !self.resolves {
            return Box::pin(pending());
        }
        let found = [([127, 0, 0, 1], 0).into()].into_iter();
        Box::pin(ready(Answer::of_system(Ok(found), family)))
    }
    fn connect(&self, _: &Endpoint, _: &SocketOptions) -> Connecting {
        let stream: Box<dyn Stream> = Box::new(FromFuturesIo::new(HalfHead::default()));
        Box::pin(ready(Ok(stream)))
    }
    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        self.tokio.sleep(until)
    }
    fn spawn(&self, task: BoxFuture<()>) {
        self.tokio.spawn(task);
    }
    fn runtime(&self) -> u64 {
        self.tokio.runtime()
    }
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.tokio.block(work)
    }
}

/// A peer that takes a request, begins an answer, and says no more.
#[derive(Default)]
struct HalfHead {
    asked: bool,
    said: bool,
    reader: Option<Waker>,
}

impl AsyncRead for HalfHead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.asked || self.said {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.said = true;
        let said = b"HTTP/1.1 200 OK\r\nX-";
        buf[..said.len()].copy_from_slice(said);
        Poll::Ready(Ok(said.len()))
    }
}

impl AsyncWrite for HalfHead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Within the resolution of the runtime's timers, and never early.
fn times_out(resolves: bool, timeouts: Timeouts, limit: Duration, phase: Phase, fate: Fate) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (error, elapsed, gauges) = runtime.block_on(async {
        let tokio = Tokio::new();
        let client = Client::builder(Own { tokio, resolves })
            .timeouts(timeouts)
            .retry(Retry::never());
        let client = client.build().unwrap();
        let begun = tokio::time::Instant::now();
        let error = client.get("http://api.test/").send().await.unwrap_err();
        (error, begun.elapsed(), client.gauges())
    });
    assert_eq!(
        (error.phase(), error.fate()),
        (Some(phase), fate),
        "{error}"
    );
    assert!(error.is_timeout(), "{error}");
    let late = elapsed.checked_sub(limit).unwrap_or(Duration::MAX);
    assert!(late <= Duration::from_millis(2), "{phase}: {elapsed:?}");
    assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
}

#[test]
fn a_name_that_does_not_resolve_times_out_within_the_resolution_of_tokios_timers() {
    for limit in [3, 700, 12_345].map(Duration::from_millis) {
        let timeouts = Timeouts::none().dns(limit);
        times_out(false, timeouts, limit, Phase::Dns, Fate::NotProcessed);
    }
}

#[test]
fn a_head_that_does_not_end_times_out_within_the_resolution_of_tokios_timers() {
    for limit in [3, 700, 12_345].map(Duration::from_millis) {
        let timeouts = Timeouts::none().head(limit);
        times_out(true, timeouts, limit, Phase::Head, Fate::MaybeProcessed);
    }
}
