//! Where the operations take place: a server with an answer of every kind, and some that have none.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use fulmar_sim::{Conn, Fault, ServerRequest, Sim};

use crate::support::{TlsConn, ms, secs};

const HUNG: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const ALIVE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const DOWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 3));

pub(crate) fn everything(sim: &Sim) {
    sim.serve("api.test:80", versatile);
    sim.serve("many.test:80", versatile);
    sim.host("hung.test").addrs([HUNG]);
    sim.host("many.test").addrs([HUNG, DOWN, ALIVE]);
    sim.host("down.test").addrs([DOWN]);
    sim.between(.., Fault::half_open("10.9.0.1"));
    sim.between(.., Fault::refuse("10.9.0.3"));
    sim.serve("early.test:80", |mut conn| async move {
        conn.read(16).await?;
        conn.write_all("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            .await?;
        while !conn.read(1024).await?.is_empty() {
            conn.sleep(ms(1)).await;
        }
        Ok(())
    });
    sim.serve("stale.test:80", |mut conn| async move {
        if conn.request().await?.is_some() {
            conn.respond(200, "once").await?;
        }
        Ok(())
    });
    sim.serve("api.test:443", |conn| secure(conn, "api.test"));
    sim.serve("other.test:443", |conn| secure(conn, "api.test"));
    sim.serve("mute.test:443", silent);
    sim.serve("deaf.test:80", deaf);
    sim.serve("proxy.test:3128", |conn| async move {
        shout(conn, "HTTP/1.1 200 OK\r\n\r\n").await
    });
}

async fn versatile(mut conn: Conn) -> io::Result<()> {
    while let Some(request) = conn.request().await? {
        if request.path() == "/shout" {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: shout\r\n\r\nfirst";
            return give_back(conn, head).await;
        }
        answer(&mut conn, &request).await?;
    }
    Ok(())
}

async fn answer(conn: &mut Conn, request: &ServerRequest) -> io::Result<()> {
    match request.path() {
        "/slow" => {
            conn.sleep(ms(7)).await;
            conn.respond(200, "slow").await
        }
        "/body" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            conn.write_all(head).await?;
            for _ in 0..5 {
                conn.sleep(ms(3)).await;
                conn.write_all("5\r\nhello\r\n").await?;
            }
            conn.write_all("0\r\n\r\n").await
        }
        "/busy" => conn.respond(503, "later").await,
        "/after" => {
            let head =
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
            conn.write_all(head).await
        }
        "/json" => conn.respond(200, "[1,2]").await,
        _ if request.method() == "HEAD" => {
            conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
                .await
        }
        path => conn.respond(200, path).await,
    }
}

async fn shout(mut conn: Conn, head: &str) -> io::Result<()> {
    match conn.request().await? {
        Some(_) => give_back(conn, head).await,
        None => Ok(()),
    }
}

async fn give_back(mut conn: Conn, head: &str) -> io::Result<()> {
    conn.write_all(head.as_bytes().to_vec()).await?;
    loop {
        let read = conn.read(1024).await?;
        if read.is_empty() {
            return Ok(());
        }
        conn.write_all(read.to_ascii_uppercase()).await?;
    }
}

/// Takes what comes and says nothing.
async fn silent(mut conn: Conn) -> io::Result<()> {
    while !conn.read(1024).await?.is_empty() {}
    Ok(())
}

/// Switches protocols and never reads again.
async fn deaf(mut conn: Conn) -> io::Result<()> {
    if conn.request().await?.is_some() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: shout\r\n\r\n";
        conn.write_all(head).await?;
        conn.sleep(secs(20)).await;
    }
    Ok(())
}

async fn secure(conn: Conn, name: &str) -> io::Result<()> {
    let mut tls = TlsConn::new(conn, name);
    while tls.request().await? {
        tls.conn.sleep(ms(2)).await;
        tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
    }
    Ok(())
}

/// A server that reads slowly, so that an upload waits for room.
pub(crate) fn slow_reader(sim: &Sim) {
    everything(sim);
    sim.between(..secs(30), Fault::slow_reader("api.test", 20_000));
}
