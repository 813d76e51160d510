//! Streams on a healthy network.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::FaultKind;
use fulmar_sim::Sim;
use fulmar_sim::net::{Endpoint, Family, Net, SocketOptions};
use futures_io::{AsyncRead, AsyncWrite};

use crate::support::{
    connect, connect_to, echoing, exchange, ms, pattern, read, read_up_to, shutdown, write,
};

#[test]
fn an_echo_takes_two_round_trips() {
    let (mut sim, net) = echoing(1);
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        assert!(socket.is_quiet());
        assert_eq!(socket.peer().unwrap().to_string(), "10.0.0.1:80");
        exchange(&mut socket, b"hello").await.unwrap()
    });
    assert_eq!(run.expect(), b"hello");
    assert_eq!(run.elapsed(), ms(41), "1 ms of resolving, then twice 20 ms");
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn bytes_arrive_once_and_in_order_over_a_jittery_and_lossy_link() {
    let (mut sim, net) = echoing(2);
    sim.link("laptop", "api.test")
        .latency(ms(5)..ms(200))
        .loss(0.2);
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        for at in 0..200 {
            write(&mut socket, pattern(2000).slice(at * 10..at * 10 + 10))
                .await
                .unwrap();
        }
        read_up_to(&mut socket, 2000).await.unwrap()
    });
    assert_eq!(run.expect()[..], pattern(2000)[..]);
    assert!(run.elapsed() > ms(400), "{:?}", run.elapsed());
}

#[test]
fn a_server_that_closes_ends_the_stream_after_what_it_wrote() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.write_all("bye").await
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let all = read_up_to(&mut socket, usize::MAX).await.unwrap();
        (all, socket.is_quiet())
    });
    assert_eq!(run.into_output(), (b"bye".to_vec(), false));
}

#[test]
fn a_half_closed_stream_still_reads() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while !conn.read(100).await?.is_empty() {}
        conn.write_all("after the end").await
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "request").await.unwrap();
        shutdown(&mut socket).await.unwrap();
        let error = write(&mut socket, "more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        read_up_to(&mut socket, usize::MAX).await.unwrap()
    });
    assert_eq!(run.expect(), b"after the end");
}

#[test]
fn writing_to_a_server_that_has_closed_is_answered_by_a_reset() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |_conn| async move { Ok(()) });
    let net = sim.net("laptop");
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), "");
        write(&mut socket, "too late").await.unwrap();
        handle.sleep(ms(10)).await;
        let first = write(&mut socket, "x").await.unwrap_err().kind();
        (first, write(&mut socket, "x").await.unwrap_err().kind())
    });
    assert_eq!(
        run.into_output(),
        (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe)
    );
}

#[test]
fn a_server_may_reset_after_a_part_of_its_answer() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.write_all("HTTP/1.1 2").await?;
        conn.reset();
        Ok(())
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let part = read(&mut socket).await.unwrap();
        (part, read(&mut socket).await.unwrap_err().kind())
    });
    assert_eq!(
        run.into_output(),
        (BytesMut::from("HTTP/1.1 2"), ErrorKind::ConnectionReset)
    );
}

#[test]
fn closing_with_something_unread_resets_the_peer() {
    let mut sim = Sim::seeded(1);
    let kinds = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&kinds);
    sim.serve("api.test:80", move |mut conn| {
        let seen = Arc::clone(&seen);
        async move {
            conn.write_all("unread").await?;
            let error = conn.read(10).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            seen.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    let (net, handle) = (sim.net("laptop"), sim.handle());
    let run = sim.run(async move {
        let socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(10)).await;
        drop(socket);
        handle.sleep(ms(10)).await;
    });
    run.expect();
    assert_eq!(kinds.load(Ordering::Relaxed), 1);
}

#[test]
fn a_peer_that_does_not_read_stops_its_writer() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.sleep(ms(1000)).await;
        let mut total = 0;
        while total < 200_000 {
            total += conn.read(usize::MAX).await?.len();
        }
        conn.write_all("done").await
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let mut buf = WriteBuf::default();
        buf.put_bytes(pattern(200_000));
        let mut cx = Context::from_waker(Waker::noop());
        let first = socket.poll_write(&mut cx, &mut buf);
        assert!(matches!(first, Poll::Ready(Ok(65_536))), "{first:?}");
        assert!(socket.poll_write(&mut cx, &mut buf).is_pending());
        write(&mut socket, pattern(200_000 - 65_536)).await.unwrap();
        let written = net.now().since_origin();
        assert_eq!(read_up_to(&mut socket, 4).await.unwrap(), b"done");
        written
    });
    assert!(*run.expect() > ms(1000));
}

#[test]
fn bandwidth_bounds_the_rate_of_all_connections_together() {
    let (mut sim, net) = echoing(1);
    sim.link("laptop", "api.test").bandwidth(100_000);
    let run = sim.run(async move {
        let mut first = connect(&net, "api.test").await.unwrap();
        let mut second = connect(&net, "api.test").await.unwrap();
        write(&mut first, pattern(50_000)).await.unwrap();
        write(&mut second, pattern(50_000)).await.unwrap();
        assert_eq!(
            read_up_to(&mut first, 50_000).await.unwrap(),
            pattern(50_000)
        );
        assert_eq!(
            read_up_to(&mut second, 50_000).await.unwrap(),
            pattern(50_000)
        );
    });
    run.expect();
    // One second there; back, all but the last piece overlaps with it.
    assert!(
        run.elapsed() > ms(1050) && run.elapsed() < ms(1200),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn nobody_listening_refuses_after_a_round_trip_and_nobody_there_is_unreachable() {
    let (mut sim, net) = echoing(1);
    let run = sim.run(async move {
        let addr: IpAddr = "10.0.0.1".parse().unwrap();
        let error = connect_to(&net, SocketAddr::new(addr, 81))
            .await
            .err()
            .unwrap();
        assert_eq!(
            (error.kind(), net.now().since_origin()),
            (ErrorKind::ConnectionRefused, ms(20))
        );
        let error = connect_to(&net, "10.9.9.9:80".parse().unwrap())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable);
        let bind = "10.7.7.7".parse().ok();
        let mut options = SocketOptions::default();
        options.bind = bind;
        let to = Endpoint::Tcp("10.0.0.1:80".parse().unwrap());
        net.connect(&to, &options).await.err().unwrap().kind()
    });
    assert_eq!(run.into_output(), ErrorKind::AddrNotAvailable);
}

#[test]
fn the_resolver_knows_the_hosts_and_their_addresses() {
    let mut sim = Sim::seeded(1);
    let addrs: [IpAddr; 2] = ["fd00::1".parse().unwrap(), "10.1.0.1".parse().unwrap()];
    sim.host("Api.test").addrs(addrs).ttl(ms(5000));
    sim.net("laptop");
    sim.host("laptop").dns_latency(ms(7));
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let both = net.resolve("api.test.", Family::Any).await.unwrap();
        assert_eq!((both.addrs, both.ttl), (addrs.to_vec(), Some(ms(5000))));
        assert_eq!(net.now().since_origin(), ms(7));
        let one = net.resolve("API.TEST", Family::V4).await.unwrap();
        assert_eq!(one.addrs, [addrs[1]]);
        let none = net.resolve("laptop", Family::V6).await.unwrap_err();
        assert_eq!(none.kind, FaultKind::NameNotFound);
        net.resolve("nowhere.test", Family::Any)
            .await
            .unwrap_err()
            .kind
    });
    assert_eq!(run.into_output(), FaultKind::NameNotFound);
}

#[test]
fn a_server_speaks_http_and_keeps_the_connection() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(req) = conn.request().await? {
            conn.respond(200, req.path()).await?;
        }
        Ok(())
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        for _ in 0..2 {
            write(&mut socket, "GET /users?x=1 HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            let answer = read_up_to(&mut socket, 44).await.unwrap();
            assert_eq!(
                answer,
                b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n/users"
            );
        }
        write(
            &mut socket,
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
        read_up_to(&mut socket, usize::MAX).await.unwrap()
    });
    let closing = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n/";
    assert_eq!(run.expect(), closing);
}

#[test]
fn a_server_sends_continue_to_a_client_that_waits_for_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(req) = conn.request().await? {
            let response = http::Response::builder()
                .status(201)
                .header("x-method", req.method());
            let body = req.body().clone();
            conn.respond_with(response.body(body).map_err(std::io::Error::other)?)
                .await?;
        }
        Ok(())
    });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let head = "PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
        write(&mut socket, head).await.unwrap();
        assert_eq!(
            read(&mut socket).await.unwrap(),
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        write(&mut socket, "abc").await.unwrap();
        read(&mut socket).await.unwrap()
    });
    assert_eq!(
        run.into_output(),
        "HTTP/1.1 201 Created\r\ncontent-length: 3\r\nx-method: PUT\r\n\r\nabc"
    );
}

#[test]
fn a_server_written_over_futures_io_runs_on_a_connection() {
    async fn shout(stream: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
        let mut stream = pin!(stream);
        let mut buf = [0; 3];
        loop {
            let n = std::future::poll_fn(|cx| stream.as_mut().poll_read(cx, &mut buf)).await?;
            if n == 0 {
                return std::future::poll_fn(|cx| stream.as_mut().poll_close(cx)).await;
            }
            let loud = buf[..n].to_ascii_uppercase();
            std::future::poll_fn(|cx| stream.as_mut().poll_write(cx, &loud)).await?;
        }
    }
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", shout);
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, Bytes::from_static(b"quietly"))
            .await
            .unwrap();
        shutdown(&mut socket).await.unwrap();
        read_up_to(&mut socket, usize::MAX).await.unwrap()
    });
    assert_eq!(run.expect(), b"QUIETLY");
}

#[test]
fn an_abandoned_connect_leaves_nothing_behind() {
    let (mut sim, net) = echoing(1);
    let handle = sim.handle();
    let run = sim.run(async move {
        for after in [5, 15, 25] {
            let mut opening = pin!(connect_to(&net, "10.0.0.1:80".parse().unwrap()));
            let mut nap = pin!(handle.sleep(ms(after)));
            // Whichever is first; the other is dropped.
            std::future::poll_fn(|cx| {
                let is_open = opening.as_mut().poll(cx).is_ready();
                if is_open || nap.as_mut().poll(cx).is_ready() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
        handle.sleep(ms(100)).await;
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
    assert_eq!(
        run.trace().matches("is accepted").count(),
        2,
        "{}",
        run.trace()
    );
    assert_eq!(
        run.trace().matches("server closes").count(),
        2,
        "{}",
        run.trace()
    );
}
