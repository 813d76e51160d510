//! Compressed messages, over zlib's raw streams.

use std::fmt;

use bytes::{Bytes, BytesMut};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::super::error::Violation;
use super::super::message::Message;
use super::history::History;
use super::{Agreed, Compression};

/// What is left off a compressed message's end, and put back (RFC 7692 section 7.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Output of one step: a bomb is noticed within that many bytes.
const STEP: usize = 16 * 1024;

/// The server's side of the compression. Its window is allocated with the first message.
pub(in super::super) struct Inflater {
    stream: Option<Box<Inflate>>,
    bits: u8,
    takeover: bool,
    /// The stream's final block was seen; more input needs another stream.
    ended: bool,
}

impl Inflater {
    #[expect(clippy::unnecessary_wraps, reason = "none is made without the feature")]
    pub(in super::super) fn new(agreed: Agreed) -> Option<Self> {
        Some(Self {
            stream: None,
            // A window of 256 bytes is what some compressors take for one of 512.
            bits: agreed.server_bits.max(9),
            takeover: agreed.server_takeover,
            ended: false,
        })
    }

    /// Appends what the input means to `out`.
    ///
    /// # Errors
    ///
    /// Where it is not DEFLATE, or `out` would grow beyond `limit`.
    pub(in super::super) fn inflate(
        &mut self,
        mut input: &[u8],
        out: &mut BytesMut,
        limit: usize,
    ) -> Result<(), Violation> {
        let mut full = true;
        while full || !input.is_empty() {
            // An empty piece behind a final block begins no other stream.
            if input.is_empty() && (self.ended || self.stream.is_none()) {
                return Ok(());
            }
            let (read, filled) = self.step(input, out, limit)?;
            full = filled;
            input = input.get(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends a message.
    pub(in super::super) fn end(
        &mut self,
        out: &mut BytesMut,
        limit: usize,
    ) -> Result<(), Violation> {
        if !self.ended {
            self.inflate(&TAIL, out, limit)?;
        }
        if self.ended || !self.takeover {
            self.stream = None;
        }
        self.ended = false;
        Ok(())
    }

    /// One step: how much input it read, and whether there may be more output without more input.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut BytesMut,
        limit: usize,
    ) -> Result<(usize, bool), Violation> {
        if self.ended {
            // A message may go on behind a final block (RFC 7692 section 7.2.3.4).
            self.stream = None;
            self.ended = false;
        }
        let bits = self.bits;
        let stream = self
            .stream
            .get_or_insert_with(|| Box::new(Inflate::new(false, bits)));
        let (read, written) = (stream.total_in(), stream.total_out());
        let from = out.len();
        // A byte more than is allowed, so that a message of exactly the limit is seen to end.
        let left = limit.saturating_sub(from).saturating_add(1);
        let room = input.len().saturating_mul(4).clamp(512, STEP).min(left);
        out.resize(from + room, 0);
        let space = out.get_mut(from..).unwrap_or_default();
        let status = stream.decompress(input, space, InflateFlush::SyncFlush);
        let read = (stream.total_in() - read) as usize;
        let written = (stream.total_out() - written) as usize;
        out.truncate(from + written);
        if out.len() > limit {
            return Err(Violation::MessageTooLarge);
        }
        match status {
            Ok(Status::StreamEnd) => {
                self.ended = true;
                Ok((read, false))
            }
            Ok(_) if read == 0 && written == 0 && !input.is_empty() => Err(Violation::Deflate),
            Ok(_) => Ok((read, written == room)),
            Err(_) => Err(Violation::Deflate),
        }
    }
}

/// This side of the compression. Its state is allocated with the first message worth it.
pub(in super::super) struct Deflater {
    stream: Option<Box<Deflate>>,
    config: Compression,
    bits: u8,
    takeover: bool,
    text: History,
    binary: History,
}

impl Deflater {
    /// None where the server asks for a window that zlib cannot keep to, or nobody has validated
    /// the settings and zlib would refuse them: messages may always be sent as they are.
    pub(in super::super) fn new(agreed: Agreed, config: &Compression) -> Option<Self> {
        let is_possible = agreed.client_bits > 8 && config.validate().is_ok();
        is_possible.then(|| Self {
            stream: None,
            config: *config,
            bits: agreed.client_bits,
            takeover: agreed.client_takeover,
            text: History::default(),
            binary: History::default(),
        })
    }

    /// The compressed message, where it is long enough and compressing has been worth it.
    pub(in super::super) fn deflate(&mut self, message: &Message) -> Option<Bytes> {
        let history = if message.is_text() {
            &mut self.text
        } else {
            &mut self.binary
        };
        if message.len() < self.config.threshold || !history.is_worth_it() {
            return None;
        }
        let (bits, config) = (self.bits, self.config);
        let stream = self
            .stream
            .get_or_insert_with(|| Box::new(Deflate::new_with_config(zlib(&config, bits))));
        let out = compress(stream, message.as_bytes());
        if out.is_none() || !self.takeover {
            stream.reset();
        }
        let out = out?;
        history.record(message.len(), out.len());
        Some(out)
    }
}

fn zlib(config: &Compression, bits: u8) -> DeflateConfig {
    DeflateConfig {
        level: i32::from(config.level),
        // Negative for a stream without zlib's own head.
        window_bits: -i32::from(bits),
        mem_level: i32::from(config.memory),
        ..DeflateConfig::default()
    }
}

/// The input up to a sync flush, without its tail.
fn compress(stream: &mut Deflate, mut input: &[u8]) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(input.len() / 4 + 64);
    loop {
        let from = out.len();
        out.resize(from + (input.len() / 2).clamp(64, STEP), 0);
        let (read, written) = (stream.total_in(), stream.total_out());
        let space = out.get_mut(from..)?;
        let room = space.len();
        stream
            .compress(input, space, DeflateFlush::SyncFlush)
            .ok()?;
        let written = (stream.total_out() - written) as usize;
        out.truncate(from + written);
        input = input.get((stream.total_in() - read) as usize..)?;
        if written < room {
            break;
        }
    }
    let end = out.strip_suffix(&TAIL)?.len();
    // A message that is empty after that is one byte (RFC 7692 section 7.2.3.6).
    out.truncate(end.max(1));
    Some(out.freeze())
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("bits", &self.bits)
            .field("takeover", &self.takeover)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("bits", &self.bits)
            .field("takeover", &self.takeover)
            .finish_non_exhaustive()
    }
}
