//! Many requests, a bounded number at a time, results as they come.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::client::Client;
use crate::flight::Flight;
use crate::lanes::Lanes;
use crate::request::RequestBuilder;
use crate::sending::Sending;
use crate::wake::wake_all;

/// Requests in flight at a time, unless set otherwise.
const IN_FLIGHT: usize = 50;

/// A batch of requests: at most so many in flight, results in the order of completion.
///
/// It is a [`Stream`] of `(index, result)`, where the index is that of the request. Requests are
/// taken from their iterator only when they can start (at a cap of zero, one ahead), so it may be
/// endless. One failure is a value like any other and stops nobody else, unless
/// [`Batch::fail_fast`] or [`Batch::try_collect`] is asked for that. All of it runs in the task that
/// polls it; nothing is spawned. A batch that is not polled keeps the connections of its requests,
/// and others wait for them. `F` is what is done with a request: to send it, unless it is made by
/// [`Client::batch_with`].
///
/// # Cancel safety
///
/// Dropping the batch cancels everything in flight at once. Dropping the future of
/// [`Batch::next`] loses nothing.
#[must_use = "a batch does nothing until it is polled"]
pub struct Batch<'a, F = Sending> {
    requests: Option<Box<dyn Iterator<Item = RequestBuilder> + Send + 'a>>,
    start: Box<dyn FnMut(RequestBuilder) -> F + Send + 'a>,
    taken: usize,
    lanes: Lanes,
    flight: Flight<F>,
    cap: InFlight,
    fail_fast: bool,
}

/// The cap on a batch's requests in flight, which can be changed while the batch runs.
#[derive(Clone)]
pub struct InFlight(Arc<Cap>);

struct Cap {
    max: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Client {
    /// Sends many requests, at most 50 at a time (see [`Batch::max_in_flight`]).
    ///
    /// ```
    /// # async fn example(client: fulmar::Client) {
    /// let pages = (1..=100).map(|page| client.get(format!("http://api.test/{page}")));
    /// let mut batch = client.batch(pages).max_in_flight(8);
    /// while let Some((index, result)) = batch.next().await {
    ///     match result {
    ///         Ok(response) => println!("{index}: {}", response.status()),
    ///         Err(error) => println!("{index}: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn batch<'a, I>(&self, requests: I) -> Batch<'a>
    where
        I: IntoIterator<Item = RequestBuilder>,
        I::IntoIter: Send + 'a,
    {
        self.batch_with(requests, RequestBuilder::send)
    }

    /// Does `work` with many requests, at most 50 at a time (see [`Batch::max_in_flight`]): to read
    /// a body in the place of its request, say, before another takes it.
    ///
    /// ```
    /// # async fn example(client: fulmar::Client) {
    /// let pages = (1..).map(|page| client.get(format!("http://api.test/{page}")));
    /// let work = async |request: fulmar::RequestBuilder| request.send().await?.text().await;
    /// let mut batch = client.batch_with(pages, work).max_in_flight(8).fail_fast();
    /// while let Some((index, Ok(text))) = batch.next().await {
    ///     println!("{index}: {} bytes", text.len());
    /// }
    /// # }
    /// ```
    pub fn batch_with<'a, I, W, F>(&self, requests: I, work: W) -> Batch<'a, F>
    where
        I: IntoIterator<Item = RequestBuilder>,
        I::IntoIter: Send + 'a,
        W: FnMut(RequestBuilder) -> F + Send + 'a,
        F: Future,
    {
        Batch {
            requests: Some(Box::new(requests.into_iter())),
            start: Box::new(work),
            taken: 0,
            lanes: Lanes::default(),
            flight: Flight::new(),
            cap: InFlight(Arc::new(Cap {
                max: AtomicUsize::new(IN_FLIGHT),
                waker: Mutex::new(None),
            })),
            fail_fast: false,
        }
    }
}

impl<F, T, E> Batch<'_, F>
where
    F: Future<Output = Result<T, E>>,
{
    /// Sets how many requests are in flight at a time. Default 50. Zero starts none until the cap
    /// is raised.
    pub fn max_in_flight(self, max: usize) -> Self {
        self.cap.set(max);
        self
    }

    /// Sets how many requests to one origin are in flight at a time, at least one: so a host that
    /// hangs holds that many places and no more, and the others go on. Default: as many as
    /// there are places. At most 1,024 requests are taken from their iterator ahead of their turn.
    pub fn max_per_origin(mut self, max: usize) -> Self {
        self.lanes.limit(max);
        self
    }

    /// Has the first failure be the last result: all that is in flight is cancelled before it is
    /// returned, and what has not started never is. Default: a failure stops nobody else.
    pub fn fail_fast(mut self) -> Self {
        self.fail_fast = true;
        self
    }

    /// The cap, to change it while the batch runs.
    pub fn cap(&self) -> InFlight {
        self.cap.clone()
    }

    /// How many requests are in flight now.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// The next result and the index of its request, in the order of completion. `None`: all are
    /// through.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the requests stay in flight, and go on when polled again.
    pub async fn next(&mut self) -> Option<(usize, Result<T, E>)> {
        poll_fn(|cx| self.poll_result(cx)).await
    }

    /// Every result, in the order of the requests; with [`fail_fast`](Self::fail_fast), those that
    /// came up to the first failure, and that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels everything in flight.
    pub async fn collect_all(mut self) -> Vec<Result<T, E>> {
        let mut results = Vec::new();
        while let Some((index, result)) = self.next().await {
            place(&mut results, index, result);
        }
        results.into_iter().flatten().collect()
    }

    /// Every success, in the order of the requests, or the first failure.
    ///
    /// # Errors
    ///
    /// The first request that failed. The others are cancelled before this returns, and those not
    /// started never are.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels everything in flight.
    pub async fn try_collect(mut self) -> Result<Vec<T>, E> {
        let mut responses = Vec::new();
        while let Some((index, result)) = self.next().await {
            place(&mut responses, index, result?);
        }
        Ok(responses.into_iter().flatten().collect())
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<T, E>)>> {
        self.cap.listen(cx);
        if let Some(index) = self.flight.take_panicked() {
            // Whoever caught that may go on, and so may the others of its origin.
            self.lanes.release(index);
        }
        self.fill();
        match self.flight.poll_next(cx) {
            // Requests are left, and the cap lets none start.
            Poll::Ready(None) if self.is_any_left() => Poll::Pending,
            Poll::Ready(Some((index, result))) => {
                self.lanes.release(index);
                if self.fail_fast && result.is_err() {
                    self.cancel();
                }
                Poll::Ready(Some((index, result)))
            }
            polled => polled,
        }
    }

    fn fill(&mut self) {
        while self.flight.len() < self.cap.get() {
            let Some((index, request)) = self.lanes.next().or_else(|| self.take()) else {
                return;
            };
            self.flight.push_with(index, || (self.start)(request));
        }
    }

    /// Gives up all that runs, and all that has not begun.
    fn cancel(&mut self) {
        self.flight.clear();
        self.lanes = Lanes::default();
        self.requests = None;
    }

    /// Whether a request is left. To know, one is taken from the iterator and set aside.
    fn is_any_left(&mut self) -> bool {
        if !self.lanes.is_empty() {
            return true;
        }
        let Some(request) = self.requests.as_mut().and_then(Iterator::next) else {
            self.requests = None;
            return false;
        };
        self.lanes.set_aside(self.taken, request);
        self.taken += 1;
        true
    }

    /// The next request of the iterator that can start now. Those that cannot are set aside.
    fn take(&mut self) -> Option<(usize, RequestBuilder)> {
        while self.lanes.has_room() {
            let Some(request) = self.requests.as_mut()?.next() else {
                self.requests = None;
                return None;
            };
            let index = self.taken;
            self.taken += 1;
            if let Some(request) = self.lanes.admit(index, request) {
                return Some((index, request));
            }
        }
        None
    }
}

fn place<T>(results: &mut Vec<Option<T>>, index: usize, result: T) {
    if results.len() <= index {
        results.resize_with(index + 1, || None);
    }
    results[index] = Some(result);
}

impl<F, T, E> Stream for Batch<'_, F>
where
    F: Future<Output = Result<T, E>>,
{
    type Item = (usize, Result<T, E>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(cx)
    }
}

impl InFlight {
    /// The cap.
    pub fn get(&self) -> usize {
        self.0.max.load(Ordering::Acquire)
    }

    /// Changes it. A lower cap cancels nothing: it lets no other start until enough are through.
    pub fn set(&self, max: usize) {
        self.0.max.store(max, Ordering::Release);
        let waker = self.waker().take();
        wake_all(waker);
    }

    fn listen(&self, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        // The former one is dropped outside the lock: that may run anything.
        let _replaced = self.waker().replace(waker);
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.get()).finish()
    }
}

impl<F: Future> fmt::Debug for Batch<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("taken", &self.taken)
            .field("in_flight", &self.flight.len())
            .field("cap", &self.cap.get())
            .finish_non_exhaustive()
    }
}
