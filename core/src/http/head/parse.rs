//! The grammar of a response head (RFC 9112 sections 2 to 5), in one pass.
//!
//! ```text
//! status line   HTTP/1.d SP ddd [SP reason] end
//! field line    token ":" OWS text OWS end
//! head          status line, field lines, end
//! end           CRLF, or LF alone (section 2.2)
//! text          anything but control characters, HTAB excepted
//! ```
//!
//! Where the bytes end before the head does, the answer is none; an error may be told before or
//! after that, so whoever calls it with parts of a head waits for its end before believing one.

use super::words::{plain_line, text_len, token_len};
use super::{HTTP_10, HeadError, LOCATION, RETRY_AFTER, Span};
use crate::http::field::is_name;
use crate::http::framing::{Facts, Strictness};

/// `HTTP/1.1 200 `.
pub(super) const REASON_AT: usize = 13;

/// Places are kept in two bytes.
const MAX_LEN: usize = 64 * 1024;

/// What a head is made of, besides its spans.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) fields: usize,
    pub(super) facts: Facts,
    /// Bytes of the head.
    pub(super) len: usize,
    pub(super) status: u16,
    /// Bytes of the reason phrase.
    pub(super) reason: usize,
    pub(super) marks: u8,
    /// Whitespace before a colon was passed over.
    pub(super) stripped: bool,
}

/// What stands at the beginning of a line.
pub(crate) enum Line<'a> {
    /// A field.
    Field(Field<'a>),
    /// The empty line, and what is behind it.
    Empty(&'a [u8]),
    /// The bytes end before the line does.
    Partial,
}

/// The parts of a field line.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    /// Without whitespace around it.
    pub(crate) value: &'a [u8],
    /// Whitespace was passed over: in front of the colon, behind it.
    stripped: bool,
    /// What is behind the line.
    pub(crate) rest: &'a [u8],
    /// Bytes from the beginning of the value to the end of the line.
    tail: usize,
}

/// Parses the head at the front of `bytes`; none if it is not complete. There may be as many
/// fields as there are spans.
// A function of its own keeps what the loop needs in registers.
#[inline(never)]
pub(super) fn parse(
    bytes: &[u8],
    strictness: Strictness,
    spans: &mut [Span],
    parsed: &mut Parsed,
) -> Result<Option<()>, HeadError> {
    let bytes = bytes.get(..MAX_LEN).unwrap_or(bytes);
    let Some(mut rest) = status_line(bytes, parsed)? else {
        return Ok(None);
    };
    let mut fields = 0;
    loop {
        (rest, fields) = plain_lines(bytes, rest, spans, fields);
        let line = match rest {
            [b'\r', b'\n', behind @ ..] => Line::Empty(behind),
            _ => line(rest, strictness)?,
        };
        match line {
            Line::Field(field) => {
                parsed.stripped |= field.stripped;
                let at = bytes.len() - rest.len();
                let value_at = bytes.len() - field.rest.len() - field.tail;
                let span = Span::new((at, field.name.len()), (value_at, field.value.len()));
                *spans.get_mut(fields).ok_or(HeadError::TooManyFields)? = span;
                (rest, fields) = (field.rest, fields + 1);
            }
            Line::Empty(behind) => {
                (parsed.len, parsed.fields) = (bytes.len() - behind.len(), fields);
                for &span in spans.get(..fields).unwrap_or_default() {
                    parsed.look_at(bytes, span);
                }
                return Ok(Some(()));
            }
            Line::Partial => return Ok(None),
        }
    }
}

/// Passes the plain lines in front of `rest`, a part of `bytes`. What is behind them, and how many
/// fields there are then.
#[inline(never)]
fn plain_lines<'a>(
    bytes: &[u8],
    mut rest: &'a [u8],
    spans: &mut [Span],
    fields: usize,
) -> (&'a [u8], usize) {
    let mut room = spans.iter_mut().skip(fields);
    let mut passed = fields;
    while let Some((colon, end)) = rest.first_chunk().and_then(plain_line)
        && let Some(span) = room.next()
    {
        let at = bytes.len() - rest.len();
        let value = colon + 2;
        *span = Span::new((at, colon), (at + value, end - value));
        passed += 1;
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    (rest, passed)
}

/// What is behind the status line.
#[allow(clippy::inline_always)]
#[inline(always)]
fn status_line<'a>(bytes: &'a [u8], parsed: &mut Parsed) -> Result<Option<&'a [u8]>, HeadError> {
    // Compared as a whole: a pattern would be, byte by byte.
    if let Some((line, rest)) = bytes.split_first_chunk()
        && line == b"HTTP/1.1 200 OK\r\n"
    {
        (parsed.status, parsed.reason) = (200, 2);
        return Ok(Some(rest));
    }
    let mut short = [b'\n'; REASON_AT];
    let line = if let Some(line) = bytes.first_chunk() {
        line
    } else if bytes.contains(&b'\n') {
        // A line that ended too early is wrong where it would be with more behind it.
        short
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, byte)| *to = *byte);
        &short
    } else {
        return Ok(None);
    };
    let [name @ .., minor, space, a, b, c, behind] = line;
    if name != b"HTTP/1." {
        return Err(HeadError::NotHttp);
    }
    // RFC 9110 section 2.5: a higher minor version is read as the highest that is known.
    if !minor.is_ascii_digit() || *space != b' ' {
        return Err(HeadError::Version);
    }
    if *minor == b'0' {
        parsed.marks = HTTP_10;
        parsed.facts.http_10 = true;
    }
    if !(a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit()) || *a == b'0' {
        return Err(HeadError::Status);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    parsed.status = digit(a) * 100 + digit(b) * 10 + digit(c);
    // The space may be missing where the reason is.
    let start = REASON_AT - usize::from(*behind != b' ');
    let reason = bytes.get(start..).unwrap_or_default();
    let Some((len, rest)) = split_line(reason).map_err(|()| HeadError::Status)? else {
        return Ok(None);
    };
    if start < REASON_AT && len > 0 {
        return Err(HeadError::Status);
    }
    parsed.reason = len;
    Ok(Some(rest))
}

/// What the line in front is.
#[inline(never)]
pub(crate) fn line(bytes: &[u8], strictness: Strictness) -> Result<Line<'_>, HeadError> {
    let Some((name, mut behind)) = bytes.split_at_checked(token_len(bytes)) else {
        return Ok(Line::Partial);
    };
    let mut stripped = false;
    if !matches!(behind, [b':', ..]) || name.is_empty() {
        if name.is_empty() || strictness == Strictness::Strict {
            return other_line(bytes, behind);
        }
        (behind, stripped) = (trim_start(behind), true);
    }
    let text = match behind {
        [b':', b' ', text @ ..] | [b':', text @ ..] => trim_start(text),
        _ => return other_line(bytes, behind),
    };
    let Some((len, rest)) = split_line(text).map_err(|()| HeadError::FieldValue)? else {
        return Ok(Line::Partial);
    };
    let mut value = text.get(..len).unwrap_or_default();
    // No other text is below.
    while let [trimmed @ .., 0..=b' '] = value {
        value = trimmed;
    }
    Ok(Line::Field(Field {
        name,
        value,
        stripped,
        rest,
        tail: text.len() - rest.len(),
    }))
}

/// No field is here: the end of the head, or nothing that may be.
#[cold]
fn other_line<'a>(bytes: &'a [u8], behind: &[u8]) -> Result<Line<'a>, HeadError> {
    match bytes {
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Ok(Line::Empty(rest)),
        [b'\r', _, ..] => Err(HeadError::LineEnd),
        [b'\r'] => Ok(Line::Partial),
        _ if behind.is_empty() => Ok(Line::Partial),
        _ => Err(HeadError::FieldName),
    }
}

#[allow(clippy::inline_always)]
#[inline(always)]
fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', trimmed @ ..] = text {
        text = trimmed;
    }
    text
}

/// The length of the text of the line, and what is behind the line; none where the bytes end.
#[allow(clippy::inline_always)]
#[inline(always)]
fn split_line(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, ()> {
    let mut len = text_len(bytes);
    loop {
        return match bytes.get(len..) {
            Some([b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..]) => Ok(Some((len, rest))),
            Some([b'\t', ..]) => {
                len = tabbed_len(bytes, len);
                continue;
            }
            Some([] | [b'\r']) | None => Ok(None),
            Some(_) => Err(()),
        };
    }
}

/// The length of the text where it goes on behind a tab. Kept out of the loop over ordinary lines.
#[cold]
fn tabbed_len(bytes: &[u8], tab: usize) -> usize {
    tab + 1 + text_len(bytes.get(tab + 1..).unwrap_or_default())
}

impl Parsed {
    /// Picks out what framing, persistence and retries read; the length tells most names apart.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn look_at(&mut self, bytes: &[u8], span: Span) {
        let (at, len) = span.name();
        if !matches!(len, 8 | 10 | 11 | 14 | 17) {
            return;
        }
        let name = bytes.get(at..at + len).unwrap_or_default();
        let (at, len) = span.value();
        let value = bytes.get(at..at + len).unwrap_or_default();
        match name.len() {
            8 if is_name(name, b"location") => self.marks |= LOCATION,
            10 if is_name(name, b"connection") => self.facts.connection(value),
            10 if is_name(name, b"keep-alive") => self.facts.keep_alive_hint(value),
            11 if is_name(name, b"retry-after") => self.marks |= RETRY_AFTER,
            14 if is_name(name, b"content-length") => self.facts.content_length(value),
            17 if is_name(name, b"transfer-encoding") => self.facts.transfer_encoding(value),
            _ => {}
        }
    }
}
