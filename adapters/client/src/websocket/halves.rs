//! The user's handles.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fulmar_core::fault::FaultKind;
use fulmar_core::ws::{Agreed, CloseCode, CloseError, Closed, Message, Rtt, SendError};
use futures_core::Stream;
use futures_sink::Sink;

use super::socket::Socket;
use super::state::{Want, closing};
use super::waits::Wait;

/// The connection, until the last handle goes.
struct Handle(Arc<Socket>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon(FaultKind::Aborted);
    }
}

/// A WebSocket: messages both ways, until either side closes.
///
/// It lives whether or not it is used. While nobody calls it, pings are sent and answered, a server
/// that falls silent is noticed, a Close frame is answered, and up to 256 messages or 4 MiB wait for
/// [`recv`](Self::recv). Beyond that reading pauses, and after 30 s of it the connection ends
/// ([`Cause::Lagged`](super::Cause::Lagged)).
///
/// Dropping it (or both of its [halves](Self::split)) ends it at once, with a Close frame (1001) as
/// far as the transport takes one without waiting. For a close that waits see
/// [`close`](Self::close).
pub struct WebSocket {
    sender: Sender,
    receiver: Receiver,
}

/// The sending half of a [`WebSocket`].
pub struct Sender {
    handle: Arc<Handle>,
    closing: Option<Wait>,
}

/// The receiving half of a [`WebSocket`]. Where it is dropped and the other half is not, messages
/// that come pile up, and the connection ends as one that nobody reads.
pub struct Receiver {
    handle: Arc<Handle>,
    /// The stream has told how the connection ended.
    has_ended: bool,
}

impl WebSocket {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        let handle = Arc::new(Handle(socket));
        Self {
            sender: Sender {
                handle: handle.clone(),
                closing: None,
            },
            receiver: Receiver {
                handle,
                has_ended: false,
            },
        }
    }

    fn socket(&self) -> &Arc<Socket> {
        self.sender.socket()
    }

    /// The sub-protocol that the server chose.
    pub fn protocol(&self) -> Option<&str> {
        self.socket().protocol.as_deref()
    }

    /// How messages are compressed, where that was agreed on.
    pub fn compression(&self) -> Option<Agreed> {
        self.socket().compression
    }

    /// The server's address, where the transport has one.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.socket().peer
    }

    /// Round-trip times, once a ping was answered.
    pub fn rtt(&self) -> Option<Rtt> {
        self.socket().rtt()
    }

    /// How it ended, once it has.
    pub fn closed(&self) -> Option<Closed> {
        self.socket().closed()
    }

    /// Two handles for two tasks. Neither waits for the other.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// As [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: no message is lost.
    pub async fn recv(&mut self) -> Result<Option<Message>, Closed> {
        self.receiver.recv().await
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::send`].
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.sender.send(message).await
    }

    /// As [`Sender::feed`].
    ///
    /// # Errors
    ///
    /// As [`Sender::feed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::feed`].
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.sender.feed(message).await
    }

    /// As [`Sender::try_send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::try_send`].
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.sender.try_send(message)
    }

    /// As [`Sender::flush`].
    ///
    /// # Errors
    ///
    /// As [`Sender::flush`].
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        self.sender.flush().await
    }

    /// As [`Sender::ping`].
    ///
    /// # Errors
    ///
    /// As [`Sender::ping`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::ping`].
    pub async fn ping(&self) -> Result<Duration, Closed> {
        self.sender.ping().await
    }

    /// As [`Sender::close`].
    ///
    /// # Errors
    ///
    /// As [`Sender::close`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::close`].
    pub async fn close(&self, code: CloseCode, reason: &str) -> Result<Closed, CloseError> {
        self.sender.close(code, reason).await
    }
}

impl Receiver {
    fn socket(&self) -> &Arc<Socket> {
        &self.handle.0
    }

    /// The next message. `None`: the connection was closed in order, by whichever side;
    /// [`closed`](Self::closed) has the code and the reason.
    ///
    /// # Errors
    ///
    /// How the connection ended, where that was not in order. What came before is received first.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: no message is lost.
    pub async fn recv(&mut self) -> Result<Option<Message>, Closed> {
        let socket = self.socket();
        if let Some(message) = poll_fn(|cx| socket.poll_recv(cx)).await {
            return Ok(Some(message));
        }
        match socket.closed() {
            Some(closed) if !closed.clean => Err(closed),
            _ => Ok(None),
        }
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<Closed> {
        self.socket().closed()
    }
}

impl Sender {
    fn socket(&self) -> &Arc<Socket> {
        &self.handle.0
    }

    /// Sends a message. It returns when the message was taken: what the transport does not take at
    /// once is written behind its back. While 64 KiB wait to be written, or a long message is not
    /// yet written to its end, it waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] with the message, where the connection closes or is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits drops the message; nothing of it was sent.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.socket().poll_send(cx, &mut message)).await
    }

    /// Hands over a message that need not be on its way before the next [`flush`](Self::flush), or
    /// [`send`](Self::send): many short ones then leave with one write. Like `send` it waits for room.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] with the message, where the connection closes or is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits drops the message; nothing of it was sent.
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.socket().poll_feed(cx, &mut message)).await
    }

    /// Sends a message if it can be taken now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] with the message, where [`send`](Self::send) would wait;
    /// [`SendError::Closed`] with it where the connection closes or is closed.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.socket().send_now(message.into())
    }

    /// Waits until everything that was sent is with the transport.
    ///
    /// # Errors
    ///
    /// How the connection ended, where it did before that.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| self.socket().poll_want(cx, Want::Flushed)).await
    }

    /// Sends a ping and waits for its pong: the round-trip time. It waits for a turn while 32 are
    /// under way. How long a server may be silent is the keepalive's business.
    ///
    /// # Errors
    ///
    /// How the connection ended, where it did before that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the answer up.
    pub async fn ping(&self) -> Result<Duration, Closed> {
        let mut wait = Wait::new(self.socket());
        poll_fn(|cx| wait.poll_pong(cx)).await
    }

    /// Closes: what was sent goes out, a Close frame follows, the server answers it and ends the
    /// transport. All that has the
    /// [close timeout](super::WebSocketBuilder::close_timeout), and a second for the end. Returns how
    /// it ended. Where the connection closes already it only waits, so it may be called often, and
    /// from several places.
    ///
    /// Messages that come meanwhile are still received, as far as the inbox has room; what has no
    /// room is dropped.
    ///
    /// # Errors
    ///
    /// Where the code or the reason may not be sent: nothing was done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the close back.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Result<Closed, CloseError> {
        self.socket().close(code, reason)?;
        let mut wait = Wait::new(self.socket());
        Ok(poll_fn(|cx| wait.poll_end(cx)).await)
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<Closed> {
        self.socket().closed()
    }
}

/// Messages as they come. An end out of order is the last item.
impl Stream for Receiver {
    type Item = Result<Message, Closed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(message) = ready!(self.socket().poll_recv(cx)) {
            return Poll::Ready(Some(Ok(message)));
        }
        self.has_ended = true;
        let closed = self.socket().closed().filter(|closed| !closed.clean);
        Poll::Ready(closed.map(Err))
    }
}

/// Messages that are fed are written with the next flush. Closing is [`close`](Sender::close) with
/// code 1000.
impl Sink<Message> for Sender {
    type Error = Closed;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.socket().poll_want(cx, Want::Room)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Closed> {
        let socket = self.socket();
        // It was ready, and closed since.
        let sent = socket.feed(message);
        sent.map_err(|_| socket.closed().unwrap_or_else(closing))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.socket().poll_want(cx, Want::Flushed)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { handle, closing } = &mut *self;
        let wait = closing.get_or_insert_with(|| {
            // The code is one that may be sent.
            let _ = handle.0.close(CloseCode::NORMAL, "");
            Wait::new(&handle.0)
        });
        let closed = ready!(wait.poll_end(cx));
        Poll::Ready(if closed.clean { Ok(()) } else { Err(closed) })
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Closed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Closed;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Closed> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}

macro_rules! debug {
    ($($handle:ident),*) => {$(
        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let socket = self.socket();
                f.debug_struct(stringify!($handle))
                    .field("peer", &socket.peer)
                    .field("closed", &socket.closed())
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug!(WebSocket, Sender, Receiver);
