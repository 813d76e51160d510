//! From messages to frames: what goes out, and in which order.
//!
//! A pong goes first, then a Close frame that is due, then pings, then the next piece of the
//! message in progress. A message is begun only when none is in progress, so whoever holds several
//! decides late which is next.

use std::collections::VecDeque;

use bytes::Bytes;
use rand_core::Rng;

use super::close::CloseFrame;
use super::deflate::Deflater;
use super::frame::{self, Control, Data, Kind, OpCode};
use super::message::Message;
use crate::buf::WriteBuf;

/// Data is added while less than that waits to be written, so that what is urgent need not wait
/// behind much.
const DATA_MARK: usize = 64 * 1024;

/// Pongs are added while less than that waits: a server that pings without reading the answers
/// gets one when it reads.
const CONTROL_MARK: usize = DATA_MARK + 4 * 1024;

/// A message is taken while less than that waits: who was told that there is room finds it, whatever
/// pongs and pings were written since.
const TAKE_MARK: usize = CONTROL_MARK + 1024;

/// A payload at least this long is not copied behind its head, but chained.
const LONG: usize = 4 * 1024;

/// Pongs that may wait. RFC 6455 section 5.5.3 lets older pings go unanswered.
const MOST_PONGS: usize = 16;

#[derive(Debug)]
pub(super) struct Sender {
    current: Option<Outgoing>,
    /// The answers to the last pings.
    pongs: VecDeque<Box<[u8]>>,
    close: Option<Close>,
    /// A message was in progress when it ended.
    cut_off: bool,
    deflater: Option<Deflater>,
    fragment: usize,
    fragment_above: usize,
    written: u64,
}

/// The message in progress.
#[derive(Debug)]
struct Outgoing {
    opcode: Data,
    compressed: bool,
    rest: Bytes,
}

#[derive(Debug)]
struct Close {
    payload: Vec<u8>,
    /// It does not wait for the message in progress.
    at_once: bool,
}

/// Whether a message may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Where it was agreed on, and pays. The default.
    #[default]
    Auto,
    /// Never. For secrets in messages whose other parts an attacker may choose: lengths of
    /// compressed messages tell what they have in common.
    Never,
}

impl Sender {
    pub(super) fn new(deflater: Option<Deflater>, fragment: usize, fragment_above: usize) -> Self {
        Self {
            current: None,
            pongs: VecDeque::new(),
            close: None,
            cut_off: false,
            deflater,
            fragment,
            fragment_above,
            written: 0,
        }
    }

    /// Whether a message may be begun.
    pub(super) fn is_ready(&self, tx: &WriteBuf) -> bool {
        self.current.is_none() && tx.len() < DATA_MARK
    }

    /// Whether a message is taken, if only because there was room before control frames were written.
    #[inline]
    pub(super) fn takes(&self, tx: &WriteBuf) -> bool {
        self.current.is_none() && tx.len() < TAKE_MARK
    }

    /// Whether a message is in progress.
    pub(super) fn is_sending(&self) -> bool {
        self.current.is_some()
    }

    /// Whether anything waits to be put into `tx`.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        self.current.is_some() || self.close.is_some() || !self.pongs.is_empty()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn answer(&mut self, ping: &[u8]) {
        if self.pongs.len() == MOST_PONGS {
            self.pongs.pop_front();
        }
        self.pongs.push_back(ping.into());
    }

    /// Sends a Close frame behind the message in progress.
    pub(super) fn close(&mut self, frame: &CloseFrame) {
        self.close = Some(Close {
            payload: frame.payload(),
            at_once: false,
        });
    }

    /// Sends a Close frame now; the message in progress is given up.
    pub(super) fn close_at_once(&mut self, frame: &CloseFrame) {
        self.abandon();
        self.close = Some(Close {
            payload: frame.payload(),
            at_once: true,
        });
    }

    /// Gives up the message in progress; a Close frame that waits for it need not.
    pub(super) fn abandon(&mut self) {
        self.cut_off |= self.current.take().is_some();
        self.pongs.clear();
    }

    /// Whether a message was given up.
    #[inline]
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Whether a Close frame waits.
    pub(super) fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Begins a message. Only where one is [taken](Self::takes).
    #[inline]
    pub(super) fn begin(
        &mut self,
        message: Message,
        compress: Compress,
        tx: &mut WriteBuf,
        rng: &mut dyn Rng,
    ) {
        let opcode = if message.is_text() {
            Data::Text
        } else {
            Data::Binary
        };
        let deflater = self
            .deflater
            .as_mut()
            .filter(|_| compress == Compress::Auto);
        let packed = deflater.and_then(|deflater| deflater.deflate(&message));
        let compressed = packed.is_some();
        let payload = packed.unwrap_or_else(|| message.into_bytes());
        if payload.len() <= self.fragment_above {
            let kind = Kind::new(OpCode::Data(opcode), true, compressed);
            self.write_data(kind, payload, tx, rng);
        } else {
            self.current = Some(Outgoing {
                opcode,
                compressed,
                rest: payload,
            });
        }
    }

    /// Writes a control frame.
    pub(super) fn control(
        &mut self,
        control: Control,
        payload: &[u8],
        tx: &mut WriteBuf,
        rng: &mut dyn Rng,
    ) {
        let kind = Kind::new(OpCode::Control(control), true, false);
        self.write(kind, payload, tx, rng);
    }

    /// Writes the pongs that wait, if there is room for them.
    #[inline]
    pub(super) fn poll_pongs(&mut self, tx: &mut WriteBuf, rng: &mut dyn Rng) {
        while tx.len() < CONTROL_MARK
            && let Some(pong) = self.pongs.pop_front()
        {
            self.control(Control::Pong, &pong, tx, rng);
        }
    }

    /// Writes the Close frame that is due, and says whether there was one.
    pub(super) fn poll_close(&mut self, tx: &mut WriteBuf, rng: &mut dyn Rng) -> bool {
        let due = |close: &mut Close| close.at_once || self.current.is_none();
        let Some(close) = self.close.take_if(due) else {
            return false;
        };
        self.control(Control::Close, &close.payload, tx, rng);
        true
    }

    /// Writes the next piece of the message in progress, and says whether there was one.
    pub(super) fn poll_fragment(&mut self, tx: &mut WriteBuf, rng: &mut dyn Rng) -> bool {
        if tx.len() >= DATA_MARK {
            return false;
        }
        let Some(mut message) = self.current.take() else {
            return false;
        };
        let len = self.fragment.min(message.rest.len());
        let fin = len == message.rest.len();
        let kind = Kind::new(OpCode::Data(message.opcode), fin, message.compressed);
        let piece = message.rest.split_to(len);
        self.write_data(kind, piece, tx, rng);
        // RFC 7692 section 6.1: the bit is set on the first fragment alone.
        (message.opcode, message.compressed) = (Data::Continue, false);
        self.current = (!fin).then_some(message);
        true
    }

    #[inline]
    fn write_data(&mut self, kind: Kind, payload: Bytes, tx: &mut WriteBuf, rng: &mut dyn Rng) {
        if payload.len() < LONG {
            return self.write(kind, &payload, tx, rng);
        }
        let before = tx.len();
        frame::write_long(kind, payload, tx, rng);
        self.written += (tx.len() - before) as u64;
    }

    #[inline]
    fn write(&mut self, kind: Kind, payload: &[u8], tx: &mut WriteBuf, rng: &mut dyn Rng) {
        let tail = tx.tail();
        let before = tail.len();
        frame::write(kind, payload, tail, rng);
        self.written += (tail.len() - before) as u64;
    }
}
