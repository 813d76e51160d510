//! Messages both ways.

use std::future::poll_fn;
use std::pin::Pin;

use fulmar_core::ws::Compression;
use fulmar_sim::websocket::{Cause, CloseCode, Message, SendError};
use fulmar_sim::{Fault, Sim};
use fulmar_tests::websocket::client_frames;
use futures_core::Stream;
use futures_sink::Sink;

use crate::server::{
    Peer, close_in_order, count_slowly, echo, numbered, open_with, opened, serve, text,
};
use crate::support::{assert_quiet, client, join_all, ms, secs};

type Half<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

#[test]
fn messages_come_back_in_order_and_of_their_kind() {
    let mut sim = Sim::seeded(1);
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for n in 0..50 {
            ws.send(format!("text {n}")).await.unwrap();
            ws.send(vec![n; 3]).await.unwrap();
        }
        for n in 0..50 {
            assert_eq!(text(ws.recv().await.unwrap()), format!("text {n}"));
            let binary = ws.recv().await.unwrap().unwrap();
            assert_eq!(binary, Message::binary(vec![n; 3]));
        }
        close_in_order(&ws).await;
        assert_eq!(ws.recv().await, Ok(None));
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn long_messages_pass_whatever_the_pieces_are() {
    let mut sim = Sim::seeded(2);
    sim.between(secs(0).., Fault::segment("api.test", 1_000));
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for len in [0, 125, 126, 65_535, 65_536, 300_000, 2_000_000] {
            let sent = Message::binary(vec![7; len]);
            ws.send(sent.clone()).await.unwrap();
            assert!(ws.recv().await.unwrap() == Some(sent), "{len} bytes");
        }
        close_in_order(&ws).await;
    });
    run.expect();
}

#[test]
fn long_messages_go_in_frames_of_the_size_that_was_asked_for() {
    let mut sim = Sim::seeded(2);
    serve(&sim, |mut peer| async move {
        for (first, len) in [
            (0x82, 3_000),
            (0x02, 1_000),
            (0x00, 1_000),
            (0x00, 1_000),
            (0x80, 1),
        ] {
            let frame = peer.frame().await?.unwrap();
            assert_eq!((frame.first, frame.payload.len()), (first, len));
        }
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws.fragments(1_000, 3_000));
    let run = sim.run(async move {
        let mut ws = ws.await;
        ws.send(vec![7; 3_000]).await.unwrap();
        ws.send(vec![7; 3_001]).await.unwrap();
        close_in_order(&ws).await;
    });
    run.expect();
}

#[test]
fn the_halves_do_not_wait_for_each_other() {
    let mut sim = Sim::seeded(3);
    // The server sends without reading, and then reads.
    serve(&sim, |mut peer| async move {
        for n in 0..100_u8 {
            peer.send(0x82, vec![n; 10_000]).await?;
        }
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let (mut sender, mut receiver) = ws.await.split();
        let sending = async {
            for n in 100..200_u8 {
                sender.send(vec![n; 10_000]).await.unwrap();
            }
        };
        let receiving = async {
            for n in 0..200_u8 {
                let message = receiver.recv().await.unwrap().unwrap();
                assert_eq!((message.len(), message.as_bytes()[0]), (10_000, n));
            }
        };
        join_all([Box::pin(sending) as Half<'_>, Box::pin(receiving)]).await;
        assert!(sender.close(CloseCode::NORMAL, "").await.unwrap().clean);
    });
    run.expect();
}

#[test]
fn it_is_a_stream_and_a_sink() {
    let mut sim = Sim::seeded(4);
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for n in 0..10 {
            poll_fn(|cx| Pin::new(&mut ws).poll_ready(cx))
                .await
                .unwrap();
            Pin::new(&mut ws).start_send(format!("{n}").into()).unwrap();
        }
        poll_fn(|cx| Pin::new(&mut ws).poll_flush(cx))
            .await
            .unwrap();
        for n in 0..10 {
            let next = poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await;
            assert_eq!(text(next.transpose().unwrap()), format!("{n}"));
        }
        poll_fn(|cx| Pin::new(&mut ws).poll_close(cx))
            .await
            .unwrap();
        assert_eq!(poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await, None);
    });
    run.expect();
}

#[test]
fn the_last_item_of_a_stream_is_how_it_ended_out_of_order() {
    let mut sim = Sim::seeded(4);
    serve(&sim, |mut peer| async move {
        peer.send(0x81, "last words").await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        let mut next = async || poll_fn(|cx| Pin::new(&mut ws).poll_next(cx)).await;
        assert_eq!(text(next().await.transpose().unwrap()), "last words");
        assert_eq!(next().await.unwrap().unwrap_err().code, CloseCode::ABNORMAL);
        assert_eq!((next().await, next().await), (None, None));
    });
    run.expect();
}

#[test]
fn compressed_messages_come_back() {
    let mut sim = Sim::seeded(5);
    let lines = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover\r\n";
    // A server that repeats compressed frames as they are.
    sim.serve("api.test:80", move |conn| async move {
        let Some(mut peer) = Peer::accept(conn, lines).await? else {
            return Ok(());
        };
        while let Some(frame) = peer.frame().await? {
            let is_data = frame.first & 0x0f < 8;
            assert!(!is_data || frame.first & 0x40 != 0 && frame.payload.len() < 1_000);
            peer.send(frame.first, frame.payload).await?;
        }
        Ok(())
    });
    let ws = opened(&sim, |ws| {
        ws.compression(Compression::new().context_takeover(false))
    });
    let run = sim.run(async move {
        let mut ws = ws.await;
        assert!(ws.compression().is_some());
        for n in 1..5 {
            let said = "say it again ".repeat(n * 1_000);
            ws.send(said.clone()).await.unwrap();
            assert_eq!(text(ws.recv().await.unwrap()), said);
        }
    });
    run.expect();
}

#[test]
fn sending_after_the_end_gives_the_message_back() {
    let mut sim = Sim::seeded(6);
    echo(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        close_in_order(&ws).await;
        let refused = SendError::Closed("late".into());
        assert_eq!(ws.send("late").await, Err(refused.clone()));
        assert_eq!(ws.try_send("late"), Err(refused));
        assert!(ws.flush().await.is_err());
        assert_eq!(ws.ping().await, Err(ws.closed().unwrap()));
    });
    run.expect();
}

#[test]
fn a_sink_that_closes_takes_no_message_and_does_not_wait_for_room() {
    let mut sim = Sim::seeded(6);
    serve(&sim, |mut peer| async move {
        while peer.frame().await?.is_some() {}
        Ok(())
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        let closing = crate::support::PollTimes::new(1, ws.close(CloseCode::NORMAL, ""));
        assert!(closing.await.is_none());
        let closed = poll_fn(|cx| Pin::new(&mut ws).poll_ready(cx)).await;
        assert_eq!(closed.unwrap_err().cause, Cause::Local);
        let closed = Pin::new(&mut ws).start_send("late".into());
        assert_eq!(closed.unwrap_err().cause, Cause::Local);
        poll_fn(|cx| Pin::new(&mut ws).poll_flush(cx))
            .await
            .unwrap();
    });
    run.expect();
    assert!(run.elapsed() < secs(1), "{:?}", run.elapsed());
}

#[test]
fn a_dropped_recv_loses_nothing() {
    let mut sim = Sim::seeded(7);
    serve(&sim, |mut peer| async move {
        for n in 0..100 {
            peer.conn.sleep(ms(3)).await;
            peer.send(0x81, format!("{n}")).await?;
        }
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        let mut n = 0;
        while n < 100 {
            let until = handle.now() + ms(2);
            if let Some(message) = crate::support::until(&handle, until, ws.recv()).await {
                assert_eq!(text(message.unwrap()), format!("{n}"));
                n += 1;
            }
        }
    });
    run.expect();
}

#[test]
fn the_connection_is_given_back_to_the_client_at_the_end() {
    let mut sim = Sim::seeded(8);
    echo(&sim);
    let client = client(&sim);
    let run = sim.run(async move {
        let ws = open_with(client.websocket(crate::server::URL)).await;
        assert_eq!(client.gauges().busy, 1);
        close_in_order(&ws).await;
        assert_quiet(client.gauges());
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
}

#[test]
fn messages_that_are_fed_leave_together_with_the_next_flush() {
    let mut sim = Sim::seeded(21);
    serve(&sim, |mut peer| async move {
        let read = peer.conn.read(64 * 1024).await?;
        let (frames, used) = client_frames(&read);
        assert_eq!((frames.len(), used), (3, read.len()));
        peer.send(0x81, "three").await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for message in ["a", "b", "c"] {
            ws.feed(message).await.unwrap();
        }
        ws.flush().await.unwrap();
        assert_eq!(text(ws.recv().await.unwrap()), "three");
        close_in_order(&ws).await;
        let refused = ws.feed("late").await;
        assert_eq!(refused, Err(SendError::Closed(Message::text("late"))));
    });
    run.expect();
}

#[test]
fn feeding_waits_for_room_and_loses_nothing() {
    let mut sim = Sim::seeded(22);
    count_slowly(&sim);
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        for n in 0..200_u32 {
            ws.feed(numbered(n)).await.unwrap();
        }
        ws.flush().await.unwrap();
        assert_eq!(text(ws.recv().await.unwrap()), "all");
        close_in_order(&ws).await;
    });
    run.expect();
}

/// A server that reads late takes a pong late, and the reader, who is woken by neither, need not do
/// anything for that.
#[test]
fn a_pong_that_was_not_taken_at_once_follows_while_somebody_reads() {
    let mut sim = Sim::seeded(23);
    sim.between(secs(0).., Fault::slow_reader("api.test", 100_000));
    serve(&sim, |mut peer| async move {
        peer.send(0x89, "ping").await?;
        let mut bytes = 0;
        loop {
            let frame = peer.frame().await?.unwrap();
            if frame.first == 0x8a {
                break;
            }
            bytes += frame.payload.len();
        }
        peer.send(0x81, format!("pong behind {bytes}")).await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws);
    let run = sim.run(async move {
        let mut ws = ws.await;
        // As much as is taken without waiting, so that the pong has to wait, too.
        let mut sent = 0;
        while ws.try_send(vec![0; 10_000]).is_ok() {
            sent += 10_000;
        }
        let told = text(ws.recv().await.unwrap());
        assert_eq!(told, format!("pong behind {sent}"));
        close_in_order(&ws).await;
    });
    run.expect();
}

#[test]
fn a_message_that_came_while_nobody_read_is_received_at_once() {
    let mut sim = Sim::seeded(24);
    serve(&sim, |mut peer| async move {
        peer.send(0x81, "first").await?;
        peer.conn.sleep(ms(100)).await;
        peer.send(0x81, "second").await?;
        peer.echo().await
    });
    let ws = opened(&sim, |ws| ws);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut ws = ws.await;
        assert_eq!(text(ws.recv().await.unwrap()), "first");
        // The keeper has looked by then, and goes on looking.
        handle.sleep(ms(300)).await;
        let begun = handle.now();
        assert_eq!(text(ws.recv().await.unwrap()), "second");
        assert_eq!(handle.now(), begun);
    });
    run.expect();
}
