//! `WebSocket`s: opening, talking, closing, and both halves. The client may have one.

use fulmar_sim::websocket::CloseCode;
use fulmar_sim::{Client, Handle, WebSocket};

use crate::harness::{Act, Operation, drop_everywhere};
use crate::requests::operations;
use crate::server::{URL, echo};

const PLAIN: Operation = Operation {
    name: "",
    world: echo,
    act: next,
    next,
    is_warm: false,
    has_rival: false,
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

operations! {
    websocket_connect: 2, Operation {
        act: |c, _| Box::pin(async move { drop(open(&c).await) }), ..PLAIN
    };
    websocket_everything: 5, Operation { ..PLAIN };
    websocket_flood: 5, Operation { act: flood, ..PLAIN };
    websocket_halves: 5, Operation { act: halves, ..PLAIN };
}
