//! Where the clients run: on each runtime, one thread polls the tasks and waits for the sockets.

use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use fulmar_async_std::AsyncStd;
use fulmar_smol::Smol;
use fulmar_tokio::Tokio;
use fulmar_tokio::net::Net;
use smol::Executor;

use crate::clients::Error;

/// The variable by which async-std is told to have one thread, and its value.
pub const ONE_THREAD: (&str, &str) = ("ASYNC_STD_THREAD_COUNT", "1");

/// A runtime, named by its adapter.
pub trait Runtime: Net + Sized {
    /// The adapter.
    fn net() -> Self;

    /// Runs a future to its end, where a program has it that does one thing at a time.
    ///
    /// # Errors
    ///
    /// The runtime did not start, or the future panicked.
    fn alone<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T>;

    /// Runs a future to its end, which waits for tasks.
    ///
    /// # Errors
    ///
    /// The same.
    fn block_on<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T>;

    /// Starts a task, whose panics are errors where the runtime has it so.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send;

    /// Waits.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;
}

impl Runtime for Tokio {
    fn net() -> Self {
        Self::new()
    }

    fn alone<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        // Waking the root future of `block_on` costs tokio a system call that no program pays whose
        // requests are made in tasks.
        Self::block_on(async { tokio::spawn(future).await })?.map_err(io::Error::other)
    }

    fn block_on<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Ok(runtime.enable_all().build()?.block_on(future))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let task = tokio::spawn(task);
        async { Ok(task.await?) }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// What smol's tasks run on: the thread that blocks on it.
static EXECUTOR: LazyLock<Arc<Executor<'static>>> = LazyLock::new(Arc::default);

impl Runtime for Smol {
    fn net() -> Self {
        Self::on(&EXECUTOR)
    }

    fn alone<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        Self::block_on(future)
    }

    fn block_on<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        Ok(smol::block_on(EXECUTOR.run(future)))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let task = EXECUTOR.spawn(task);
        async { Ok(task.await) }
    }

    async fn sleep(duration: Duration) {
        smol::Timer::after(duration).await;
    }
}

impl Runtime for AsyncStd {
    fn net() -> Self {
        Self::new()
    }

    fn alone<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        Ok(async_std::task::block_on(future))
    }

    fn block_on<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        // Its own `block_on` would wait for sockets beside the thread of the tasks, and each would
        // wake the other.
        let (done, end) = mpsc::channel();
        async_std::task::spawn(async move {
            // Nobody listens any more where the process ends.
            let _ = done.send(future.await);
        });
        end.recv().map_err(io::Error::other)
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let task = async_std::task::spawn(task);
        async { Ok(task.await) }
    }

    async fn sleep(duration: Duration) {
        async_std::task::sleep(duration).await;
    }
}
