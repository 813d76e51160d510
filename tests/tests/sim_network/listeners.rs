//! Servers that accept connections themselves.

use std::io::ErrorKind;

use fulmar_sim::Sim;

use crate::support::{connect, ms, read};

#[test]
fn a_listener_gives_connections_in_the_order_in_which_they_came() {
    let mut sim = Sim::seeded(1);
    let listener = sim.listen("api.test:80");
    let handle = sim.handle();
    sim.spawn(async move {
        for name in ["first", "second"] {
            handle.sleep(ms(100)).await;
            let mut conn = listener.accept().await;
            conn.write_all(name).await.unwrap();
        }
        handle.sleep(ms(1000)).await;
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut one = connect(&net, "api.test").await.unwrap();
        let mut two = connect(&net, "api.test").await.unwrap();
        let second = read(&mut two).await.unwrap();
        (read(&mut one).await.unwrap(), second)
    });
    let (first, second) = run.into_output();
    assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
}

#[test]
fn a_listener_that_is_gone_refuses_and_one_that_waits_keeps_nothing() {
    let mut sim = Sim::seeded(1);
    let listener = sim.listen("api.test:80");
    let net = sim.net("laptop");
    let run = sim.run(async move {
        // Nobody accepts this one.
        let mut waiting = connect(&net, "api.test").await.unwrap();
        drop(listener);
        assert!(read(&mut waiting).await.unwrap().is_empty(), "it is closed");
        connect(&net, "api.test").await.err().unwrap().kind()
    });
    assert_eq!(run.expect(), &ErrorKind::ConnectionRefused);
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn a_full_backlog_closes_what_comes() {
    let mut sim = Sim::seeded(1);
    let listener = sim.listen("api.test:80");
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut sockets = Vec::new();
        for _ in 0..129 {
            sockets.push(connect(&net, "api.test").await.unwrap());
        }
        let quiet: Vec<_> = sockets.iter_mut().map(|socket| socket.is_quiet()).collect();
        let closed = read(sockets.last_mut().unwrap()).await.unwrap();
        drop(listener);
        (
            quiet.iter().take(128).all(|quiet| *quiet),
            closed.is_empty(),
        )
    });
    assert_eq!(run.into_output(), (true, true));
}
