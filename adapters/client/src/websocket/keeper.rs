//! The task that drives a WebSocket while no handle does: keepalive, pongs, the answer to a Close
//! frame, and messages, as far as the inbox has room; and which ends it with the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fulmar_core::fault::FaultKind;
use fulmar_core::ws::CloseCode;

use super::socket::Socket;
use crate::alarm::Alarm;
use crate::shared::{Registration, Shared};

/// Keeps the WebSocket until its end. One that goes before the end went with its runtime, and so did
/// the transport.
pub(super) struct Keeper {
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    registration: Registration,
    alarm: Alarm,
    /// The client's end was seen.
    is_closing: bool,
}

impl Keeper {
    pub(super) fn new(socket: Arc<Socket>, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            shared,
            registration: Registration::default(),
            alarm: Alarm::new(),
            is_closing: false,
        }
    }

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

impl Future for Keeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.follow_client(cx);
        loop {
            let Some(until) = this.socket.keep(cx.waker()) else {
                return Poll::Ready(());
            };
            ready!(this.alarm.poll_until(cx, &**this.socket.net(), until));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| self.registration.remove(state));
        self.socket.abandon(FaultKind::RuntimeGone);
    }
}
