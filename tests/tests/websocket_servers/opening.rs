//! How a WebSocket comes about.

use std::cell::Cell;

use fulmar_tokio::websocket::{CloseCode, Refused};
use fulmar_tokio::{Client, Tokio};

use crate::server::{Server, text};

pub(crate) async fn one_client_speaks_http_and_websocket_to_it(server: Server) {
    let mut ws = server.open("/").await;
    ws.send("by WebSocket").await.unwrap();
    assert_eq!(text(&mut ws).await, "by WebSocket");
    // The plain request goes by another connection of the same pool.
    assert_eq!(server.seen("message", 1).await, ["by WebSocket"]);
    assert_eq!(server.client.gauges().busy, 1);
    assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    assert_eq!(server.client.gauges().busy, 0);
}

pub(crate) async fn headers_cookies_and_credentials_reach_it(server: Server) {
    let opening = server.at("/headers").bearer_auth("secret");
    let opening = opening.header("cookie", "a=b").header("x-room", "7");
    let told = text(&mut opening.connect().await.unwrap()).await;
    let told: Vec<_> = told.lines().collect();
    for line in ["authorization: Bearer secret", "cookie: a=b", "x-room: 7"] {
        assert!(told.contains(&line), "{told:?}");
    }
    let opening = server.at("/headers").basic_auth("ann", Some("pass"));
    let told = text(&mut opening.connect().await.unwrap()).await;
    assert!(told.contains("authorization: Basic YW5uOnBhc3M="), "{told}");
}

pub(crate) async fn a_sub_protocol_is_agreed_on(server: Server) {
    let opening = server.at("/").protocol("v3.chat").protocol("v2.chat");
    assert_eq!(opening.connect().await.unwrap().protocol(), Some("v2.chat"));
    assert_eq!(server.open("/").await.protocol(), None);
}

pub(crate) async fn a_refusal_is_an_error_with_its_status_and_body(server: Server) {
    for status in [400, 401, 403, 404, 500] {
        let path = format!("/status/{status}");
        let error = server.at(&path).connect().await.unwrap_err();
        assert_eq!(error.status().unwrap(), status);
        let refused = Refused::of(&error).unwrap();
        assert_eq!(
            (refused.status().as_u16(), &**refused.body()),
            (status, &b"no"[..])
        );
    }
    assert_eq!(server.client.gauges().busy, 0);
}

pub(crate) async fn who_comes_when_there_are_as_many_as_may_be_waits(mut server: Server) {
    let client = Client::builder(Tokio::new()).websocket_limits(2, 2);
    server.client = client.build().unwrap();
    let open = Cell::new(0);
    let talk = async || {
        let mut ws = server.open("/").await;
        open.set(open.get() + 1);
        assert!(open.get() <= 2, "{} are open", open.get());
        ws.send("hello").await.unwrap();
        assert_eq!(text(&mut ws).await, "hello");
        open.set(open.get() - 1);
        assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    };
    tokio::join!(talk(), talk(), talk(), talk(), talk());
    assert_eq!(server.seen("open", 5).await.len(), 5);
}
