//! Transports that lie, or wait and wake nobody.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use fulmar_sim::net::BoxFuture;
use fulmar_sim::websocket::Keepalive;
use fulmar_sim::{BoxError, Client, Error, Handle, Retry, Sim, Timeouts, WebSocket};
use fulmar_tests::toy_tls::ToyConnector;
use futures_io::{AsyncRead, AsyncWrite};

use crate::crowds::Task;
use crate::net::{Bend, Habit, bent};
use crate::server::URL;
use crate::support::{TlsConn, assert_quiet, drain, ms, secs, text};

const LIES: [Habit; 4] = [
    Habit::TakesNothing,
    Habit::ClaimsToHaveWritten,
    Habit::ClaimsToHaveRead,
    Habit::Unreads,
];

/// What does no harm: what is hidden is gone all the same, or there.
const OTHERS: [Habit; 7] = [
    Habit::HidesWhatItWrote,
    Habit::HidesWhatItRead,
    Habit::ForgetsTheReader,
    Habit::ForgetsTheWriter,
    Habit::FailsToShutDown,
    Habit::IsNeverQuiet,
    Habit::IsAlwaysQuiet,
];

/// When streams begin to do as the test wants.
#[derive(Clone, Copy, PartialEq)]
enum Since {
    TheBeginning,
    TheyAreOpen,
}

/// What a use of the network is: it opens, turns to the worse if told so, and goes on.
type Life = fn(Client, Handle, Turn) -> BoxFuture<Result<(), BoxError>>;
type Turn = Box<dyn FnOnce() + Send>;

const LIVES: [(&str, Life); 8] = [
    ("a call", call),
    ("a secure call", secure),
    ("an upload", upload),
    ("a body", body),
    ("the rest of a body", rest),
    ("an upgraded connection", upgraded),
    ("a WebSocket", websocket),
    ("a session", session),
];

fn call(client: Client, _: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        text(&client, "http://web.test/warm").await?;
        turn();
        text(&client, "http://web.test/a").await?;
        Ok(())
    })
}

fn secure(client: Client, _: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        text(&client, "https://web.test/warm").await?;
        turn();
        text(&client, "https://web.test/a").await?;
        Ok(())
    })
}

fn upload(client: Client, _: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        text(&client, "http://web.test/warm").await?;
        turn();
        let put = client.put("http://web.test/a").body(vec![b'x'; 300_000]);
        put.send().await?.text().await?;
        Ok(())
    })
}

fn body(client: Client, _: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        let response = client.get("http://web.test/long").send().await?;
        turn();
        drain(response).await?;
        Ok(())
    })
}

fn rest(client: Client, _: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        let mut response = client.get("http://web.test/short").send().await?;
        response.chunk().await?;
        turn();
        drop(response);
        Ok(())
    })
}

fn upgraded(client: Client, handle: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        let call = client.get("http://web.test/shout").upgrade("shout");
        let mut stream = call.send().await?.upgrade().await?;
        turn();
        let much = vec![b'x'; 40_000];
        let talk = async {
            for _ in 0..3 {
                poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &much)).await?;
                poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await?;
                let mut buf = [0; 100];
                poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf)).await?;
            }
            poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await?;
            Ok(())
        };
        let end = handle.now() + secs(5);
        crate::support::until(&handle, end, talk)
            .await
            .unwrap_or(Ok(()))
    })
}

fn websocket(client: Client, handle: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        let connect = client.websocket(URL).keepalive(secs(1)).connect();
        let mut ws = connect.await?;
        turn();
        let talk = async {
            for size in [5, 100_000] {
                ws.send(vec![b'x'; size]).await?;
                ws.flush().await?;
                ws.recv().await?;
            }
            Ok(())
        };
        let end = handle.now() + secs(5);
        let talked = crate::support::until(&handle, end, talk).await;
        let _ = ws.close(fulmar_sim::CloseCode::NORMAL, "").await;
        talked.unwrap_or(Ok(()))
    })
}

fn session(client: Client, handle: Handle, turn: Turn) -> BoxFuture<Result<(), BoxError>> {
    Box::pin(async move {
        let backoff = fulmar_sim::Backoff::constant(ms(300));
        let session = client.websocket(URL).reconnect(backoff).open();
        drop(session.send("a").await);
        handle.sleep(ms(100)).await;
        turn();
        for _ in 0..10 {
            drop(session.try_send(vec![b'x'; 10_000]));
            handle.sleep(ms(300)).await;
        }
        session.close().await;
        Ok(())
    })
}

/// Runs it; a panic of it, and of what it leaves behind, is an error.
async fn caught(life: BoxFuture<Result<(), BoxError>>) -> Result<(), BoxError> {
    let mut life = Some(life);
    let ended = poll_fn(|cx| {
        let Some(running) = &mut life else {
            return Poll::Pending;
        };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err("it panicked".into())))
    })
    .await;
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(life.take())));
    dropped.map_err(|_| "its drop panicked")?;
    ended
}

/// Plays one, and says how it ended and when, by the client's clock.
fn play(
    name: &str,
    life: Life,
    habit: Habit,
    since: Since,
) -> (Result<(), BoxError>, std::time::Duration) {
    let name = format!("{name}, {habit:?}");
    let mut sim = Sim::seeded(1);
    sim.serve("web.test:80", crate::transports::answer);
    sim.serve("web.test:443", |conn| async move {
        let mut tls = TlsConn::new(conn, "web.test");
        while tls.request().await? {
            tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await?;
        }
        Ok(())
    });
    crate::server::echo(&sim);
    let (builder, bend) = bent(&sim);
    let client = builder
        .tls(ToyConnector)
        .timeouts(Timeouts::all(secs(3)))
        .retry(Retry::never())
        .build()
        .unwrap();
    let (handle, reader) = (sim.handle(), client.gauge_reader());
    let run = sim.run(async move {
        let (bends, turns): (Bend, Bend) = (bend.clone(), bend.clone());
        if since == Since::TheBeginning {
            bends.streams(habit);
        }
        let turn = Box::new(move || turns.streams(habit));
        let begun = handle.now();
        let ended = caught(life(client.clone(), handle.clone(), turn)).await;
        let elapsed = handle.now() - begun;
        handle.sleep(secs(20)).await;
        assert_quiet(client.gauges());
        bends.streams(Habit::Honest);
        assert_eq!(
            text(&client, "http://web.test/next").await.unwrap(),
            "/next"
        );
        (ended, elapsed)
    });
    if let Some(failure) = run.failure() {
        panic!("{name}: {failure:?}\n{}", run.trace());
    }
    assert_eq!(run.leaks(), [""; 0], "{name}");
    assert_eq!(run.open_sockets(), 0, "{name}");
    assert_eq!(reader(), None, "{name}: somebody keeps the client");
    run.into_output()
}

async fn answer(mut conn: fulmar_sim::Conn) -> std::io::Result<()> {
    while let Some(request) = conn.request().await? {
        match request.path() {
            "/shout" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                            Upgrade: shout\r\n\r\n";
                conn.write_all(head).await?;
                loop {
                    let read = conn.read(1024).await?;
                    if read.is_empty() {
                        return Ok(());
                    }
                    conn.write_all(read.to_ascii_uppercase()).await?;
                }
            }
            path @ ("/long" | "/short") => {
                let size = if path == "/long" { 200_000 } else { 2_000 };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                conn.write_all(head).await?;
                for _ in 0..10 {
                    conn.write_all(vec![b'x'; size / 10]).await?;
                    conn.sleep(ms(1)).await;
                }
            }
            path => conn.respond(200, path).await?,
        }
    }
    Ok(())
}

#[test]
fn a_transport_that_lies_is_caught_at_once() {
    for habit in LIES {
        for since in [Since::TheBeginning, Since::TheyAreOpen] {
            for (name, life) in LIVES {
                let (ended, elapsed) = play(name, life, habit, since);
                let is_told = !matches!(name, "the rest of a body" | "a session");
                let reads_only = name == "a body" && since == Since::TheyAreOpen;
                let writes = matches!(habit, Habit::TakesNothing | Habit::ClaimsToHaveWritten);
                if is_told && !(reads_only && writes) {
                    ended.expect_err(&format!("{name}, {habit:?}"));
                    assert!(elapsed < secs(1), "{name}, {habit:?}: {elapsed:?}");
                }
            }
        }
    }
}

#[test]
fn a_transport_that_waits_and_wakes_nobody_is_given_up_when_time_has_run_out() {
    for habit in [Habit::ForgetsTheReader, Habit::ForgetsTheWriter] {
        for (name, life) in LIVES {
            let (ended, elapsed) = play(name, life, habit, Since::TheBeginning);
            if name != "a session" {
                let error = ended.unwrap_err();
                let timeout = error.downcast_ref::<Error>().map(Error::is_timeout);
                assert_eq!(timeout, Some(true), "{name}, {habit:?}");
                assert!(elapsed <= secs(4), "{name}, {habit:?}: {elapsed:?}");
            }
        }
    }
}

#[test]
fn a_transport_that_panics_takes_nothing_with_it() {
    for since in [Since::TheBeginning, Since::TheyAreOpen] {
        for (name, life) in LIVES {
            let (ended, _) = play(name, life, Habit::Panics, since);
            let in_a_task = matches!(name, "a session" | "the rest of a body");
            assert!(in_a_task || ended.is_err(), "{name}");
        }
    }
}

#[test]
fn a_transport_that_panics_when_it_is_dropped_takes_nothing_with_it() {
    for since in [Since::TheBeginning, Since::TheyAreOpen] {
        for (name, life) in LIVES {
            let _ = play(name, life, Habit::PanicsWhenDropped, since);
        }
    }
}

#[test]
fn whatever_a_transport_does_the_client_stays_whole() {
    for habit in OTHERS {
        for (name, life) in LIVES {
            let _ = play(name, life, habit, Since::TheyAreOpen);
        }
    }
}

/// Polls it once, and says whether that panicked.
fn panics<F: Future + Unpin>(mut future: F) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(&mut cx))).is_err()
}

/// A client whose server speaks after five seconds, and a socket that nobody pings.
fn socket(sim: &Sim) -> (Client, Bend, BoxFuture<WebSocket>) {
    crate::server::serve(sim, |mut peer| async move {
        peer.conn.sleep(secs(5)).await;
        peer.send(0x81, "late").await?;
        peer.echo().await
    });
    let (builder, bend) = bent(sim);
    let client = builder.build().unwrap();
    let builder = client.websocket(URL).keepalive(Keepalive::off());
    (client, bend, Box::pin(crate::server::open_with(builder)))
}

#[test]
fn a_transport_that_panics_under_one_handle_ends_the_wait_of_the_others() {
    for writes in [true, false] {
        let mut sim = Sim::seeded(1);
        let (client, bend, opening) = socket(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let (mut sender, mut receiver) = opening.await.split();
            bend.streams(Habit::Panics);
            if writes {
                assert!(panics(Box::pin(sender.send("a"))));
            } else {
                assert!(panics(Box::pin(receiver.recv())));
            }
            bend.streams(Habit::Honest);
            let heard = Task::spawn(&handle, async move { receiver.recv().await });
            handle.sleep(secs(60)).await;
            let (heard, _) = heard.take().expect("nobody waits for ever");
            assert!(heard.is_err(), "{heard:?}");
            assert!(sender.send("b").await.is_err());
            assert_quiet(client.gauges());
        });
        run.expect();
        assert_eq!(run.leaks(), [""; 0]);
    }
}

#[test]
fn a_transport_that_panics_wakes_who_waited_before() {
    let mut sim = Sim::seeded(1);
    let (client, bend, opening) = socket(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let (mut sender, mut receiver) = opening.await.split();
        let heard = Task::spawn(&handle, async move { receiver.recv().await });
        handle.sleep(secs(1)).await;
        bend.streams(Habit::Panics);
        assert!(panics(Box::pin(sender.send("a"))));
        bend.streams(Habit::Honest);
        handle.sleep(ms(1)).await;
        let (heard, _) = heard.take().expect("it was woken");
        assert!(heard.is_err(), "{heard:?}");
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}
