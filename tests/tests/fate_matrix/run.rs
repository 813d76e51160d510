//! A cell, played.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar_core::h1::Limits;
use fulmar_sim::{
    Backoff, Client, Conn, Fate, Handle, IdempotencyKey, Jitter, Kind as ErrorKind, Phase, Retry,
    Sim, StopReason, Timeouts,
};
use fulmar_tests::toy_tls::ToyConnector;

use super::cell::{Cell, How, Kind, Place};
use super::flaky::{Flaky, HEAD_LIMIT, Plan};
use super::tls::TlsConn;

/// How the call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered {
        status: u16,
        attempts: u32,
        stop: Option<StopReason>,
    },
    Failed {
        kind: ErrorKind,
        phase: Option<Phase>,
        fate: Fate,
        stop: Option<StopReason>,
    },
}

/// What the table speaks of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    /// Bytes of the response's body that the caller got.
    pub(crate) delivered: usize,
    /// The requests of which the server saw a byte.
    pub(crate) saw: Vec<Saw>,
}

/// How much of a request the server saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    Whole,
    Bytes(usize),
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) told: Told,
    pub(crate) requests: Vec<Vec<u8>>,
}

type Log = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) fn run(cell: Cell) -> Seen {
    let mut sim = Sim::seeded(1);
    let log = Log::default();
    let plan = Plan::new(cell.place, cell.how);
    let client = client(&sim, cell, &plan);
    let url = serve(&sim, cell.place, &log);
    let (handle, before) = (sim.handle(), log.clone());
    let run = sim.run(async move {
        if cell.reused {
            let warm = client.get(url).send().await.unwrap();
            warm.bytes().await.unwrap();
            before.lock().unwrap().clear();
        }
        plan.arm();
        let called = call(&client, cell, url, &handle).await;
        // What is on its way arrives.
        handle.sleep(Duration::from_secs(1)).await;
        called
    });
    assert_eq!(run.leaks(), [""; 0], "{cell:?}");
    let (outcome, delivered) = run.into_output();
    let requests = log.lock().unwrap().clone();
    let saw = requests
        .iter()
        .map(|bytes| {
            if is_whole(bytes) {
                Saw::Whole
            } else {
                Saw::Bytes(bytes.len())
            }
        })
        .collect();
    Seen {
        told: Told {
            outcome,
            delivered,
            saw,
        },
        requests,
    }
}

async fn call(client: &Client, cell: Cell, url: &str, handle: &Handle) -> (Outcome, usize) {
    let mut request = client.request(cell.kind.method(), url);
    request = match cell.kind {
        Kind::KeyedPost => request.idempotency_key(IdempotencyKey::Auto),
        Kind::PromisedPatch => request.idempotent(),
        _ => request,
    };
    let mut delivered = 0;
    let failed = match request.body(cell.body.make(handle)).send().await {
        Err(error) => error,
        Ok(mut response) => loop {
            match response.chunk().await {
                Ok(Some(chunk)) => delivered += chunk.len(),
                Err(error) => break error,
                Ok(None) => {
                    let outcome = Outcome::Answered {
                        status: response.status().as_u16(),
                        attempts: response.attempts(),
                        stop: response.retry_stop_reason(),
                    };
                    return (outcome, delivered);
                }
            }
        },
    };
    let outcome = Outcome::Failed {
        kind: failed.kind(),
        phase: failed.phase(),
        fate: failed.fate(),
        stop: failed.retry_stop_reason(),
    };
    (outcome, delivered)
}

fn client(sim: &Sim, cell: Cell, plan: &Arc<Plan>) -> Client {
    let backoff = || Backoff::constant(Duration::from_millis(100)).jitter(Jitter::None);
    let net = Flaky {
        inner: sim.net("laptop"),
        plan: plan.clone(),
    };
    let timeouts = match cell.how {
        // Shorter than a late body takes: what waits for its bytes is under no clock.
        How::Silence => {
            let limit = Duration::from_millis(20);
            Timeouts::all(limit).connect(2 * limit)
        }
        _ => Timeouts::new(),
    };
    Client::builder(net)
        .spool_limits(1 << 20, cell.body.kept())
        .tls(ToyConnector)
        .h1(Limits::new().head_bytes(HEAD_LIMIT))
        .timeouts(timeouts)
        .retry(Retry::new(cell.attempts).backoff(backoff()))
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
            let mut tls = TlsConn::new(conn);
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
