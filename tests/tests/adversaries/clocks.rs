//! Timers and clocks that do not do as they should.

use std::future::Future;
use std::time::Duration;

use fulmar_sim::net::BoxFuture;
use fulmar_sim::{Client, Dns, Handle, Instant, Limits, Retry, Run, Sim, Timeouts};

use crate::net::{Bend, Clock, Spawns, Timers, bent};
use crate::server::URL;
use crate::support::{assert_quiet, at, echo, ms, secs, silent, text};

type Life = fn(Client, Handle) -> BoxFuture<()>;

/// Whatever has a timer: calls and their deadlines, retries, dials, lookups, the places of
/// `WebSocket`s, keepalive, sessions, scopes, and the end.
const LIVES: [(&str, Life); 9] = [
    ("calls", calls),
    ("a deadline", deadline),
    ("a rest before another attempt", retry),
    ("a lookup", lookup),
    ("a WebSocket's place", websocket_place),
    ("a WebSocket's keepalive", keepalive),
    ("a session", session),
    ("a scope", scope),
    ("a shutdown", shutdown),
];

/// By the client's clock.
fn now(client: &Client) -> Instant {
    client.deadline(Duration::ZERO)
}

fn calls(client: Client, handle: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        for _ in 0..20 {
            assert_eq!(text(&client, "http://web.test/a").await.unwrap(), "/a");
            handle.sleep(ms(700)).await;
        }
    })
}

fn deadline(client: Client, _: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let begun = now(&client);
        let call = client.get("http://mute.test/").timeout(secs(1)).send();
        assert!(call.await.unwrap_err().is_deadline());
        assert!(now(&client) - begun >= secs(1));
    })
}

fn retry(client: Client, _: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let begun = now(&client);
        let retry = Retry::new(2).backoff(fulmar_sim::Backoff::constant(secs(1)));
        let call = client.get("http://down.test/").retry(retry).send();
        assert_eq!(call.await.unwrap_err().attempts().len(), 2);
        assert!(now(&client) - begun >= ms(500));
    })
}

fn lookup(client: Client, _: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let begun = now(&client);
        let timeouts = Timeouts::new().dns(secs(1));
        let call = client.get("http://lost.test/").timeouts(timeouts);
        call.retry(Retry::never()).send().await.unwrap_err();
        assert!(now(&client) - begun >= secs(1));
    })
}

fn websocket_place(client: Client, _: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let held = client.websocket(URL).connect().await.unwrap();
        let begun = now(&client);
        let timeouts = Timeouts::new().pool(secs(1));
        let connect = client.websocket(URL).timeouts(timeouts).connect();
        connect.await.unwrap_err();
        assert!(now(&client) - begun >= secs(1));
        drop(held);
    })
}

fn keepalive(client: Client, handle: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let connect = client.websocket(URL).keepalive(secs(2)).connect();
        let mut ws = connect.await.unwrap();
        handle.sleep(secs(20)).await;
        ws.send("still there").await.unwrap();
        ws.recv().await.unwrap().unwrap();
    })
}

fn session(client: Client, handle: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let backoff = fulmar_sim::Backoff::constant(ms(300));
        let session = client.websocket(URL).reconnect(backoff).open();
        handle.between(secs(5)..secs(6), fulmar_sim::Fault::reset("api.test"));
        for _ in 0..20 {
            drop(session.send("a").await.unwrap());
            handle.sleep(ms(700)).await;
        }
        session.close().await;
    })
}

fn scope(client: Client, handle: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let begun = now(&client);
        let until = client.deadline(secs(1));
        let clock = handle.clone();
        let scoped = client.scope(until, move |_| async move {
            clock.sleep(secs(100)).await;
            Ok(())
        });
        assert!(scoped.await.unwrap_err().is_deadline());
        assert!(now(&client) - begun >= secs(1));
    })
}

fn shutdown(client: Client, handle: Handle) -> BoxFuture<()> {
    Box::pin(async move {
        let call = client.get("http://mute.test/").timeouts(Timeouts::none());
        let call = call.send();
        handle.spawn(async move { drop(call.await) });
        handle.sleep(ms(100)).await;
        let begun = now(&client);
        client.shutdown(client.deadline(secs(1))).await;
        assert!(now(&client) - begun >= secs(1));
    })
}

/// Plays one; the bend is in force from the beginning, or as the test wants.
fn play<F: Future<Output = ()> + 'static>(
    name: &str,
    life: Life,
    bends: impl FnOnce(Bend, Handle) -> F,
) -> Run<()> {
    let mut sim = Sim::seeded(1);
    sim.limit(secs(20_000));
    echo(&sim, "web.test:80");
    crate::server::echo(&sim);
    silent(&sim, "mute.test:80");
    sim.host("down.test").addrs([[10, 9, 0, 3]]);
    sim.between(.., fulmar_sim::Fault::refuse("10.9.0.3"));
    sim.between(.., fulmar_sim::Fault::dns_silent("lost.test"));
    let (builder, bend) = bent(&sim);
    let client = builder
        .dns(&Dns::new())
        .limits(Limits::new().per_origin(2))
        .websocket_limits(1, 1)
        .build()
        .unwrap();
    let (handle, reader) = (sim.handle(), client.gauge_reader());
    let bends = bends(bend, handle.clone());
    let run = sim.run(async move {
        let mut bends = Box::pin(bends);
        let mut life = life(client.clone(), handle.clone());
        let mut is_bent = false;
        std::future::poll_fn(|cx| {
            is_bent = is_bent || bends.as_mut().poll(cx).is_ready();
            life.as_mut().poll(cx)
        })
        .await;
        if !is_bent {
            bends.await;
        }
        handle.sleep(secs(100)).await;
        assert_quiet(client.gauges());
    });
    if let Some(failure) = run.failure() {
        panic!("{name}: {failure:?}\n{}", run.trace());
    }
    assert_eq!(run.leaks(), [""; 0], "{name}");
    assert_eq!(reader(), None, "{name}: somebody keeps the client");
    run
}

#[test]
fn a_timer_that_fires_early_makes_nothing_early_and_keeps_no_thread() {
    for timers in [
        Timers::Early(ms(1)),
        Timers::Early(ms(900)),
        Timers::Early(secs(7_200)),
        Timers::Restless,
    ] {
        for (name, life) in LIVES {
            let _ = play(&format!("{name}, {timers:?}"), life, |bend, _| async move {
                bend.timers(timers);
            });
        }
    }
}

#[test]
fn a_task_may_run_before_it_is_said_to_be_spawned() {
    for (name, life) in LIVES {
        let _ = play(name, life, |bend, _| async move {
            bend.spawns(Spawns::AtOnce);
        });
    }
}

#[test]
fn a_timer_that_is_late_makes_late_and_no_more() {
    for (name, life) in LIVES {
        let run = play(name, life, |bend, _| async move {
            bend.timers(Timers::Late(secs(3)));
        });
        assert!(run.elapsed() < secs(150), "{name}: {:?}", run.elapsed());
    }
}

#[test]
fn a_clock_that_stands_still_for_a_while_delays_what_is_due_and_keeps_no_thread() {
    for (name, life) in LIVES {
        let run = play(name, life, |bend, handle| async move {
            handle.sleep(ms(500)).await;
            bend.clock(Clock::At(at(ms(500))));
            handle.sleep(secs(10)).await;
            bend.clock(Clock::Behind(secs(10)));
        });
        assert!(run.elapsed() < secs(200), "{name}: {:?}", run.elapsed());
    }
}

#[test]
fn a_clock_that_goes_back_delays_what_is_due_and_keeps_no_thread() {
    for (name, life) in LIVES {
        let run = play(name, life, |bend, handle| async move {
            bend.clock(Clock::Ahead(secs(60)));
            handle.sleep(ms(500)).await;
            bend.clock(Clock::True);
        });
        assert!(run.elapsed() < secs(300), "{name}: {:?}", run.elapsed());
    }
}

#[test]
fn a_clock_that_jumps_an_hour_ahead_ends_what_is_due_and_nothing_else() {
    for (name, life) in LIVES {
        let _ = play(name, life, |bend, handle| async move {
            handle.sleep(ms(10)).await;
            bend.clock(Clock::Ahead(secs(3_600)));
        });
    }
}
