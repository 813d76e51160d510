//! From bytes to messages: frames are read in place, messages put together.
//!
//! ```text
//!            whole, not compressed              in one slice of `rx`, not copied
//!   Head ---------------------------> Whole ------------------------------> message
//!    ^ |     a fragment, or compressed          copied or inflated
//!    | +----------------------------> Pieces -- the last fragment's end ---> message
//!    +---------------------------------'  another fragment's end
//! ```
//!
//! Invariants
//! * A length is checked against the limits before a byte behind it is waited for.
//! * What is not yet a message takes at most the message limit.
//! * Messages are a function of the bytes, not of how they were cut.

use bytes::{Buf, Bytes, BytesMut};

use super::close::CloseFrame;
use super::deflate::Inflater;
use super::error::Violation;
use super::frame::{self, Control, Data, Head, OpCode};
use super::limits::Limits;
use super::message::{Message, Text};
use super::utf8::Utf8;

/// The longest payload whose length stands in a frame's second byte.
const SHORT: usize = 125;

/// Room for the rest of a frame of which little has come.
const PROMISED: usize = 256 * 1024;

/// What was received.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseFrame),
}

#[derive(Debug)]
pub(super) struct Receiver {
    limits: Limits,
    /// The longest payload of a frame with a short head that is taken.
    short: u8,
    part: Part,
    message: Option<Box<Partial>>,
    inflater: Option<Inflater>,
    /// Bytes of messages seen so far.
    progress: u64,
}

/// Where in the bytes the receiver stands.
#[derive(Clone, Copy, Debug)]
enum Part {
    Head,
    /// In a frame that is a message of its own.
    Whole {
        len: usize,
        text: bool,
        /// Bytes of it that were seen.
        seen: usize,
        utf8: Utf8,
    },
    /// In a frame whose payload is taken as it comes.
    Pieces {
        left: usize,
        fin: bool,
    },
}

/// A message in several frames, or compressed.
#[derive(Debug, Default)]
struct Partial {
    text: bool,
    compressed: bool,
    bytes: BytesMut,
    utf8: Utf8,
    fragments: u32,
    /// Empty fragments in a row.
    empty: u32,
}

/// What a step came to.
enum Step {
    Wait,
    Again,
    Got(Incoming),
}

impl Receiver {
    pub(super) fn new(limits: Limits, inflater: Option<Inflater>) -> Self {
        let most = limits.frame.min(limits.message);
        Self {
            limits,
            short: most.min(SHORT) as u8,
            part: Part::Head,
            message: None,
            inflater,
            progress: 0,
        }
    }

    /// Whether a message has begun and is not whole.
    pub(super) fn is_partial(&self) -> bool {
        self.message.is_some() || !matches!(self.part, Part::Head)
    }

    /// Bytes of messages seen so far, for whoever watches that they come.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    /// Bytes of the frame at the front that are still to come, where it is read in place: not much
    /// more at once than came before, because a head is a promise.
    #[inline]
    pub(super) fn wanted(&self, rx: usize) -> usize {
        match self.part {
            Part::Whole { len, .. } => len.saturating_sub(rx).min(PROMISED.max(4 * rx)),
            _ => 0,
        }
    }

    /// Bytes kept of a message that is not whole.
    pub(super) fn buffered(&self) -> usize {
        self.message
            .as_ref()
            .map_or(0, |partial| partial.bytes.len())
    }

    /// The message at the front, where it is one short frame and all there: what most messages are,
    /// without the moves of the general way.
    #[inline]
    pub(super) fn poll_short(&mut self, rx: &mut BytesMut) -> Option<Result<Message, Violation>> {
        let [first @ (0x81 | 0x82), len, ..] = rx[..] else {
            return None;
        };
        let end = 2 + usize::from(len);
        if len > self.short || rx.len() < end || self.is_partial() {
            return None;
        }
        let mut payload = rx.split_to(end).freeze();
        payload.advance(2);
        self.progress += u64::from(len);
        Some(if first == 0x82 {
            Ok(Message::Binary(payload))
        } else {
            Text::try_from(payload)
                .map(Message::Text)
                .map_err(|_| Violation::Utf8)
        })
    }

    /// Reads on, up to the next message or control frame.
    #[inline]
    pub(super) fn poll(&mut self, rx: &mut BytesMut) -> Result<Option<Incoming>, Violation> {
        loop {
            let step = match self.part {
                Part::Head => self.head(rx)?,
                Part::Whole { .. } => self.whole(rx)?,
                Part::Pieces { left, fin } => self.pieces(left, fin, rx)?,
            };
            match step {
                Step::Wait => return Ok(None),
                Step::Again => {}
                Step::Got(incoming) => return Ok(Some(incoming)),
            }
        }
    }

    #[inline]
    fn head(&mut self, rx: &mut BytesMut) -> Result<Step, Violation> {
        let Some(head) = frame::parse(rx)? else {
            return Ok(Step::Wait);
        };
        match head.opcode {
            OpCode::Data(data) => self.begin(head, data, rx),
            OpCode::Control(control) => self.control(head, control, rx),
        }
    }

    fn control(
        &mut self,
        head: Head,
        control: Control,
        rx: &mut BytesMut,
    ) -> Result<Step, Violation> {
        if head.rsv1 {
            return Err(self.rsv1_violation());
        }
        // At most 125, checked with the head.
        let len = head.len as usize;
        if rx.len() < head.size + len {
            return Ok(Step::Wait);
        }
        rx.advance(head.size);
        let payload = rx.split_to(len).freeze();
        Ok(Step::Got(match control {
            Control::Ping => Incoming::Ping(payload),
            Control::Pong => Incoming::Pong(payload),
            Control::Close | Control::Reserved(_) => Incoming::Close(CloseFrame::parse(&payload)?),
        }))
    }

    /// Begins a data frame.
    #[inline]
    fn begin(&mut self, head: Head, data: Data, rx: &mut BytesMut) -> Result<Step, Violation> {
        let continues = data == Data::Continue;
        if head.rsv1 && (continues || self.inflater.is_none()) {
            return Err(self.rsv1_violation());
        }
        if continues != self.message.is_some() {
            return Err(if continues {
                Violation::Continuation
            } else {
                Violation::Interleaved
            });
        }
        if head.len > self.limits.frame as u64 {
            return Err(Violation::FrameTooLarge);
        }
        let len = head.len as usize;
        let text = data == Data::Text;
        if !head.fin || head.rsv1 || continues {
            self.fragment(head, text, len)?;
            rx.advance(head.size);
            return Ok(Step::Again);
        }
        if len > self.limits.message {
            return Err(Violation::MessageTooLarge);
        }
        rx.advance(head.size);
        self.part = Part::Whole {
            len,
            text,
            seen: 0,
            utf8: Utf8::default(),
        };
        self.whole(rx)
    }

    #[cold]
    fn rsv1_violation(&self) -> Violation {
        if self.inflater.is_some() {
            Violation::Compressed
        } else {
            Violation::ReservedBits
        }
    }

    /// A message that is one frame: nothing is taken before it is whole, then it is not copied.
    #[inline]
    fn whole(&mut self, rx: &mut BytesMut) -> Result<Step, Violation> {
        let Part::Whole {
            len,
            text,
            seen,
            utf8,
        } = &mut self.part
        else {
            return Ok(Step::Again);
        };
        if rx.len() < *len {
            let news = rx.get(*seen..).unwrap_or_default();
            if *text {
                utf8.check(news).map_err(|_| Violation::Utf8)?;
            }
            self.progress += news.len() as u64;
            *seen += news.len();
            return Ok(Step::Wait);
        }
        self.progress += (*len - *seen) as u64;
        let payload = rx.split_to(*len).freeze();
        let message = if *text {
            Message::Text(Text::try_from(payload).map_err(|_| Violation::Utf8)?)
        } else {
            Message::Binary(payload)
        };
        self.part = Part::Head;
        Ok(Step::Got(Incoming::Message(message)))
    }

    /// Begins a frame that is taken in pieces, and a message if it is the first of one.
    fn fragment(&mut self, head: Head, text: bool, len: usize) -> Result<(), Violation> {
        let limits = self.limits;
        let partial = self.message.get_or_insert_with(|| {
            Box::new(Partial {
                text,
                compressed: head.rsv1,
                ..Partial::default()
            })
        });
        partial.fragments += 1;
        if partial.fragments > limits.fragments {
            return Err(Violation::TooManyFragments);
        }
        partial.empty = if len == 0 { partial.empty + 1 } else { 0 };
        if partial.empty > limits.empty_fragments {
            return Err(Violation::EmptyFragments);
        }
        if !partial.compressed && len > limits.message.saturating_sub(partial.bytes.len()) {
            return Err(Violation::MessageTooLarge);
        }
        self.part = Part::Pieces {
            left: len,
            fin: head.fin,
        };
        Ok(())
    }

    fn pieces(&mut self, left: usize, fin: bool, rx: &mut BytesMut) -> Result<Step, Violation> {
        let take = left.min(rx.len());
        let Some(partial) = &mut self.message else {
            return Err(Violation::Continuation);
        };
        let piece = rx.get(..take).unwrap_or_default();
        partial.take(piece, self.inflater.as_mut(), self.limits.message)?;
        rx.advance(take);
        self.progress += take as u64;
        let left = left - take;
        if left > 0 {
            self.part = Part::Pieces { left, fin };
            return Ok(Step::Wait);
        }
        self.part = Part::Head;
        if !fin {
            return Ok(Step::Again);
        }
        partial.end(self.inflater.as_mut(), self.limits.message)?;
        let bytes = std::mem::take(&mut partial.bytes).freeze();
        let text = partial.text;
        self.message = None;
        Ok(Step::Got(Incoming::Message(if text {
            Message::Text(Text::try_from(bytes).map_err(|_| Violation::Utf8)?)
        } else {
            Message::Binary(bytes)
        })))
    }
}

impl Partial {
    fn take(
        &mut self,
        piece: &[u8],
        inflater: Option<&mut Inflater>,
        limit: usize,
    ) -> Result<(), Violation> {
        let from = self.bytes.len();
        let taken = if let Some(inflater) = inflater.filter(|_| self.compressed) {
            inflater.inflate(piece, &mut self.bytes, limit)
        } else {
            self.bytes.extend_from_slice(piece);
            Ok(())
        };
        // What stands before a violation is judged first, however the bytes were cut.
        self.check(from)?;
        taken
    }

    fn end(&mut self, inflater: Option<&mut Inflater>, limit: usize) -> Result<(), Violation> {
        if let Some(inflater) = inflater.filter(|_| self.compressed) {
            let from = self.bytes.len();
            let ended = inflater.end(&mut self.bytes, limit);
            self.check(from)?;
            ended?;
        }
        if self.text && !self.utf8.is_whole() {
            return Err(Violation::Utf8);
        }
        Ok(())
    }

    fn check(&mut self, from: usize) -> Result<(), Violation> {
        if !self.text {
            return Ok(());
        }
        let news = self.bytes.get(from..).unwrap_or_default();
        self.utf8.check(news).map_err(|_| Violation::Utf8)
    }
}
