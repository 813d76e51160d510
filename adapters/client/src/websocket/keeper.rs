//! The task that drives a WebSocket while no handle does: keepalive, pongs, the answer to a Close
//! frame, and messages, as far as the inbox has room.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use fulmar_core::fault::FaultKind;
use fulmar_core::time::Instant;

use super::socket::Socket;
use crate::net::Sleep;

/// Keeps the WebSocket until its end.
pub(super) fn run(socket: Arc<Socket>) -> impl Future<Output = ()> + Send {
    // Made at once: a runtime may drop the task before it polls it.
    keep(Guard(socket))
}

async fn keep(guard: Guard) {
    let mut sleep: Option<Box<dyn Sleep>> = None;
    poll_fn(|cx| {
        loop {
            let Some(until) = guard.0.keep(cx.waker()) else {
                return Poll::Ready(());
            };
            if until == Instant::MAX {
                sleep = None;
                return Poll::Pending;
            }
            let timer = sleep.get_or_insert_with(|| guard.0.net().sleep(until));
            timer.reset(until);
            if std::pin::Pin::new(timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// A keeper that goes before the end went with its runtime, and so did the transport.
struct Guard(Arc<Socket>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abandon(FaultKind::RuntimeGone);
    }
}
