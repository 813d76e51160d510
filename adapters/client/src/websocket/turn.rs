//! One turn of whoever drives.

use std::sync::Arc;
use std::task::{Context, Waker};

use fulmar_core::time::Instant;

use crate::net::Net;

/// One locked section in which the connection is driven. It reads the clock once, if at all.
pub(super) struct Turn<'a> {
    net: &'a Arc<dyn Net>,
    pub(super) cx: Context<'a>,
    now: Option<Instant>,
    /// A waker that another took the place of, to be dropped once the lock is open.
    pub(super) replaced: Option<Waker>,
}

impl<'a> Turn<'a> {
    /// With the waker that the transport is to know.
    pub(super) fn new(net: &'a Arc<dyn Net>, cx: Context<'a>) -> Self {
        Self {
            net,
            cx,
            now: None,
            replaced: None,
        }
    }

    pub(super) fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.net.now())
    }

    /// Others get their turn first.
    pub(super) fn again(&self) {
        self.cx.waker().wake_by_ref();
    }
}
