//! Several wait for one thing. The first brings a waker of the test's; the others must not notice.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use fulmar_sim::net::BoxFuture;
use fulmar_sim::{
    Client, Conn, Error, Handle, Instant, Kind, Limits, Response, Retry, Scope, Sim, WebSocket,
};

use crate::server::URL;
use crate::support::{assert_quiet, builder, ms, secs, text, until};

/// What the test does to them. It begins with the first one's waker.
pub(crate) type Crowd = fn(Client, Handle, Waker) -> BoxFuture<()>;

pub(crate) const CROWDS: [(&str, Crowd); 14] = [
    ("a connection", connection),
    (
        "a connection until the client ends",
        connection_until_the_end,
    ),
    ("a connection until a deadline", connection_until_a_deadline),
    ("a place in flight", place),
    (
        "a place in flight after the cap is lifted",
        place_without_a_cap,
    ),
    ("a WebSocket's place", websocket_place),
    (
        "a WebSocket's place until the client ends",
        websocket_place_until_the_end,
    ),
    ("the end of a WebSocket", websocket_end),
    ("a message of a WebSocket", websocket_message),
    ("a message of a session", session_message),
    ("the end of a session", session_end),
    ("room in a session's outbox", session_room),
    ("the cap of a batch", batch_cap),
    ("a branch of a scope", scope_branch),
];

/// Plays one of them, in a world of its own.
pub(crate) fn play(name: &str, crowd: Crowd, waker: impl FnOnce(&Client, &Handle) -> Waker) {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", answer);
    let client = builder(&sim)
        .limits(Limits::new().per_origin(1))
        .websocket_limits(1, 1)
        .retry(Retry::never())
        .build()
        .unwrap();
    let (handle, reader) = (sim.handle(), client.gauge_reader());
    let waker = waker(&client, &handle);
    let run = sim.run(async move {
        crowd(client.clone(), handle.clone(), waker).await;
        handle.sleep(secs(1)).await;
        assert_quiet(client.gauges());
    });
    if let Some(failure) = run.failure() {
        panic!("{name}: {failure:?}\n{}", run.trace());
    }
    assert_eq!(run.leaks(), [""; 0], "{name}");
    assert_eq!(reader(), None, "{name}: somebody keeps the client");
}

/// A body that never ends at `/stream`, and the path elsewhere; or a WebSocket: one that says "hello"
/// and goes after 2 s.
async fn answer(mut conn: Conn) -> io::Result<()> {
    while let Some(request) = conn.request().await? {
        match request.path() {
            "/stream" => {
                conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
                    .await?;
                conn.sleep(secs(100)).await;
            }
            "/chat" => {
                conn.write_all(crate::server::switch(&request, "")).await?;
                return chat(conn).await;
            }
            path => conn.respond(200, path).await?,
        }
    }
    Ok(())
}

async fn chat(mut conn: Conn) -> io::Result<()> {
    conn.sleep(ms(500)).await;
    conn.write_all(fulmar_tests::websocket::frame(0x81, b"hello"))
        .await?;
    conn.sleep(ms(1_500)).await;
    Ok(())
}

/// Polls it once, with that waker: it waits.
fn begin<F: Future + ?Sized>(mut future: Pin<Box<F>>, waker: &Waker) -> Pin<Box<F>> {
    let polled = future.as_mut().poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
    future
}

/// Goes on by itself; what it returned, and when.
pub(crate) struct Task<T>(Arc<Mutex<Option<(T, Instant)>>>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(handle: &Handle, future: impl Future<Output = T> + Send + 'static) -> Self {
        let output = Arc::new(Mutex::new(None));
        let (place, clock) = (output.clone(), handle.clone());
        handle.spawn(async move {
            let output = future.await;
            *place.lock().unwrap() = Some((output, clock.now()));
        });
        Self(output)
    }

    pub(crate) fn take(&self) -> Option<(T, Instant)> {
        self.0.lock().unwrap().take()
    }

    /// What it returned; it has.
    #[track_caller]
    fn output(&self) -> T {
        self.take().expect("nobody woke it").0
    }
}

type Call = BoxFuture<Result<String, Error>>;

fn get(client: &Client, path: &'static str) -> Call {
    let client = client.clone();
    Box::pin(async move { text(&client, &format!("http://api.test{path}")).await })
}

async fn stream(client: &Client) -> Response {
    client.get("http://api.test/stream").send().await.unwrap()
}

fn open(client: &Client) -> BoxFuture<Result<WebSocket, Error>> {
    let connect = client.websocket(URL).connect();
    Box::pin(connect)
}

fn connection(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let held = stream(&client).await;
        let first = begin(get(&client, "/a"), &waker);
        let second = Task::spawn(&handle, get(&client, "/b"));
        handle.sleep(ms(1)).await;
        drop(held);
        handle.sleep(ms(100)).await;
        assert!(second.take().is_none(), "the place is the first one's");
        drop(first);
        handle.sleep(ms(100)).await;
        assert_eq!(second.output().unwrap(), "/b");
    })
}

fn connection_until_the_end(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let held = stream(&client).await;
        let first = begin(get(&client, "/a"), &waker);
        let second = Task::spawn(&handle, get(&client, "/b"));
        handle.sleep(ms(1)).await;
        client.shutdown(client.deadline(ms(10))).await;
        assert_eq!(second.output().unwrap_err().kind(), Kind::Closed);
        drop((first, held));
    })
}

fn connection_until_a_deadline(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let held = stream(&client).await;
        let waiting = || {
            let send = client.get("http://api.test/a").timeout(secs(1)).send();
            let waiting: BoxFuture<_> = Box::pin(async move { send.await.map(drop) });
            waiting
        };
        let begun = handle.now();
        let first = begin(waiting(), &waker);
        let second = Task::spawn(&handle, waiting());
        handle.sleep(secs(2)).await;
        let (output, at) = second.take().expect("nobody woke it");
        assert!(output.unwrap_err().is_deadline());
        assert_eq!(at - begun, secs(1));
        drop((first, held));
    })
}

fn place(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        client.set_max_in_flight(1);
        connection(client, handle, waker).await;
    })
}

fn place_without_a_cap(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        client.set_max_in_flight(0);
        let first = begin(get(&client, "/a"), &waker);
        let second = Task::spawn(&handle, get(&client, "/b"));
        handle.sleep(ms(1)).await;
        client.set_max_in_flight(None);
        handle.sleep(ms(100)).await;
        assert_eq!(second.output().unwrap(), "/b");
        drop(first);
    })
}

fn websocket_place(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let held = open(&client).await.unwrap();
        let first = begin(open(&client), &waker);
        let second = Task::spawn(&handle, open(&client));
        handle.sleep(ms(1)).await;
        drop(held);
        handle.sleep(ms(100)).await;
        assert!(second.take().is_none(), "the place is the first one's");
        drop(first);
        handle.sleep(ms(100)).await;
        drop(second.output().unwrap());
    })
}

fn websocket_place_until_the_end(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let held = open(&client).await.unwrap();
        let first = begin(open(&client), &waker);
        let second = Task::spawn(&handle, open(&client));
        handle.sleep(ms(1)).await;
        client.shutdown(client.deadline(ms(10))).await;
        assert_eq!(second.output().unwrap_err().kind(), Kind::Closed);
        drop((first, held));
    })
}

fn websocket_end(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let (sender, mut receiver) = open(&client).await.unwrap().split();
        receiver.recv().await.unwrap();
        let first = begin(Box::pin(async move { receiver.recv().await }), &waker);
        let second = Task::spawn(&handle, async move { sender.ping().await });
        handle.sleep(secs(5)).await;
        second.output().unwrap_err();
        drop(first);
    })
}

fn websocket_message(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let mut ws = open(&client).await.unwrap();
        let first = begin(Box::pin(ws.recv()), &waker);
        handle.sleep(secs(1)).await;
        drop(first);
        let message = ws.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("hello"));
    })
}

fn session_message(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let session = Arc::new(client.websocket(URL).reconnect(quick()).open());
        let other = session.clone();
        let first = begin(Box::pin(session.recv()), &waker);
        let second = Task::spawn(&handle, async move { other.recv().await });
        handle.sleep(secs(1)).await;
        assert!(second.output().unwrap().is_some());
        drop(first);
    })
}

fn session_end(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let session = Arc::new(client.websocket(URL).reconnect(quick()).open());
        let other = session.clone();
        let first = begin(Box::pin(session.recv()), &waker);
        let second = Task::spawn(&handle, async move { other.events().next().await });
        handle.sleep(ms(1)).await;
        session.close().await;
        handle.sleep(ms(1)).await;
        second.output().unwrap();
        drop(first);
    })
}

fn session_room(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let builder = client.websocket("ws://nobody.test/").reconnect(quick());
        let session = Arc::new(builder.outbox(1).open());
        let _sent = session.send("one").await.unwrap();
        let send = |text: &'static str| {
            let session = session.clone();
            let send: BoxFuture<_> = Box::pin(async move { session.send(text).await.map(drop) });
            send
        };
        let first = begin(send("two"), &waker);
        let second = Task::spawn(&handle, send("three"));
        handle.sleep(ms(1)).await;
        session.close().await;
        handle.sleep(ms(1)).await;
        second.output().unwrap_err();
        drop(first);
    })
}

fn batch_cap(client: Client, _: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let mut batch = client
            .batch([client.get("http://api.test/a")])
            .max_in_flight(0);
        let cap = batch.cap();
        drop(begin(Box::pin(batch.next()), &waker));
        cap.set(1);
        let (_, result) = batch.next().await.unwrap();
        assert_eq!(result.unwrap().status(), 200);
    })
}

fn scope_branch(client: Client, handle: Handle, waker: Waker) -> BoxFuture<()> {
    Box::pin(async move {
        let door: Arc<Mutex<Option<Scope>>> = Arc::default();
        let (place, after) = (door.clone(), handle.clone());
        let scoped = client.scope(None, move |scope| async move {
            *place.lock().unwrap() = Some(scope);
            after.sleep(ms(10)).await;
            Ok(())
        });
        let scoped = begin(Box::pin(scoped), &waker);
        let scope = door.lock().unwrap().take().unwrap();
        let call = get(&client, "/a");
        scope.branch("late", async move { Ok(call.await.map(drop)?) });
        let end = handle.now() + secs(1);
        let scoped = until(&handle, end, scoped).await.unwrap().unwrap();
        assert_eq!(scoped.branches.len(), 1);
    })
}

fn quick() -> fulmar_sim::Backoff {
    fulmar_sim::Backoff::constant(ms(10))
}

/// Whether it is ready when it is polled once, by nobody in particular.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
