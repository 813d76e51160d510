//! Futures and streams that behaviours are written with.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use fulmar::net::{BoxFuture, Net};

use super::Gate;

/// Runs a task of that runtime; the future that is returned waits for its output.
pub(super) fn spawn<F>(net: &dyn Net, future: F) -> BoxFuture<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (output, done) = (Arc::new(Mutex::new(None)), Gate::default());
    let (kept, ended) = (output.clone(), done.clone());
    net.spawn(Box::pin(async move {
        let output = future.await;
        *kept.lock().unwrap() = Some(output);
        ended.open();
    }));
    Box::pin(async move {
        done.opened().await;
        let output = output.lock().unwrap().take();
        output.unwrap()
    })
}

/// Runs all at once and returns their outputs in order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures
        .into_iter()
        .map(|f| (Some(Box::pin(f)), None))
        .collect();
    poll_fn(|cx| {
        for (future, output) in &mut running {
            let polled = future.as_mut().map(|future| future.as_mut().poll(cx));
            if let Some(Poll::Ready(ready)) = polled {
                (*future, *output) = (None, Some(ready));
            }
        }
        let is_done = running.iter().all(|(future, _)| future.is_none());
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// Polls a future so often and drops it then. `None` if it was not ready.
pub(crate) struct PollTimes<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> PollTimes<F> {
    pub(crate) fn new(left: usize, future: F) -> Self {
        Self {
            future: Box::pin(future),
            left,
        }
    }
}

impl<F: Future> Future for PollTimes<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A stream that is a closure.
pub(crate) struct Poller<F>(pub(crate) F);

impl<F, T> futures_core::Stream for Poller<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<T>> + Unpin,
{
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        (self.0)(cx)
    }
}
