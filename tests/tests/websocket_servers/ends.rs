//! How a WebSocket ends.

use fulmar_tokio::websocket::{Cause, CloseCode};

use crate::server::{Library, Server, text};

pub(crate) async fn a_close_tells_it_code_and_reason(server: Server) {
    let mut ws = server.open("/").await;
    let closed = ws.close(CloseCode(4001), "done").await.unwrap();
    assert!(closed.clean && closed.cause == Cause::Local, "{closed}");
    // aiohttp answers every code with 1000.
    let answer = if server.library == Library::Aiohttp {
        1000
    } else {
        4001
    };
    assert_eq!(closed.code, CloseCode(answer));
    assert_eq!(ws.recv().await, Ok(None));
    assert_eq!(server.seen("close", 1).await, ["4001 done"]);
    assert_eq!(server.client.gauges().busy, 0);
}

pub(crate) async fn its_close_is_told_with_code_and_reason_and_answered_while_nobody_reads(
    server: Server,
) {
    let mut ws = server.open("/close/4000/why").await;
    // It has our answer.
    assert_eq!(server.seen("close", 1).await, ["4000 why"]);
    assert_eq!(text(&mut ws).await, "bye");
    assert_eq!(ws.recv().await, Ok(None));
    let closed = ws.closed().unwrap();
    assert!(closed.clean && closed.cause == Cause::Peer, "{closed}");
    assert_eq!((closed.code, &*closed.reason), (CloseCode(4000), "why"));
}
