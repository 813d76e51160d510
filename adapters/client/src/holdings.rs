//! What a client holds beside connections.

use fulmar_core::turnstile::Turnstile;

use crate::client::Client;
use crate::h1::Bufs;

/// What a client holds beside connections, which [`Client::gauges`] counts: places, deadlines, and
/// memory that is kept for what comes next. While nothing is under way everything but the memory is
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holdings {
    /// Places in flight that calls have: one under the client's cap
    /// ([`ClientBuilder::max_in_flight`](crate::ClientBuilder::max_in_flight)) where there is one, and
    /// one under their profile's.
    pub in_flight: usize,
    /// Calls that wait for a place in flight.
    pub queued: usize,
    /// `WebSocket`s that are open or being opened.
    pub websockets: usize,
    /// Those that wait for a place, or for another's handshake.
    pub websockets_queued: usize,
    /// Tasks to be woken at a deadline, or at the client's end: at most one for each call, body,
    /// dial, lookup or socket.
    pub deadlines: usize,
    /// Buffers that were given back, for the next calls: 32 at most.
    pub spare_buffers: usize,
    /// Bytes in them: 64 KiB at most in each.
    pub spare_bytes: usize,
}

impl Client {
    /// How many places and deadlines are taken, and how much memory is kept in spare.
    pub fn holdings(&self) -> Holdings {
        let holdings = self.shared.locked(|state| Holdings {
            in_flight: state.turnstiles.iter().map(Turnstile::inside).sum(),
            queued: state.turnstiles.iter().map(Turnstile::waiting).sum(),
            deadlines: state.timers.len(),
            spare_buffers: state.spare().len(),
            spare_bytes: state.spare().iter().map(|bufs| Bufs::bytes(bufs)).sum(),
            ..Holdings::default()
        });
        #[cfg(feature = "websocket")]
        let holdings = {
            let (websockets, waiting) = self.shared.websockets.gauges();
            let (_, behind) = self.shared.handshakes.gauges();
            Holdings {
                websockets,
                websockets_queued: waiting + behind,
                ..holdings
            }
        };
        holdings
    }
}
