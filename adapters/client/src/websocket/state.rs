//! What is behind the lock of a WebSocket: the machine, its wire, and what waits for the reader.
//!
//! Invariants
//! * What is in the inbox came before what is in `rx`.
//! * While messages wait and nobody takes them, at most the inbox's bound, one message more and one
//!   read are kept.
//! * A deadline or a fault is told only after what came before it was read, or a turn's worth of it.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use chacha20::ChaCha8Rng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{FaultKind, Phase};
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Cause, CloseCode, Closed, Compress, Connection, Event, Message, PingId, SendError, Text,
};

use super::entropy::Entropy;
use super::inbox::Inbox;
use super::signal::{News, Waiting, Wakers};
use super::transport::Transport;
use super::turn::Turn;
use crate::net::Net;
use crate::wire::{Read, Wire};

/// The first read's room, and the most that one asks for where no long frame is under way.
const READ_MIN: usize = 8 * 1024;
pub(super) const READ_MAX: usize = 64 * 1024;
/// Reads, and writes, in one section before others get their turn.
const TURNS: usize = 16;

/// What is behind the lock.
pub(super) struct State {
    pub(super) machine: Connection,
    pub(super) waiting: Waiting,
    pub(super) transport: Option<Transport>,
    /// What was read and not yet parsed, and what is to be written.
    rx: BytesMut,
    tx: WriteBuf,
    entropy: Entropy,
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
    pub(super) fn new(machine: Connection, mut transport: Transport, rng: ChaCha8Rng) -> Self {
        let (rx, tx) = transport.take_buffers();
        Self {
            machine,
            rx,
            tx,
            waiting: Waiting::default(),
            transport: Some(transport),
            entropy: Entropy::new(rng),
            inbox: Inbox::default(),
            paused: false,
            read_size: READ_MIN,
            fault: None,
            pings: BTreeMap::new(),
            ponged: false,
            unattended: false,
            want: None,
            sleeps_until: Instant::ORIGIN,
        }
    }

    /// The message at the front of what was read, where it is one short frame and nothing came
    /// before it.
    #[inline]
    pub(super) fn poll_short(&mut self, net: &Arc<dyn Net>) -> Option<Message> {
        // One that is paused has something in its inbox.
        if !self.inbox.is_empty() {
            return None;
        }
        self.machine.poll_short(|| net.now(), &mut self.rx)
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
            if !self.is_drained() {
                let next = self.next(turn);
                // It may have asked for an answer.
                self.transmit(turn);
                match next {
                    Ok(Some(message)) => return Poll::Ready(Some(message)),
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(None),
                }
            }
            if self.read(turn).is_pending() {
                return Poll::Pending;
            }
        }
        turn.again();
        Poll::Pending
    }

    /// Whether the reader gets nothing before something is read.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.is_drained()
    }

    /// Whether nothing that was read is left to be parsed.
    #[inline]
    fn is_drained(&self) -> bool {
        self.rx.is_empty() && self.machine.is_open()
    }

    /// Moves what comes into the inbox until that is full, and stops reading then.
    pub(super) fn fill_inbox(&mut self, turn: &mut Turn<'_>) {
        if !self.has_caught_up(turn) {
            turn.again();
        }
        // Only what was read counts, so this follows reading; of what has no end, a turn of it.
        self.machine.handle_timeout(turn.now(), &mut self.entropy);
    }

    /// Reads for one turn. False where there may be more.
    fn has_caught_up(&mut self, turn: &mut Turn<'_>) -> bool {
        for _ in 0..TURNS {
            while let Ok(Some(message)) = self.next_if_room(turn) {
                if !self.inbox.is_full() {
                    self.inbox.push(message);
                }
            }
            if self.paused || self.read(turn).is_pending() || self.machine.is_done() {
                return true;
            }
        }
        false
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
        loop {
            if self.is_drained() {
                return Ok(None);
            }
            match self.machine.poll_event(turn.now(), &mut self.rx)? {
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
    pub(super) fn read(&mut self, turn: &mut Turn<'_>) -> Poll<()> {
        let Some(transport) = &mut self.transport else {
            return Poll::Pending;
        };
        let mut room = self.rx.capacity() - self.rx.len();
        // Short messages share a buffer until half of what a read asks for is used up.
        if room < self.read_size / 2 || room < self.machine.wanted(&self.rx) {
            let long = self.machine.wanted(&self.rx);
            self.rx.reserve(self.read_size.max(long));
            room = self.rx.capacity() - self.rx.len();
        }
        let wire = transport.h1.wire_mut();
        match wire.poll_read(&mut turn.cx, &mut self.rx, || Phase::Body) {
            Poll::Ready(Ok(Read::Data(n))) => {
                if n == room {
                    self.read_size = (self.read_size * 2).min(READ_MAX);
                }
                // The keeper has a look soon, which is early enough for what silence is measured by.
                self.machine.note_input();
            }
            Poll::Ready(Ok(Read::End(_))) => self.machine.handle_eof(),
            Poll::Ready(Err(fault)) => self.machine.handle_fault(fault.kind),
            Poll::Pending => match self.fault.take() {
                Some(kind) => self.machine.handle_fault(kind),
                None => return Poll::Pending,
            },
        }
        Poll::Ready(())
    }

    /// Takes a message, if there is room for it or can be made, and writes what the transport takes.
    #[inline]
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, message: Message) -> Result<(), SendError> {
        match self.feed(message) {
            Err(SendError::Full(message)) => {
                self.transmit(turn);
                self.feed(message)?;
            }
            fed => fed?,
        }
        self.write(turn);
        Ok(())
    }

    /// Takes a message for which there is room.
    #[inline]
    pub(super) fn feed(&mut self, message: Message) -> Result<(), SendError> {
        if self.fault.is_some() && self.machine.is_open() {
            return Err(SendError::Full(message));
        }
        self.machine
            .send(message, Compress::Auto, &mut self.tx, &mut self.entropy)
    }

    /// Writes what is due, as far as the transport takes it.
    #[inline]
    pub(super) fn transmit(&mut self, turn: &mut Turn<'_>) {
        if !self.is_flushed() {
            self.write(turn);
        }
    }

    /// Whether nothing waits to be written, and nothing is due.
    #[inline]
    fn is_flushed(&self) -> bool {
        self.is_written() && !self.machine.has_output()
    }

    #[inline]
    fn is_written(&self) -> bool {
        let wire = self.transport.as_ref().map(|transport| transport.h1.wire());
        self.tx.is_empty() && wire.is_none_or(Wire::is_flushed)
    }

    fn write(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..TURNS {
            if self.machine.has_output() {
                self.machine
                    .poll_transmit(turn.now(), &mut self.tx, &mut self.entropy);
            }
            if self.fault.is_some() {
                return self.tx.clear();
            }
            if self.is_written() {
                return;
            }
            let Some(transport) = &mut self.transport else {
                return;
            };
            let wire = transport.h1.wire_mut();
            match wire.poll_write(&mut turn.cx, &mut self.tx, Phase::Write) {
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
        if take(&mut self.paused) {
            self.machine.resume(turn.now());
            // Nobody may have asked the transport for more.
            self.unattended = true;
        }
    }

    /// An idle connection owns no buffers, and no generator.
    pub(super) fn rest(&mut self) {
        if self.rx.is_empty() && self.tx.is_empty() {
            (self.rx, self.tx) = (BytesMut::new(), WriteBuf::default());
            self.read_size = READ_MIN;
        }
        if let Some(transport) = &mut self.transport {
            transport.h1.wire_mut().rest();
        }
        self.entropy.rest();
    }

    #[inline]
    pub(super) fn has(&self, want: Want) -> bool {
        if self.fault.is_some() || self.transport.is_none() {
            return false;
        }
        match want {
            Want::Room => self.machine.is_ready(&self.tx),
            Want::Flushed => self.is_flushed() && !self.machine.is_cut_off(),
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
        (self.rx, self.tx) = (BytesMut::new(), WriteBuf::default());
        self.transport.take()
    }

    /// Whether what happened concerns anybody else.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.machine.closed().is_some()
            || !self.inbox.is_empty()
            || self.want.is_some()
            || self.ponged
            || self.unattended
            || self.waiting.is_left()
            || self.due() < self.sleeps_until
    }

    fn due(&self) -> Instant {
        self.machine.poll_timeout().unwrap_or(Instant::MAX)
    }

    /// Whom what happened concerns. `has_fired`: the transport had news meanwhile.
    pub(super) fn tell(&mut self, has_fired: bool) -> Wakers {
        let has_ended = self.machine.closed().is_some();
        let is_left = has_fired && self.is_output_left();
        let news = News {
            reader: has_ended || !self.inbox.is_empty(),
            writer: self.want.is_some_and(|want| self.is_over(want)),
            others: has_ended || self.ponged,
            keeper: self.machine.is_done()
                || self.due() < self.sleeps_until
                || self.unattended
                || is_left,
            transport: has_fired,
        };
        (self.ponged, self.unattended) = (false, false);
        self.want.take_if(|_| news.writer);
        self.waiting.tell(news)
    }

    /// The transport has news, and nobody drives: the one whom they concern, where he waits for a
    /// message, and nobody else is concerned. That is mostly so.
    #[inline]
    pub(super) fn fired_for_reader(&mut self) -> Option<Waker> {
        if self.is_flushed() {
            self.waiting.take_lone_reader()
        } else {
            None
        }
    }

    /// Whether something is to be written, and nobody waits for it to be.
    fn is_output_left(&self) -> bool {
        !self.is_flushed() && !self.waiting.is_writing()
    }

    /// Whether the writer need not wait for that any more.
    fn is_over(&self, want: Want) -> bool {
        self.has(want) || self.is_refused(want)
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
