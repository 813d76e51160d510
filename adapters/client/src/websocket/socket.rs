//! What the handles of one WebSocket and its keeper share: the machine, its wire, the inbox.
//!
//! Invariants
//! * Whoever drives does so in one locked section, without waiting; wakers are woken and transports
//!   dropped outside it.
//! * What is in the inbox came before what is in `rx`.
//! * While messages wait and nobody takes them, at most the inbox's bound and one read are kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use chacha20::ChaCha8Rng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{FaultKind, Phase};
use fulmar_core::pool::Discard;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Agreed, CloseCode, CloseError, Closed, Compress, Connection, Event, Message, PingId, Rtt,
    SendError,
};

use super::cap::Pass;
use super::signal::{News, Signal};
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
/// Messages, and bytes of them, that wait for the reader (POLICIES 5.7).
const INBOX: usize = 256;
const INBOX_BYTES: usize = 4 << 20;

/// One WebSocket.
pub(super) struct Socket {
    net: Arc<dyn Net>,
    signal: Arc<Signal>,
    /// The signal, as the transport knows it.
    waker: Waker,
    state: Mutex<State>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) protocol: Option<String>,
    pub(super) compression: Option<Agreed>,
}

/// The connection, until its end.
pub(super) struct Transport {
    pub(super) h1: Box<H1>,
    pub(super) shared: Arc<Shared>,
    pub(super) pass: Pass,
}

impl Transport {
    fn discard(self) {
        self.shared
            .discard(self.h1, Discard::Spent, "websocket ended");
        drop(self.pass);
    }
}

/// What is behind the lock.
pub(super) struct State {
    machine: Connection,
    transport: Option<Transport>,
    rng: ChaCha8Rng,
    inbox: Inbox,
    paused: bool,
    read_size: usize,
    /// Of a write. It is told once all that came before it is read.
    fault: Option<FaultKind>,
    /// Pings that are waited for, by ticket, and how long their pongs took.
    pings: BTreeMap<u64, (PingId, Option<Duration>)>,
    ponged: bool,
    /// Reading goes on, and the keeper has to see to it.
    unattended: bool,
    /// What the writer waits for, where it does.
    want: Want,
    sleeps_until: Instant,
}

/// What a writer may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Room for a message.
    Room,
    /// Everything is with the transport.
    Flushed,
}

#[derive(Default)]
struct Inbox {
    messages: std::collections::VecDeque<Message>,
    bytes: usize,
}

impl Inbox {
    fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        if self.messages.is_empty() {
            // An idle connection owns no buffers.
            self.messages = std::collections::VecDeque::new();
        }
        Some(message)
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= INBOX || self.bytes >= INBOX_BYTES
    }

    /// Whether it has drained so far that reading goes on.
    fn is_low(&self) -> bool {
        self.messages.len() <= INBOX / 4 && self.bytes <= INBOX_BYTES / 4
    }
}

impl Socket {
    pub(super) fn new(
        net: Arc<dyn Net>,
        machine: Connection,
        rng: ChaCha8Rng,
        transport: Transport,
        agreed: (Option<String>, Option<Agreed>),
    ) -> Self {
        let signal = Arc::new(Signal::default());
        let peer = transport.h1.peer.as_deref().copied();
        let state = State {
            machine,
            transport: Some(transport),
            rng,
            inbox: Inbox::default(),
            paused: false,
            read_size: READ_MIN,
            fault: None,
            pings: BTreeMap::new(),
            ponged: false,
            unattended: false,
            want: Want::Room,
            sleeps_until: Instant::ORIGIN,
        };
        Self {
            net,
            waker: Waker::from(signal.clone()),
            signal,
            state: Mutex::new(state),
            peer,
            protocol: agreed.0,
            compression: agreed.1,
        }
    }

    pub(super) fn net(&self) -> &Arc<dyn Net> {
        &self.net
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Runs a section that may read and write, and tells whom it concerns.
    fn drive<R>(
        &self,
        is_use: bool,
        section: impl FnOnce(&mut State, &mut Context<'_>, Instant) -> R,
    ) -> R {
        let now = self.net.now();
        let mut hold = self.signal.hold(is_use);
        let mut cx = Context::from_waker(&self.waker);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = section(&mut state, &mut cx, now);
        let spent = match state.machine.is_done() {
            true => state.transport.take(),
            false => None,
        };
        hold.news = state.news(spent.is_some());
        drop(state);
        spent.into_iter().for_each(Transport::discard);
        result
    }

    /// The next message; `None` once the connection has ended.
    pub(super) fn poll_recv(&self, user: &mut Context<'_>) -> Poll<Option<Message>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            let polled = state.poll_message(cx, now);
            state.transmit(cx, now);
            let waits = polled.is_pending().then(|| user.waker());
            (
                polled,
                waits.and_then(|waker| self.signal.wait_to_read(waker)),
            )
        });
        polled
    }

    /// Takes the message out, once there is room for it, and writes what the transport takes.
    pub(super) fn poll_send(
        &self,
        user: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            match state.send(cx, now, message, true) {
                Err(SendError::Full(full)) => {
                    *message = Some(full);
                    state.want = Want::Room;
                    (Poll::Pending, self.signal.wait_to_write(user.waker()))
                }
                sent => (Poll::Ready(sent), None),
            }
        });
        polled
    }

    /// Takes the message, if there is room for it now; writing it may wait for a flush.
    pub(super) fn send_now(&self, message: Message, write: bool) -> Result<(), SendError> {
        let mut message = Some(message);
        self.drive(true, |state, cx, now| {
            state.send(cx, now, &mut message, write)
        })
    }

    /// Waits for room, or until everything is written.
    pub(super) fn poll_want(&self, user: &mut Context<'_>, want: Want) -> Poll<Result<(), Closed>> {
        let (polled, _replaced) = self.drive(true, |state, cx, now| {
            if want == Want::Flushed || !state.has(want) {
                state.transmit(cx, now);
            }
            if state.has(want) {
                return (Poll::Ready(Ok(())), None);
            }
            if let Some(closed) = state.machine.closed() {
                return (Poll::Ready(Err(Closed::clone(closed))), None);
            }
            state.want = want;
            (Poll::Pending, self.signal.wait_to_write(user.waker()))
        });
        polled
    }

    /// Begins to close, unless that has begun.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.drive(true, |state, cx, now| {
            state.machine.close(now, code, reason)?;
            state.resume(now);
            state.transmit(cx, now);
            Ok(())
        })
    }

    /// Asks for a ping. `None` where too many are under way, or the connection closes.
    pub(super) fn ping(&self, ticket: u64) -> bool {
        self.drive(true, |state, cx, now| {
            let Some(id) = state.machine.ping() else {
                return false;
            };
            state.pings.insert(ticket, (id, None));
            state.transmit(cx, now);
            true
        })
    }

    /// How long the pong to that ping took, once it is there.
    pub(super) fn pong(&self, ticket: u64) -> Option<Duration> {
        self.locked(|state| state.pings.get(&ticket)?.1)
    }

    /// Nobody waits for that ping's pong any more.
    pub(super) fn forget_ping(&self, ticket: u64) {
        self.locked(|state| state.pings.remove(&ticket));
    }

    pub(super) fn closed(&self) -> Option<Closed> {
        self.locked(|state| state.machine.closed().map(|closed| Closed::clone(closed)))
    }

    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.locked(|state| state.machine.rtt())
    }

    /// Does what is due while no handle does. Says when to come back, `None` at the end.
    pub(super) fn keep(&self, waker: &Waker) -> Option<Instant> {
        let (until, _replaced) = self.drive(false, |state, cx, now| {
            state.fill_inbox(cx, now);
            state.transmit(cx, now);
            if state.machine.is_done() {
                return (None, None);
            }
            let (watches, replaced) = self.signal.keep(waker);
            let due = state.machine.poll_timeout().unwrap_or(Instant::MAX);
            let tick = if watches {
                now + super::signal::TICK
            } else {
                Instant::MAX
            };
            state.sleeps_until = due.min(tick);
            if !watches {
                state.rest();
            }
            (Some(state.sleeps_until), replaced)
        });
        until
    }

    /// Nobody uses it any more, or nobody can: says goodbye as far as that goes at once, and ends.
    pub(super) fn abandon(&self, kind: FaultKind) {
        self.drive(true, |state, cx, now| {
            if state.transport.is_none() {
                return;
            }
            // The code is one that may be sent.
            let _ = state.machine.close(now, CloseCode::GOING_AWAY, "");
            state.transmit(cx, now);
            state.machine.handle_fault(now, kind);
        });
    }

    fn locked<R>(&self, section: impl FnOnce(&mut State) -> R) -> R {
        section(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// The next message, from the inbox or from the wire; `None` at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Message>> {
        if let Some(message) = self.inbox.pop() {
            if self.inbox.is_low() {
                self.resume(now);
            }
            return Poll::Ready(Some(message));
        }
        for _ in 0..TURNS {
            match self.next(now) {
                Ok(Some(message)) => return Poll::Ready(Some(message)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(None),
            }
            if self.read(cx, now).is_pending() {
                return match self.is_late(now) {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves what comes into the inbox until that is full, and stops reading then.
    fn fill_inbox(&mut self, cx: &mut Context<'_>, now: Instant) {
        for _ in 0..TURNS {
            while let Ok(Some(message)) = self.next_if_room(now) {
                if !self.inbox.is_full() {
                    self.inbox.push(message);
                }
            }
            if self.paused || self.read(cx, now).is_pending() {
                self.is_late(now);
                return;
            }
            if self.machine.is_done() {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The next message, or a pause where there is no room for it. A connection that closes reads
    /// on, so that it finds the end: what has no room then is given up.
    fn next_if_room(&mut self, now: Instant) -> Result<Option<Message>, Arc<Closed>> {
        if self.inbox.is_full() && self.machine.is_open() {
            if !std::mem::replace(&mut self.paused, true) {
                self.machine.pause(now);
            }
            return Ok(None);
        }
        self.next(now)
    }

    /// The next message in `rx`.
    fn next(&mut self, now: Instant) -> Result<Option<Message>, Arc<Closed>> {
        let mut nothing = BytesMut::new();
        loop {
            let transport = self.transport.as_mut();
            let tunnel = transport.and_then(|transport| transport.h1.tunnel());
            let rx = tunnel.map_or(&mut nothing, |tunnel| tunnel.rx);
            match self.machine.poll_event(now, rx)? {
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
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return Poll::Pending;
        };
        let long = self.machine.wanted(tunnel.rx).min(READ_LONG);
        tunnel.rx.reserve(self.read_size.max(long));
        let room = tunnel.rx.capacity() - tunnel.rx.len();
        match tunnel.wire.poll_read(cx, tunnel.rx, Phase::Body) {
            Poll::Ready(Ok(Read::Data(n))) => {
                if n == room {
                    self.read_size = (self.read_size * 2).min(READ_MAX);
                }
                self.machine.handle_input(now);
            }
            Poll::Ready(Ok(Read::End(_))) => self.machine.handle_eof(now),
            Poll::Ready(Err(fault)) => self.machine.handle_fault(now, fault.kind),
            Poll::Pending => match self.fault.take() {
                Some(kind) => self.machine.handle_fault(now, kind),
                None => return Poll::Pending,
            },
        }
        Poll::Ready(())
    }

    /// Tells the machine the time, and says whether that ended it. Only what was read counts, so
    /// this follows reading.
    fn is_late(&mut self, now: Instant) -> bool {
        self.machine.handle_timeout(now, &mut self.rng);
        self.machine.closed().is_some()
    }

    fn send(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        message: &mut Option<Message>,
        write: bool,
    ) -> Result<(), SendError> {
        let Some(given) = message.take() else {
            return Ok(());
        };
        if !self.has(Want::Room) {
            self.transmit(cx, now);
        }
        if self.fault.is_some() {
            return Err(SendError::Full(given));
        }
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return Err(SendError::Closed(given));
        };
        self.machine
            .send(given, Compress::Auto, tunnel.tx, &mut self.rng)?;
        if write {
            self.transmit(cx, now);
        }
        Ok(())
    }

    /// Writes what is due, as far as the transport takes it.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) {
        let transport = self.transport.as_mut();
        let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel()) else {
            return;
        };
        for _ in 0..TURNS {
            self.machine.poll_transmit(now, tunnel.tx, &mut self.rng);
            if self.fault.is_some() {
                return tunnel.tx.clear();
            }
            if tunnel.tx.is_empty() && tunnel.wire.is_flushed() {
                return;
            }
            match tunnel.wire.poll_write(cx, tunnel.tx, Phase::Write) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => {
                    // The server may have said why before it went: that is read first.
                    self.fault = Some(fault.kind);
                    cx.waker().wake_by_ref();
                }
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The reader takes messages again.
    fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused) {
            self.machine.resume(now);
            // Nobody may have asked the transport for more.
            self.unattended = true;
        }
    }

    /// An idle connection owns no buffers.
    fn rest(&mut self) {
        let transport = self.transport.as_mut();
        if let Some(tunnel) = transport.and_then(|transport| transport.h1.tunnel())
            && tunnel.rx.is_empty()
            && tunnel.tx.is_empty()
        {
            (*tunnel.rx, *tunnel.tx) = (BytesMut::new(), WriteBuf::default());
            self.read_size = READ_MIN;
        }
    }

    fn has(&mut self, want: Want) -> bool {
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

    /// Whom what happened concerns.
    fn news(&mut self, is_spent: bool) -> News {
        let has_ended = self.machine.closed().is_some();
        let due = self.machine.poll_timeout().unwrap_or(Instant::MAX);
        News {
            reader: has_ended || !self.inbox.messages.is_empty(),
            writer: has_ended || !self.machine.is_open() || self.has(self.want),
            others: has_ended || std::mem::take(&mut self.ponged),
            keeper: is_spent || due < self.sleeps_until || std::mem::take(&mut self.unattended),
        }
    }
}
