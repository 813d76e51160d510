//! Streams as futures, and a server that echoes.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_sim::net::{Endpoint, Family, Net, SocketOptions, Stream};
use fulmar_sim::{Conn, Sim, SimNet};

pub(crate) type Socket = Box<dyn Stream>;

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) async fn connect(net: &SimNet, host: &str) -> io::Result<Socket> {
    let answer = net
        .resolve(host, Family::Any)
        .await
        .map_err(io::Error::other)?;
    let addr = answer.addrs.first().ok_or(io::ErrorKind::NotFound)?;
    connect_to(net, SocketAddr::new(*addr, 80)).await
}

pub(crate) async fn connect_to(net: &SimNet, addr: SocketAddr) -> io::Result<Socket> {
    net.connect(&Endpoint::Tcp(addr), &SocketOptions::default())
        .await
}

pub(crate) async fn write(socket: &mut Socket, bytes: impl Into<Bytes>) -> io::Result<()> {
    let mut buf = WriteBuf::default();
    buf.put_bytes(bytes.into());
    while !buf.is_empty() {
        poll_fn(|cx| socket.poll_write(cx, &mut buf)).await?;
    }
    Ok(())
}

pub(crate) async fn shutdown(socket: &mut Socket) -> io::Result<()> {
    poll_fn(|cx| socket.poll_shutdown(cx)).await
}

pub(crate) async fn read(socket: &mut Socket) -> io::Result<BytesMut> {
    let mut buf = BytesMut::with_capacity(64 * 1024);
    poll_fn(|cx| socket.poll_read(cx, &mut buf)).await?;
    Ok(buf)
}

/// Reads until the end of the stream, at most `max` bytes.
pub(crate) async fn read_up_to(socket: &mut Socket, max: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    while out.len() < max {
        let bytes = read(socket).await?;
        if bytes.is_empty() {
            break;
        }
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

/// Writes and reads as much.
pub(crate) async fn exchange(socket: &mut Socket, bytes: &'static [u8]) -> io::Result<Vec<u8>> {
    write(socket, Bytes::from_static(bytes)).await?;
    read_up_to(socket, bytes.len()).await
}

pub(crate) async fn echo(mut conn: Conn) -> io::Result<()> {
    loop {
        let bytes = conn.read(64 * 1024).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        conn.write_all(&bytes).await?;
    }
}

/// A simulation with an echo at `api.test:80` and 10 ms one way to it.
pub(crate) fn echoing(seed: u64) -> (Sim, SimNet) {
    let sim = Sim::seeded(seed);
    sim.serve("api.test:80", echo);
    sim.link("laptop", "api.test").latency(ms(10));
    let net = sim.net("laptop");
    (sim, net)
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}
