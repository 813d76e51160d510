//! What the servers saw of each request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// More attempts than any policy allows, free ones included.
const MOST: u32 = 5 + 2 + 2;

/// Requests by their number, over all connections.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: Mutex<BTreeMap<u64, Seen>>,
    /// Whether a server said something that is not HTTP.
    is_rude: AtomicBool,
}

#[derive(Debug, Default)]
struct Seen {
    times: u32,
    /// The server said of the last that it had not processed it.
    is_disclaimed: bool,
}

impl Ledger {
    /// A request has arrived.
    ///
    /// # Panics
    ///
    /// If it should not have: it was here before, may have been processed then, and must not be
    /// repeated.
    pub(super) fn arrived(&self, id: u64, may_repeat: bool) {
        let mut ledger = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = ledger.entry(id).or_default();
        let is_replay = seen.times > 0 && !seen.is_disclaimed && !may_repeat;
        assert!(!is_replay, "request {id} was replayed");
        seen.times += 1;
        seen.is_disclaimed = false;
        assert!(
            seen.times <= MOST,
            "request {id} arrived {} times",
            seen.times
        );
    }

    /// The server is about to say that it has not processed the request.
    pub(super) fn disclaimed(&self, id: u64) {
        let mut ledger = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.entry(id).or_default().is_disclaimed = true;
    }

    /// The server is about to say something that is not HTTP.
    pub(super) fn rude(&self) {
        self.is_rude.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_rude(&self) -> bool {
        self.is_rude.load(Ordering::Relaxed)
    }
}

/// The bytes of a body of that request, one way or the other.
pub(super) fn pattern(id: u64, len: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().repeat(len / 8 + 1);
    bytes.truncate(len);
    bytes
}
