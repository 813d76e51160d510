//! Readiness, by a poller of our own.
//!
//! Invariants
//! * A direction's interest is armed in the poller exactly while it has a waker.
//! * An event that nobody took is remembered, so that nobody can miss one by asking late.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use polling::{Event, Events, Poller};

use crate::socket::Source;

/// Waits for sockets to become ready, while somebody turns it.
#[derive(Debug)]
pub struct Reactor {
    poller: Poller,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: usize,
    sockets: BTreeMap<usize, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: usize,
    socket: socket2::Socket,
    interest: Mutex<Interest>,
}

/// Who waits for one socket.
#[derive(Debug, Default)]
struct Interest {
    reader: Direction,
    writer: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    /// It has become ready since somebody asked.
    ready: bool,
    waker: Option<Waker>,
}

impl Reactor {
    /// A reactor without sockets.
    ///
    /// # Errors
    ///
    /// The system is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            known: Mutex::default(),
        })
    }

    /// Whether it knows no socket.
    pub fn is_empty(&self) -> bool {
        lock(&self.known).sockets.is_empty()
    }

    /// Ends the present turn, or the next at once.
    pub fn notify(&self) {
        // A poller that cannot be notified cannot be waited for either.
        let _ = self.poller.notify();
    }

    /// Waits, for `timeout` at most, and wakes whom it concerns. One thread at a time turns it.
    ///
    /// # Errors
    ///
    /// The poller is broken: its descriptors were closed by others.
    pub fn turn(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.poller.wait(events, timeout)?;
        let mut due = Vec::new();
        for event in events.iter() {
            let entry = lock(&self.known).sockets.get(&event.key).cloned();
            if let Some(entry) = entry {
                let mut interest = lock(&entry.interest);
                interest.reader.note(event.readable, &mut due);
                interest.writer.note(event.writable, &mut due);
                // One direction's event has disarmed both. A socket that is gone needs no arming.
                let _ = self.arm(&entry, &interest);
            }
        }
        for waker in due {
            // Another's waker that panics must not stop everybody's reactor.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        Ok(())
    }

    fn arm(&self, entry: &Entry, interest: &Interest) -> io::Result<()> {
        let (reader, writer) = (&interest.reader.waker, &interest.writer.waker);
        if reader.is_none() && writer.is_none() {
            return Ok(());
        }
        let event = Event::new(entry.key, reader.is_some(), writer.is_some());
        self.poller.modify(&entry.socket, event)
    }
}

impl Direction {
    fn note(&mut self, ready: bool, due: &mut Vec<Waker>) {
        if ready {
            self.ready = true;
            due.extend(self.waker.take());
        }
    }
}

/// A socket that a [`Reactor`] knows.
#[derive(Debug)]
pub struct Polled {
    reactor: Arc<Reactor>,
    entry: Arc<Entry>,
}

impl Polled {
    /// Makes a socket known to a reactor.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn new(reactor: Arc<Reactor>, socket: socket2::Socket) -> io::Result<Self> {
        let mut known = lock(&reactor.known);
        let key = known.next;
        known.next += 1;
        let interest = Mutex::default();
        let entry = Arc::new(Entry {
            key,
            socket,
            interest,
        });
        known.sockets.insert(key, entry.clone());
        drop(known);
        // It exists before the poller knows its socket, so that every way out passes by its `Drop`.
        let polled = Self { reactor, entry };
        polled.add()?;
        Ok(polled)
    }

    #[expect(unsafe_code, reason = "a poller cannot know how long a socket lives")]
    fn add(&self) -> io::Result<()> {
        let (poller, socket) = (&self.reactor.poller, &self.entry.socket);
        // SAFETY: the socket must be deleted from the poller before it is closed. The entry owns it
        // and hands it out by reference only, and this value, made once per entry, owns the entry:
        // its `Drop` deletes the socket first, and lets go of the entry afterwards. Forgotten
        // instead, it leaks the entry, and the socket stays open.
        unsafe { poller.add(socket, Event::none(self.entry.key)) }
    }

    fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: impl FnOnce(&mut Interest) -> &mut Direction,
    ) -> Poll<io::Result<()>> {
        let mut interest = lock(&self.entry.interest);
        let direction = direction(&mut interest);
        if std::mem::take(&mut direction.ready) {
            return Poll::Ready(Ok(()));
        }
        let before = direction.waker.replace(cx.waker().clone());
        if before.is_none() {
            self.reactor.arm(&self.entry, &interest)?;
        }
        // A waker may be the last to know its task: it goes after the lock.
        drop(interest);
        drop(before);
        Poll::Pending
    }
}

impl Source for Polled {
    fn socket(&self) -> &socket2::Socket {
        &self.entry.socket
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, |interest| &mut interest.reader)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, |interest| &mut interest.writer)
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        let _ = self.reactor.poller.delete(&self.entry.socket);
        let mut known = lock(&self.reactor.known);
        known.sockets.remove(&self.entry.key);
        let last = known.sockets.is_empty();
        drop(known);
        if last {
            // Who turns the reactor may have nothing left to turn it for.
            self.reactor.notify();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every section leaves its data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
