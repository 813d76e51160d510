//! What a connection tells, and where it leaves heads and trailers.

use ::http::HeaderMap;
use bytes::Bytes;

use super::error::CloseReason;
use crate::http::ResponseHead;

/// What the incoming bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The response is complete: its head is in the scratch, its body here. The exchange is over.
    Whole(Bytes, Reuse),
    /// An interim response other than 101, by its status. Its head is in the scratch until the
    /// next event.
    Informational(u16),
    /// The final head is in the scratch; the body follows.
    Head,
    /// A part of the body, never empty.
    Body(Bytes),
    /// Trailers are in the scratch; the end follows.
    Trailers,
    /// The response is complete. The exchange is over.
    End(Reuse),
    /// The protocol changed (101 to what was offered, or 2xx to CONNECT): the head is in the
    /// scratch, and what is in `rx` belongs to whoever takes the connection over.
    Tunnel,
}

/// Whether a connection serves another exchange.
///
/// It does so only after the request went out whole: the machine knows that it was given whole,
/// its driver looks whether `tx` is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It does.
    Keep,
    /// It does not: close it.
    Close(CloseReason),
}

/// What a busy connection needs beside its buffers. It is lent, and no event is lost between two
/// uses if it stays with the connection for one exchange.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) head: Option<ResponseHead>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Scratch {
    /// Takes the head of the last event that brought one.
    pub fn take_head(&mut self) -> Option<ResponseHead> {
        self.head.take()
    }

    /// The head of the last event that brought one.
    pub fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// Takes the trailers. Never merged into the head: they may lie about it.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

const _: () = assert!(size_of::<Event>() <= 40);
