//! A non-blocking socket as a stream.
//!
//! Three things are remembered so that the system need not be asked:
//! * after a read that did not fill its room the socket is empty: the next one waits first;
//! * while the connection idles its interest in reading is armed, by a waker that notes the wake-up,
//!   so that asking whether it is quiet is one load;
//! * the next request only swaps that waker for its own.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::BytesMut;
use fulmar::net::{Stream, Window, WriteBuf, gather};

/// `MSG_NOSIGNAL`: a peer that has gone is an error, and no SIGPIPE for programs that did not ask to
/// ignore it. socket2 asks for the same on Apple's systems as it makes a socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_SIGNAL: i32 = 0x4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_SIGNAL: i32 = 0;

/// A socket that a reactor knows.
///
/// Each direction has one waker, the last that was given. Readiness that came since then is reported
/// by waking it, always; by the next poll as well, or by one a turn of the reactor later.
pub trait Source: Send + Sync + Unpin + 'static {
    /// The socket, which does not block.
    fn socket(&self) -> &socket2::Socket;

    /// Waits until there is something to read, or the peer has closed.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until there is room to write, or the connection has failed.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A socket as a [`Stream`].
#[derive(Debug)]
pub struct Socket<S> {
    source: S,
    /// A read may find something: the last one left something behind, or was told to come.
    readable: bool,
    /// The interest in reading is armed by `noted`.
    armed: bool,
    window: Window,
    noted: Arc<Noted>,
}

/// Remembers that it was woken.
#[derive(Debug, Default)]
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<S: Source> Socket<S> {
    /// A socket that is connected.
    pub fn new(source: S) -> Self {
        Self {
            source,
            readable: false,
            armed: false,
            window: Window::default(),
            noted: Arc::default(),
        }
    }
}

impl<S: Source> Stream for Socket<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.armed = false;
        loop {
            if !self.readable {
                ready!(self.source.poll_readable(cx))?;
                self.readable = true;
            }
            let room = (buf.capacity() - buf.len()).min(self.window.size());
            let mut socket = self.source.socket();
            let read = self
                .window
                .read(buf, |slice| Poll::Ready(socket.read(slice)));
            match ready!(read) {
                Ok(n) => {
                    self.readable = n == room;
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        let socket = self.source.socket();
        loop {
            let written = gather(buf, |slices| {
                Poll::Ready(match slices {
                    [one] => socket.send_with_flags(one, NO_SIGNAL),
                    many => socket.send_vectored_with_flags(many, NO_SIGNAL),
                })
            });
            match ready!(written) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.source.poll_writable(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.source.socket().shutdown(Shutdown::Write))
    }

    fn is_quiet(&mut self) -> bool {
        if self.armed && !self.noted.0.load(Ordering::Acquire) {
            return true;
        }
        let peeked = self.source.socket().peek(&mut [MaybeUninit::uninit()]);
        let quiet = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if quiet {
            self.readable = false;
            self.park();
        }
        quiet
    }

    fn park(&mut self) {
        // Where something may be left to read, `is_quiet` has to ask.
        if self.readable {
            return;
        }
        self.noted.0.store(false, Ordering::Release);
        let waker = Waker::from(self.noted.clone());
        let polled = self.source.poll_readable(&mut Context::from_waker(&waker));
        self.armed = polled.is_pending();
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.source.socket().peer_addr().ok()?.as_socket()
    }
}
