//! A client that shuts down ends its sockets, and those who wait for one.

use std::sync::{Arc, Mutex};

use fulmar_sim::websocket::{Cause, CloseCode};
use fulmar_sim::{Instant, Sim};

use crate::server::{URL, open_with, serve, text};
use crate::support::{assert_quiet, builder, client, ms, raw, secs};

#[test]
fn an_open_socket_is_closed_in_order_read_or_not() {
    for is_read in [true, false] {
        let mut sim = Sim::seeded(1);
        let code = Arc::new(Mutex::new(None));
        let seen = code.clone();
        serve(&sim, move |mut peer| {
            let seen = seen.clone();
            async move {
                peer.send(0x81, "last").await?;
                *seen.lock().unwrap() = peer.closing().await?;
                peer.close(1001, "").await
            }
        });
        let client = client(&sim);
        let handle = sim.handle();
        let run = sim.run(async move {
            let ws = open_with(client.websocket(URL)).await;
            let (mut sender, mut receiver) = ws.split();
            handle.sleep(secs(1)).await;
            let begun = handle.now();
            if is_read {
                let closing = client.clone();
                handle.spawn(async move { closing.shutdown(Instant::MAX).await });
            } else {
                // There is no deadline, and it ends all the same.
                client.shutdown(Instant::MAX).await;
            }
            assert_eq!(text(receiver.recv().await.unwrap()), "last");
            assert_eq!(receiver.recv().await, Ok(None));
            assert!(handle.now() - begun < secs(1));
            let closed = receiver.closed().unwrap();
            assert_eq!(
                (closed.code, closed.cause),
                (CloseCode::GOING_AWAY, Cause::Local)
            );
            assert!(sender.send("too late").await.is_err());
            handle.sleep(ms(10)).await;
            assert_quiet(client.gauges());
        });
        run.expect();
        assert_eq!(*code.lock().unwrap(), Some(1001));
        assert_eq!(run.open_sockets(), 0);
    }
}

#[test]
fn one_that_the_server_does_not_let_go_is_broken_off_at_the_deadline() {
    let mut sim = Sim::seeded(2);
    serve(&sim, |mut peer| async move {
        while peer.frame().await?.is_some() {}
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = open_with(client.websocket(URL)).await;
        let begun = handle.now();
        client.shutdown(client.deadline(secs(1))).await;
        assert!(handle.now() - begun <= ms(1_100));
        assert!(ws.recv().await.is_err());
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn who_waits_for_a_place_or_for_a_handshake_is_told_that_the_client_is_closed() {
    let mut sim = Sim::seeded(3);
    serve(&sim, |mut peer| async move { peer.echo().await });
    raw(&sim, "slow.test:80", "");
    let client = builder(&sim).websocket_limits(3, 1).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let ws = open_with(client.websocket(URL)).await;
        let closing = client.clone();
        let now = handle.clone();
        handle.spawn(async move {
            now.sleep(ms(100)).await;
            closing.shutdown(closing.deadline(secs(1))).await;
        });
        let begun = handle.now();
        let error = client.websocket(URL).connect().await.unwrap_err();
        assert!(error.is_closed(), "{error}");
        assert_eq!(handle.now() - begun, ms(100));
        let error = client.websocket(URL).connect().await.unwrap_err();
        assert!(error.is_closed(), "{error}");
        drop(ws);
    });
    run.expect();
}
