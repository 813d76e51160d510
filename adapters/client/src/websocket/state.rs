//! What is behind the lock of a WebSocket: the machine, its wire, and what waits for the reader.
//!
//! Invariants
//! * What is in the inbox came before what is in `rx`.
//! * While messages wait and nobody takes them, at most the inbox's bound, one message more and one
//!   read are kept.
//! * A deadline or a fault is told only after what came before it was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use chacha20::ChaCha8Rng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{FaultKind, Phase};
use fulmar_core::pool::Discard;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Cause, CloseCode, Closed, Compress, Connection, Event, Message, PingId, SendError, Text,
};

use super::cap::Pass;
use super::inbox::Inbox;
use super::signal::{News, Waiting, Wakers};
use crate::h1::H1;
use crate::net::Net;
use crate::shared::Shared;
use crate::wire::Read;

/// The first read's room, and the most that one asks for where no long frame is under way.
const READ_MIN: usize = 8 * 1024;
const READ_MAX: usize = 64 * 1024;
/// The most that one read asks for of a long frame.
const READ_LONG: usize = 256 * 1024;
/// Reads, and writes, in one section before others get their turn.
const TURNS: usize = 16;

/// The connection, until its end.
pub(crate) struct Transport {
    pub(crate) h1: Box<H1>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pass: Pass,
}

impl Transport {
    pub(crate) fn discard(self) {
        self.shared
            .discard(self.h1, Discard::Spent, "websocket ended");
        drop(self.pass);
    }
}

/// One locked section in which the connection is driven. It reads the clock once, if at all.
pub(super) struct Turn<'a> {
    net: &'a dyn Net,
    cx: Context<'a>,
    now: Option<Instant>,
    /// A waker that another took the place of, to be dropped once the lock is open.
    pub(super) replaced: Option<Waker>,
}

impl<'a> Turn<'a> {
    /// With the waker that the transport is to know.
    pub(super) fn new(net: &'a dyn Net, cx: Context<'a>) -> Self {
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
    fn again(&self) {
        self.cx.waker().wake_by_ref();
    }
}

/// What is behind the lock.
pub(super) struct State {
    pub(super) machine: Connection,
    pub(super) waiting: Waiting,
    pub(super) transport: Option<Transport>,
    rng: ChaCha8Rng,
    inbox: Inbox,
    paused: bool,
    read_size: usize,
    /// Of a write. It is told once all that came before it is read.
    fault: Option<FaultKind>,
    /// Pings that are waited for, by ticket, and how long their pongs took.
    pub(super) pings: BTreeMap<u64, (PingId, Option<Duration>)>,
    ponged: bool,
    /// Reading goes on, and the keeper has to see to it.
    unattended: bool,
    /// What the writer waits for, where it does.
    pub(super) want: Option<Want>,
    /// When bytes last came.
    read_at: Instant,
    pub(super) sleeps_until: Instant,
}

/// What a writer may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Room for a message.
    Room,
    /// Everything is with the transport.
    Flushed,
}

impl State {
    pub(super) fn new(machine: Connection, transport: Transport, rng: ChaCha8Rng) -> Self {
        Self {
            machine,
            waiting: Waiting::default(),
            transport: Some(transport),
            rng,
            inbox: Inbox::default(),
            paused: false,
            read_size: READ_MIN,
            fault: None,
            pings: BTreeMap::new(),
            ponged: false,
            unattended: false,
            want: None,
            read_at: Instant::ORIGIN,
            sleeps_until: Instant::ORIGIN,
        }
    }

    /// The message at the front of what was read, where it is one short frame and nothing came
    /// before it.
    pub(super) fn poll_short(&mut self) -> Option<Message> {
        if self.paused || !self.inbox.is_empty() {
            return None;
        }
        let rx = self.transport.as_mut()?.h1.tunnel()?.rx;
        self.machine.poll_short(self.read_at, rx)
    }

    /// The next message, from the inbox or from the wire; `None` at the end. What is late is the
    /// keeper's to find.
    pub(super) fn poll_message(&mut self, turn: &mut Turn<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.inbox.pop() {
            if self.inbox.is_low() {
                self.resume(turn);
            }
            return Poll::Ready(Some(message));
        }
        for _ in 0..TURNS {
            match self.next(turn) {
                Ok(Some(message)) => return Poll::Ready(Some(message)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(None),
            }
            if self.read(turn).is_pending() {
                return Poll::Pending;
            }
        }
        turn.again();
        Poll::Pending
    }

    /// Moves what comes into the inbox until that is full, and stops reading then.
    pub(super) fn fill_inbox(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..TURNS {
            while let Ok(Some(message)) = self.next_if_room(turn) {
                if !self.inbox.is_full() {
                    self.inbox.push(message);
                }
            }
            if self.paused || self.read(turn).is_pending() {
                // Only what was read counts, so this follows reading.
                self.machine.handle_timeout(turn.now(), &mut self.rng);
                return;
            }
            if self.machine.is_done() {
                return;
            }
        }
        turn.again();
    }

    /// The next message, or a pause where there is no room for it. A connection that closes reads
    /// on, so that it finds the end: what has no room then is given up.
    fn next_if_room(&mut self, turn: &mut Turn<'_>) -> Result<Option<Message>, Arc<Closed>> {
        if self.inbox.is_full() && self.machine.is_open() {
            if !std::mem::replace(&mut self.paused, true) {
                self.machine.pause(turn.now());
            }
            return Ok(None);
        }
        self.next(turn)
    }

    /// The next message in `rx`.
    fn next(&mut self, turn: &mut Turn<'_>) -> Result<Option<Message>, Arc<Closed>> {
        let mut nothing = BytesMut::new();
        loop {
            let transport = self.transport.as_mut();
            let tunnel = transport.and_then(|transport| transport.h1.tunnel());
            let rx = tunnel.map_or(&mut nothing, |tunnel| tunnel.rx);
            if rx.is_empty() && self.machine.is_open() {
                return Ok(None);
            }
            match self.machine.poll_event(turn.now(), rx)? {
                Some(Event::Message(message)) => return Ok(Some(message)),
                Some(Event::Pong { id, rtt, .. }) => {
                    for (ping, answer) in self.pings.values_mut() {
                        if *ping <= id {
                            answer.get_or_insert(rtt);
                        }
                    }
                    self.ponged = true;
                }
                None => return Ok(None),
            }
        }
    }

    /// Reads once. Ready: something came, or the transport ended.
    fn read(&mut self, turn: &mut Turn<'_>) -> Poll<()> {
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return Poll::Pending;
        };
        let long = self.machine.wanted(tunnel.rx).min(READ_LONG);
        tunnel.rx.reserve(self.read_size.max(long));
        let room = tunnel.rx.capacity() - tunnel.rx.len();
        match tunnel
            .wire
            .poll_read(&mut turn.cx, tunnel.rx, || Phase::Body)
        {
            Poll::Ready(Ok(Read::Data(n))) => {
                if n == room {
                    self.read_size = (self.read_size * 2).min(READ_MAX);
                }
                self.read_at = turn.now();
                self.machine.handle_input(self.read_at);
            }
            Poll::Ready(Ok(Read::End(_))) => self.machine.handle_eof(turn.now()),
            Poll::Ready(Err(fault)) => self.machine.handle_fault(turn.now(), fault.kind),
            Poll::Pending => match self.fault.take() {
                Some(kind) => self.machine.handle_fault(turn.now(), kind),
                None => return Poll::Pending,
            },
        }
        Poll::Ready(())
    }

    /// Takes a message out, if there is room for it or can be made.
    pub(super) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        message: &mut Option<Message>,
        write: bool,
    ) -> Result<(), SendError> {
        let Some(given) = message.take() else {
            return Ok(());
        };
        if !self.has(Want::Room) {
            self.transmit(turn);
        }
        self.feed(given)?;
        if write {
            self.transmit(turn);
        }
        Ok(())
    }

    /// Takes a message for which there is room.
    pub(super) fn feed(&mut self, message: Message) -> Result<(), SendError> {
        if self.fault.is_some() {
            return Err(SendError::Full(message));
        }
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return Err(SendError::Closed(message));
        };
        self.machine
            .send(message, Compress::Auto, tunnel.tx, &mut self.rng)
    }

    /// Writes what is due, as far as the transport takes it.
    pub(super) fn transmit(&mut self, turn: &mut Turn<'_>) {
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return;
        };
        for _ in 0..TURNS {
            if self.machine.has_output() {
                self.machine
                    .poll_transmit(turn.now(), tunnel.tx, &mut self.rng);
            }
            if self.fault.is_some() {
                return tunnel.tx.clear();
            }
            if tunnel.tx.is_empty() && tunnel.wire.is_flushed() {
                return;
            }
            match tunnel
                .wire
                .poll_write(&mut turn.cx, tunnel.tx, Phase::Write)
            {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => {
                    // The server may have said why before it went: that is read first.
                    self.fault = Some(fault.kind);
                    turn.again();
                }
                Poll::Pending => return,
            }
        }
        turn.again();
    }

    /// The reader takes messages again.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>) {
        if std::mem::take(&mut self.paused) {
            self.machine.resume(turn.now());
            // Nobody may have asked the transport for more.
            self.unattended = true;
        }
    }

    /// An idle connection owns no buffers.
    pub(super) fn rest(&mut self) {
        let transport = self.transport.as_mut();
        if let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel())
            && tunnel.rx.is_empty()
            && tunnel.tx.is_empty()
        {
            (*tunnel.rx, *tunnel.tx) = (BytesMut::new(), WriteBuf::default());
            self.read_size = READ_MIN;
        }
    }

    pub(super) fn has(&mut self, want: Want) -> bool {
        let Self {
            machine,
            transport,
            fault,
            ..
        } = self;
        let tunnel = transport.as_mut().and_then(|t| t.h1.tunnel());
        let Some(tunnel) = tunnel.filter(|_| fault.is_none()) else {
            return false;
        };
        match want {
            Want::Room => machine.is_ready(tunnel.tx),
            Want::Flushed => {
                tunnel.tx.is_empty() && tunnel.wire.is_flushed() && !machine.is_sending()
            }
        }
    }

    /// Why what the writer wants will not be: the end, or, for a message, that this side closes.
    pub(super) fn refusal(&self, want: Want) -> Option<Closed> {
        if let Some(closed) = self.machine.closed() {
            return Some(Closed::clone(closed));
        }
        self.is_refused(want).then(closing)
    }

    fn is_refused(&self, want: Want) -> bool {
        let closes = want == Want::Room && !self.machine.is_open();
        closes || self.machine.closed().is_some()
    }

    /// The transport, to be dropped once nothing is left to do.
    pub(super) fn take_spent(&mut self) -> Option<Transport> {
        if !self.machine.is_done() {
            return None;
        }
        self.transport.take()
    }

    /// Whom what happened concerns. `has_fired`: the transport had news meanwhile.
    pub(super) fn tell(&mut self, is_spent: bool, has_fired: bool) -> Wakers {
        let has_ended = self.machine.closed().is_some();
        let due = self.machine.poll_timeout().unwrap_or(Instant::MAX);
        let writer = self
            .want
            .is_some_and(|want| self.has(want) || self.is_refused(want));
        if writer {
            self.want = None;
        }
        self.waiting.tell(News {
            reader: has_ended || !self.inbox.is_empty(),
            writer,
            others: has_ended || std::mem::take(&mut self.ponged),
            keeper: is_spent || due < self.sleeps_until || std::mem::take(&mut self.unattended),
            transport: has_fired,
        })
    }
}

/// How a connection will have ended of which one end is told already.
pub(super) fn closing() -> Closed {
    Closed {
        code: CloseCode::NORMAL,
        reason: Text::default(),
        clean: false,
        cause: Cause::Local,
    }
}
