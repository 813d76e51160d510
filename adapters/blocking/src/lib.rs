//! Fulmar without a runtime, for programs that block. All of [`fulmar`] is re-exported.
//!
//! The same client, with the same races, batches and early responses: sockets do not block, threads
//! that [`wait`](Wait::wait) do. One helper thread per [`Blocking`] turns a poller, runs the client's
//! own tasks and keeps time. It starts with the first call, and ends with the client.
//!
//! ```no_run
//! use fulmar_blocking::{Blocking, Client, Wait};
//!
//! let client = Client::new(Blocking::new());
//! let text = client.get("http://example.test/").wait()?.text().wait()?;
//! # Ok::<(), fulmar_blocking::Error>(())
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::SystemTime;

pub use fulmar::*;

use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, FaultKind, Net, Sleep, SocketOptions,
};
use fulmar_socket::{Clock, Helper};

/// No runtime, as a [`Net`]: a poller and a helper thread.
#[derive(Debug)]
pub struct Blocking {
    clock: Clock,
    helper: Helper,
}

impl Blocking {
    /// A poller and a helper thread, both made when first needed.
    #[expect(clippy::new_without_default, reason = "it reads a clock")]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            helper: Helper::default(),
        }
    }
}

impl Net for Blocking {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn entropy(&self, dst: &mut [u8]) {
        getrandom::fill(dst).expect("the system has entropy");
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let name = name.to_owned();
        let found = fulmar_socket::offload(move || fulmar_socket::resolve(&name, family));
        Box::pin(async move { found.await.unwrap_or_else(|error| Err(no_thread(&error))) })
    }

    fn connect(&self, to: &Endpoint, options: &SocketOptions) -> Connecting {
        let (to, options, registry) = (to.clone(), options.clone(), self.helper.registry());
        Box::pin(async move {
            fulmar_socket::connect(&to, &options, |socket| registry.register(socket)).await
        })
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        Box::new(self.helper.alarm(self.clock, until))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.helper.spawn(task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let done = fulmar_socket::offload(work);
        Box::pin(async move { drop(done.await) })
    }
}

fn no_thread(error: &io::Error) -> Fault {
    Fault::new(FaultKind::NameFailed, Phase::Dns).with_detail(error.to_string())
}

/// Runs a future to its end on this thread, which blocks meanwhile. It may be called from anywhere,
/// from within another `block_on` too.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    // On the helper's own thread its other work goes on elsewhere. Without a thread for that the
    // future may still end by itself.
    let _ = fulmar_socket::relieve();
    let signal = Arc::new(Signal {
        woken: AtomicBool::new(false),
        thread: thread::current(),
    });
    let waker = Waker::from(signal.clone());
    let mut future = pin!(future.into_future());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // Unparking may have been meant for another, and another may have taken ours.
        while !signal.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Who is woken, and whether.
struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits for anything that could be awaited: a request, its response's body.
pub trait Wait: IntoFuture + Sized {
    /// Blocks this thread until it is there. See [`block_on`].
    fn wait(self) -> Self::Output {
        block_on(self)
    }
}

impl<F: IntoFuture> Wait for F {}
