//! A request arms no timer of the runtime's and moves none, whatever timeouts it has: the client's one
//! background task does, once a second or when a deadline is near.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use fulmar::net::{Answer, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream};
use fulmar::{Client, Instant, Timeouts};
use fulmar_tests::loopback::Loopback;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

const REQUESTS: usize = 500;

/// What passing time may cost, on a machine of any speed: far less than a timer per request.
const MOST: usize = REQUESTS / 4;

/// A network that counts how often its timers are armed or moved.
struct Counting<N> {
    net: N,
    touched: Arc<AtomicUsize>,
}

impl<N: Net> Net for Counting<N> {
    fn now(&self) -> Instant {
        self.net.now()
    }

    fn wall(&self) -> SystemTime {
        self.net.wall()
    }

    fn entropy(&self, dst: &mut [u8]) {
        self.net.entropy(dst);
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        self.net.resolve(name, family)
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        self.net.connect(to, options)
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        self.touched.fetch_add(1, Ordering::Relaxed);
        Box::new(Counted {
            sleep: self.net.sleep(until),
            touched: self.touched.clone(),
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.net.spawn(task);
    }

    fn runtime(&self) -> u64 {
        self.net.runtime()
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.net.block(work)
    }
}

struct Counted {
    sleep: Box<dyn Sleep>,
    touched: Arc<AtomicUsize>,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.sleep).poll(cx)
    }
}

impl Sleep for Counted {
    fn reset(&mut self, until: Instant) {
        self.touched.fetch_add(1, Ordering::Relaxed);
        self.sleep.reset(until);
    }
}

/// How often timers were armed or moved while [`REQUESTS`] were made, one after the other.
fn touched(net: impl Net, block_on: impl FnOnce(BoxFuture<()>)) -> usize {
    let touched = Arc::new(AtomicUsize::new(0));
    let net = Counting {
        net,
        touched: touched.clone(),
    };
    let client = Client::builder(net)
        .timeouts(Timeouts::all(Duration::from_secs(60)))
        .build()
        .unwrap();
    let server = Loopback::echo();
    let url = server.url("/a");
    block_on(Box::pin(async move {
        for _ in 0..REQUESTS {
            let call = client.get(url.as_str()).timeout(Duration::from_secs(90));
            assert_eq!(call.send().await.unwrap().text().await.unwrap(), "/a");
        }
    }));
    assert_eq!(server.accepted(), 1);
    touched.load(Ordering::Relaxed)
}

#[test]
fn no_request_arms_or_moves_a_timer() {
    let tokio = touched(fulmar_tokio::Tokio::new(), |future| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(future);
    });
    let smol = touched(fulmar_smol::Smol::new(), smol::block_on);
    let async_std = touched(
        fulmar_async_std::AsyncStd::new(),
        async_std::task::block_on::<BoxFuture<()>, ()>,
    );
    let blocking = touched(fulmar_blocking::Blocking::new(), |future| {
        fulmar_blocking::block_on(future);
    });
    for (runtime, touched) in [
        ("tokio", tokio),
        ("smol", smol),
        ("async-std", async_std),
        ("blocking", blocking),
    ] {
        assert!(touched > 0, "{runtime}: what is counted is never used");
        assert!(touched <= MOST, "{runtime}: {touched} timers");
    }
}
