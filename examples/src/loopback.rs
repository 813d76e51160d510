//! The real side: sockets of this machine, some of them no good.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use fulmar_blocking::{Blocking, block_on};
use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::clock::Clock;
use crate::server::Server;

/// Loopback, at a port of the system's choice.
const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
/// Connections that fill the longest of queues: systems round small backlogs up.
const CROWD: usize = 64;

/// The server, on a clock that its threads can wait for.
pub(crate) fn server() -> Arc<Server> {
    Arc::new(Server::new(Clock::of(Blocking::new())))
}

/// Starts the server on threads, one for each connection, and tells where. They know nothing of the
/// client's runtime, and end with the program.
pub(crate) fn start(server: Arc<Server>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(ANY)?;
    let addr = listener.local_addr()?;
    thread::Builder::new().spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let server = Arc::clone(&server);
            // What a connection suffers is the tour's subject, not the server's.
            thread::spawn(move || block_on(server.serve(Blocked(stream))).ok());
        }
    })?;
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

/// A socket that blocks, as the stream that the server is written over: it is never pending.
struct Blocked(TcpStream);

impl AsyncRead for Blocked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.read(buf))
    }
}

impl AsyncWrite for Blocked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}
