//! The machine of one connection, from the end of the handshake to the end of the transport.
//!
//! ```text
//!          close()                     Close came              echo was written
//!   Open ---------> LocalClosing ---------------------+        +---------> WaitEof --> Closed
//!     |  Close came                                   v        |
//!     +------------------------------------------> RemoteClosing     (ours was written: at once)
//!     |  a violation, a deadline of messages: Close is written, the end is told at once
//!     +----------------------------------------------------------------> WaitEof --> Closed
//!     |  EOF, a fault, silence
//!     +-----------------------------------------------------------------------------> Closed
//! ```
//!
//! Invariants
//! * No event follows the end; the end is the same each time it is asked for.
//! * Closing takes at most the close timeout and the EOF timeout, whatever the server does.
//! * Events are a function of the bytes and of when they came, not of how they were cut.
//! * The machine owns no buffer of bytes; what it queues is one message in progress, a few pongs,
//!   one Close frame and some pings.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rand_core::Rng;

use super::clocks::MessageClocks;
use super::close::{Cause, CloseCode, CloseError, CloseFrame, Closed};
use super::config::{Config, Times};
use super::deflate::{Deflater, Inflater};
use super::error::Violation;
use super::event::{Event, SendError, State};
use super::flood::Flood;
use super::frame::Control;
use super::handshake::Negotiated;
use super::keepalive::{Life, PingId, Rtt};
use super::message::Message;
use super::receive::{Incoming, Receiver};
use super::transmit::{Compress, Sender};
use crate::buf::WriteBuf;
use crate::fault::FaultKind;
use crate::time::Instant;

/// One WebSocket connection, seen from the client.
///
/// The driver reads into `rx`, tells [`handle_input`](Self::handle_input) and asks
/// [`poll_event`](Self::poll_event) until it has nothing; then
/// [`poll_transmit`](Self::poll_transmit), and writes `tx`. It reads before it reports a timeout or
/// an end of the transport, so that what came in time counts.
#[derive(Debug)]
pub struct Connection {
    pub(super) state: State,
    /// When the state is over; [`Instant::MAX`] while open.
    pub(super) until: Instant,
    /// What [`poll_timeout`](Self::poll_timeout) says: never later than the earliest deadline.
    pub(super) next: Instant,
    receiver: Receiver,
    pub(super) sender: Sender,
    life: Life,
    clocks: MessageClocks,
    flood: Flood,
    /// Whether a frame came.
    heard: bool,
    /// Whether bytes came at a time that is not known.
    noted: bool,
    pub(super) times: Times,
    /// How it will have ended, once the transport has. Boxed, because most of a life has none.
    pub(super) ending: Option<Box<Closed>>,
    pub(super) closed: Option<Arc<Closed>>,
}

impl Connection {
    /// A connection whose handshake is done.
    pub fn new(now: Instant, config: &Config, negotiated: &Negotiated, rng: &mut dyn Rng) -> Self {
        let agreed = negotiated.compression;
        let compression = config.compression.unwrap_or_default();
        let mut connection = Self {
            state: State::Open,
            until: Instant::MAX,
            next: Instant::MAX,
            receiver: Receiver::new(config.limits, agreed.and_then(Inflater::new)),
            sender: Sender::new(
                agreed.and_then(|agreed| Deflater::new(agreed, &compression)),
                config.fragment.max(1),
                config.fragment_above,
            ),
            life: Life::new(now, config.keepalive, rng),
            clocks: MessageClocks::new(now),
            flood: Flood::new(config.limits.pings_per_second),
            heard: false,
            noted: false,
            times: config.times,
            ending: None,
            closed: None,
        };
        connection.next = connection.earliest();
        connection
    }

    /// Where the closing stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the transport is to be dropped, once what is in `tx` was written or cannot be.
    pub fn is_done(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether [`send`](Self::send) takes a message.
    pub fn is_ready(&self, tx: &WriteBuf) -> bool {
        self.is_open() && self.sender.is_ready(tx)
    }

    /// Whether a message is in progress, of which not everything is in `tx` yet.
    pub fn is_sending(&self) -> bool {
        self.sender.is_sending()
    }

    /// How it ended.
    pub fn closed(&self) -> Option<&Arc<Closed>> {
        self.closed.as_ref()
    }

    /// Round-trip times, once a ping was answered.
    pub fn rtt(&self) -> Option<Rtt> {
        self.life.rtt()
    }

    /// How often it makes sure of the server; `None` where it does not.
    pub fn keepalive_interval(&self) -> Option<Duration> {
        self.life.interval()
    }

    /// Whether the server sent a frame.
    pub fn has_received(&self) -> bool {
        self.heard
    }

    /// Bytes put into `tx` so far. With what `tx` still holds it says what was written.
    pub fn written(&self) -> u64 {
        self.sender.written()
    }

    /// Bytes that it keeps of a message that has not come whole.
    pub fn buffered(&self) -> usize {
        self.receiver.buffered()
    }

    /// Bytes of the frame at the front of `rx` that are still to come: room worth reserving.
    pub fn wanted(&self, rx: &BytesMut) -> usize {
        self.receiver.wanted(rx.len())
    }

    /// Sends a message: short ones go into `tx` at once, a long one piece by piece with
    /// [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    ///
    /// Where the connection is not [ready](Self::is_ready); the message is given back. What control
    /// frames were written since it was does not matter.
    #[inline]
    pub fn send(
        &mut self,
        message: Message,
        compress: Compress,
        tx: &mut WriteBuf,
        rng: &mut dyn Rng,
    ) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed(message));
        }
        if !self.sender.takes(tx) {
            return Err(SendError::Full(message));
        }
        self.sender.poll_pongs(tx, rng);
        self.sender.begin(message, compress, tx, rng);
        Ok(())
    }

    /// Asks for a ping, whose number a later [`Event::Pong`] tells. `None` where too many wait for
    /// their pongs, or the connection closes.
    pub fn ping(&mut self) -> Option<PingId> {
        if self.is_open() {
            self.life.request()
        } else {
            None
        }
    }

    /// This side stops reading: deadlines on what the server does stand still, for at most
    /// [`Config::slow_consumer`].
    pub fn pause(&mut self, now: Instant) {
        self.clocks.pause(now, &self.times);
        self.life.pause(now);
        self.next = self.earliest();
    }

    /// This side reads again.
    pub fn resume(&mut self, now: Instant) {
        self.clocks.resume(now);
        self.life.resume(now);
        self.next = self.earliest();
    }

    /// Closes: the message in progress is finished, a Close frame follows. Does nothing where the
    /// connection closes already.
    ///
    /// # Errors
    ///
    /// Where the code or the reason may not be sent.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        let frame = CloseFrame::new(code, reason)?;
        if self.state == State::Open {
            self.sender.close(&frame);
            self.enter(State::LocalClosing, now + self.times.close_timeout);
            self.ending = Some(Box::new(Closed {
                code,
                reason: frame.reason,
                clean: false,
                cause: Cause::Eof,
            }));
        }
        Ok(())
    }

    /// Bytes arrived in `rx`.
    #[inline]
    pub fn handle_input(&mut self, now: Instant) {
        self.life.handle_inbound(now);
    }

    /// Bytes arrived in `rx`, and the clock was not asked when: they count as what came at the next
    /// [`handle_timeout`](Self::handle_timeout), however early that is. A driver that calls it often
    /// enough saves a look at the clock with every message.
    #[inline]
    pub fn note_input(&mut self) {
        self.noted = true;
    }

    /// The server ended the transport.
    pub fn handle_eof(&mut self) {
        self.end(Cause::Eof);
    }

    /// The transport failed, in either direction.
    pub fn handle_fault(&mut self, kind: FaultKind) {
        self.end(Cause::Fault(kind));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        if std::mem::take(&mut self.noted) {
            self.life.handle_inbound(now);
        }
        if now < self.next {
            return;
        }
        if self.until <= now {
            self.expire();
        }
        if self.state == State::Open {
            if let Err(dead) = self.life.handle_timeout(now, rng) {
                let missed = dead.missed;
                self.finish(Closed::abnormal(Cause::KeepaliveTimeout { missed }));
            } else if let Some(cause) = self.clocks.expired(now, &self.times) {
                let frame = CloseFrame::of(CloseCode::GOING_AWAY, "");
                self.fail(now, &frame, cause);
            }
        }
        self.next = self.earliest();
    }

    /// The message at the front of `rx`, where it is one short frame and all there, by itself: what
    /// most are. It asks for no answer, so neither [`poll_transmit`](Self::poll_transmit) nor
    /// [`poll_timeout`](Self::poll_timeout) has news. Where it is `None`,
    /// [`poll_event`](Self::poll_event) says what there is. `now` is asked only where something
    /// hangs on it: a violation, or [`Config::message_idle`].
    #[inline]
    pub fn poll_short(
        &mut self,
        now: impl FnOnce() -> Instant,
        rx: &mut BytesMut,
    ) -> Option<Message> {
        if self.state != State::Open {
            return None;
        }
        match self.receiver.poll_short(rx)? {
            Ok(message) => {
                self.heard = true;
                if self.times.message_idle.is_some() {
                    self.clocks.message(now());
                }
                Some(message)
            }
            Err(violation) => {
                self.violated(now(), violation);
                None
            }
        }
    }

    /// The next event in `rx`; `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// How the connection ended, each time.
    #[inline]
    pub fn poll_event(
        &mut self,
        now: Instant,
        rx: &mut BytesMut,
    ) -> Result<Option<Event>, Arc<Closed>> {
        while matches!(self.state, State::Open | State::LocalClosing) {
            match self.receiver.poll(rx) {
                Ok(Some(Incoming::Message(message))) => {
                    self.heard = true;
                    self.clocks.message(now);
                    return Ok(Some(Event::Message(message)));
                }
                Ok(Some(control)) => {
                    self.heard = true;
                    if let Some(event) = self.control(now, control) {
                        return Ok(Some(event));
                    }
                }
                Ok(None) => {
                    if self.receiver.is_partial() && self.state == State::Open {
                        self.clocks.partial(now, self.receiver.progress());
                        self.next = self.next.min(self.clocks.deadline(&self.times));
                    }
                    return Ok(None);
                }
                Err(violation) => self.violated(now, violation),
            }
        }
        // RFC 6455 section 5.5.1: what follows a Close frame is not read.
        rx.clear();
        self.closed.clone().map_or(Ok(None), Err)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write, as soon as there is
    /// room.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.state != State::Closed && (self.sender.has_output() || self.life.is_due())
    }

    /// Whether the message in progress was given up, because the connection closes: the rest of it
    /// is never written.
    #[inline]
    pub fn is_cut_off(&self) -> bool {
        self.sender.is_cut_off()
    }

    /// Writes what is due into `tx`. Call it after everything else, and when `tx` has drained.
    #[inline]
    pub fn poll_transmit(&mut self, now: Instant, tx: &mut WriteBuf, rng: &mut dyn Rng) {
        if self.state == State::Closed {
            return;
        }
        loop {
            self.sender.poll_pongs(tx, rng);
            if self.sender.poll_close(tx, rng) {
                self.close_written(now);
                return;
            }
            while let Some(payload) = self.life.poll_ping(now, self.sender.written(), rng) {
                self.sender.control(Control::Ping, &payload, tx, rng);
                self.next = self.next.min(self.life.deadline());
            }
            if !self.sender.poll_fragment(tx, rng) {
                return;
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, or earlier.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next).filter(|next| *next != Instant::MAX)
    }

    fn control(&mut self, now: Instant, control: Incoming) -> Option<Event> {
        match control {
            Incoming::Message(message) => return Some(Event::Message(message)),
            Incoming::Ping(payload) => {
                if self.flood.ping(now) {
                    self.violated(now, Violation::PingFlood);
                } else if self.state == State::Open {
                    self.sender.answer(&payload);
                }
            }
            Incoming::Pong(payload) => {
                let answer = self.life.handle_pong(now, &payload)?;
                return Some(Event::Pong {
                    id: answer.id,
                    rtt: answer.rtt,
                    written: answer.written,
                });
            }
            Incoming::Close(frame) => self.peer_closes(now, frame),
        }
        None
    }

    pub(super) fn earliest(&self) -> Instant {
        match self.state {
            State::Open => self.life.deadline().min(self.clocks.deadline(&self.times)),
            _ => self.until,
        }
    }
}
