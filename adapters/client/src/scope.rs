//! Branches that share one fate: the first error cancels the others, and nothing outlives them.
//!
//! ```text
//!   scope(deadline, body) --> body ------------.
//!                             branch "prices" --+--> all Ok: Scoped { value, summary }
//!                             branch "events" --'    first error, or the deadline: all the others
//!                                                    are dropped, then ScopeError { summary }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fulmar_core::time::Instant;

use crate::alarm::Alarm;
use crate::body::BoxError;
use crate::client::Client;
use crate::error::Error;
use crate::flight::Flight;
use crate::net::{BoxFuture, Net};
use crate::wake::wake_all;

/// Adds branches to the scope it belongs to.
#[derive(Clone)]
pub struct Scope(Arc<Mutex<Door>>);

/// What a branch does.
type Work = BoxFuture<Result<(), BoxError>>;

/// What the branches' side and the driving side share.
struct Door {
    deadline: Option<Instant>,
    branches: Vec<(Cow<'static, str>, Work)>,
    /// Every branch is to be cancelled: those that run, and so many of `branches`.
    cancels: Option<usize>,
    is_over: bool,
    waker: Option<Waker>,
}

/// How a branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It did what it was to do.
    Success,
    /// It failed.
    Failed,
    /// It was cancelled: neither a success nor an error.
    Cancelled,
    /// The deadline passed.
    Deadline,
}

/// A branch that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// What it was called.
    pub name: Cow<'static, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub elapsed: Duration,
}

/// A scope in which everything succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scoped<T> {
    /// What the body returned.
    pub value: T,
    /// Every branch, in the order in which they were added.
    pub branches: Vec<Branch>,
}

/// Why a scope failed.
#[derive(Debug)]
pub struct ScopeError {
    /// `None` is the body.
    branch: Option<Cow<'static, str>>,
    /// `None` is the deadline.
    cause: Option<BoxError>,
    branches: Vec<Branch>,
}

impl Client {
    /// Runs `body` and the branches it adds as one: the first error cancels the others, and so does
    /// `deadline`. All of it runs in the calling task; nothing is spawned, and nothing is left when
    /// this returns: connections, places in the queue and timers are given back.
    ///
    /// ```
    /// # async fn example(client: fulmar::Client) -> Result<(), fulmar::ScopeError> {
    /// let deadline = client.deadline(std::time::Duration::from_secs(30));
    /// let api = client.clone();
    /// let scoped = client.scope(deadline, |scope| async move {
    ///     for part in ["/a", "/b"] {
    ///         let get = api.get(format!("http://api.test{part}"));
    ///         scope.branch(part, async move {
    ///             get.send().await?.bytes().await?;
    ///             Ok(())
    ///         });
    ///     }
    ///     Ok("both are there")
    /// });
    /// let scoped = scoped.await?;
    /// assert_eq!(scoped.branches.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of the body or a branch, or that the deadline passed; with it, how each
    /// branch ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body and all branches.
    pub fn scope<D, F, Fut, T>(
        &self,
        deadline: D,
        body: F,
    ) -> impl Future<Output = Result<Scoped<T>, ScopeError>> + use<D, F, Fut, T>
    where
        D: Into<Option<Instant>>,
        F: FnOnce(Scope) -> Fut,
        Fut: Future<Output = Result<T, BoxError>>,
    {
        let (net, deadline) = (self.shared.net.clone(), deadline.into());
        async move {
            let scope = Scope::new(deadline);
            let mut running = Running::new(net, scope.clone(), Box::pin(body(scope)));
            poll_fn(|cx| running.poll(cx)).await
        }
    }
}

impl Scope {
    fn new(deadline: Option<Instant>) -> Self {
        Self(Arc::new(Mutex::new(Door {
            deadline,
            branches: Vec::new(),
            cancels: None,
            is_over: false,
            waker: None,
        })))
    }

    /// Adds a branch. It starts at once, runs along with the body, and the scope waits for it. Once
    /// the scope is over it is dropped instead.
    pub fn branch(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let waker = {
            let mut door = self.lock();
            if door.is_over {
                return;
            }
            door.branches.push((name.into(), Box::pin(work)));
            door.waker.take()
        };
        wake_all(waker);
    }

    /// Cancels every branch that there is: a normal end, not an error. The body goes on.
    pub fn cancel(&self) {
        let waker = {
            let mut door = self.lock();
            door.cancels = Some(door.branches.len());
            door.waker.take()
        };
        wake_all(waker);
    }

    /// The scope's deadline, for [`RequestBuilder::deadline`](crate::RequestBuilder::deadline).
    pub fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    fn lock(&self) -> MutexGuard<'_, Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A scope on its way. Fields drop in their order: work before what it used.
struct Running<Fut, T> {
    body: Option<Pin<Box<Fut>>>,
    value: Option<T>,
    flight: Flight<Work>,
    /// Every branch; `Cancelled` until it ends otherwise.
    branches: Vec<(Instant, Branch)>,
    scope: Scope,
    deadline: Option<(Instant, Alarm)>,
    net: Arc<dyn Net>,
}

/// Who failed, and of what; no cause is the deadline.
type Failure = (Option<Cow<'static, str>>, Option<BoxError>);

impl<Fut, T> Running<Fut, T>
where
    Fut: Future<Output = Result<T, BoxError>>,
{
    fn new(net: Arc<dyn Net>, scope: Scope, body: Pin<Box<Fut>>) -> Self {
        let deadline = scope.deadline().map(|at| (at, Alarm::new()));
        Self {
            body: Some(body),
            value: None,
            flight: Flight::new(),
            branches: Vec::new(),
            scope,
            deadline,
            net,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Scoped<T>, ScopeError>> {
        let waker = cx.waker().clone();
        // The former one is dropped outside the lock: that may run anything.
        let _replaced = self.scope.lock().waker.replace(waker);
        match self.step(cx) {
            Ok(true) => {}
            Ok(false) => return Poll::Pending,
            Err((branch, cause)) => {
                let how = match cause {
                    Some(_) => Outcome::Cancelled,
                    None => Outcome::Deadline,
                };
                let branches = self.end(how);
                return Poll::Ready(Err(ScopeError {
                    branch,
                    cause,
                    branches,
                }));
            }
        }
        let branches = self.end(Outcome::Cancelled);
        Poll::Ready(match self.value.take() {
            Some(value) => Ok(Scoped { value, branches }),
            // Polled again after its end.
            None => Err(ScopeError {
                branch: None,
                cause: Some("the scope is over".into()),
                branches,
            }),
        })
    }

    /// Runs what can run. True: all have succeeded.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        if self.is_expired(cx) {
            return Err((None, None));
        }
        if let Some(body) = &mut self.body
            && let Poll::Ready(end) = body.as_mut().poll(cx)
        {
            self.body = None;
            self.value = Some(end.map_err(|error| (None, Some(error)))?);
        }
        loop {
            self.admit();
            match self.flight.poll_next(cx) {
                Poll::Ready(Some((index, end))) => self.branch_ended(index, end)?,
                // Branches may have added others, or cancelled them.
                _ if self.has_news() => {}
                Poll::Ready(None) => return Ok(self.body.is_none()),
                Poll::Pending => return Ok(false),
            }
        }
    }

    fn is_expired(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((at, alarm)) = &mut self.deadline else {
            return false;
        };
        self.net.now() >= *at || alarm.poll_until(cx, &*self.net, *at).is_ready()
    }

    fn has_news(&self) -> bool {
        let door = self.scope.lock();
        door.cancels.is_some() || !door.branches.is_empty()
    }

    /// Does what was asked of the scope: cancels, and starts.
    fn admit(&mut self) {
        let (cancels, added) = {
            let mut door = self.scope.lock();
            let cancels = std::mem::take(&mut door.cancels);
            (cancels, std::mem::take(&mut door.branches))
        };
        let now = self.net.now();
        if cancels.is_some() {
            self.drop_branches(now, Outcome::Cancelled);
        }
        for (place, (name, work)) in added.into_iter().enumerate() {
            let branch = Branch {
                name,
                outcome: Outcome::Cancelled,
                elapsed: Duration::ZERO,
            };
            let index = self.branches.len();
            self.branches.push((now, branch));
            // Those added after the word to cancel were not meant.
            if cancels.is_none_or(|cancelled| place >= cancelled) {
                self.flight.push(index, work);
            }
        }
    }

    fn branch_ended(&mut self, index: usize, end: Result<(), BoxError>) -> Result<(), Failure> {
        let now = self.net.now();
        let (since, branch) = &mut self.branches[index];
        branch.elapsed = now - *since;
        let Err(error) = end else {
            branch.outcome = Outcome::Success;
            return Ok(());
        };
        branch.outcome = if is_deadline(&*error) {
            Outcome::Deadline
        } else {
            Outcome::Failed
        };
        Err((Some(branch.name.clone()), Some(error)))
    }

    fn drop_branches(&mut self, now: Instant, outcome: Outcome) {
        for index in self.flight.clear() {
            let (since, branch) = &mut self.branches[index];
            branch.elapsed = now - *since;
            branch.outcome = outcome;
        }
    }

    /// Drops everything that still runs, and lists the branches.
    fn end(&mut self, outcome: Outcome) -> Vec<Branch> {
        let unstarted = {
            let mut door = self.scope.lock();
            door.is_over = true;
            std::mem::take(&mut door.branches)
        };
        drop(unstarted);
        self.body = None;
        self.drop_branches(self.net.now(), outcome);
        let branches = std::mem::take(&mut self.branches);
        branches.into_iter().map(|(_, branch)| branch).collect()
    }
}

impl<Fut, T> Drop for Running<Fut, T> {
    fn drop(&mut self) {
        let unstarted = {
            let mut door = self.scope.lock();
            door.is_over = true;
            std::mem::take(&mut door.branches)
        };
        drop(unstarted);
    }
}

/// Whether a deadline is at the bottom of it: of a call or of a scope, however deep.
fn is_deadline(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| {
        let is_call = error.downcast_ref().is_some_and(Error::is_deadline);
        // A scope with a cause tells by that cause, which comes next.
        let is_scope = |scope: &ScopeError| scope.cause.is_none();
        is_call || error.downcast_ref().is_some_and(is_scope)
    })
}

impl ScopeError {
    /// The branch that failed; `None` where it was the body, or the deadline passed.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Whether the scope's deadline passed, or a branch failed because its own had.
    pub fn is_deadline(&self) -> bool {
        self.cause
            .as_ref()
            .is_none_or(|cause| is_deadline(&**cause))
    }

    /// The error that ended the scope; `None` where its deadline did.
    pub fn into_cause(self) -> Option<BoxError> {
        self.cause
    }

    /// How each branch ended, in the order in which they were added.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.branch, &self.cause) {
            (Some(branch), Some(cause)) => write!(f, "branch {branch} failed: {cause}"),
            (None, Some(cause)) => write!(f, "the scope failed: {cause}"),
            (_, None) => f.write_str("the scope's deadline has passed"),
        }
    }
}

impl std::error::Error for ScopeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause
            .as_ref()
            .map(|cause| &**cause as &(dyn std::error::Error + 'static))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}
