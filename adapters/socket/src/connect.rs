//! From an endpoint to a connected stream.

use std::future::poll_fn;
use std::io;

use fulmar::net::{Endpoint, SocketOptions, Stream};
use socket2::{Domain, SockAddr, TcpKeepalive, Type};

use crate::socket::{Socket, Source};

/// Connects without blocking: `register` makes the connecting socket known to a reactor.
///
/// # Errors
///
/// What the system said.
///
/// # Cancel safety
///
/// Dropping the future closes the socket.
pub async fn connect<S: Source>(
    to: &Endpoint,
    options: &SocketOptions,
    register: impl FnOnce(socket2::Socket) -> io::Result<S>,
) -> io::Result<Box<dyn Stream>> {
    // Not before `connect` began: a socket that is not connecting looks ready to a reactor.
    let source = register(begin(to, options)?)?;
    poll_fn(|cx| source.poll_writable(cx)).await?;
    match source.socket().take_error()? {
        Some(error) => Err(error),
        None => Ok(Box::new(Socket::new(source))),
    }
}

fn begin(to: &Endpoint, options: &SocketOptions) -> io::Result<socket2::Socket> {
    let (addr, domain) = match to {
        Endpoint::Tcp(addr) => (SockAddr::from(*addr), Domain::for_address(*addr)),
        Endpoint::Unix(path) => (SockAddr::unix(path)?, Domain::UNIX),
        other => return Err(other.unsupported()),
    };
    let socket = socket2::Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if domain != Domain::UNIX {
        set_up(&socket, options)?;
    }
    match socket.connect(&addr) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(socket),
    }
}

fn set_up(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(idle) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    match options.bind {
        Some(local) => socket.bind(&SockAddr::from(std::net::SocketAddr::new(local, 0))),
        None => Ok(()),
    }
}

/// `ErrorKind::InProgress` is not stable yet. The numbers are the systems' own.
fn is_in_progress(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
        115
    } else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
        150
    } else {
        36
    };
    if cfg!(windows) {
        error.kind() == io::ErrorKind::WouldBlock
    } else {
        error.raw_os_error() == Some(EINPROGRESS)
    }
}
