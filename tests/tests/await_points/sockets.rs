//! `WebSocket`s: opening, talking, closing, and both halves. The client may have one.

use fulmar_sim::websocket::CloseCode;
use fulmar_sim::{Client, Fault, Handle, Sim, WebSocket};

use crate::harness::{AT_ONCE, Act, Operation, drop_everywhere};
use crate::requests::operations;
use crate::server::{Peer, URL, echo};
use crate::support::{join, ms, secs, until};

const PLAIN: Operation = Operation {
    name: "",
    world: echo,
    act: next,
    next,
    is_warm: false,
    has_rival: false,
    quiet: AT_ONCE,
};

/// The only place is free again, and a socket in it works.
pub(crate) fn next(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let mut ws = open(&client).await;
        ws.send("next").await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap().as_text(), Some("next"));
        assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    })
}

async fn open(client: &Client) -> WebSocket {
    client.websocket(URL).connect().await.unwrap()
}

async fn open_mute(client: &Client) -> WebSocket {
    client.websocket("ws://mute.test/").connect().await.unwrap()
}

fn flood(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let mut ws = open(&client).await;
        for size in [5, 300_000, 70_000] {
            ws.send(vec![0; size]).await.unwrap();
            ws.flush().await.unwrap();
            ws.recv().await.unwrap();
        }
        ws.ping().await.unwrap();
    })
}

fn halves(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let (mut sender, mut receiver) = open(&client).await.split();
        sender.send("a").await.unwrap();
        assert!(receiver.recv().await.unwrap().is_some());
        sender.ping().await.unwrap();
        drop(receiver);
        sender.close(CloseCode::NORMAL, "").await.unwrap();
    })
}

/// One server gives everything back; another says nothing more than that it is one, a third does not
/// even read, and one is down.
fn echo_and_mute(sim: &Sim) {
    echo(sim);
    sim.serve("mute.test:80", |conn| async move {
        if let Some(mut peer) = Peer::accept(conn, "").await? {
            while peer.frame().await?.is_some() {}
        }
        Ok(())
    });
    sim.serve("deaf.test:80", |conn| async move {
        if let Some(peer) = Peer::accept(conn, "").await? {
            peer.conn.sleep(secs(20)).await;
        }
        Ok(())
    });
    sim.host("down.test").addrs([[10, 9, 0, 3]]);
    sim.between(.., Fault::refuse("10.9.0.3"));
}

/// Each half waits for what the other does not bring.
fn halves_that_wait(client: Client, handle: Handle) -> Act {
    Box::pin(async move {
        let connect = client.websocket("ws://deaf.test/").connect();
        let (mut sender, mut receiver) = connect.await.unwrap().split();
        let floods = async move { while sender.send(vec![b'x'; 70_000]).await.is_ok() {} };
        let listens = async move { drop(receiver.recv().await) };
        until(&handle, client.deadline(secs(1)), join(floods, listens)).await;
    })
}

fn close_behind_a_flood(client: Client, handle: Handle) -> Act {
    Box::pin(async move {
        let mut ws = client.websocket("ws://deaf.test/").connect().await.unwrap();
        let floods = async { while ws.send(vec![b'x'; 70_000]).await.is_ok() {} };
        until(&handle, client.deadline(ms(10)), floods).await;
        assert!(!ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    })
}

/// The client may have one, and somebody has it.
fn connect_behind_another(client: Client, handle: Handle) -> Act {
    Box::pin(async move {
        let held = open(&client).await;
        let (first, second) = (open(&client), open(&client));
        let frees = async {
            handle.sleep(ms(5)).await;
            drop(held);
            handle.sleep(ms(5)).await;
        };
        let both = async { join(async { drop(first.await) }, async { drop(second.await) }).await };
        join(frees, both).await;
    })
}

/// Waits for what never comes, and gives up.
fn with_a_mute(client: Client, handle: Handle, wait: fn(WebSocket) -> Act) -> Act {
    Box::pin(async move {
        let waits = wait(open_mute(&client).await);
        until(&handle, client.deadline(secs(1)), waits).await;
    })
}

fn recv_from_a_mute(client: Client, handle: Handle) -> Act {
    with_a_mute(client, handle, |mut ws| {
        Box::pin(async move {
            let _ = ws.recv().await;
        })
    })
}

fn ping_a_mute(client: Client, handle: Handle) -> Act {
    with_a_mute(client, handle, |ws| {
        Box::pin(async move {
            let _ = ws.ping().await;
        })
    })
}

fn close_at_a_mute(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let ws = open_mute(&client).await;
        // It gives up by itself.
        assert!(
            !ws.close(CloseCode::NORMAL, "")
                .await
                .is_ok_and(|closed| closed.clean)
        );
    })
}

operations! {
    websocket_recv_from_a_mute_peer: 3, Operation {
        world: echo_and_mute, act: recv_from_a_mute, ..PLAIN
    };
    websocket_ping_of_a_mute_peer: 3, Operation {
        world: echo_and_mute, act: ping_a_mute, ..PLAIN
    };
    websocket_close_that_is_never_answered: 3, Operation {
        world: echo_and_mute, act: close_at_a_mute, ..PLAIN
    };
    websocket_halves_that_both_wait: 4, Operation {
        world: echo_and_mute, act: halves_that_wait, ..PLAIN
    };
    websocket_close_behind_a_flood: 4, Operation {
        world: echo_and_mute, act: close_behind_a_flood, ..PLAIN
    };
    websocket_connect_behind_another: 5, Operation { act: connect_behind_another, ..PLAIN };
    websocket_connect_where_nobody_listens: 2, Operation {
        world: echo_and_mute,
        act: |c, _| Box::pin(async move {
            c.websocket("ws://down.test/").connect().await.unwrap_err();
        }),
        ..PLAIN
    };
    websocket_connect: 2, Operation {
        act: |c, _| Box::pin(async move { drop(open(&c).await) }), ..PLAIN
    };
    websocket_everything: 5, Operation { ..PLAIN };
    websocket_flood: 5, Operation { act: flood, ..PLAIN };
    websocket_halves: 5, Operation { act: halves, ..PLAIN };
}
