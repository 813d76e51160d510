//! Sessions: opening, sending and what becomes of it, receiving, closing; over connections that come
//! and go. The client may have one.

use std::future::Future;

use fulmar_sim::session::{Config, Delivery, Outgoing, Received};
use fulmar_sim::{Backoff, Client, Handle, Session, Sim};

use crate::harness::{AT_ONCE, Act, DIAL, Operation, drop_everywhere};
use crate::requests::operations;
use crate::server::{Peer, URL};
use crate::support::{ms, secs, until};

const PLAIN: Operation = Operation {
    name: "",
    world: town,
    act: next,
    next,
    is_warm: false,
    has_rival: false,
    quiet: AT_ONCE,
};

/// One gives everything back, one says no more than that it is a WebSocket, one goes after each
/// message, and one cannot be reached.
pub(crate) fn town(sim: &Sim) {
    crate::world::everything(sim);
    crate::server::echo(sim);
    sim.serve("mute.test:80", |conn| async move {
        if let Some(mut peer) = Peer::accept(conn, "").await? {
            while peer.frame().await?.is_some() {}
        }
        Ok(())
    });
    sim.serve("brief.test:80", |conn| async move {
        let Some(mut peer) = Peer::accept(conn, "").await? else {
            return Ok(());
        };
        while let Some(frame) = peer.frame().await? {
            if frame.first == 0x81 {
                peer.send(0x81, &frame.payload).await?;
                peer.close(1001, "later").await?;
                peer.closing().await?;
                break;
            }
        }
        Ok(())
    });
}

fn quick() -> Config {
    Config::new()
        .backoff(Backoff::constant(ms(10)))
        .initial_spread(ms(10))
}

pub(crate) fn open(client: &Client, url: &str) -> Session {
    client.websocket(url).reconnect(quick()).outbox(2).open()
}

/// A message that is sent again until it is acknowledged.
fn kept(text: &str) -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(text)
    }
}

async fn text(session: &Session) -> String {
    loop {
        if let Some(Received::Message(message)) = session.recv().await.unwrap() {
            return message.as_text().unwrap().to_owned();
        }
    }
}

/// The only place is free again, and a session in it works.
pub(crate) fn next(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let session = open(&client, URL);
        let mut sent = session.send("next").await.unwrap();
        sent.flushed().await.unwrap();
        assert_eq!(text(&session).await, "next");
        assert!(session.close().await.is_empty());
    })
}

/// Everything that a message can come to, one after the other.
fn receipts(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let session = open(&client, URL);
        let mut sent = session.send(kept("kept")).await.unwrap();
        sent.flushed().await.unwrap();
        sent.peer_seen().await.unwrap();
        assert_eq!(text(&session).await, "kept");
        assert!(session.acknowledge(sent.id()));
        sent.acked().await.unwrap();
        session.close().await;
    })
}

/// Waits for what never comes, and gives up.
fn in_vain<F>(client: Client, handle: Handle, url: &'static str, wait: fn(Session) -> F) -> Act
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::pin(async move {
        let waits = wait(open(&client, url));
        until(&handle, client.deadline(secs(1)), waits).await;
    })
}

fn over_connections(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let session = open(&client, "ws://brief.test/");
        let mut events = session.events();
        for word in ["a", "b", "c"] {
            let sent = session.send(kept(word)).await.unwrap();
            assert_eq!(text(&session).await, word);
            session.acknowledge(sent.id());
        }
        assert!(events.next().await.is_some());
        session.close().await;
    })
}

operations! {
    session_everything: 4, Operation { ..PLAIN };
    session_receipts: 4, Operation { act: receipts, ..PLAIN };
    session_over_connections_that_end: 5, Operation { act: over_connections, ..PLAIN };
    session_recv_from_a_mute_peer: 2, Operation {
        act: |c, h| in_vain(c, h, "ws://mute.test/", |session| async move {
            let _ = session.recv().await;
        }),
        ..PLAIN
    };
    session_receipt_that_a_mute_peer_does_not_give: 3, Operation {
        act: |c, h| in_vain(c, h, "ws://mute.test/", |session| async move {
            let mut sent = session.send("x").await.unwrap();
            let _ = sent.peer_seen().await;
        }),
        ..PLAIN
    };
    session_send_that_waits_for_room: 2, Operation {
        act: |c, h| in_vain(c, h, "ws://down.test/", |session| async move {
            for _ in 0..4 {
                drop(session.send("x").await);
            }
        }),
        ..PLAIN
    };
    session_send_to_where_a_dial_hangs: 2, Operation {
        act: |c, h| in_vain(c, h, "ws://hung.test/", |session| async move {
            let mut sent = session.send("x").await.unwrap();
            let _ = sent.flushed().await;
        }),
        quiet: DIAL,
        ..PLAIN
    };
    session_close_with_something_left: 2, Operation {
        act: |c, _| Box::pin(async move {
            let session = open(&c, "ws://down.test/");
            drop(session.send("x").await.unwrap());
            assert_eq!(session.close_after_flush(secs(1)).await.len(), 1);
        }),
        ..PLAIN
    };
    session_close_at_a_mute_peer: 3, Operation {
        act: |c, _| Box::pin(async move {
            let session = open(&c, "ws://mute.test/");
            session.send("x").await.unwrap().flushed().await.unwrap();
            session.close().await;
        }),
        ..PLAIN
    };
    session_events_to_the_end: 3, Operation {
        act: |c, _| Box::pin(async move {
            let session = open(&c, URL);
            let mut events = session.events();
            session.send("x").await.unwrap().flushed().await.unwrap();
            session.close().await;
            while events.next().await.is_some() {}
        }),
        ..PLAIN
    };
}
