//! How much a peer may send before it is called abusive.

use crate::http::framing::Strictness;

/// The limits of one connection, packed small because thousands of connections idle.
///
/// The setters clamp to what the machine can represent, which is said of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) head_bytes: u32,
    pub(super) interim_bytes: u32,
    pub(super) line: u16,
    pub(super) chunk_extension: u16,
    pub(super) chunk_extensions: u16,
    pub(super) trailer_bytes: u16,
    pub(super) fields: u8,
    pub(super) trailers: u8,
    pub(super) interims: u8,
    pub(super) strictness: Strictness,
    pub(super) truncated_close: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            interim_bytes: 64 * 1024,
            line: 16 * 1024,
            chunk_extension: 256,
            chunk_extensions: 16 * 1024,
            trailer_bytes: 16 * 1024,
            fields: 128,
            trailers: 64,
            interims: 32,
            strictness: Strictness::Strict,
            truncated_close: false,
        }
    }
}

fn to_u16(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn to_u8(items: usize, most: u8) -> u8 {
    u8::try_from(items).unwrap_or(most).min(most)
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a head. Default and most: 64 KiB.
    #[must_use]
    pub fn head_bytes(mut self, bytes: usize) -> Self {
        self.head_bytes = bytes.min(64 * 1024) as u32;
        self
    }

    /// Fields of a head. Default and most: 128.
    #[must_use]
    pub fn fields(mut self, fields: usize) -> Self {
        self.fields = to_u8(fields, 128);
        self
    }

    /// Bytes of a line, folds included. Default 16 KiB, at most 64 KiB.
    #[must_use]
    pub fn line(mut self, bytes: usize) -> Self {
        self.line = to_u16(bytes);
        self
    }

    /// Interim responses of one exchange. Default 32, at most 255.
    #[must_use]
    pub fn interims(mut self, count: usize) -> Self {
        self.interims = to_u8(count, 255);
        self
    }

    /// Bytes of all interim heads of one exchange. Default 64 KiB.
    #[must_use]
    pub fn interim_bytes(mut self, bytes: usize) -> Self {
        self.interim_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// Bytes of the extensions of one chunk (default 256) and of one body (default 16 KiB); at
    /// most 64 KiB.
    #[must_use]
    pub fn chunk_extensions(mut self, chunk: usize, body: usize) -> Self {
        (self.chunk_extension, self.chunk_extensions) = (to_u16(chunk), to_u16(body));
        self
    }

    /// Fields (default 64, at most 128) and bytes (default 16 KiB, at most 64 KiB) of trailers.
    #[must_use]
    pub fn trailers(mut self, fields: usize, bytes: usize) -> Self {
        (self.trailers, self.trailer_bytes) = (to_u8(fields, 128), to_u16(bytes));
        self
    }

    /// Whether deviations are errors. Default: strict.
    #[must_use]
    pub fn strictness(mut self, strictness: Strictness) -> Self {
        self.strictness = strictness;
        self
    }

    /// Whether a body that the end of the connection ends is complete without `close_notify`.
    /// Default: no (RFC 9112 section 9.8).
    #[must_use]
    pub fn allow_truncated_close(mut self, allow: bool) -> Self {
        self.truncated_close = allow;
        self
    }
}
