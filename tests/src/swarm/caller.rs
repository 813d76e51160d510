//! Random work: callers that ask, read, lose interest, and check what they are told.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::{Body, Client, Error, Handle, Instant, Kind, Method, RequestBuilder, Response};
use futures_core::Stream;

use super::draws::Draws;
use super::ledger::{Ledger, pattern};
use super::{HOSTS, ms};

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

/// What one caller does, call after call.
pub(super) struct Caller {
    client: Client,
    handle: Handle,
    ledger: Arc<Ledger>,
    calls: Vec<Plan>,
}

/// What is to be done with one call.
struct Plan {
    id: u64,
    host: &'static str,
    method: Method,
    is_keyed: bool,
    is_expecting: bool,
    total: Option<Duration>,
    shape: Shape,
    len: usize,
    patience: Patience,
    /// How many chunks of the response are read; `None` is all.
    wanted: Option<u64>,
    /// Between chunks, and after the call.
    pause: Duration,
}

/// How a body is given.
#[derive(Clone, Copy)]
enum Shape {
    Bytes,
    Sized,
    Unsized,
    Factory,
}

/// When a caller loses interest in the call.
#[derive(Clone, Copy)]
enum Patience {
    Endless,
    Polls(u64),
    Time(Duration),
}

pub(super) fn draw(
    draws: &mut Draws,
    client: &Client,
    handle: &Handle,
    ledger: &Arc<Ledger>,
) -> Vec<Caller> {
    let mut id = 0;
    let callers = 1 + draws.below(10);
    (0..callers)
        .map(|_| Caller {
            client: client.clone(),
            handle: handle.clone(),
            ledger: Arc::clone(ledger),
            calls: (0..=draws.below(4))
                .map(|_| {
                    id += 1;
                    Plan::draw(draws, id)
                })
                .collect(),
        })
        .collect()
}

impl Plan {
    fn draw(draws: &mut Draws, id: u64) -> Self {
        let methods = [
            Method::GET,
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::HEAD,
        ];
        let method = draws.pick(&methods);
        let has_body = matches!(method, Method::POST | Method::PUT);
        let longest = draws.pick(&[10, 10, 1_000, 100_000]);
        Self {
            id,
            host: draws.pick(&HOSTS),
            is_keyed: method == Method::POST && draws.chance(25),
            is_expecting: has_body && draws.chance(15),
            method,
            total: draws.chance(30).then(|| ms(draws.below(4_000))),
            shape: draws.pick(&[Shape::Bytes, Shape::Sized, Shape::Unsized, Shape::Factory]),
            len: if has_body {
                draws.below(longest) as usize
            } else {
                0
            },
            patience: match draws.below(10) {
                0 => Patience::Polls(draws.below(12)),
                1 => Patience::Time(ms(draws.below(500))),
                _ => Patience::Endless,
            },
            wanted: draws.chance(25).then(|| draws.below(3)),
            pause: ms(draws.pick(&[0, 0, 20, 400])),
        }
    }

    fn request(&self, client: &Client, handle: &Handle) -> RequestBuilder {
        let url = format!("http://{}/{}", self.host, self.id);
        let mut request = client
            .request(self.method.clone(), url)
            .header("X-Id", self.id)
            .header("X-Len", self.len);
        if self.is_keyed {
            request = request.header("Idempotency-Key", self.id);
        }
        if self.is_expecting {
            request = request.header("Expect", "100-continue");
        }
        if let Some(total) = self.total {
            request = request.timeout(total);
        }
        let bytes = Bytes::from(pattern(self.id, self.len));
        let (handle, pause) = (handle.clone(), self.pause / 8);
        let pieces = move || Pieces {
            rest: bytes.clone(),
            handle: handle.clone(),
            pause,
            sleep: None,
        };
        request.body(match self.shape {
            Shape::Bytes => Body::from(pattern(self.id, self.len)),
            Shape::Sized => Body::sized_stream(pieces(), self.len as u64),
            Shape::Unsized => Body::stream(pieces()),
            Shape::Factory => Body::factory(pieces, Some(self.len as u64)),
        })
    }
}

/// A body in pieces, with a rest before each.
struct Pieces {
    rest: Bytes,
    handle: Handle,
    pause: Duration,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !self.pause.is_zero() {
            let fresh = self.handle.sleep(self.pause);
            ready!(
                self.sleep
                    .get_or_insert_with(|| Box::pin(fresh))
                    .as_mut()
                    .poll(cx)
            );
            self.sleep = None;
        }
        let len = self.rest.len().min(30_000);
        Poll::Ready(Some(Ok(self.rest.split_to(len))))
    }
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
        for plan in &self.calls {
            match self.call(plan).await {
                Some(Ok(())) => tally.answered += 1,
                Some(Err(error)) => {
                    self.check_error(&error);
                    tally.failed += 1;
                }
                None => tally.cancelled += 1,
            }
            self.handle.sleep(plan.pause).await;
        }
        tally
    }

    /// One call to the end of its caller's interest; `None` if that was first.
    async fn call(&self, plan: &Plan) -> Option<Result<(), Error>> {
        let request = plan.request(&self.client, &self.handle);
        // A request's own limit takes the place of the client's.
        let limit = plan.total.unwrap_or(Duration::from_secs(3600));
        let deadline = self.handle.now() + limit;
        let call = async {
            match self.by(deadline, request.send()).await {
                Ok(response) => self.read(plan, deadline, response).await,
                Err(error) => Err(error),
            }
        };
        self.patiently(plan.patience, call).await
    }

    /// Waits for something, which must not take longer than that.
    async fn by<T>(&self, deadline: Instant, what: impl Future<Output = T>) -> T {
        let latest = deadline.max(self.handle.now());
        let output = what.await;
        assert!(self.handle.now() <= latest, "it came after its deadline");
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
        plan: &Plan,
        deadline: Instant,
        mut response: Response,
    ) -> Result<(), Error> {
        let id = response.header("x-id").map(<[u8]>::to_vec);
        // What was not asked for looks like any answer where it comes behind the next request.
        let is_own = id == Some(plan.id.to_string().into())
            || (self.ledger.is_rude() && id == Some(b"0".into()));
        assert!(is_own, "request {} was answered by {response:?}", plan.id);
        let mut body = Vec::new();
        let mut left = plan.wanted;
        while left != Some(0) {
            let chunk = self.by(deadline, response.chunk()).await?;
            let Some(chunk) = chunk else { break };
            body.extend_from_slice(&chunk);
            left = left.map(|left| left - 1);
            if !plan.pause.is_zero() {
                self.handle.sleep(plan.pause / 4).await;
            }
        }
        assert!(
            body == pattern(plan.id, body.len()),
            "request {} was answered with another's body",
            plan.id
        );
        Ok(())
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
