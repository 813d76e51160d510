//! The task that drives a WebSocket while no handle does: keepalive, pongs, the answer to a Close
//! frame, and messages, as far as the inbox has room; and which ends it with the client.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fulmar_core::fault::FaultKind;
use fulmar_core::ws::CloseCode;

use super::socket::Socket;
use crate::alarm::Alarm;
use crate::shared::{Registration, Shared};

/// Keeps the WebSocket until its end.
pub(super) fn run(socket: Arc<Socket>, shared: Arc<Shared>) -> impl Future<Output = ()> + Send {
    // Made at once: a runtime may drop the task before it polls it.
    keep(Guard {
        socket,
        shared,
        registration: Registration::default(),
        is_closing: false,
    })
}

async fn keep(mut guard: Guard) {
    let mut alarm = Alarm::new();
    poll_fn(|cx| {
        guard.follow_client(cx);
        loop {
            let Some(until) = guard.socket.keep(cx.waker()) else {
                return Poll::Ready(());
            };
            ready!(alarm.poll_until(cx, &**guard.socket.net(), until));
        }
    })
    .await;
}

/// A keeper that goes before the end went with its runtime, and so did the transport.
struct Guard {
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    registration: Registration,
    /// The client's end was seen.
    is_closing: bool,
}

impl Guard {
    /// A client that shuts down closes its sockets, and at its deadline breaks off those that are
    /// left.
    fn follow_client(&mut self, cx: &Context<'_>) {
        self.registration.watch_shutdown(&self.shared, cx);
        if self.shared.is_cut() {
            self.socket.abandon(FaultKind::Aborted);
        } else if self.shared.is_closed() && !std::mem::replace(&mut self.is_closing, true) {
            // The code is one that may be sent.
            let _ = self.socket.close(CloseCode::GOING_AWAY, "");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| self.registration.remove(state));
        self.socket.abandon(FaultKind::RuntimeGone);
    }
}
