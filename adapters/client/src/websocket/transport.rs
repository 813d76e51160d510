//! The connection below a WebSocket, as its handshake left it.

use std::mem::take;
use std::sync::Arc;

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_core::pool::Discard;

use super::cap::Pass;
use crate::h1::H1;
use crate::shared::Shared;

/// The connection, until its end.
pub(crate) struct Transport {
    pub(crate) h1: Box<H1>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pass: Pass,
}

impl Transport {
    /// The buffers with what came behind the head. Whatever else was lent for the handshake goes
    /// back.
    pub(super) fn take_buffers(&mut self) -> (BytesMut, WriteBuf) {
        let tunnel = self.h1.tunnel();
        let taken = tunnel.map(|tunnel| (take(tunnel.rx), take(tunnel.tx)));
        if let Some(bufs) = self.h1.take_bufs() {
            self.shared.locked(|state| state.give_back(bufs));
        }
        taken.unwrap_or_default()
    }

    pub(crate) fn discard(self) {
        self.shared
            .discard(self.h1, Discard::Spent, "websocket ended");
        drop(self.pass);
    }
}
