//! The client on tokio, against a server on loopback.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use fulmar_tests::loopback::{Loopback, respond};
use fulmar_tests::toy_tls::ToyConnector;
use fulmar_tokio::{
    Body, Bytes, Client, Error, Limits, Phase, Response, Retry, Sending, Timeouts, Tokio,
};
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What an application would write: it knows a client, and no runtime.
struct App {
    client: Client,
    base: String,
}

impl App {
    async fn page(&self, name: &str) -> Result<String, Error> {
        let url = format!("{}/{name}", self.base);
        self.client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    }
}

#[test]
fn an_application_runs_unchanged_on_tokio_and_in_the_simulator() {
    async fn pages(app: App) -> Vec<String> {
        let mut pages = Vec::new();
        for name in ["a", "b", "c"] {
            pages.push(app.page(name).await.unwrap());
        }
        pages
    }
    let server = Loopback::echo();
    let real = App {
        client: Client::new(Tokio::new()),
        base: server.url(""),
    };
    let real = current_thread().block_on(pages(real));

    let mut sim = fulmar_sim::Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let path = request.path().to_owned();
            conn.respond(200, path).await?;
        }
        Ok(())
    });
    let simulated = App {
        client: Client::new(sim.net("laptop")),
        base: "http://api.test".into(),
    };
    let simulated = sim.run(pages(simulated)).into_output();

    assert_eq!(real, ["/a", "/b", "/c"]);
    assert_eq!(simulated, real);
    assert_eq!(server.accepted(), 1, "the connection was reused");
}

#[test]
fn a_static_client_is_used_from_three_runtimes_in_turn() {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| Client::new(Tokio::new()));
    let server = Loopback::echo();
    for round in 0..3 {
        let path = format!("/{round}");
        let url = server.url(&path);
        current_thread().block_on(async {
            for _ in 0..3 {
                let response = client.get(&url).send().await.unwrap();
                assert_eq!(response.text().await.unwrap(), path);
            }
        });
    }
    assert_eq!(server.requests().len(), 9, "nothing was sent twice");
    let multi = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let url = server.url("/multi");
    let text =
        multi.block_on(async { client.get(url).send().await.unwrap().text().await.unwrap() });
    assert_eq!(text, "/multi");
}

#[test]
fn a_half_read_response_may_be_dropped_on_a_bare_thread() {
    let server = Loopback::start(|request, stream| {
        if request.target == "/long" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")?;
            for _ in 0..50 {
                stream.write_all(&[b'x'; 1000])?;
            }
        } else {
            respond(stream, 200, b"short")?;
        }
        Ok(true)
    });
    let runtime = current_thread();
    let client = Client::new(Tokio::new());
    let mut response = runtime
        .block_on(client.get(server.url("/long")).send())
        .unwrap();
    assert!(runtime.block_on(response.chunk()).unwrap().is_some());
    thread::spawn(move || drop(response)).join().unwrap();
    let next = runtime.block_on(async {
        client
            .get(server.url("/next"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    assert_eq!(next, "short");
    assert_eq!(client.gauges().busy, 0);
    let response = runtime
        .block_on(client.get(server.url("/long")).send())
        .unwrap();
    drop(runtime);
    // Its runtime is gone as well.
    thread::spawn(move || drop(response)).join().unwrap();
    let next = current_thread().block_on(async {
        client
            .get(server.url("/next"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    assert_eq!(next, "short");
}

#[test]
fn a_thousand_concurrent_requests_share_connections_and_leave_no_socket_open() {
    let server = Loopback::echo();
    let client = Client::new(Tokio::new());
    let runtime = current_thread();
    let mut total = 0;
    runtime.block_on(async {
        let calls = (0..1000).map(|n| {
            let (client, url) = (client.clone(), server.url(&format!("/{n}")));
            tokio::spawn(async move { client.get(url).send().await?.text().await })
        });
        let calls: Vec<_> = calls.collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().unwrap(), format!("/{n}"));
            total += 1;
        }
    });
    assert_eq!(total, 1000);
    assert!(server.accepted() <= 64, "{} connections", server.accepted());
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.connecting, gauges.waiting), (0, 0, 0));
    assert!(gauges.idle <= 16);
    drop(client);
    server.wait_until_open(0);
    drop(runtime);
}

/// Runs a call in a task of its own, where it is polled only when it is woken: a `timeout` around it
/// would poll it at its own end, and find it overdue.
async fn woken(call: Sending) -> Result<Response, Error> {
    tokio::time::timeout(Duration::from_secs(20), tokio::spawn(call))
        .await
        .expect("a timeout of the client's own")
        .unwrap()
}

/// A listener that accepts and never answers.
fn black_hole() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

fn impatient(limit: Duration) -> Client {
    let timeouts = Timeouts::new().total(limit);
    Client::builder(Tokio::new())
        .timeouts(timeouts)
        .build()
        .unwrap()
}

#[test]
fn timeouts_work_after_a_runtime_went_before_it_ran_anything() {
    let (_listener, url) = black_hole();
    let client = impatient(Duration::from_millis(50));
    let runtime = current_thread();
    {
        let _context = runtime.enter();
        let mut sending = Box::pin(client.get(&url).send());
        let polled = sending
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    drop(runtime);
    let runtime = current_thread();
    let error = runtime.block_on(async { woken(client.get(&url).send()).await });
    assert!(error.unwrap_err().is_timeout());
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.waiting, gauges.connecting), (0, 0, 0));
}

#[test]
fn timeouts_of_one_runtime_survive_the_end_of_another() {
    let (_listener, url) = black_hole();
    let client = impatient(Duration::from_millis(500));
    // The first call's runtime runs the client's background task.
    let (first, second) = (current_thread(), current_thread());
    first.block_on(async {
        let begun = client.get(&url).send();
        let _ = tokio::time::timeout(Duration::from_millis(50), begun).await;
    });
    let background = thread::spawn({
        let client = client.clone();
        let url = url.clone();
        move || second.block_on(async { woken(client.get(&url).send()).await })
    });
    thread::sleep(Duration::from_millis(100));
    drop(first);
    let error = background.join().unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn a_dial_whose_runtime_goes_away_fails_its_waiters_and_frees_its_place() {
    let server = Loopback::echo();
    let client = Client::builder(Tokio::new())
        .limits(Limits::new().per_origin(1))
        .build()
        .unwrap();
    let runtime = current_thread();
    {
        let _context = runtime.enter();
        let mut sending = Box::pin(client.get(server.url("/a")).send());
        assert!(
            sending
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        assert_eq!(client.gauges().connecting, 1);
    }
    drop(runtime);
    assert_eq!(client.gauges().total, 0);
    let text = current_thread().block_on(async {
        client
            .get(server.url("/b"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    assert_eq!(text, "/b");
}

#[test]
fn paused_time_is_followed() {
    let (_listener, url) = black_hole();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let client = impatient(Duration::from_secs(3000));
    let begun = std::time::Instant::now();
    let error = runtime.block_on(async {
        let timeouts = Timeouts::none().total(Duration::from_secs(3000));
        client
            .get(&url)
            .timeouts(timeouts)
            .send()
            .await
            .unwrap_err()
    });
    assert!(error.is_deadline(), "{error}");
    // Generous: virtual time does not pass by waiting.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn each_phase_times_out_within_the_resolution_of_the_runtimes_timers() {
    let server = Loopback::start(|request, stream| {
        if request.target == "/warm" {
            respond(stream, 200, b"warm")?;
            return Ok(true);
        }
        if request.target == "/half" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        }
        thread::sleep(Duration::from_secs(60));
        Ok(false)
    });
    let limit = Duration::from_millis(12_345);
    let none = Timeouts::none();
    for (path, timeouts, phase) in [
        ("/silent", none.first_byte(limit), Phase::FirstByte),
        ("/silent", none.attempt(limit), Phase::Attempt),
        ("/silent", none.total(limit), Phase::Total),
        ("/half", none.between_bytes(limit), Phase::Body),
    ] {
        let client = Client::new(Tokio::new());
        let (error, elapsed) = current_thread().block_on(async {
            let warm = client.get(server.url("/warm")).send().await.unwrap();
            warm.bytes().await.unwrap();
            let get = client.get(server.url(path)).timeouts(timeouts);
            let get = get.retry(Retry::never());
            // What is waited for is there already: from here time passes by itself, exactly.
            if phase == Phase::Body {
                let response = get.send().await.unwrap();
                tokio::time::pause();
                let begun = tokio::time::Instant::now();
                return (response.bytes().await.unwrap_err(), begun.elapsed());
            }
            tokio::time::pause();
            let begun = tokio::time::Instant::now();
            (get.send().await.unwrap_err(), begun.elapsed())
        });
        assert_eq!(error.phase(), Some(phase), "{error}");
        let late = elapsed.checked_sub(limit).unwrap_or(Duration::MAX);
        assert!(late <= Duration::from_millis(2), "{phase}: {elapsed:?}");
    }
}

#[test]
fn waiting_dialling_shaking_hands_and_writing_time_out_within_the_resolution_of_the_runtimes_timers()
 {
    let server = Loopback::start(|request, stream| {
        if request.target == "/half" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        }
        thread::sleep(Duration::from_secs(60));
        Ok(false)
    });
    let limit = Duration::from_millis(12_345);
    let none = Timeouts::none();
    let (full, _clients, hole) = full_listener();
    let (_listener, unread) = black_hole();
    for (url, timeouts, phase) in [
        (server.url("/half"), none.pool(limit), Phase::Pool),
        (hole, none.connect(limit), Phase::Connect),
        (unread.clone(), none.write(limit), Phase::Write),
        (
            unread.replace("http:", "https:"),
            none.tls(limit),
            Phase::Tls,
        ),
    ] {
        let client = Client::builder(Tokio::new())
            .tls(ToyConnector)
            .limits(Limits::new().per_origin(1))
            .retry(Retry::never())
            .timeouts(timeouts);
        let client = client.build().unwrap();
        let (error, elapsed) = current_thread().block_on(async {
            let mut held = None;
            if phase == Phase::Pool {
                held = Some(client.get(&*url).send().await.unwrap());
            }
            let post = client.post(&*url).body(vec![0; 64 << 20]);
            tokio::time::pause();
            let begun = tokio::time::Instant::now();
            let error = post.send().await.unwrap_err();
            drop(held);
            (error, begun.elapsed())
        });
        assert_eq!(error.phase(), Some(phase), "{error}");
        let late = elapsed.checked_sub(limit).unwrap_or(Duration::MAX);
        assert!(late <= Duration::from_millis(2), "{phase}: {elapsed:?}");
    }
    drop(full);
}

/// A listener whose queue is full, so that the next connect gets no answer.
fn full_listener() -> (Socket, Vec<Socket>, String) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let clients = (0..4).map(|_| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&addr);
        client
    });
    let clients = clients.collect();
    let url = format!("http://{}/", addr.as_socket().unwrap());
    (listener, clients, url)
}

#[test]
fn a_call_is_cancelled_by_dropping_it_on_another_thread() {
    let (_listener, url) = black_hole();
    let client = impatient(Duration::from_secs(20));
    let runtime = current_thread();
    let mut sending = Box::pin(client.get(&url).send());
    runtime.block_on(async {
        let _ = tokio::time::timeout(Duration::from_millis(50), sending.as_mut()).await;
    });
    assert_eq!(client.gauges().busy, 1);
    thread::spawn(move || drop(sending)).join().unwrap();
    assert_eq!(client.gauges().total, 0);
}

#[test]
fn many_threads_share_one_client() {
    let server = Loopback::echo();
    let client = Client::new(Tokio::new());
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let calls: Vec<_> = (0..400)
            .map(|n| {
                let (client, url) = (client.clone(), server.url(&format!("/{n}")));
                tokio::spawn(async move {
                    if n % 5 == 0 {
                        let call = client.get(url).send();
                        let _ = tokio::time::timeout(Duration::from_micros(n * 10), call).await;
                        return;
                    }
                    let text = client.get(url).send().await.unwrap().text().await.unwrap();
                    assert_eq!(text, format!("/{n}"));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
    drop(client);
    server.wait_until_open(0);
}

struct Once(Option<Bytes>);

impl futures_core::Stream for Once {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

#[test]
fn a_stream_that_can_be_sent_once_survives_the_end_of_the_runtime_of_an_idle_connection() {
    let server = Loopback::start(|request, stream| {
        respond(stream, 200, &request.body)?;
        Ok(true)
    });
    let client = Client::new(Tokio::new());
    for round in 0..3 {
        let body = Body::stream(Once(Some(Bytes::from_static(b"once"))));
        let put = client.put(server.url("/")).body(body).send();
        let text = current_thread().block_on(async { put.await.unwrap().text().await.unwrap() });
        assert_eq!(text, "once", "runtime {round}");
    }
    assert_eq!(server.requests().len(), 3, "nothing was sent twice");
}

#[test]
fn timeouts_work_while_the_runtime_that_was_first_is_not_being_driven() {
    let (_listener, url) = black_hole();
    let client = impatient(Duration::from_millis(50));
    let first = current_thread();
    let error = first.block_on(client.get(&url).send()).unwrap_err();
    assert!(error.is_deadline(), "{error}");
    // It is still there, and with it the task that it began; nobody drives it.
    let error = current_thread().block_on(async { woken(client.get(&url).send()).await });
    assert!(error.unwrap_err().is_deadline());
    drop(first);
}
