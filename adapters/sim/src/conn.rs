//! A server's side of a connection.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fulmar_core::time::Instant;
use futures_io::{AsyncRead, AsyncWrite};

use crate::request::{Persistence, ServerRequest, encode, parse_body, parse_head};
use crate::slab::Key;
use crate::socket::Socket;
use crate::timer::SimSleep;
use crate::world::World;

/// How much a read asks for.
const READ: usize = 16 * 1024;

/// A connection that a server accepted; see [`Sim::serve`](crate::Sim::serve).
///
/// It speaks HTTP/1.1 as far as a test's server needs to ([`request`](Self::request),
/// [`respond`](Self::respond)), and bytes for all that a proper server would not do. Both may be
/// mixed. It is also an [`AsyncRead`] and an [`AsyncWrite`], for servers written over those.
///
/// Dropping it closes the connection as a system does: with what was written and an end of stream,
/// or with a reset where something that arrived was not read.
pub struct Conn {
    socket: Socket,
    /// What was read from the socket and not given out.
    rx: BytesMut,
    persistence: Persistence,
}

impl Conn {
    pub(crate) fn new(world: Arc<World>, key: Key) -> Self {
        let socket = Socket { world, key, end: 1 };
        Self {
            socket,
            rx: BytesMut::new(),
            persistence: Persistence::default(),
        }
    }

    /// Reads the next request, body included (by `Content-Length` or chunked). `None`: the client
    /// has ended its stream, or the last response ended the connection. Where the client expects
    /// `100 (Continue)`, that is sent first.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it is not a request, `UnexpectedEof` if the stream ended within it, and what
    /// the connection suffered.
    ///
    /// # Cancel safety
    ///
    /// What was read of a body is lost.
    pub async fn request(&mut self) -> io::Result<Option<ServerRequest>> {
        let Some(mut request) = self.request_head().await? else {
            return Ok(None);
        };
        if request.is_continue_expected() && self.rx.is_empty() {
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        loop {
            if let Some(body) = parse_body(&request, &mut self.rx)? {
                request.set_body(body);
                return Ok(Some(request));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads the head of the next request and leaves its body to [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn request_head(&mut self) -> io::Result<Option<ServerRequest>> {
        if self.persistence.is_last {
            return Ok(None);
        }
        loop {
            if let Some(request) = parse_head(&mut self.rx)? {
                self.persistence = Persistence::of(&request);
                return Ok(Some(request));
            }
            if self.fill().await? == 0 {
                if self.rx.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends a response with that status and body (none where HTTP forbids one) and
    /// `Content-Length`. Its end of the connection follows at the next [`request`](Self::request)
    /// if the client asked for that.
    ///
    /// # Errors
    ///
    /// What the connection suffered.
    ///
    /// # Cancel safety
    ///
    /// A part of the response may have been sent.
    pub async fn respond(&mut self, status: u16, body: impl AsRef<[u8]>) -> io::Result<()> {
        let response = http::Response::builder().status(status);
        let body = Bytes::copy_from_slice(body.as_ref());
        self.respond_with(response.body(body).map_err(io::Error::other)?)
            .await
    }

    /// Sends a response with fields. `Content-Length` is added unless it is there, or
    /// `Transfer-Encoding: chunked` is, in which case the body is sent as one chunk. With
    /// `Connection: close` the connection ends after it.
    ///
    /// # Errors
    ///
    /// What the connection suffered.
    ///
    /// # Cancel safety
    ///
    /// A part of the response may have been sent.
    pub async fn respond_with(
        &mut self,
        response: http::Response<impl Into<Bytes>>,
    ) -> io::Result<()> {
        let (head, body) = response.into_parts();
        let bytes = encode(&head, &body.into(), &mut self.persistence);
        self.write_bytes(bytes).await
    }

    /// Reads at most `max` bytes. None: the client has ended its stream.
    ///
    /// # Errors
    ///
    /// What the connection suffered.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn read(&mut self, max: usize) -> io::Result<Bytes> {
        if self.rx.is_empty() && max > 0 {
            self.fill().await?;
        }
        let len = self.rx.len().min(max);
        Ok(self.rx.split_to(len).freeze())
    }

    /// Writes bytes. It waits while the connection's window is full.
    ///
    /// # Errors
    ///
    /// What the connection suffered.
    ///
    /// # Cancel safety
    ///
    /// A part may have been written.
    pub async fn write_all(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_bytes(Bytes::copy_from_slice(bytes.as_ref()))
            .await
    }

    async fn write_bytes(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while bytes.has_remaining() {
            poll_fn(|cx| self.socket.poll_write(cx, &mut bytes)).await?;
        }
        Ok(())
    }

    /// Does nothing: what is written is on its way.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(
        clippy::unused_async,
        reason = "reads like the flush of any other stream"
    )]
    pub async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the stream to the client, after what was written. Reading goes on.
    pub fn shutdown(&mut self) {
        self.socket.shutdown();
    }

    /// Breaks the connection off, after what was written has arrived.
    pub fn reset(&mut self) {
        self.socket.reset();
    }

    /// Waits, in virtual time.
    pub fn sleep(
        &self,
        duration: Duration,
    ) -> impl Future<Output = ()> + Send + Sync + Unpin + use<> {
        SimSleep::new(Arc::clone(&self.socket.world), self.now() + duration)
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.socket.world.now()
    }

    /// The client's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        let key = self.socket.key;
        self.socket
            .world
            .with(|state| state.conns.get_mut(key).map(|conn| conn.client_addr))
    }

    /// Whether something of that probability happens: a draw from this host's own random stream.
    pub fn chance(&self, probability: f64) -> bool {
        self.draw(|draws| draws.chance(probability))
            .unwrap_or(false)
    }

    /// A number of that range (its start, where it is empty), from this host's own random stream.
    pub fn uniform(&self, range: Range<u64>) -> u64 {
        let last = range.end.saturating_sub(1);
        self.draw(|draws| draws.uniform(range.start, last))
            .unwrap_or(range.start)
    }

    fn draw<R>(&self, f: impl FnOnce(&mut crate::random::Stream) -> R) -> Option<R> {
        self.socket.world.with(|state| {
            let server = state.conns.get_mut(self.socket.key)?.server;
            Some(f(&mut state.hosts.get_mut(server)?.draws))
        })
    }

    /// Reads more into `rx`.
    async fn fill(&mut self) -> io::Result<usize> {
        self.rx.reserve(READ);
        poll_fn(|cx| self.socket.poll_read(cx, &mut self.rx)).await
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.rx.is_empty() {
            return this.socket.poll_read_slice(cx, buf);
        }
        let len = this.rx.len().min(buf.len());
        this.rx.copy_to_slice(&mut buf[..len]);
        Poll::Ready(Ok(len))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, &mut buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.shutdown();
        Poll::Ready(Ok(()))
    }
}
