//! What other clients have a type for is here a kind and a phase: the table in the documentation of
//! `Error`, row by row, each with an error that happened.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fulmar_sim::Kind::{
    Builder, Closed, Connect, Decode, Io, PoolFull, Protocol, Request, Status, Timeout,
};
use fulmar_sim::Phase::{Attempt, Body, Dns, FirstByte, Head, Pool, Tls, Total, Write};
use fulmar_sim::trace::{Event, Record};
use fulmar_sim::{
    Client, ClientBuilder, Error, Fault, Kind, Limits, Method, Phase, Retry, Sim, TimeoutLimit,
    Timeouts,
};

use super::support::{TlsConn, echo, ms, raw, raw_then_close, secs, secure, silent};

/// How one comes about.
pub(super) type Make = fn(&mut Scene) -> Error;

pub(super) const ROWS: [(Kind, Option<Phase>, Make); 26] = [
    (Timeout, Some(Pool), |sim| crowded(sim, false)),
    (PoolFull, Some(Pool), |sim| crowded(sim, true)),
    (Timeout, Some(Dns), |sim| {
        echo(sim, "api.test:80");
        sim.between(.., Fault::dns_silent("api.test"));
        get(sim, Timeouts::new().dns(ms(700)), "http://api.test/")
    }),
    (Timeout, Some(Phase::Connect), |sim| {
        sim.host("api.test");
        sim.between(.., Fault::half_open("api.test"));
        get(sim, Timeouts::new().connect(ms(500)), "http://api.test/")
    }),
    (Timeout, Some(Tls), |sim| {
        sim.serve("api.test:443", |mut conn| async move {
            while !conn.read(1024).await?.is_empty() {}
            Ok(())
        });
        get(sim, Timeouts::new().tls(ms(500)), "https://api.test/")
    }),
    (Timeout, Some(Write), |sim| {
        sim.serve("api.test:80", |conn| async move {
            conn.sleep(secs(60)).await;
            Ok(())
        });
        post(sim, Timeouts::new().write(ms(400)))
    }),
    (Timeout, Some(FirstByte), |sim| {
        silent(sim, "api.test:80");
        get(sim, Timeouts::new().first_byte(ms(400)), "http://api.test/")
    }),
    (Timeout, Some(Head), |sim| {
        raw(sim, "api.test:80", "HTTP/1.1 200 OK\r\nConte");
        get(sim, Timeouts::new().head(ms(400)), "http://api.test/")
    }),
    (Timeout, Some(Body), |sim| {
        raw(sim, "api.test:80", CUT_SHORT);
        get(
            sim,
            Timeouts::new().between_bytes(ms(400)),
            "http://api.test/",
        )
    }),
    (Timeout, Some(Attempt), |sim| {
        silent(sim, "api.test:80");
        get(sim, Timeouts::new().attempt(ms(400)), "http://api.test/")
    }),
    (Timeout, Some(Total), |sim| {
        silent(sim, "api.test:80");
        get(sim, Timeouts::new().total(ms(400)), "http://api.test/")
    }),
    (Connect, Some(Dns), |sim| {
        get(sim, Timeouts::new(), "http://nowhere.test/")
    }),
    (Connect, Some(Phase::Connect), |sim| {
        sim.host("api.test");
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Connect, Some(Tls), |sim| {
        sim.serve("api.test:443", |conn| async move {
            TlsConn::new(conn, "evil.test").request().await.map(drop)
        });
        get(sim, Timeouts::new(), "https://api.test/")
    }),
    (Io, Some(Write), |sim| {
        sim.serve("api.test:80", |mut conn| async move {
            conn.read(1024).await?;
            conn.reset();
            Ok(())
        });
        post(sim, Timeouts::new())
    }),
    (Io, Some(FirstByte), |sim| {
        raw_then_close(sim, "api.test:80", "");
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Io, Some(Head), |sim| {
        raw_then_close(sim, "api.test:80", "HTTP/1.1 200 OK\r\nConte");
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Io, Some(Body), |sim| {
        raw_then_close(sim, "api.test:80", CUT_SHORT);
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Protocol, Some(Head), |sim| {
        raw(sim, "api.test:80", "220 smtp.example ESMTP\r\n");
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Protocol, Some(Body), |sim| {
        let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
        raw(sim, "api.test:80", chunk);
        get(sim, Timeouts::new(), "http://api.test/")
    }),
    (Decode, Some(Body), |sim| {
        echo(sim, "api.test:80");
        let client = client(sim, Timeouts::new());
        let run = sim.run(async move {
            let response = client.get("http://api.test/").send().await.unwrap();
            response.json::<u32>().await.unwrap_err()
        });
        run.into_output()
    }),
    (Status, None, |sim| status(sim, "404 Not Found", "")),
    (Request, None, |sim| {
        get(sim, Timeouts::new(), "gopher://api.test/")
    }),
    (Request, Some(Write), |sim| {
        echo(sim, "api.test:80");
        let client = client(sim, Timeouts::new());
        let run = sim.run(async move {
            let broken = Err::<Bytes, _>(io::Error::other("the disk is gone"));
            let body = fulmar_sim::Body::stream(Once(Some(broken)));
            client
                .post("http://api.test/")
                .body(body)
                .send()
                .await
                .unwrap_err()
        });
        run.into_output()
    }),
    (Closed, None, |sim| {
        let client = client(sim, Timeouts::new());
        let run = sim.run(async move {
            client.shutdown(fulmar_sim::Instant::ORIGIN).await;
            client.get("http://api.test/").send().await.unwrap_err()
        });
        run.into_output()
    }),
    (Builder, None, |sim| {
        secure(sim).retry(Retry::new(0)).build().unwrap_err()
    }),
];

const CUT_SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";

/// What httpx and aiohttp have a name for, as users ask.
const NAMES: [&str; 22] = [
    "ConnectTimeout",
    "ReadTimeout",
    "WriteTimeout",
    "PoolTimeout",
    "ConnectError",
    "ReadError",
    "WriteError",
    "RemoteProtocolError",
    "LocalProtocolError",
    "UnsupportedProtocol",
    "DecodingError",
    "HTTPStatusError",
    "InvalidURL",
    "ConnectionTimeoutError",
    "SocketTimeoutError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ClientConnectorCertificateError",
    "ServerDisconnectedError",
    "ClientPayloadError",
    "ClientResponseError",
    "ClientOSError",
];

/// A simulation in which a call fails, and what is heard of its calls.
pub(super) struct Scene {
    sim: Sim,
    heard: Arc<Mutex<Vec<(u64, Event)>>>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (sim, heard) = (Sim::seeded(1), Arc::default());
        Self { sim, heard }
    }

    pub(super) fn builder(&self) -> ClientBuilder {
        let heard = self.heard.clone();
        secure(&self.sim).observer(move |record: &Record| {
            let heard_of = (record.call, record.event.clone());
            heard.lock().unwrap().push(heard_of);
        })
    }

    pub(super) fn heard(&self) -> Vec<(u64, Event)> {
        self.heard.lock().unwrap().clone()
    }
}

impl Deref for Scene {
    type Target = Sim;

    fn deref(&self) -> &Sim {
        &self.sim
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.sim
    }
}

/// A stream of one item.
struct Once(Option<io::Result<Bytes>>);

impl futures_core::Stream for Once {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take())
    }
}

fn client(sim: &Scene, timeouts: Timeouts) -> Client {
    let client = sim.builder().timeouts(timeouts).retry(Retry::never());
    client.build().unwrap()
}

fn get(sim: &mut Scene, timeouts: Timeouts, url: &'static str) -> Error {
    let client = client(sim, timeouts);
    let get = async move { client.get(url).send().await?.bytes().await };
    sim.run(async move { get.await.unwrap_err() }).into_output()
}

fn post(sim: &mut Scene, timeouts: Timeouts) -> Error {
    let client = client(sim, timeouts);
    let run = sim.run(async move {
        let post = client.post("http://api.test/").body(vec![0; 1 << 20]);
        post.send().await.unwrap_err()
    });
    run.into_output()
}

/// The error of a response with that status and those header lines.
fn status(sim: &mut Scene, status: &str, fields: &str) -> Error {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{fields}\r\n");
    raw(sim, "api.test:80", head);
    let client = client(sim, Timeouts::new());
    let run = sim.run(async move {
        let response = client.get("http://api.test/").send().await.unwrap();
        response.error_for_status().unwrap_err()
    });
    run.into_output()
}

/// A second call, where there is one connection and it is taken.
fn crowded(sim: &mut Scene, may_not_wait: bool) -> Error {
    silent(sim, "api.test:80");
    let limits = Limits::new().total(1);
    let limits = if may_not_wait {
        limits.waiters(1)
    } else {
        limits
    };
    let timeouts = Timeouts::new().pool(ms(250));
    let client = sim
        .builder()
        .timeouts(timeouts)
        .limits(limits)
        .retry(Retry::never());
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..=u8::from(may_not_wait) {
            let holder = client.clone();
            handle.spawn(async move {
                let _ = holder.get("http://api.test/").send().await;
            });
            handle.sleep(ms(10)).await;
        }
        client.get("http://api.test/").send().await.unwrap_err()
    });
    run.into_output()
}

/// The rows of the table in the documentation, as (kind, phase).
fn documented() -> BTreeSet<(String, String)> {
    let source = include_str!("../../../adapters/client/src/error.rs");
    let table = source
        .lines()
        .skip_while(|line| !line.contains("|---|---|---|---|"));
    let rows = table.skip(1).take_while(|line| line.starts_with("/// |"));
    let rows = rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        let mut cell = || cells.next().unwrap().trim().trim_matches('`').to_owned();
        (cell(), cell())
    });
    rows.collect()
}

#[test]
fn each_row_of_the_table_is_an_error_that_happens() {
    let mut walked = BTreeSet::new();
    for (kind, phase, make) in ROWS {
        let error = make(&mut Scene::new());
        assert_eq!((error.kind(), error.phase()), (kind, phase), "{error:#}");
        let phase = phase.map_or("none".to_owned(), |phase| format!("{phase:?}"));
        assert!(walked.insert((format!("{kind:?}"), phase)), "{error:#}");
    }
    assert_eq!(walked, documented());
}

#[test]
fn the_table_has_the_names_that_users_of_other_clients_know() {
    let source = include_str!("../../../adapters/client/src/error.rs");
    for name in NAMES {
        assert!(source.contains(&format!("`{name}`")), "{name}");
    }
    for name in ["ServerTimeoutError", "TooManyRedirects"] {
        assert!(source.contains(name), "{name}");
    }
}

#[test]
fn each_predicate_is_true_of_its_own_errors_and_of_no_other() {
    for (kind, phase, make) in ROWS {
        let error = make(&mut Scene::new());
        let dial = [Some(Dns), Some(Phase::Connect), Some(Tls)].contains(&phase);
        let is_timeout = kind == Timeout;
        let pairs = [
            (error.is_timeout(), is_timeout),
            (error.is_pool_timeout(), is_timeout && phase == Some(Pool)),
            (error.is_deadline(), phase == Some(Total)),
            (error.is_connect(), dial),
            (error.is_builder(), kind == Builder),
            (error.is_request(), kind == Request),
            (error.is_body(), phase == Some(Body) && kind != Decode),
            (error.is_decode(), kind == Decode),
            (error.is_status(), kind == Status),
            (error.is_closed(), kind == Closed),
            (error.is_cancelled(), false),
        ];
        for (n, (said, is_so)) in pairs.into_iter().enumerate() {
            assert_eq!(said, is_so, "{n} of {error:#}");
        }
        for other in Phase::ALL {
            let is_it = is_timeout && phase == Some(other);
            assert_eq!(error.timed_out_in(other), is_it, "{other} of {error:#}");
        }
        let limit = phase.filter(|_| is_timeout).map(|phase| match phase {
            Total => TimeoutLimit::Overall,
            Attempt => TimeoutLimit::Attempt,
            phase => TimeoutLimit::Phase(phase),
        });
        assert_eq!(error.timeout_limit(), limit, "{error:#}");
        // Of a limit on more than a phase, the phase in which it passed.
        let waited = match phase {
            Some(Attempt | Total) => Some(FirstByte),
            phase => phase,
        };
        assert_eq!(error.waiting_for(), waited, "{error:#}");
        assert_eq!(error.to_string().contains("(first byte)"), waited != phase);
    }
}

#[test]
fn an_error_tells_of_which_request_it_is_and_what_the_origin_made_of_it() {
    for (kind, phase, make) in ROWS {
        let error = make(&mut Scene::new());
        let is_posted = phase == Some(Write);
        let method = if is_posted { Method::POST } else { Method::GET };
        // One whose URL is invalid is no request yet.
        let is_request = kind != Builder && !(kind == Request && phase.is_none());
        assert_eq!(error.method(), is_request.then_some(&method), "{error:#}");
        assert_eq!(error.url().is_some(), is_request, "{error:#}");
        let has_peer = phase.is_some_and(|phase| phase > Tls) || kind == Status;
        // Of the body that fails not a byte had gone out.
        let is_sent = has_peer && kind != Request;
        assert_eq!(error.maybe_processed(), is_sent, "{error:#}");
        assert_eq!(error.remote_addr().is_some(), has_peer, "{error:#}");
    }
}

#[test]
fn a_status_tells_for_how_long_the_origin_asks_to_wait() {
    let wait = |text, fields| status(&mut Scene::new(), text, fields).retry_after();
    assert_eq!(wait("503 Busy", "Retry-After: 7\r\n"), Some(secs(7)));
    let date = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
        Retry-After: Thu, 01 Jan 2026 00:01:00 GMT\r\n";
    assert_eq!(wait("429 Too Many Requests", date), Some(secs(60)));
    // No rule looks at this one.
    assert_eq!(
        wait("413 Content Too Large", "Retry-After: 7\r\n"),
        Some(secs(7))
    );
    assert_eq!(wait("503 Busy", "Retry-After: soon\r\n"), None);
    assert_eq!(wait("503 Busy", ""), None);
}

#[test]
fn the_urls_of_errors_have_no_password() {
    let mut sim = Scene::new();
    sim.host("api.test");
    let error = get(
        &mut sim,
        Timeouts::new(),
        "http://user:secret@api.test/x?y#z",
    );
    assert_eq!(error.url(), Some("http://api.test/x?y"));
}
