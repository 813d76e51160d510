//! The end of a client: nothing new begins, what is under way has until a deadline, and then all of
//! it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::time::Instant;

use crate::client::Client;
use crate::shared::{Registration, Shared};

/// Those who are told at the deadline to end have so long for it.
const GRACE: Duration = Duration::from_millis(100);

impl Client {
    /// Shuts the client down, all handles of it, for good.
    ///
    /// At once: sends fail with [`Kind::Closed`](crate::Kind::Closed), and so does whoever waits for a
    /// connection or rests before another attempt; idle connections close, and dials end. Web sockets
    /// are closed (1001), and sessions once what they have to send is sent, for up to 5 s. Exchanges
    /// and response bodies that are under way have until `deadline`. Then they fail, with the same
    /// kind, and their connections close. At [`Instant::MAX`](crate::Instant::MAX) there is no
    /// deadline.
    ///
    /// It returns when no connection is left, and 100 milliseconds after the deadline at the latest: a
    /// response or an upgraded connection that a program holds and does not poll closes when it is
    /// polled or dropped next.
    ///
    /// Several may shut it down, at once or in turn: each returns when nothing is left, the nearest
    /// deadline counts, and a client that is down is down at once. To drop the last handle without a
    /// shutdown closes whatever is not in use.
    ///
    /// # Cancel safety
    ///
    /// Dropped after its first poll, the client stays closed for what is new; what is under way goes
    /// on without this deadline. Call it again to wait again.
    pub async fn shutdown(&self, deadline: Instant) {
        let shared = self.shared.clone();
        shared.close(shared.net.now());
        let closing = Closing {
            shared,
            deadline,
            registration: Registration::default(),
        };
        closing.await;
    }

    /// Whether [`shutdown`](Self::shutdown) has begun.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

/// Waits until nothing is left.
struct Closing {
    shared: Arc<Shared>,
    deadline: Instant,
    registration: Registration,
}

impl Future for Closing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            shared,
            deadline,
            registration,
        } = &mut *self;
        let now = shared.net.now();
        let last = *deadline + GRACE;
        let mut next = *deadline;
        if now >= *deadline {
            next = last;
            if !shared.is_cut() {
                shared.cut();
            }
        }
        let waker = cx.waker().clone();
        let (is_over, _replaced) = shared.locked_and_driven(|state| {
            let (tag, replaced) = registration.register(state, waker, next);
            (state.pool.poll_closed(tag), replaced)
        });
        if is_over || now >= last {
            return Poll::Ready(());
        }
        if shared.is_undriven() {
            // Nothing that is left can go on, and nobody would tell when it is gone.
            shared.cut();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let tag = self.registration.tag();
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| {
            state.pool.cancel_closed(tag);
            self.registration.remove(state)
        });
    }
}
