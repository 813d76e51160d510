//! The real side: sockets of this machine, some of them no good.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Server;

/// Loopback, at a port of the system's choice.
const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
/// Connections that fill the longest of queues: systems round small backlogs up.
const CROWD: usize = 64;

/// Starts the server and tells where.
pub(crate) async fn start(server: Arc<Server>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from(ANY)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            // What a connection suffers is the tour's subject, not the server's.
            tokio::spawn(async move { server.serve(Socketed(stream)).await.ok() });
        }
    });
    Ok(addr)
}

/// A port where nobody listens, kept from others for as long as the socket lives.
pub(crate) fn refused_port() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(ANY))?;
    let addr = addr_of(&socket)?;
    Ok((socket, addr))
}

/// A port that does not even refuse: its queue of connections is full, so the system drops whatever
/// else comes. The sockets keep it so.
pub(crate) fn black_hole() -> io::Result<(Vec<Socket>, SocketAddr)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SockAddr::from(ANY))?;
    listener.listen(0)?;
    let addr = addr_of(&listener)?;
    let mut sockets = vec![listener];
    for _ in 0..CROWD {
        let visitor = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let full = visitor.connect_timeout(&addr.into(), Duration::from_millis(50));
        sockets.push(visitor);
        if full.is_err() {
            return Ok((sockets, addr));
        }
    }
    Err(io::Error::other("the queue of a listener does not fill"))
}

fn addr_of(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A tokio socket as the stream that the server is written over.
struct Socketed(TcpStream);

impl AsyncRead for Socketed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = tokio::io::ReadBuf::new(buf);
        let read = tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buf);
        read.map_ok(|()| buf.filled().len())
    }
}

impl AsyncWrite for Socketed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
