//! Servers that go down and come back.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{Fault, Sim};

use crate::support::{connect, echo, exchange, ms, read, write};

#[test]
fn a_server_that_is_killed_does_nothing_more_and_its_system_closes_for_it() {
    let mut sim = Sim::seeded(1);
    sim.check();
    let done = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&done);
    sim.serve("api.test:80", move |mut conn| {
        let done = Arc::clone(&done);
        async move {
            conn.read(10).await?;
            conn.sleep(ms(100)).await;
            done.fetch_add(1, Ordering::Relaxed);
            conn.write_all("late").await
        }
    });
    sim.between(ms(50)..ms(500), Fault::down("api.test"));
    let (net, handle) = (sim.net("laptop"), sim.handle());
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "work").await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), "", "the stream ends");
        assert_eq!(handle.now().since_origin(), ms(51));
        let error = connect(&net, "api.test").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        handle.sleep(ms(450)).await;
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"work").await.unwrap()
    });
    assert_eq!(run.expect(), b"late");
    assert_eq!(seen.load(Ordering::Relaxed), 1, "the first one was killed");
    assert!(run.trace().contains("server is killed"), "{}", run.trace());
}

#[test]
fn what_was_not_read_by_the_killed_is_a_reset() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |conn| async move {
        conn.sleep(ms(1000)).await;
        Ok(())
    });
    sim.at(ms(50), Fault::down("api.test:80"));
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "unread").await.unwrap();
        read(&mut socket).await.unwrap_err().kind()
    });
    assert_eq!(run.expect(), &ErrorKind::ConnectionReset);
}

#[test]
fn only_servers_go_down_and_only_those_of_the_target() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", echo);
    for target in ["laptop", "other.test", "api.test:81"] {
        sim.between(.., Fault::down(target));
    }
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"here").await.unwrap()
    });
    assert_eq!(run.expect(), b"here");
}
