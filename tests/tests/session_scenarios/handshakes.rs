//! What answers to a handshake mean, and what each attempt asks for anew.

use std::sync::{Arc, Mutex};

use fulmar_sim::session::{
    CloseAction, CloseTable, HandshakeAction, HandshakeTable, Loss, Pace, StopReason,
};
use fulmar_sim::websocket::{CloseCode, Refused};
use fulmar_sim::{Instant, Sim};

use crate::server::{Peer, URL, switch};
use crate::support::{client, raw, secs};
use crate::town::{numbered_before, opened, quick, session};

#[test]
fn fatal_statuses_stop_it_and_others_are_tried_again() {
    for (status, is_fatal) in [
        (200, true),
        (400, true),
        (403, true),
        (404, true),
        (426, true),
        (408, false),
        (425, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let mut sim = Sim::seeded(8);
        let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nwhy");
        raw(&sim, "api.test:80", response);
        let opening = session(&sim, quick().max_attempts(2));
        let run = sim.run(async move {
            let session = opening.open();
            let reason = session.stopped().await;
            let error = session.last_error().unwrap();
            assert_eq!(error.status().unwrap(), status);
            assert_eq!(&Refused::of(&error).unwrap().body()[..], b"why");
            reason
        });
        let loss = Loss::Status(status);
        let expected = if is_fatal {
            StopReason::Fatal(loss)
        } else {
            StopReason::Exhausted {
                attempts: 2,
                last: loss,
            }
        };
        assert_eq!(run.expect(), &expected);
    }
}

#[test]
fn the_tables_may_be_replaced() {
    let mut sim = Sim::seeded(9);
    numbered_before(&sim, "api.test:80", |number, mut conn| async move {
        if number == 1 {
            let _ = conn.request().await?;
            return conn.respond(403, "not yet").await;
        }
        let mut peer = Peer::accept(conn, "").await?.unwrap();
        match number {
            2 => peer.close(1008, "expired").await,
            3 => peer.close(4400, "fatal here").await,
            _ => Ok(()),
        }
    });
    let config = quick()
        .handshakes(HandshakeTable::default().rule(403..=403, HandshakeAction::Retry))
        .closes(CloseTable::graphql_ws())
        .reason_hook(|code, reason| {
            let again = CloseAction::Reconnect(Pace::Usual);
            (code == CloseCode(1008) && reason == "expired").then_some(again)
        });
    let opening = session(&sim, config);
    let run = sim.run(async move {
        let session = opening.open();
        session.stopped().await
    });
    let StopReason::Fatal(loss) = run.expect() else {
        panic!("fatal");
    };
    assert_eq!(loss.code(), CloseCode(4400));
}

#[test]
fn retry_after_is_waited_for() {
    let mut sim = Sim::seeded(10);
    let asked = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let asks = asked.clone();
    sim.serve("api.test:80", move |mut conn| {
        let asks = asks.clone();
        async move {
            while conn.request().await?.is_some() {
                asks.lock().unwrap().push(conn.now());
                let busy = http::Response::builder()
                    .status(503)
                    .header("retry-after", "40");
                conn.respond_with(busy.body("busy").unwrap()).await?;
            }
            Ok(())
        }
    });
    let opening = session(&sim, quick().max_attempts(1));
    let run = sim.run(async move { opening.open().stopped().await });
    run.expect();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] >= secs(40) && asked[1] - asked[0] < secs(46));
}

#[test]
fn each_attempt_asks_anew_and_credentials_are_refreshed_once() {
    let mut sim = Sim::seeded(11);
    sim.serve("api.test:80", |mut conn| async move {
        let request = conn.request().await?.unwrap();
        if request.header("authorization") != Some("Bearer token 2") {
            return conn.respond(401, "who?").await;
        }
        conn.write_all(switch(&request, "")).await?;
        while !conn.read(1024).await?.is_empty() {}
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let tokens = Arc::new(Mutex::new(0));
        let asked = tokens.clone();
        let opening = client.websocket(URL).reconnect(quick());
        let session = opening.prepare(move |websocket, connect| {
            let mut tokens = asked.lock().unwrap();
            assert_eq!(connect.refresh_auth, *tokens == 1);
            *tokens += 1;
            let token = format!("token {tokens}");
            async move { Ok(websocket.bearer_auth(token)) }
        });
        let session = session.open();
        opened(&mut session.events()).await;
        assert_eq!(*tokens.lock().unwrap(), 2);

        let opening = client
            .websocket(URL)
            .bearer_auth("wrong")
            .reconnect(quick());
        let reason = opening.open().stopped().await;
        assert_eq!(reason, StopReason::Fatal(Loss::Status(401)));

        let opening = client.websocket(URL).reconnect(quick().max_attempts(3));
        let opening = opening.prepare(|_, _| async { Err("no token".into()) });
        let session = opening.open();
        assert!(matches!(
            session.stopped().await,
            StopReason::Exhausted { .. }
        ));
        let error = session.last_error().unwrap();
        assert!(error.to_string().contains("no token"), "{error}");
    });
    run.expect();
}

#[test]
fn a_misdirected_handshake_is_repeated_on_a_fresh_connection() {
    let mut sim = Sim::seeded(12);
    numbered_before(&sim, "api.test:80", |number, mut conn| async move {
        if number > 1 {
            return Peer::accept(conn, "").await?.unwrap().echo().await;
        }
        while conn.request().await?.is_some() {
            conn.respond(421, "not here").await?;
        }
        Ok(())
    });
    let opening = session(&sim, quick().max_attempts(1));
    let run = sim.run(async move {
        let session = opening.open();
        opened(&mut session.events()).await;
        session.close().await;
    });
    run.expect();
}

#[test]
fn a_status_that_the_table_takes_from_the_redirects_is_not_followed() {
    let mut sim = Sim::seeded(13);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            let response = http::Response::builder().status(302);
            let response = response.header("location", "ws://other.test/");
            conn.respond_with(response.body("").unwrap()).await?;
        }
        Ok(())
    });
    let followed = Arc::new(Mutex::new(0));
    let count = followed.clone();
    sim.serve("other.test:80", move |mut conn| {
        *count.lock().unwrap() += 1;
        async move {
            conn.request().await?;
            conn.respond(403, "no").await
        }
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let table = |action| HandshakeTable::default().rule(302..=302, action);
        let (fatal, retry) = (HandshakeAction::Fatal, HandshakeAction::Retry);
        let websocket = client.websocket(URL).handshakes(table(fatal));
        let error = websocket.connect().await.unwrap_err();
        assert_eq!(error.status().unwrap(), 302);
        let status = || Loss::Status(302);
        let config = quick().handshakes(table(fatal));
        let reason = client
            .websocket(URL)
            .reconnect(config)
            .open()
            .stopped()
            .await;
        assert_eq!(reason, StopReason::Fatal(status()));
        let config = quick().max_attempts(2).handshakes(table(retry));
        let reason = client
            .websocket(URL)
            .reconnect(config)
            .open()
            .stopped()
            .await;
        let (attempts, last) = (2, status());
        assert_eq!(reason, StopReason::Exhausted { attempts, last });
        assert_eq!(*followed.lock().unwrap(), 0);

        // The default follows.
        let reason = client
            .websocket(URL)
            .reconnect(quick())
            .open()
            .stopped()
            .await;
        assert_eq!(reason, StopReason::Fatal(Loss::Status(403)));
        assert_eq!(*followed.lock().unwrap(), 1);
    });
    run.expect();
}
