//! Whom to wake, and when the keeper is to look.
//!
//! The transport knows one waker, whoever polls it: the [`Signal`]. It passes on to the reader and
//! the writer that wait, who drive the connection, and to the keeper, who does while they do not.
//!
//! A task that waits need not come back soon, and one that got a message may ask for no other: so
//! after any use the keeper *watches*, which is to look once a [`TICK`], until it finds that nothing
//! happened since. While it watches, what arrives for a waiting reader wakes the reader alone, unless
//! somebody waits for a pong or the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::socket::Socket;
use crate::wake::wake_all;

/// How often a keeper that watches looks.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// The transport's waker. A transport may wake while it is polled, under the connection's lock: then
/// it is noted, and passed on by who polls.
pub(super) struct Signal {
    socket: Weak<Socket>,
    /// One of the three below.
    phase: AtomicU8,
}

/// Nobody drives.
const IDLE: u8 = 0;
/// Somebody drives.
const DRIVEN: u8 = 1;
/// Somebody drives, and the transport has news since.
const FIRED: u8 = 2;

impl Signal {
    pub(super) fn new(socket: Weak<Socket>) -> Self {
        Self {
            socket,
            phase: AtomicU8::new(IDLE),
        }
    }

    /// Somebody begins to drive, or does already. Called under the lock, as is what
    /// ends it.
    pub(super) fn begin(&self) {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.phase.compare_exchange(IDLE, DRIVEN, success, failure);
    }

    /// They are done, where the transport had no news meanwhile; else false, and they are not.
    pub(super) fn end_quietly(&self) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let phase = self.phase.compare_exchange(DRIVEN, IDLE, success, failure);
        phase.is_ok()
    }

    /// They are done. True where the transport had news meanwhile.
    pub(super) fn end(&self) -> bool {
        self.phase.swap(IDLE, Ordering::AcqRel) == FIRED
    }

    /// Notes news of the transport, where somebody drives. It writes although that is noted already:
    /// who ends sees what came before each note.
    fn note(&self) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let noted = |phase| (phase != IDLE).then_some(FIRED);
        self.phase.fetch_update(success, failure, noted).is_ok()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.note()
            && let Some(socket) = self.socket.upgrade()
        {
            socket.fire();
        }
    }
}

/// Who waits.
#[derive(Default)]
pub(super) struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    keeper: Option<Waker>,
    /// For a pong, or the end.
    others: BTreeMap<u64, Waker>,
    tickets: u64,
    watching: bool,
    /// Something happened since the keeper last looked.
    active: bool,
}

/// Wakers to wake once the lock is open: they run code of their own.
#[derive(Default)]
pub(super) struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
    keeper: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakers {
    pub(super) fn wake(self) {
        let one = [self.reader, self.writer, self.keeper];
        wake_all(one.into_iter().flatten().chain(self.others));
    }
}

/// Whom the state of the connection concerns.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct News {
    pub(super) reader: bool,
    pub(super) writer: bool,
    pub(super) others: bool,
    pub(super) keeper: bool,
    /// The transport has some, for whoever waits.
    pub(super) transport: bool,
}

/// Where a waker is replaced, the old one is for the caller to drop once the lock is open.
impl Waiting {
    /// Somebody uses the connection.
    pub(super) fn note_use(&mut self) {
        self.active = true;
    }

    /// Somebody uses the connection, where the keeper watches; else false, and nothing is noted.
    #[inline]
    pub(super) fn note_watched_use(&mut self) -> bool {
        self.active |= self.watching;
        self.watching
    }

    /// The reader waits for a message.
    #[must_use = "a waker is not dropped under a lock"]
    pub(super) fn read(&mut self, waker: &Waker) -> Option<Waker> {
        register(&mut self.reader, waker)
    }

    /// The writer waits for room, or for everything to be written.
    #[must_use = "a waker is not dropped under a lock"]
    pub(super) fn write(&mut self, waker: &Waker) -> Option<Waker> {
        register(&mut self.writer, waker)
    }

    /// The keeper waits. True where it is to look again after a [`TICK`].
    pub(super) fn keep(&mut self, waker: &Waker) -> (bool, Option<Waker>) {
        self.watching = std::mem::take(&mut self.active);
        (self.watching, register(&mut self.keeper, waker))
    }

    /// A number for one who waits for something else.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// They wait.
    pub(super) fn wait(&mut self, ticket: u64, waker: Waker) -> Option<Waker> {
        self.others.insert(ticket, waker)
    }

    /// They no longer do.
    pub(super) fn forget(&mut self, ticket: u64) -> Option<Waker> {
        self.others.remove(&ticket)
    }

    /// Those whom it concerns, who no longer wait.
    #[inline(never)]
    pub(super) fn tell(&mut self, news: News) -> Wakers {
        let mut wakers = Wakers::default();
        // Where the transport has news, who waits looks.
        let is_read = self.reader.is_some();
        if news.reader || news.transport {
            wakers.reader = self.reader.take();
        }
        if news.writer || news.transport {
            wakers.writer = self.writer.take();
        }
        self.active |= news.transport;
        // News that nobody reads are the keeper's; so are those for which another waits, too: the one
        // who registered as the reader may have given up.
        let is_kept = news.transport && (!is_read || !self.others.is_empty());
        if news.keeper || self.is_left() || is_kept {
            wakers.keeper = self.keeper.take();
        }
        if news.others {
            let others = std::mem::take(&mut self.others);
            wakers.others = others.into_values().collect();
        }
        wakers
    }

    /// The one who reads, where nobody else waits and the keeper watches: the transport has news.
    #[inline]
    pub(super) fn take_lone_reader(&mut self) -> Option<Waker> {
        if !self.watching || self.writer.is_some() || !self.others.is_empty() {
            return None;
        }
        self.active = true;
        self.reader.take()
    }

    /// Whether somebody waits to write.
    pub(super) fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    /// One who used the connection may leave it with something to do.
    pub(super) fn is_left(&self) -> bool {
        self.active && !self.watching
    }
}

fn register(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(known) if known.will_wake(waker) => None,
        slot => slot.replace(waker.clone()),
    }
}
