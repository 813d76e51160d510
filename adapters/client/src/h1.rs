//! One HTTP/1.1 connection: the machine, its wire, and the buffers lent to it while it is busy.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_core::deadline::Clocks;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::h1::{
    BodyLength, CloseReason, Connection, Event, RequestError, RequestHead, Reuse, Scratch,
};
use fulmar_core::pool::Slot;
use fulmar_core::retry::{Cause, Replay, Violation};
use fulmar_core::time::Instant;

use crate::body::{Body, BoxError};
use crate::shared::Shared;
use crate::upgraded::Tunnel;
use crate::wire::{Read, Wire};

/// The first read's room, and what an idle buffer shrinks to.
const READ_MIN: usize = 8 * 1024;
/// The most that one read asks for.
const READ_MAX: usize = 256 * 1024;
/// The user's body is pulled while less than this waits to be written.
const WRITE_AHEAD: usize = 64 * 1024;
/// Chunks of the user's body that are pulled before some are written.
const PULLS: usize = 128;
/// Reads and writes in one poll before others get their turn.
const TURNS: usize = 16;

/// What a busy connection borrows from the client: buffers, and all that concerns one exchange.
#[derive(Default)]
pub(crate) struct Bufs {
    rx: BytesMut,
    tx: WriteBuf,
    scratch: Scratch,
    exchange: Progress,
}

/// How far one exchange has got.
struct Progress {
    /// Bytes of the request that the transport took.
    accepted: u64,
    /// What the next read asks for.
    read_size: u32,
    /// The request is sent, or never will be.
    written: bool,
    /// The transport has ended.
    ended: bool,
    /// The call was asked about the response: what it is to the retry budget is settled.
    judged: bool,
    /// Boxed, because it is rare.
    write_fault: Option<Box<Fault>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            accepted: 0,
            read_size: READ_MIN as u32,
            written: false,
            ended: false,
            judged: false,
            write_fault: None,
        }
    }
}

impl Bufs {
    /// The memory that they have.
    pub(crate) fn bytes(&self) -> usize {
        self.rx.capacity() + self.tx.capacity()
    }

    /// Makes the buffers fit for the next borrower.
    pub(crate) fn reset(&mut self) {
        self.rx.clear();
        if self.rx.capacity() > 4 * READ_MIN {
            self.rx = BytesMut::new();
        }
        self.tx.clear();
        if self.tx.capacity() > 4 * READ_MIN {
            self.tx = WriteBuf::default();
        }
        self.scratch.clear();
        self.exchange = Progress::default();
    }
}

/// The request body of one exchange, on its way out.
pub(crate) struct Upload {
    pub(crate) body: Body,
    /// A byte of it was taken, so a stream cannot start again.
    pub(crate) pulled: bool,
    /// An attempt before took from another making of it.
    is_remade: bool,
    ended: bool,
}

impl Upload {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            pulled: false,
            is_remade: false,
            ended: false,
        }
    }

    /// Its attempt is not the first to take from the body.
    #[cold]
    pub(crate) fn repeats(&mut self) {
        self.is_remade = self.body.replay() == Replay::Factory;
    }

    /// What the machine said of the user's bytes.
    fn refused(&self, error: RequestError) -> Failure {
        if self.is_remade && error.is_body_length() {
            Failure::Mismatch(error)
        } else {
            Failure::Request(error)
        }
    }
}

/// Why an exchange ended before its response did.
pub(crate) enum Failure {
    /// Something below, or a violation by the peer.
    Cause(Cause, Option<fulmar_core::h1::Error>),
    /// The request as given cannot be sent.
    Request(RequestError),
    /// The user's factory made another body than before.
    Mismatch(RequestError),
    /// The user's own body stream failed.
    Body(BoxError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Cause(Cause::Fault(fault), None)
    }
}

/// One connection. It is boxed once, when it is opened, and moves as a pointer: pool, request
/// future, response body, pool.
pub(crate) struct H1 {
    line: Line,
    pub(crate) slot: Slot,
    pub(crate) id: u64,
    /// Shared with its responses, of which each would be too big with its own, and with other
    /// connections to it.
    pub(crate) peer: Option<Arc<SocketAddr>>,
    /// Its host had other addresses when it was opened.
    pub(crate) has_others: bool,
    /// How many runtimes the client had lost when it was opened.
    pub(crate) lost: u32,
    /// Lent while busy.
    bufs: Option<Box<Bufs>>,
    /// Exchanges begun on it.
    pub(crate) exchanges: u32,
    /// Whose pool has a place for it.
    owner: Weak<Shared>,
}

/// What an exchange runs on. It borrows the buffers, which lie beside it.
struct Line {
    machine: Connection,
    wire: Wire,
}

impl H1 {
    pub(crate) fn new(machine: Connection, wire: Wire, slot: Slot, shared: &Arc<Shared>) -> Self {
        Self {
            peer: wire.peer().map(Arc::new),
            line: Line { machine, wire },
            slot,
            id: 0,
            has_others: false,
            lost: shared.lost(),
            bufs: None,
            exchanges: 0,
            owner: Arc::downgrade(shared),
        }
    }

    /// Bytes of the request that the transport took.
    pub(crate) fn accepted(&self) -> u64 {
        self.bufs.as_ref().map_or(0, |bufs| bufs.exchange.accepted)
    }

    /// Whether the last byte of the request is with the transport.
    pub(crate) fn is_sent(&self) -> bool {
        let sent = |bufs: &Bufs| bufs.exchange.written && bufs.exchange.write_fault.is_none();
        self.bufs.as_deref().is_some_and(sent)
    }

    pub(crate) fn machine(&self) -> &Connection {
        &self.line.machine
    }

    pub(crate) fn scratch(&mut self) -> Option<&mut Scratch> {
        self.bufs.as_mut().map(|bufs| &mut bufs.scratch)
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.line.wire.is_quiet()
    }

    /// Gives the buffers back and prepares for idling.
    pub(crate) fn park(&mut self) -> Option<Box<Bufs>> {
        self.line.wire.park();
        self.take_bufs()
    }

    /// Its place is free already, or another's.
    pub(crate) fn disown(&mut self) {
        self.owner = Weak::new();
    }

    /// Takes the buffers out, fit for the next borrower.
    pub(crate) fn take_bufs(&mut self) -> Option<Box<Bufs>> {
        let mut bufs = self.bufs.take()?;
        bufs.reset();
        Some(bufs)
    }

    /// Its parts, for who takes the connection over from HTTP.
    pub(crate) fn tunnel(&mut self) -> Option<Tunnel<'_>> {
        let bufs = self.bufs.as_mut()?;
        Some(Tunnel {
            wire: &mut self.line.wire,
            rx: &mut bufs.rx,
            tx: &mut bufs.tx,
        })
    }

    /// The transport, for another protocol that has buffers of its own.
    #[cfg(feature = "websocket")]
    pub(crate) fn wire(&self) -> &Wire {
        &self.line.wire
    }

    /// The same, to read and write.
    #[cfg(feature = "websocket")]
    pub(crate) fn wire_mut(&mut self) -> &mut Wire {
        &mut self.line.wire
    }

    /// Begins an exchange: the head goes into the outgoing buffer.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        head: &RequestHead<'_>,
        upload: &mut Upload,
        bufs: Box<Bufs>,
    ) -> Result<(), Failure> {
        let bufs = self.bufs.insert(bufs);
        self.exchanges = self.exchanges.saturating_add(1);
        self.line.wire.begin();
        let length = upload.body.framing();
        upload.ended = matches!(length, BodyLength::Empty);
        self.line
            .machine
            .send(now, head, length, &mut bufs.tx)
            .map_err(Failure::Request)
    }

    /// Notes that the call decided on the response, and settled with the retry budget.
    pub(crate) fn judge(&mut self) {
        if let Some(bufs) = &mut self.bufs {
            bufs.exchange.judged = true;
        }
    }

    /// Whether the response has yet to earn the retry budget something.
    pub(crate) fn is_success(&self) -> bool {
        self.bufs.as_ref().is_some_and(|bufs| !bufs.exchange.judged)
    }

    /// Drives the exchange until the next event of the response.
    pub(crate) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        upload: &mut Upload,
    ) -> Poll<Result<Event, Failure>> {
        match &mut self.bufs {
            Some(bufs) => self.line.poll_turns(cx, now, clocks, upload, bufs),
            // Only a connection that was never begun has none.
            None => Poll::Ready(Err(Fault::new(FaultKind::Aborted, Phase::Write).into())),
        }
    }
}

impl Line {
    fn poll_turns(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        upload: &mut Upload,
        bufs: &mut Bufs,
    ) -> Poll<Result<Event, Failure>> {
        for turn in 0..TURNS {
            if !bufs.exchange.written {
                self.machine.handle_timeout(now);
                self.poll_outgoing(cx, now, clocks, upload, bufs)?;
            }
            // Behind the head the machine may have more to tell without another byte: the end of a
            // body, or what was wrong behind its last part.
            if !bufs.rx.is_empty() || bufs.exchange.ended || self.machine.is_head_begun() {
                // A machine that has failed no longer knows where it was.
                let phase = bufs.exchange.phase(&self.machine);
                match self.machine.poll_event(&mut bufs.rx, &mut bufs.scratch) {
                    Ok(Some(event)) => {
                        if let Event::Informational(_) = event {
                            if bufs.exchange.written {
                                // Each interim response starts the wait for the final one anew.
                                clocks.entered(now, Phase::FirstByte);
                            } else if clocks.phase() == Some(Phase::Head) {
                                clocks.entered(now, Phase::Write);
                            }
                        }
                        return Poll::Ready(Ok(self.unless_unsent(event, bufs)));
                    }
                    Ok(None) if bufs.exchange.ended => {
                        return Poll::Ready(Err(self.ended_early(bufs)));
                    }
                    Ok(None) if self.machine.is_head_begun() => {
                        // A head that has begun has its own clock, whatever the upload does.
                        if let Some(Phase::Write | Phase::FirstByte) = clocks.phase() {
                            clocks.entered(now, Phase::Head);
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(self.violation(error, phase, bufs))),
                }
            }
            match self.poll_incoming(cx, now, clocks, bufs, turn) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fault)) => {
                    return Poll::Ready(Err(self.blame(fault, bufs).into()));
                }
                Poll::Pending => {
                    return match bufs.exchange.write_fault.take() {
                        Some(fault) => Poll::Ready(Err((*fault).into())),
                        None => Poll::Pending,
                    };
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The machine knows what it queued, only we know what went out: a connection on which bytes of
    /// the request still wait cannot serve another.
    fn unless_unsent(&self, event: Event, bufs: &Bufs) -> Event {
        if bufs.tx.is_empty() && self.wire.is_flushed() && bufs.exchange.write_fault.is_none() {
            return event;
        }
        let close = Reuse::Close(CloseReason::EarlyResponse);
        match event {
            Event::Whole(body, Reuse::Keep) => Event::Whole(body, close),
            Event::End(Reuse::Keep) => Event::End(close),
            event => event,
        }
    }

    /// Writes what waits and pulls more of the body, as far as that goes. Pending is fine: a slow
    /// writer must not stop us reading.
    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        upload: &mut Upload,
        bufs: &mut Bufs,
    ) -> Result<(), Failure> {
        for turn in 0..TURNS {
            self.pull(cx, upload, bufs)?;
            if bufs.tx.is_empty() && self.wire.is_flushed() {
                if upload.ended || !self.machine.is_body_wanted() && self.machine.request_complete()
                {
                    self.handle_written(now, clocks, bufs);
                    return Ok(());
                }
                // The write clock runs only while there are bytes to write.
                if clocks.phase() == Some(Phase::Write) {
                    clocks.suspended(now, true);
                }
                return Ok(());
            }
            let written = if turn == 0 {
                self.wire.poll_write_first(cx, &mut bufs.tx, Phase::Write)
            } else {
                self.wire.poll_write(cx, &mut bufs.tx, Phase::Write)
            };
            match written {
                Poll::Ready(Ok(n)) => {
                    bufs.exchange.accepted += n as u64;
                    if upload.ended && bufs.tx.is_empty() && self.wire.is_flushed() {
                        self.handle_written(now, clocks, bufs);
                        return Ok(());
                    }
                    note_unwritten(now, clocks, n);
                }
                Poll::Ready(Err(fault)) => {
                    // The peer may have answered before it closed: read first, then blame.
                    bufs.tx.clear();
                    bufs.exchange.written = true;
                    bufs.exchange.write_fault = Some(Box::new(fault));
                    return Ok(());
                }
                Poll::Pending => {
                    note_unwritten(now, clocks, 0);
                    return Ok(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// The last byte of the request is with the transport.
    fn handle_written(&self, now: Instant, clocks: &mut Clocks, bufs: &mut Bufs) {
        bufs.exchange.written = true;
        if !self.machine.is_head_begun() {
            clocks.entered(now, Phase::FirstByte);
        }
    }

    /// Pulls the user's body while little waits to be written.
    fn pull(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        bufs: &mut Bufs,
    ) -> Result<(), Failure> {
        let mut turns = 0;
        // Of a body that is given whole it is asked whether there is more: that would be too much.
        let is_asked =
            |machine: &Connection| machine.is_body_wanted() || machine.request_complete();
        while !upload.ended && bufs.tx.len() < WRITE_AHEAD && is_asked(&self.machine) {
            turns += 1;
            if turns > PULLS {
                // A stream of many small or empty chunks must not keep others from their turn.
                cx.waker().wake_by_ref();
                return Ok(());
            }
            match upload.body.poll_outgoing(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    upload.pulled = true;
                    self.machine
                        .send_data(chunk, &mut bufs.tx)
                        .map_err(|error| upload.refused(error))?;
                }
                Poll::Ready(Some(Err(error))) => return Err(Failure::Body(error)),
                Poll::Ready(None) => {
                    upload.ended = true;
                    self.machine
                        .send_end(None, &mut bufs.tx)
                        .map_err(|error| upload.refused(error))?;
                }
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        bufs: &mut Bufs,
        turn: usize,
    ) -> Poll<Result<(), Fault>> {
        self.reserve(bufs);
        let room = bufs.rx.capacity() - bufs.rx.len();
        let phase = || bufs.exchange.phase(&self.machine);
        let read = if turn == 0 {
            self.wire.poll_read_first(cx, &mut bufs.rx, phase)
        } else {
            self.wire.poll_read(cx, &mut bufs.rx, phase)
        };
        match std::task::ready!(read)? {
            Read::Data(n) => {
                bufs.exchange.adapt(n, room);
                if clocks.phase() == Some(Phase::Body) {
                    clocks.progress(now, n);
                }
            }
            Read::End(end) => {
                bufs.exchange.ended = true;
                self.machine.handle_eof(end);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn reserve(&self, bufs: &mut Bufs) {
        let rx = &mut bufs.rx;
        let spare = rx.capacity() - rx.len();
        let size = bufs.exchange.read_size as usize;
        let wanted = match self.machine.body_left() {
            Some(left) => usize::try_from(left).map_or(READ_MAX, |left| left.clamp(size, READ_MAX)),
            None => size,
        };
        // What is left of a buffer is used up before another is taken.
        if spare < wanted.min(READ_MIN / 2) || spare == 0 {
            rx.reserve(wanted);
        }
    }

    /// The transport ended in order and the response did not.
    fn ended_early(&self, bufs: &mut Bufs) -> Failure {
        let fault = Fault::new(FaultKind::Eof, bufs.exchange.phase(&self.machine));
        self.blame(fault, bufs).into()
    }

    /// A write that failed before anything came back is the truer cause.
    fn blame(&self, fault: Fault, bufs: &mut Bufs) -> Fault {
        match bufs.exchange.write_fault.take() {
            Some(first) if !self.machine.response_started() => *first,
            _ => fault,
        }
    }

    fn violation(&self, error: fulmar_core::h1::Error, phase: Phase, bufs: &mut Bufs) -> Failure {
        if error.is_eof() {
            let kind = match error {
                fulmar_core::h1::Error::Reset { .. } => FaultKind::Reset,
                _ => FaultKind::Eof,
            };
            let fault = self.blame(Fault::new(kind, phase), bufs);
            return Failure::Cause(Cause::Fault(fault), Some(error));
        }
        let what = if error.is_limit() {
            Violation::Limit
        } else {
            Violation::Malformed
        };
        let what = if phase == Phase::Body {
            what.in_body()
        } else {
            what
        };
        Failure::Cause(Cause::Protocol(what), Some(error))
    }
}

impl Progress {
    fn phase(&self, machine: &Connection) -> Phase {
        if machine.is_in_body() {
            Phase::Body
        } else if machine.is_head_begun() {
            Phase::Head
        } else if self.written {
            Phase::FirstByte
        } else {
            Phase::Write
        }
    }

    /// Doubles the next read after a full one, halves it after a nearly empty one.
    fn adapt(&mut self, n: usize, room: usize) {
        let size = self.read_size as usize;
        if n == room && n >= size {
            self.read_size = (size * 2).min(READ_MAX) as u32;
        } else if n < size / 4 && size > READ_MIN {
            self.read_size = (size / 2) as u32;
        }
    }
}

/// Wherever it is dropped, its place is free afterwards. The pool's own, which it gives up or goes
/// away with, have none any more. It is not dropped under the client's lock.
impl Drop for H1 {
    fn drop(&mut self) {
        // First: TLS, which is anybody's code, may panic.
        if let Some(shared) = self.owner.upgrade() {
            shared.free(self.slot);
        }
        // A second panic would end the process.
        if !std::thread::panicking() {
            self.line.wire.close();
        }
    }
}
/// Some of the request is left after a write: its clock runs. Most go out at once, and have none.
/// After an early answer the rest of the request has none either; the answer's body has.
fn note_unwritten(now: Instant, clocks: &mut Clocks, accepted: usize) {
    match clocks.phase() {
        Some(Phase::Write) => {
            clocks.suspended(now, false);
            clocks.progress(now, accepted);
        }
        Some(phase) if phase > Phase::Write => {}
        _ => clocks.entered(now, Phase::Write),
    }
}
