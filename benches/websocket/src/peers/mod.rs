//! The clients, each behind one trait and used as its own documentation has it. Every one but ours
//! begins after the same handshake by hand; none compresses.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub mod bare;
pub mod fastwebsockets;
pub mod ours;
pub mod sockudo;
pub mod tokio_websockets;
pub mod tungstenite;
pub mod yawc;

/// What any of them may fail with. It ends the run.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// One connection.
pub trait Peer: Sized + Send + 'static {
    /// Its name in the table.
    const NAME: &'static str;

    /// Opens one at a path.
    fn open(
        addr: SocketAddr,
        path: &'static str,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Hands over a binary message, which need not be on its way before the next [`Peer::flush`].
    fn send(&mut self, message: Bytes) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sees all to the transport.
    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sends a binary message, and sees it to the transport.
    fn send_now(&mut self, message: Bytes) -> impl Future<Output = Result<(), Error>> + Send {
        async {
            self.send(message).await?;
            self.flush().await
        }
    }

    /// The length of the next binary message.
    fn recv(&mut self) -> impl Future<Output = Result<usize, Error>> + Send;
}

/// A socket on which the handshake is done.
///
/// # Errors
///
/// Those of the socket, or an answer other than 101.
pub async fn upgraded(addr: SocketAddr, path: &str) -> Result<TcpStream, Error> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {addr}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // By the byte: what follows is the library's.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err("no upgrade".into())
    }
}

/// What came was no binary message.
fn unexpected(what: impl std::fmt::Debug) -> Error {
    format!("unexpected: {what:?}").into()
}

/// The connection ended.
fn ended() -> Error {
    "the connection ended".into()
}
