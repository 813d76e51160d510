//! Messages both ways.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use fulmar_tokio::WebSocket;
use fulmar_tokio::websocket::{Cause, CloseCode, Compression, Limits, Message, Violation};
use futures_core::Stream;
use futures_sink::Sink;

use crate::server::{Library, Server};

async fn echoes(ws: &mut WebSocket) {
    for message in [
        Message::text(""),
        Message::text("grüße"),
        Message::binary(vec![0; 125]),
        Message::binary((0..=255).cycle().take(70_000).collect::<Vec<u8>>()),
        Message::text("again and again ".repeat(100_000)),
        Message::binary(noise(300_000)),
    ] {
        ws.send(message.clone()).await.unwrap();
        assert!(ws.recv().await.unwrap() == Some(message));
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    std::iter::successors(Some(1_u32), |seed| {
        Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .map(|seed| (seed >> 24) as u8)
    .take(len)
    .collect()
}

pub(crate) async fn messages_come_back_of_their_kind(server: Server) {
    let mut ws = server.open("/").await;
    assert_eq!(ws.compression(), None);
    echoes(&mut ws).await;
    assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
}

pub(crate) async fn messages_are_compressed_as_far_as_it_agrees(server: Server) {
    for (compression, bits, takeover) in [
        (Compression::new(), 15, true),
        (Compression::new().context_takeover(false), 15, false),
        (Compression::new().window_bits(9).threshold(0), 9, true),
        (Compression::low_memory(), 12, false),
    ] {
        let opening = server.at("/").compression(compression);
        let mut ws = opening.connect().await.unwrap();
        // tungstenite knows no extension.
        assert_eq!(
            ws.compression().is_some(),
            server.library != Library::Tungstenite
        );
        if let Some(agreed) = ws.compression() {
            assert!(
                agreed.client_bits <= bits && agreed.server_bits <= bits,
                "{agreed:?}"
            );
            let takeovers = (agreed.client_takeover, agreed.server_takeover);
            assert!(takeovers == (takeover, takeover), "{agreed:?}");
        }
        // The second time finds the windows as the first left them.
        echoes(&mut ws).await;
        echoes(&mut ws).await;
        assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    }
}

pub(crate) async fn a_socket_is_a_stream_and_a_sink(server: Server) {
    let mut ws = server.open("/").await;
    for n in 0..100 {
        poll_fn(|cx| Pin::new(&mut ws).poll_ready(cx))
            .await
            .unwrap();
        Pin::new(&mut ws).start_send(n.to_string().into()).unwrap();
    }
    poll_fn(|cx| Pin::new(&mut ws).poll_flush(cx))
        .await
        .unwrap();
    for n in 0..100 {
        let next = poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await;
        assert_eq!(next, Some(Ok(n.to_string().into())));
    }
    poll_fn(|cx| Pin::new(&mut ws).poll_close(cx))
        .await
        .unwrap();
    assert_eq!(poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await, None);
    assert_eq!(server.seen("close", 1).await, ["1000 "]);
}

/// More than all buffers on the way hold: who sent all before he received would wait for ever.
pub(crate) async fn the_halves_send_and_receive_at_once(server: Server) {
    let (mut sender, mut receiver) = server.open("/").await.split();
    let sending = tokio::spawn(async move {
        for n in 0..200_u8 {
            sender.send(vec![n; 60_000]).await.unwrap();
        }
        sender
    });
    for n in 0..200_u8 {
        let message = receiver.recv().await.unwrap();
        assert!(message == Some(Message::binary(vec![n; 60_000])), "{n}");
    }
    let sender = sending.await.unwrap();
    assert!(sender.close(CloseCode::NORMAL, "").await.unwrap().clean);
    assert_eq!(receiver.recv().await, Ok(None));
}

/// `websockets` and tungstenite take frames of up to 2 MiB here; aiohttp counts whole messages.
pub(crate) async fn a_large_message_goes_in_frames_that_it_takes(server: Server) {
    let mut ws = server.open("/").await;
    let large = Message::binary(vec![7; 3 << 20]);
    ws.send(large.clone()).await.unwrap();
    // It gets in between, or follows.
    assert!(ws.ping().await.unwrap() > Duration::ZERO);
    assert!(ws.recv().await.unwrap() == Some(large));
}

pub(crate) async fn a_message_beyond_the_limit_is_refused_with_1009(server: Server) {
    let limits = Limits::new().message(1 << 20).frame(1 << 20);
    let mut ws = server.at("/large").limits(limits).connect().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.code, CloseCode::TOO_BIG);
    assert!(
        matches!(closed.cause, Cause::Violation(Violation::FrameTooLarge)),
        "{closed}"
    );
    let seen = server.seen("close", 1).await;
    assert!(seen[0].starts_with("1009"), "{seen:?}");
}
