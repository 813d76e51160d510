//! What became of one message.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fulmar_core::session::{DropReason, MessageId, Receipt};

use super::common::Common;

/// Why a message did not come as far as was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undelivered {
    /// It was dropped.
    Dropped(DropReason),
    /// It was with the transport when the connection was lost. The server may have it.
    Doubtful,
    /// The session stopped before:
    /// [`take_undelivered`](super::Session::take_undelivered) has the message.
    Returned,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped(DropReason::Expired) => "the message waited for too long",
            Self::Dropped(DropReason::Replaced) => "a newer message took its place",
            Self::Dropped(DropReason::Overflow) => "the outbox was full",
            Self::Dropped(DropReason::TooBig) => "the message was too big for the server",
            Self::Dropped(DropReason::MaybeDelivered) => {
                "the connection was lost while the message was written"
            }
            Self::Dropped(_) => "the connection was lost while the message waited",
            Self::Doubtful => "the connection was lost before the server answered for the message",
            Self::Returned => "the session stopped before",
        })
    }
}

impl std::error::Error for Undelivered {}

/// How far a message has come.
pub(super) struct Progress {
    /// Whether it is sent again after a loss.
    pub(super) is_kept: bool,
    reached: Option<Receipt>,
    end: Option<Undelivered>,
    waker: Option<Waker>,
    /// It is with the transport of the connection that there is.
    is_under_way: bool,
    /// Somebody waits for the server to have read it.
    is_watched: bool,
}

impl Progress {
    pub(super) fn new(is_kept: bool) -> Self {
        Self {
            is_kept,
            reached: None,
            end: None,
            waker: None,
            is_under_way: false,
            is_watched: false,
        }
    }

    /// The connection was lost. What is kept will be sent again.
    pub(super) fn lose(&mut self) -> Option<Waker> {
        self.is_under_way = false;
        let is_doubtful = !self.is_kept && self.has_reached(Receipt::Flushed);
        is_doubtful.then(|| self.fail(Undelivered::Doubtful))?
    }

    /// Whether a ping has to follow it, now that it is with the transport.
    pub(super) fn sent(&mut self) -> bool {
        self.is_under_way = true;
        self.is_watched
    }

    /// Somebody waits for the server to have read it. Whether a ping has to follow it for that.
    fn watch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_watched, true) && self.is_under_way
    }

    pub(super) fn has_reached(&self, wanted: Receipt) -> bool {
        self.reached
            .is_some_and(|reached| reached as u8 >= wanted as u8)
    }

    /// Says whom that concerns.
    pub(super) fn reach(&mut self, receipt: Receipt) -> Option<Waker> {
        if self.has_reached(receipt) {
            return None;
        }
        self.reached = Some(receipt);
        self.waker.take()
    }

    /// The first reason counts.
    pub(super) fn fail(&mut self, end: Undelivered) -> Option<Waker> {
        self.end.get_or_insert(end);
        self.waker.take()
    }
}

/// A message that was taken: it tells what becomes of it. Dropping it changes nothing about the
/// message.
pub struct Sent {
    common: Arc<Common>,
    id: MessageId,
}

impl Sent {
    pub(super) fn new(common: Arc<Common>, id: MessageId) -> Self {
        Self { common, id }
    }

    /// The message's number, in the order of sending.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Waits until the transport has taken the message's last byte.
    ///
    /// # Errors
    ///
    /// Why it will not.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn flushed(&mut self) -> Result<(), Undelivered> {
        poll_fn(|cx| self.poll(cx, Receipt::Flushed)).await
    }

    /// Waits until the server has read the message: until it answers a ping that follows it.
    ///
    /// # Errors
    ///
    /// Why it will not, or why nobody can know.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn peer_seen(&mut self) -> Result<(), Undelivered> {
        poll_fn(|cx| self.poll(cx, Receipt::PeerSeen)).await
    }

    /// Waits until the application has said that the server acknowledged the message
    /// ([`Session::acknowledge`](super::Session::acknowledge)). That is for messages that are sent
    /// [at least once](super::Delivery::AtLeastOnce).
    ///
    /// # Errors
    ///
    /// Why it will not.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn acked(&mut self) -> Result<(), Undelivered> {
        poll_fn(|cx| self.poll(cx, Receipt::Acked)).await
    }

    fn poll(&self, cx: &Context<'_>, wanted: Receipt) -> Poll<Result<(), Undelivered>> {
        let (polled, _replaced) = self.common.locked(|state, _| {
            let Some(progress) = state.sent.get_mut(&self.id) else {
                return (Poll::Ready(Err(Undelivered::Returned)), None);
            };
            if progress.has_reached(wanted) {
                return (Poll::Ready(Ok(())), None);
            }
            if let Some(end) = progress.end {
                return (Poll::Ready(Err(end)), None);
            }
            let replaced = progress.waker.replace(cx.waker().clone());
            if wanted == Receipt::PeerSeen && progress.watch() {
                state.watch(self.id);
            }
            (Poll::Pending, replaced)
        });
        polled
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let _gone = self.common.locked(|state, _| {
            state.machine.unwatch(self.id);
            state.sent.remove(&self.id)
        });
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
