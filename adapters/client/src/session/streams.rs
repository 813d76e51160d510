//! Messages and events as they come.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fulmar_core::session::{Event, Received, StopReason};
use futures_core::Stream;

use super::common::{Common, State};
use super::handle::Handle;
use super::waits::{Interest, Place};

/// A place among those who wait; given up when dropped.
pub(super) struct Seat {
    common: Arc<Common>,
    place: Place,
}

impl Seat {
    pub(super) fn new(common: &Arc<Common>, interest: Interest) -> Self {
        Self {
            place: common.locked(|state, _| state.waits.join(interest)),
            common: common.clone(),
        }
    }

    /// Looks, and waits where there is nothing.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        look: impl FnOnce(&mut State, Place) -> Option<T>,
    ) -> Poll<T> {
        let (polled, _replaced) = self.common.locked(|state, _| {
            if let Some(found) = look(state, self.place) {
                return (Poll::Ready(found), None);
            }
            let replaced = state.waits.wait(self.place, cx.waker().clone());
            (Poll::Pending, replaced)
        });
        polled
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _waker = self.common.locked(|state, _| {
            let waker = state.waits.leave(self.place);
            // It may have been its turn.
            if matches!(self.place.0, Interest::Room | Interest::KeptRoom) {
                state.offer_room();
            }
            waker
        });
    }
}

/// Messages as they come; an end out of order is the last item. Of several streams, and of
/// [`Session::recv`](super::Session::recv), each gets what the others do not.
pub struct Messages {
    _handle: Arc<Handle>,
    common: Arc<Common>,
    seat: Seat,
    has_ended: bool,
}

impl Messages {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        let common = handle.common().clone();
        Self {
            seat: Seat::new(&common, Interest::Message),
            _handle: handle,
            common,
            has_ended: false,
        }
    }

    pub(super) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Result<Option<Received>, StopReason>> {
        let now = self.common.net().now();
        self.seat.poll(cx, |state, _| {
            let was_reading = state.machine.wants_read();
            if let Some(received) = state.machine.recv(now) {
                if was_reading != state.machine.wants_read() {
                    state.rouse();
                }
                return Some(Ok(Some(received)));
            }
            match state.machine.stopped()? {
                StopReason::Closed | StopReason::Ended(_) => Some(Ok(None)),
                reason => Some(Err(reason.clone())),
            }
        })
    }
}

impl Stream for Messages {
    type Item = Result<Received, StopReason>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.poll_recv(cx)).transpose();
        self.has_ended = !matches!(received, Some(Ok(_)));
        Poll::Ready(received)
    }
}

/// What happens to the session, as it happens: losses, delays, drops, and its end, which is the
/// last. Receipts are not among it: a [`Sent`](super::Sent) tells them. Of several such streams each
/// gets what the others do not; up to 1,024 events wait.
pub struct Events {
    common: Arc<Common>,
    seat: Seat,
}

impl Events {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            seat: Seat::new(&common, Interest::Event),
            common,
        }
    }

    /// The next event; `None` once the session has stopped and that was told.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// How many were dropped because they were not asked for in time.
    pub fn missed(&self) -> u64 {
        self.common.locked(|state, _| state.events_missed)
    }

    fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        self.seat.poll(cx, |state, _| {
            let event = state.events.pop_front();
            (event.is_some() || state.is_stopped()).then_some(event)
        })
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
