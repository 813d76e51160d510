//! Callers that ask, read, lose interest, and check what they are told.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fulmar_sim::{Client, Error, Handle, Instant, Kind, Method, Response};

use super::draws::Draws;
use super::ledger::{Ledger, pattern};
use super::work::{Patience, Work};

/// How calls ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With a response that was read as far as it was wanted.
    pub answered: u64,
    /// With an error.
    pub failed: u64,
    /// Dropped before they ended.
    pub cancelled: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
    }
}

/// What all callers share.
#[derive(Clone)]
pub(super) struct Asker {
    client: Client,
    /// The client's limit of the whole call.
    limit: Option<Duration>,
    handle: Handle,
    ledger: Arc<Ledger>,
}

impl Asker {
    pub(super) fn new(
        client: &Client,
        limit: Option<Duration>,
        handle: &Handle,
        ledger: &Arc<Ledger>,
    ) -> Self {
        Self {
            client: client.clone(),
            limit,
            handle: handle.clone(),
            ledger: Arc::clone(ledger),
        }
    }
}

/// What one caller does, call after call.
pub(super) struct Caller {
    with: Asker,
    calls: Vec<Work>,
}

pub(super) fn draw(draws: &mut Draws, with: &Asker) -> Vec<Caller> {
    let mut id = 0;
    let callers = 1 + draws.below(10);
    (0..callers)
        .map(|_| Caller {
            with: with.clone(),
            calls: (0..=draws.below(4))
                .map(|_| {
                    id += 1;
                    Work::draw(draws, id)
                })
                .collect(),
        })
        .collect()
}

/// Runs all callers at once.
pub(super) async fn run_all(callers: Vec<Caller>) -> Tally {
    let mut running: Vec<_> = callers
        .into_iter()
        .map(|caller| Some(Box::pin(caller.run())))
        .collect();
    let mut tally = Tally::default();
    poll_fn(|cx| {
        for slot in &mut running {
            let polled = slot.as_mut().map(|caller| caller.as_mut().poll(cx));
            if let Some(Poll::Ready(more)) = polled {
                tally.add(&more);
                *slot = None;
            }
        }
        let is_done = running.iter().all(Option::is_none);
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    tally
}

impl Caller {
    async fn run(self) -> Tally {
        let mut tally = Tally::default();
        for work in &self.calls {
            match self.with.call(work).await {
                Some(Ok(())) => tally.answered += 1,
                Some(Err(error)) => {
                    self.with.check_error(&error);
                    tally.failed += 1;
                }
                None => tally.cancelled += 1,
            }
            self.with.handle.sleep(work.pause).await;
        }
        tally
    }
}

impl Asker {
    /// One call to the end of its caller's interest; `None` if that was first.
    async fn call(&self, work: &Work) -> Option<Result<(), Error>> {
        let request = work.request(&self.client, &self.handle);
        // A request's own limit takes the place of the client's.
        let limit = work.total.or(self.limit);
        let deadline = limit.map(|limit| self.handle.now() + limit);
        let call = async {
            match self.by(deadline, request.send()).await {
                Ok(response) => self.read(work, deadline, response).await,
                Err(error) => Err(error),
            }
        };
        self.patiently(work.patience, call).await
    }

    /// Waits for something, which must not take longer than that, nor any time at all after it.
    async fn by<T>(&self, deadline: Option<Instant>, what: impl Future<Output = T>) -> T {
        let latest = deadline.map(|deadline| deadline.max(self.handle.now()));
        let output = what.await;
        let now = self.handle.now();
        assert!(
            latest.is_none_or(|latest| now <= latest),
            "it came at {now}, after its deadline {latest:?}"
        );
        output
    }

    async fn patiently<T>(&self, patience: Patience, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        let mut end = match patience {
            Patience::Time(time) => Some(self.handle.sleep(time)),
            _ => None,
        };
        let mut polls = 0;
        poll_fn(|cx| {
            if matches!(patience, Patience::Polls(most) if polls == most) {
                return Poll::Ready(None);
            }
            polls += 1;
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if matches!(patience, Patience::Polls(most) if polls == most) {
                return Poll::Ready(None);
            }
            match &mut end {
                Some(end) => Pin::new(end).poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn read(
        &self,
        work: &Work,
        deadline: Option<Instant>,
        response: Response,
    ) -> Result<(), Error> {
        let id = response.header("x-id").map(<[u8]>::to_vec);
        // What was not asked for looks like any answer where it comes behind the next request.
        let is_own = id == Some(work.id.to_string().into())
            || (self.ledger.is_rude() && id == Some(b"0".into()));
        assert!(is_own, "request {} was answered by {response:?}", work.id);
        let whole = response.header("x-whole").map(<[u8]>::to_vec);
        let mut body = Vec::new();
        let end = self.read_body(work, deadline, response, &mut body).await;
        assert!(
            body == pattern(work.id, body.len()),
            "request {} was answered with another's body",
            work.id
        );
        let is_whole = match work.method {
            Method::HEAD => body.is_empty(),
            _ => whole == Some(body.len().to_string().into()),
        };
        assert!(
            is_whole || !matches!(end, Ok(true)),
            "the body of {} ended well after {} of {whole:?} bytes",
            work.id,
            body.len()
        );
        end.map(drop)
    }

    /// Reads as much of a body as is wanted; whether that was to its end.
    async fn read_body(
        &self,
        work: &Work,
        deadline: Option<Instant>,
        mut response: Response,
        body: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let mut left = work.wanted;
        while left != Some(0) {
            let Some(chunk) = self.by(deadline, response.chunk()).await? else {
                return Ok(true);
            };
            body.extend_from_slice(&chunk);
            left = left.map(|left| left - 1);
            if !work.pause.is_zero() {
                self.handle.sleep(work.pause / 4).await;
            }
        }
        Ok(false)
    }

    fn check_error(&self, error: &Error) {
        assert!(error.phase().is_some(), "an error without a phase: {error}");
        let is_fair = error.kind() != Kind::Protocol || self.ledger.is_rude();
        assert!(is_fair, "every server spoke HTTP, but: {error}");
        assert!(
            !matches!(error.kind(), Kind::Builder | Kind::Closed),
            "{error}"
        );
    }
}
