//! One cell of the matrix: what is asked, and what was seen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::{
    Backoff, Body as RequestBody, BoxError, Client, Conn, Fate, Handle, IdempotencyKey, Jitter,
    Method, Retry, Sim, StopReason,
};
use fulmar_tests::toy_tls::ToyConnector;

use super::flaky::{End, Flaky, Plan};

/// Where the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Dns,
    Connect,
    Tls,
    /// No byte of the request passes.
    Write,
    /// Ten bytes do.
    WriteLater,
    /// The request passes, and no byte of the response.
    FirstByte,
    /// A part of the head does.
    Head,
    /// The head and a part of the body do.
    Body,
}

impl Place {
    pub(crate) const ALL: [Self; 8] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Write,
        Self::WriteLater,
        Self::FirstByte,
        Self::Head,
        Self::Body,
    ];

    pub(crate) fn is_dial(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Tls)
    }
}

/// What is asked, by method, and by what else makes a repeat harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Head,
    Options,
    Query,
    Put,
    Delete,
    Post,
    Patch,
    /// A method that nobody knows.
    Unknown,
    /// Names of methods are case sensitive: this is no `PUT`.
    LowerPut,
    KeyedPost,
    PromisedPatch,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Query,
        Self::Put,
        Self::Delete,
        Self::Post,
        Self::Patch,
        Self::Unknown,
        Self::LowerPut,
        Self::KeyedPost,
        Self::PromisedPatch,
    ];

    fn method(self) -> Method {
        let name = match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Query => "QUERY",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post | Self::KeyedPost => "POST",
            Self::Patch | Self::PromisedPatch => "PATCH",
            Self::Unknown => "FROBNICATE",
            Self::LowerPut => "put",
        };
        name.parse().unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    Bytes,
    Factory,
    /// A stream that has its bytes at once.
    OneShot,
    /// A stream whose bytes come after 50 ms.
    Late,
    /// A stream that is kept while it is sent.
    Spooled,
    /// One that is a byte longer than what is kept.
    Committed,
}

impl Body {
    pub(crate) const ALL: [Self; 7] = [
        Self::Empty,
        Self::Bytes,
        Self::Factory,
        Self::OneShot,
        Self::Late,
        Self::Spooled,
        Self::Committed,
    ];

    /// Whether what is pulled is gone.
    fn is_one_shot(self) -> bool {
        matches!(self, Self::OneShot | Self::Late | Self::Committed)
    }

    fn make(self, pulls: &Arc<AtomicUsize>, handle: &Handle) -> RequestBody {
        let (pulls, handle) = (pulls.clone(), handle.clone());
        let stream = move |late| Chunk {
            wait: if late {
                Some(Box::pin(handle.sleep(Duration::from_millis(50))))
            } else {
                None
            },
            left: true,
            pulls: pulls.clone(),
        };
        match self {
            Self::Empty => RequestBody::empty(),
            Self::Bytes => "payload".into(),
            Self::Factory => RequestBody::factory(move || stream(false), Some(7)),
            Self::OneShot => RequestBody::stream(stream(false)),
            Self::Late => RequestBody::stream(stream(true)),
            Self::Spooled | Self::Committed => RequestBody::spooled(stream(false), None),
        }
    }
}

/// A stream of one chunk.
struct Chunk {
    wait: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
    left: bool,
    pulls: Arc<AtomicUsize>,
}

impl futures_core::Stream for Chunk {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        if !std::mem::replace(&mut self.left, false) {
            return Poll::Ready(None);
        }
        self.pulls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Bytes::from_static(b"payload"))))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    pub(crate) end: End,
    pub(crate) reused: bool,
    pub(crate) kind: Kind,
    pub(crate) body: Body,
    pub(crate) attempts: u32,
}

/// What the table speaks of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `Ok` with the number of attempts, or the error's fate and reason.
    pub(crate) outcome: Result<u32, (Fate, Option<StopReason>)>,
    /// Bytes of each request of which the server saw a byte: `None` is a whole one.
    pub(crate) saw: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) told: Told,
    /// Whether the failed attempt took a byte of the caller's own stream.
    pub(crate) pulled: bool,
    pub(crate) requests: Vec<Vec<u8>>,
}

type Log = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) fn run(cell: Cell) -> Seen {
    let mut sim = Sim::seeded(1);
    let log = Log::default();
    let plan = Plan::new(cell.place, cell.end);
    let client = client(&sim, cell, &plan);
    let url = serve(&sim, cell.place, &log);
    let (handle, pulls) = (sim.handle(), Arc::new(AtomicUsize::new(0)));
    let (before, counted) = (log.clone(), pulls.clone());
    let run = sim.run(async move {
        if cell.reused {
            let warm = client.get(url).send().await.unwrap();
            warm.bytes().await.unwrap();
            before.lock().unwrap().clear();
        }
        plan.arm();
        let mut request = client.request(cell.kind.method(), url);
        request = match cell.kind {
            Kind::KeyedPost => request.idempotency_key(IdempotencyKey::Auto),
            Kind::PromisedPatch => request.idempotent(),
            _ => request,
        };
        let response = request.body(cell.body.make(&counted, &handle)).send().await;
        let outcome = match response {
            Ok(response) => {
                let attempts = response.attempts();
                response.bytes().await.map(|_| attempts)
            }
            Err(error) => Err(error),
        };
        // What is on its way arrives.
        handle.sleep(Duration::from_secs(1)).await;
        outcome.map_err(|error| (error.fate(), error.retry_stop_reason()))
    });
    assert_eq!(run.leaks(), [""; 0], "{cell:?}");
    let outcome = run.into_output();
    let requests = log.lock().unwrap().clone();
    let saw = requests
        .iter()
        .map(|bytes| (!is_whole(bytes)).then_some(bytes.len()))
        .collect();
    let pulled = cell.body.is_one_shot() && pulls.load(Ordering::Relaxed) > 0 && outcome.is_err();
    Seen {
        told: Told { outcome, saw },
        pulled,
        requests,
    }
}

fn client(sim: &Sim, cell: Cell, plan: &Arc<Plan>) -> Client {
    let backoff = Backoff::constant(Duration::from_millis(100)).jitter(Jitter::None);
    let spool = if cell.body == Body::Committed { 6 } else { 7 };
    let net = Flaky {
        inner: sim.net("laptop"),
        plan: plan.clone(),
    };
    Client::builder(net)
        .tls(ToyConnector)
        .spool_limits(1 << 20, spool)
        .retry(Retry::new(cell.attempts).backoff(backoff))
        .build()
        .unwrap()
}

fn serve(sim: &Sim, place: Place, log: &Log) -> &'static str {
    let log = log.clone();
    if place != Place::Tls {
        sim.serve("api.test:80", move |conn| answer(conn, log.clone()));
        return "http://api.test/x";
    }
    sim.serve("api.test:443", move |conn| {
        let log = log.clone();
        async move {
            let mut tls = super::tls::TlsConn::new(conn);
            while let Some(request) = tls.request().await? {
                let response = response(&request);
                log.lock().unwrap().push(request);
                tls.write(response).await?;
            }
            Ok(())
        }
    });
    "https://api.test/x"
}

/// The response to HEAD has no body.
fn response(request: &[u8]) -> &'static [u8] {
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    let body = if request.starts_with(b"HEAD ") { 10 } else { 0 };
    &RESPONSE[..RESPONSE.len() - body]
}

/// Keeps every byte of every request.
async fn answer(mut conn: Conn, log: Log) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        loop {
            let bytes = conn.read(1024).await?;
            if bytes.is_empty() {
                return Ok(());
            }
            let mut log = log.lock().unwrap();
            if request.is_empty() {
                log.push(Vec::new());
            }
            let place = log.len() - 1;
            request.extend_from_slice(&bytes);
            log[place].clone_from(&request);
            if is_whole(&request) {
                break;
            }
        }
        conn.write_all(response(&request)).await?;
    }
}

/// Whether these bytes are a whole request: its head, and a body as it says.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .map_or(0, |length| length.parse().unwrap());
    body.len() == length
}
