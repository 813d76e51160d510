//! What a handle waits for besides messages and room: a pong, or the end.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::ws::Closed;

use super::socket::Socket;

/// A place among those who wait; given up when dropped.
pub(super) struct Wait {
    socket: Arc<Socket>,
    ticket: u64,
    is_asked: bool,
}

impl Wait {
    pub(super) fn new(socket: &Arc<Socket>) -> Self {
        Self {
            socket: socket.clone(),
            ticket: socket.ticket(),
            is_asked: false,
        }
    }

    /// Waits for the end.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.poll(cx, |wait| wait.socket.closed())
    }

    /// Sends a ping, as soon as not too many are under way, and waits for its pong.
    pub(super) fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<Result<Duration, Closed>> {
        self.poll(cx, |wait| {
            if !wait.is_asked {
                wait.is_asked = wait.socket.ping(wait.ticket);
            }
            let pong = wait.socket.pong(wait.ticket).map(Ok);
            pong.or_else(|| wait.socket.closed().map(Err))
        })
    }

    /// Looks again after it is registered, so that nothing is missed between the two.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<T> {
        self.socket.wait(self.ticket, cx.waker().clone());
        match look(self) {
            Some(found) => Poll::Ready(found),
            None => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.socket.forget(self.ticket);
    }
}
