//! Whom to wake, and when the keeper is to look.
//!
//! The transport knows one waker, whoever polls it: this one. It passes on to the reader and the
//! writer that wait, who drive the connection, and to the keeper, who does while they do not.
//!
//! A task that waits need not come back soon, and one that got a message may ask for no other: so
//! after any use the keeper *watches*, which is to look once a [`TICK`], until it finds that nothing
//! happened since. While it watches, what arrives for a waiting reader wakes the reader alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::wake::wake_all;

/// How often a keeper that watches looks.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// The transport's waker.
#[derive(Default)]
pub(super) struct Signal(Mutex<Waiting>);

/// Who waits.
#[derive(Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    keeper: Option<Waker>,
    /// For a pong, or the end.
    others: BTreeMap<u64, Waker>,
    tickets: u64,
    /// Who drives now. Wakers run code of their own, so they are not woken under the lock.
    holders: usize,
    /// The transport has news, told while somebody drove.
    fired: bool,
    watching: bool,
    /// Something happened since the keeper last looked.
    active: bool,
}

/// Whom the state of the connection concerns.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct News {
    pub(super) reader: bool,
    pub(super) writer: bool,
    pub(super) others: bool,
    pub(super) keeper: bool,
}

/// Wakers to wake once every lock is open.
#[derive(Default)]
struct Wakers {
    one: [Option<Waker>; 3],
    others: Vec<Waker>,
}

impl Wakers {
    fn take(&mut self, place: usize, waiting: &mut Option<Waker>) {
        if let Some(waker) = waiting.take() {
            self.one[place] = Some(waker);
        }
    }

    fn wake(self) {
        let one = self.one.into_iter().flatten();
        wake_all(one.chain(self.others));
    }
}

impl Signal {
    /// Somebody begins to drive; as one who uses the connection, or to keep it.
    pub(super) fn hold(&self, is_use: bool) -> Hold<'_> {
        let mut waiting = self.lock();
        waiting.holders += 1;
        waiting.active |= is_use;
        drop(waiting);
        Hold {
            signal: self,
            reader: None,
            writer: None,
            news: News::default(),
        }
    }

    /// The keeper waits. True where it is to look again after a [`TICK`].
    pub(super) fn keep(&self, waker: &Waker) -> (bool, Option<Waker>) {
        let mut waiting = self.lock();
        waiting.watching = std::mem::take(&mut waiting.active);
        (waiting.watching, register(&mut waiting.keeper, waker))
    }

    /// A number for one who waits for something else.
    pub(super) fn ticket(&self) -> u64 {
        let mut waiting = self.lock();
        waiting.tickets += 1;
        waiting.tickets
    }

    /// They wait.
    pub(super) fn wait(&self, ticket: u64, waker: Waker) -> Option<Waker> {
        self.lock().others.insert(ticket, waker)
    }

    /// They no longer do.
    pub(super) fn forget(&self, ticket: u64) -> Option<Waker> {
        self.lock().others.remove(&ticket)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The transport has news: who waits looks, and where nobody reads or is watched, the keeper.
    fn fire(&mut self, wakers: &mut Wakers) {
        self.active = true;
        let is_read = self.reader.is_some();
        wakers.take(0, &mut self.reader);
        wakers.take(1, &mut self.writer);
        if !(is_read && self.watching) {
            wakers.take(2, &mut self.keeper);
        }
    }

    fn tell(&mut self, news: News, wakers: &mut Wakers) {
        if news.reader {
            wakers.take(0, &mut self.reader);
        }
        if news.writer {
            wakers.take(1, &mut self.writer);
        }
        // One who used the connection may leave it with something to do.
        if news.keeper || self.active && !self.watching {
            wakers.take(2, &mut self.keeper);
        }
        if news.others {
            let others = std::mem::take(&mut self.others);
            wakers.others = others.into_values().collect();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut wakers = Wakers::default();
        let mut waiting = self.lock();
        if waiting.holders > 0 {
            waiting.fired = true;
            return;
        }
        waiting.fire(&mut wakers);
        drop(waiting);
        wakers.wake();
    }
}

/// Somebody drives. Dropped after the connection's lock is open, it notes who waits now, and wakes
/// whom the news concerns.
pub(super) struct Hold<'a> {
    signal: &'a Signal,
    /// The reader waits for a message.
    pub(super) reader: Option<&'a Waker>,
    /// The writer waits for room, or for everything to be written.
    pub(super) writer: Option<&'a Waker>,
    pub(super) news: News,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        let mut waiting = self.signal.lock();
        waiting.holders -= 1;
        let reader = self.reader.take();
        let reader = reader.and_then(|waker| register(&mut waiting.reader, waker));
        let writer = self.writer.take();
        let writer = writer.and_then(|waker| register(&mut waiting.writer, waker));
        waiting.tell(self.news, &mut wakers);
        if waiting.holders == 0 && std::mem::take(&mut waiting.fired) {
            waiting.fire(&mut wakers);
        }
        drop(waiting);
        drop((reader, writer));
        wakers.wake();
    }
}

/// The waker that it replaces is for the caller to drop once the locks are open.
#[must_use = "a waker is not dropped under a lock"]
fn register(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(known) if known.will_wake(waker) => None,
        slot => slot.replace(waker.clone()),
    }
}
