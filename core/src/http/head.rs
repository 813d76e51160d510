//! A response head, copied once into one block of memory.
//!
//! ```text
//! block   | spans, 8 bytes a field | the head's own bytes | a small body |
//!           name at, name length,    HTTP/1.1 200 OK CRLF
//!           value at, value length   name: value CRLF .. CRLF
//! ```
//!
//! * One allocation: an array of 256, 512 or 1,024 bytes, or a vector where that is too little.
//! * Places in spans count from the start of the head, which is at most 64 KiB long, so that two
//!   bytes hold each of them.
//! * Nothing of the block is ever a slice of the read buffer: a head that is kept does not keep
//!   the buffer.

use std::fmt;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::{StatusCode, Version};
use bytes::Bytes;

mod names;
mod parse;
mod read;
mod words;

pub(crate) use parse::{Line, line};
pub(crate) use read::{HeadRules, Read, check_prefix, read, read_folded};

/// The most fields that a head may have, whatever the configuration says.
pub(crate) const MAX_FIELDS: usize = 128;

/// Bytes of one span.
const SPAN: usize = 8;

/// Why bytes are not a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// It does not begin with `HTTP/`.
    NotHttp,
    /// A version other than HTTP/1.
    Version,
    /// The status is not three digits from 100, or the reason has a control character.
    Status,
    /// More empty lines before it than are tolerated.
    BlankLines,
    /// A field name is not a token, or is followed by whitespace.
    FieldName,
    /// A field value has a control character in it.
    FieldValue,
    /// A line does not end as it should.
    LineEnd,
    /// Too long as a whole.
    TooLarge,
    /// A line is too long.
    LineTooLong,
    /// Too many fields.
    TooManyFields,
}

impl HeadError {
    /// Whether a limit was broken, as opposed to the grammar.
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            Self::TooLarge | Self::LineTooLong | Self::TooManyFields
        )
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "the response does not begin with HTTP/1",
            Self::Version => "the response has an unsupported HTTP version",
            Self::Status => "the status line is malformed",
            Self::BlankLines => "too many empty lines before the response",
            Self::FieldName => "a field name is malformed",
            Self::FieldValue => "a field value has a forbidden character",
            Self::LineEnd => "a line is not properly ended",
            Self::TooLarge => "the head is larger than its limit",
            Self::LineTooLong => "a line is longer than its limit",
            Self::TooManyFields => "there are more fields than the limit",
        })
    }
}

impl std::error::Error for HeadError {}

/// The head of a response: status, reason and fields, in one owned block.
///
/// Cloning it and slicing values off it count references and copy nothing.
#[derive(Clone)]
pub struct ResponseHead {
    block: Bytes,
    /// Bytes of the head itself.
    len: u32,
    status: StatusCode,
    fields: u16,
    /// Bytes of the reason phrase.
    reason: u16,
    marks: u8,
}

/// The version is 1.0.
const HTTP_10: u8 = 1;
/// A `Retry-After` field is there.
const RETRY_AFTER: u8 = 2;
/// A `Location` field is there.
const LOCATION: u8 = 4;

impl ResponseHead {
    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// HTTP/1.0, or HTTP/1.1, which minor versions above it are treated as.
    pub fn version(&self) -> Version {
        if self.marks & HTTP_10 == 0 {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        }
    }

    /// The reason phrase, which means nothing.
    pub fn reason(&self) -> &[u8] {
        self.slice(parse::REASON_AT, usize::from(self.reason))
    }

    /// The value of the first field of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        // The length is compared first, in the span, so that few names are looked at.
        self.spans()
            .find(|span| span.is_named(name.len()) && self.name(*span).eq_ignore_ascii_case(name))
            .map(|span| self.value(span))
    }

    /// All fields, in order: name as it was sent, and value without whitespace around it.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans().map(|span| (self.name(span), self.value(span)))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        usize::from(self.fields)
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Whether a `Retry-After` field is there; known without looking for it.
    pub fn has_retry_after(&self) -> bool {
        self.marks & RETRY_AFTER != 0
    }

    /// Whether a `Location` field is there; known without looking for it.
    pub fn has_location(&self) -> bool {
        self.marks & LOCATION != 0
    }

    /// The fields as a map. Its values are slices of this head's block.
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for span in self.spans() {
            let (at, len) = span.value();
            let at = self.raw_at() + at;
            let name = self.header_name(span);
            let value = HeaderValue::from_maybe_shared(self.block.slice(at..at + len));
            // Both were checked when the head was read, by the same grammar.
            if let (Some(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }

    fn header_name(&self, span: Span) -> Option<HeaderName> {
        let (at, len) = span.name();
        let text = self.block.get(self.raw_at() + at..).unwrap_or_default();
        names::usual(text, len).or_else(|| HeaderName::from_bytes(self.name(span)).ok())
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let spans = self.block.get(..self.raw_at()).unwrap_or_default();
        spans
            .as_chunks::<SPAN>()
            .0
            .iter()
            .map(|span| Span::from_bytes(*span))
    }

    fn raw_at(&self) -> usize {
        usize::from(self.fields) * SPAN
    }

    fn name(&self, span: Span) -> &[u8] {
        let (at, len) = span.name();
        self.slice(at, len)
    }

    fn value(&self, span: Span) -> &[u8] {
        let (at, len) = span.value();
        self.slice(at, len)
    }

    fn slice(&self, at: usize, len: usize) -> &[u8] {
        let at = self.raw_at() + at;
        self.block.get(at..at + len).unwrap_or_default()
    }

    /// The part of the block that lies behind the head.
    fn behind(&self, len: usize) -> Bytes {
        let at = self.raw_at() + self.len as usize;
        if len == 0 {
            Bytes::new()
        } else {
            self.block.slice(at..at + len)
        }
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&self.version(), &self.status);
        for (name, value) in self.fields() {
            map.entry(
                &name.escape_ascii().to_string(),
                &value.escape_ascii().to_string(),
            );
        }
        map.finish()
    }
}

/// Where one field lies, packed.
#[derive(Clone, Copy)]
struct Span(u64);

impl Span {
    const NONE: Self = Self(0);

    /// Of places and lengths below 64 Ki.
    fn new(name: (usize, usize), value: (usize, usize)) -> Self {
        let pack = |(at, len): (usize, usize)| at as u64 | (len as u64) << 16;
        Self(pack(name) | pack(value) << 32)
    }

    fn from_bytes(bytes: [u8; SPAN]) -> Self {
        Self(u64::from_ne_bytes(bytes))
    }

    fn is_named(self, len: usize) -> bool {
        (self.0 >> 16 & 0xffff) as usize == len
    }

    fn name(self) -> (usize, usize) {
        ((self.0 & 0xffff) as usize, (self.0 >> 16 & 0xffff) as usize)
    }

    fn value(self) -> (usize, usize) {
        ((self.0 >> 32 & 0xffff) as usize, (self.0 >> 48) as usize)
    }
}

const _: () = assert!(size_of::<ResponseHead>() <= 48);
