//! Messages both ways, with a server of bytes.

use std::io;
use std::thread;

use fulmar::websocket::{Cause, CloseCode, Keepalive, Message, WebSocket};
use fulmar::{Client, Instant};
use fulmar_tests::loopback::Request;
use fulmar_tests::websocket::{close_frame, frame};

use crate::env::{Env, Gate, Peer, PollTimes, ms};

suite![
    messages_of_all_sizes_come_back,
    the_halves_work_in_tasks_of_their_own,
    pings_and_a_close_are_answered_while_nobody_reads,
    a_ping_is_timed_while_somebody_reads,
    a_server_that_answers_no_ping_is_left,
    a_server_that_goes_ends_it_after_what_it_said,
    a_refused_handshake_is_an_error_with_the_status,
    a_websocket_dropped_after_any_number_of_polls_leaves_nothing_behind,
    a_websocket_may_be_dropped_on_a_bare_thread,
    a_shutdown_of_the_client_closes_a_websocket_that_nobody_reads,
];

/// Accepts the connection's first request, and the sub-protocol that it offers.
pub(crate) async fn accept(peer: &mut Peer) -> io::Result<()> {
    let Some(request) = peer.request().await? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    switch(peer, &request).await
}

/// Accepts this request, and the sub-protocol that it offers.
pub(crate) async fn switch(peer: &mut Peer, request: &Request) -> io::Result<()> {
    let key = request.header("sec-websocket-key").unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let chosen = request.header("sec-websocket-protocol");
    let chosen = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        chosen.unwrap_or_default()
    );
    peer.write(head).await
}

/// The next frame: its first byte and its payload.
pub(crate) async fn read(peer: &mut Peer) -> io::Result<(u8, Vec<u8>)> {
    let head = peer.exactly(2).await?;
    let len = match head[1] & 0x7f {
        126 => usize::from(u16::from_be_bytes(
            (&*peer.exactly(2).await?).try_into().unwrap(),
        )),
        127 => u64::from_be_bytes((&*peer.exactly(8).await?).try_into().unwrap()) as usize,
        len => usize::from(len),
    };
    let key = peer.exactly(4).await?;
    let masked = peer.exactly(len).await?;
    let pairs = masked.iter().zip(key.iter().cycle());
    Ok((head[0], pairs.map(|(byte, key)| byte ^ key).collect()))
}

/// Gives back whole messages; answers a Close frame and ends.
pub(crate) async fn echo(peer: &mut Peer) -> io::Result<()> {
    let (mut opcode, mut message) = (0, Vec::new());
    loop {
        let (first, payload) = read(peer).await?;
        match first & 0x0f {
            0x8 => return peer.write(frame(0x88, &payload)).await,
            0x9 => peer.write(frame(0x8a, &payload)).await?,
            0xa => {}
            kind => {
                opcode |= kind;
                message.extend_from_slice(&payload);
                if first & 0x80 != 0 {
                    peer.write(frame(0x80 | opcode, &message)).await?;
                    (opcode, message) = (0, Vec::new());
                }
            }
        }
    }
}

pub(crate) fn echoing(env: &Env) -> crate::env::Server {
    env.serve(|mut peer| async move {
        accept(&mut peer).await?;
        echo(&mut peer).await
    })
}

pub(crate) async fn open(client: &Client, server: &crate::env::Server) -> WebSocket {
    let url = server.url("/").replace("http:", "ws:");
    client.websocket(url).connect().await.unwrap()
}

pub(crate) async fn close(ws: &WebSocket) {
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(closed.clean, "{closed}");
}

pub(crate) async fn messages_of_all_sizes_come_back(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let mut ws = open(&client, &server).await;
    for len in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let sent = Message::binary(vec![len as u8; len]);
        ws.send(sent.clone()).await.unwrap();
        assert!(ws.recv().await.unwrap() == Some(sent), "{len} bytes");
    }
    ws.send("text").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("text".into()));
    close(&ws).await;
    assert_eq!(ws.recv().await, Ok(None));
    env.quiet(&client).await;
}

pub(crate) async fn the_halves_work_in_tasks_of_their_own(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let (mut sender, mut receiver) = open(&client, &server).await.split();
    let sending = env.spawn(async move {
        for n in 0..500_u32 {
            sender.send(n.to_be_bytes().repeat(100)).await.unwrap();
        }
        sender
    });
    let receiving = env.spawn(async move {
        for n in 0..500_u32 {
            let message = receiver.recv().await.unwrap().unwrap();
            assert_eq!(message.as_bytes()[..4], n.to_be_bytes());
        }
        receiver
    });
    let (sender, receiver) = (sending.await, receiving.await);
    let closed = sender.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(closed.clean, "{closed}");
    assert_eq!(receiver.closed(), Some(closed));
}

pub(crate) async fn pings_and_a_close_are_answered_while_nobody_reads(env: Env) {
    let gate = Gate::default();
    let opens = gate.clone();
    let server = env.serve(move |mut peer| {
        let opens = opens.clone();
        async move {
            accept(&mut peer).await?;
            for n in 0..20_u8 {
                peer.write(frame(0x82, &[n])).await?;
                peer.write(frame(0x89, &[n])).await?;
                assert_eq!(read(&mut peer).await?, (0x8a, vec![n]));
            }
            peer.write(close_frame(1001, "restart")).await?;
            assert_eq!(read(&mut peer).await?.0, 0x88);
            opens.open();
            Ok(())
        }
    });
    let mut ws = open(&env.client(), &server).await;
    env.until("an answered close", || gate.is_open()).await;
    for n in 0..20 {
        assert_eq!(ws.recv().await.unwrap(), Some(Message::binary(vec![n])));
    }
    assert_eq!(ws.recv().await, Ok(None));
    assert_eq!(ws.closed().unwrap().code, CloseCode::GOING_AWAY);
}

pub(crate) async fn a_ping_is_timed_while_somebody_reads(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let (sender, mut receiver) = open(&client, &server).await.split();
    let reading = env.spawn(async move { receiver.recv().await });
    for _ in 0..10 {
        sender.ping().await.unwrap();
    }
    sender.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!(reading.await, Ok(None));
}

pub(crate) async fn a_server_that_answers_no_ping_is_left(env: Env) {
    let server = env.serve(|mut peer| async move {
        accept(&mut peer).await?;
        peer.gone().await
    });
    let client = env.client();
    let keepalive = Keepalive::every(ms(40)).timeout(ms(20));
    let opening = client.websocket(server.url("/")).keepalive(keepalive);
    let mut ws = opening.connect().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.cause, Cause::KeepaliveTimeout { missed: 1 });
    env.quiet(&client).await;
}

pub(crate) async fn a_server_that_goes_ends_it_after_what_it_said(env: Env) {
    let server = env.serve(|mut peer| async move {
        accept(&mut peer).await?;
        peer.write(frame(0x81, b"last words")).await
    });
    let mut ws = open(&env.client(), &server).await;
    assert_eq!(ws.recv().await.unwrap(), Some("last words".into()));
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(
        (closed.code, closed.cause),
        (CloseCode::ABNORMAL, Cause::Eof)
    );
    assert!(ws.send("too late").await.is_err());
}

pub(crate) async fn a_refused_handshake_is_an_error_with_the_status(env: Env) {
    let server = env.serve(|mut peer| async move {
        while peer.request().await?.is_some() {
            peer.respond(401, "who?").await?;
        }
        Ok(())
    });
    let client = env.client();
    for _ in 0..3 {
        let error = client.websocket(server.url("/")).connect().await;
        assert_eq!(error.unwrap_err().status().unwrap(), 401);
    }
    assert_eq!(server.accepted(), 1, "HTTP goes on");
    env.quiet(&client).await;
}

pub(crate) async fn a_websocket_dropped_after_any_number_of_polls_leaves_nothing_behind(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    for polls in 0..12 {
        let talk = async {
            let mut ws = open(&client, &server).await;
            ws.send("hello").await.unwrap();
            ws.recv().await.unwrap();
            close(&ws).await;
        };
        PollTimes::new(polls, talk).await;
        env.quiet(&client).await;
    }
}

pub(crate) async fn a_websocket_may_be_dropped_on_a_bare_thread(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let ws = open(&client, &server).await;
    thread::spawn(move || drop(ws)).join().unwrap();
    env.quiet(&client).await;
    env.until("a closed socket", || server.open() == 0).await;
}

pub(crate) async fn a_shutdown_of_the_client_closes_a_websocket_that_nobody_reads(env: Env) {
    let (server, client) = (echoing(&env), env.client());
    let mut ws = open(&client, &server).await;
    client.shutdown(Instant::MAX).await;
    assert_eq!(ws.recv().await, Ok(None));
    assert_eq!(ws.closed().unwrap().code, CloseCode::GOING_AWAY);
}
