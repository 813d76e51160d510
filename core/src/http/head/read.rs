//! From the bytes of a head to its block.
//!
//! The parser leaves spans on the stack. Where they all are known, so is the size of the block: it
//! is filled on the stack too and moved to the heap by the one allocation of a response. Folded
//! lines are read by a second pass over a copy, which ordinary heads never see.

use ::http::StatusCode;
use bytes::Bytes;

use super::parse::{Parsed, parse};
use super::{HeadError, MAX_FIELDS, ResponseHead, SPAN, Span};
use crate::http::framing::{Asked, Facts, Framing, FramingError, Strictness};

/// Spans for so many fields are at hand at once; a head with more is parsed again.
const USUAL_FIELDS: usize = 32;

/// What a head is read by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadRules {
    pub(crate) strictness: Strictness,
    /// The most fields, and never more than [`MAX_FIELDS`](super::MAX_FIELDS).
    pub(crate) fields: usize,
    /// What was asked for.
    pub(crate) asked: Asked,
}

/// A head that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) head: ResponseHead,
    pub(crate) facts: Facts,
    pub(crate) framing: Result<Framing, FramingError>,
    /// Bytes of the head.
    pub(crate) len: usize,
    /// The whole body, where `whole` placed it in the block, and how many bytes it took.
    pub(crate) body: Option<(Bytes, usize)>,
    /// Whitespace before a colon was stripped.
    pub(crate) stripped: bool,
}

/// What is there of a body: `whole` is given the status, the framing, the bytes behind the head
/// and the room behind it in the block. Where the whole body is there and fits, it copies it and
/// says how long it is and how many bytes it took.
pub(crate) trait Whole:
    FnOnce(u16, Framing, &[u8], &mut [u8]) -> Option<(usize, usize)>
{
}
impl<F: FnOnce(u16, Framing, &[u8], &mut [u8]) -> Option<(usize, usize)>> Whole for F {}

/// Tells whether the bytes can be the beginning of a response, from the first eight.
///
/// Said at once, so that a peer which speaks something else is not waited for.
pub(crate) fn check_prefix(bytes: &[u8]) -> Result<(), HeadError> {
    let wrong = bytes.iter().zip(b"HTTP/1.").position(|(a, b)| a != b);
    match (wrong, bytes.get(7)) {
        (Some(0..5), _) => Err(HeadError::NotHttp),
        (Some(_), _) => Err(HeadError::Version),
        (None, Some(minor)) if !minor.is_ascii_digit() => Err(HeadError::Version),
        (None, _) => Ok(()),
    }
}

/// Reads the head at the front of `bytes`; none if it is not complete.
#[inline]
pub(crate) fn read(
    bytes: &[u8],
    rules: HeadRules,
    whole: impl Whole,
) -> Result<Option<Read>, HeadError> {
    let mut spans = [Span::NONE; USUAL_FIELDS];
    let mut parsed = Parsed::default();
    let room = spans.get_mut(..rules.fields.min(USUAL_FIELDS));
    let room = room.unwrap_or_default();
    match parse(bytes, rules.strictness, room, &mut parsed) {
        Err(HeadError::TooManyFields) if rules.fields > USUAL_FIELDS => {
            read_long(bytes, rules, whole)
        }
        Ok(Some(())) => build(bytes, rules, &spans, &parsed, whole).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a head that has more fields than usual.
#[cold]
fn read_long(bytes: &[u8], rules: HeadRules, whole: impl Whole) -> Result<Option<Read>, HeadError> {
    let mut spans = [Span::NONE; MAX_FIELDS];
    let mut parsed = Parsed::default();
    let room = spans.get_mut(..rules.fields.min(MAX_FIELDS));
    let room = room.unwrap_or_default();
    match parse(bytes, rules.strictness, room, &mut parsed)? {
        Some(()) => build(bytes, rules, &spans, &parsed, whole).map(Some),
        None => Ok(None),
    }
}

#[inline]
fn build(
    bytes: &[u8],
    rules: HeadRules,
    spans: &[Span],
    parsed: &Parsed,
    whole: impl Whole,
) -> Result<Read, HeadError> {
    let status = StatusCode::from_u16(parsed.status).map_err(|_| HeadError::Status)?;
    let framing = parsed
        .facts
        .framing(rules.asked, parsed.status, rules.strictness);
    let fill = |block: &mut [u8]| parsed.fill(bytes, spans, framing, whole, block);
    let need = parsed.fields * SPAN + parsed.len;
    let all = parsed.fields * SPAN + bytes.len();
    let (block, body) = match if all <= 1024 { all } else { need } {
        0..=256 => in_array::<256>(fill),
        257..=512 => in_array::<512>(fill),
        513..=1024 => in_array::<1024>(fill),
        _ => {
            let mut block = vec![0; need];
            let body = fill(&mut block);
            (Bytes::from(block), body)
        }
    };
    let head = ResponseHead {
        block,
        len: parsed.len as u32,
        status,
        fields: parsed.fields as u16,
        reason: parsed.reason as u16,
        marks: parsed.marks,
    };
    Ok(Read {
        body: body.map(|(len, taken)| (head.behind(len), taken)),
        head,
        facts: parsed.facts,
        framing,
        len: parsed.len,
        stripped: parsed.stripped,
    })
}

/// Reads a head that may have folded lines, which a user agent must accept (RFC 9112 section
/// 5.2): each line break becomes spaces in the block. `head` is the whole of it.
pub(crate) fn read_folded(head: &[u8], rules: HeadRules) -> Result<Option<Read>, HeadError> {
    // In a copy, so that what is read has no fold and is as long as before.
    let mut copy = head.to_vec();
    unfold(&mut copy)?;
    read(&copy, rules, |_, _, _, _| None)
}

/// Replaces each line break in a field's value. Elsewhere, none may be followed by whitespace.
fn unfold(head: &mut [u8]) -> Result<(), HeadError> {
    let lines = head.iter().position(|&byte| byte == b'\n');
    let mut in_value = false;
    for at in lines.unwrap_or(head.len())..head.len() {
        match (head.get(at), head.get(at + 1)) {
            (Some(b':'), _) => in_value = true,
            (Some(b'\n'), Some(b' ' | b'\t')) if !in_value => return Err(HeadError::FieldName),
            (Some(b'\n'), Some(b' ' | b'\t')) => blank_line_end(head, at),
            (Some(b'\n'), _) => in_value = false,
            _ => {}
        }
    }
    Ok(())
}

fn blank_line_end(head: &mut [u8], newline: usize) {
    if let Some([first, second]) = newline
        .checked_sub(1)
        .and_then(|at| head.get_mut(at..=newline))
    {
        if *first == b'\r' {
            *first = b' ';
        }
        *second = b' ';
    }
}

/// The array that a block lives in.
struct Block<const N: usize>([u8; N]);

impl<const N: usize> AsRef<[u8]> for Block<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

type Body = Option<(usize, usize)>;

#[inline]
fn in_array<const N: usize>(fill: impl FnOnce(&mut [u8]) -> Body) -> (Bytes, Body) {
    let mut block = Block([0; N]);
    let body = fill(&mut block.0);
    (Bytes::from_owner(block), body)
}

impl Parsed {
    #[inline]
    fn fill(
        &self,
        bytes: &[u8],
        all_spans: &[Span],
        framing: Result<Framing, FramingError>,
        whole: impl Whole,
        block: &mut [u8],
    ) -> Body {
        let (spans, rest) = block.split_at_mut_checked(self.fields * SPAN)?;
        for (place, span) in spans.as_chunks_mut::<SPAN>().0.iter_mut().zip(all_spans) {
            *place = span.0.to_ne_bytes();
        }
        let (head, behind) = bytes.split_at_checked(self.len)?;
        let (raw, room) = rest.split_at_mut_checked(self.len)?;
        raw.copy_from_slice(head);
        whole(self.status, framing.ok()?, behind, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::MAX_FIELDS;

    const RULES: HeadRules = HeadRules {
        strictness: Strictness::Strict,
        fields: MAX_FIELDS,
        asked: Asked::Other,
    };

    fn strict(bytes: &[u8]) -> Result<Option<Read>, HeadError> {
        read(bytes, RULES, |_, _, _, _| None)
    }

    #[test]
    fn a_head_is_found_again_in_its_block() {
        let bytes =
            b"HTTP/1.0 404 Not  Found\r\nA: 1\r\nretry-AFTER:\t 7 \r\nb:\r\na:2\r\n\r\nrest";
        let read = strict(bytes).unwrap().unwrap();
        let head = &read.head;
        assert_eq!(
            (head.status().as_u16(), head.version()),
            (404, ::http::Version::HTTP_10)
        );
        assert_eq!(head.reason(), b"Not  Found");
        let fields: Vec<_> = head.fields().collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"A", b"1"),
            (b"retry-AFTER", b"7"),
            (b"b", b""),
            (b"a", b"2"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(head.header("a"), Some(&b"1"[..]));
        assert_eq!(head.header("B"), Some(&b""[..]));
        assert_eq!(head.header("c"), None);
        assert!(head.has_retry_after() && !head.has_location());
        assert_eq!(read.len, bytes.len() - 4);
        let map = head.to_header_map();
        assert_eq!(map.get_all("a").iter().count(), 2);
        assert_eq!(map["retry-after"], "7");
    }

    #[test]
    fn heads_of_every_size_survive_the_copy() {
        for size in (0..4000).step_by(37) {
            let value = "v".repeat(size);
            let text = format!("HTTP/1.1 200 OK\r\nx: {value}\r\nlocation: /\r\n\r\n");
            let read = strict(text.as_bytes()).unwrap().unwrap();
            assert_eq!(read.head.header("x"), Some(value.as_bytes()));
            assert!(read.head.has_location());
        }
    }

    #[test]
    fn a_reason_may_be_missing_empty_or_not_ascii() {
        let reasons: [(&[u8], &[u8]); 5] = [
            (b"HTTP/1.1 200\r\n\r\n", b""),
            (b"HTTP/1.1 200 \r\n\r\n", b""),
            (b"HTTP/1.1 200 \xffx\r\n\r\n", b"\xffx"),
            (b"HTTP/1.1 200 OK\n\n", b"OK"),
            (b"HTTP/1.1 200\n\n", b""),
        ];
        for (bytes, reason) in reasons {
            assert_eq!(strict(bytes).unwrap().unwrap().head.reason(), reason);
        }
    }

    #[test]
    fn folded_lines_become_spaces() {
        let bytes = b"HTTP/1.1 200 OK\r\na: b\r\n\tc\n  d\r\ne:\r\n f\r\ng: h\r\n \r\n\r\n";
        assert_eq!(strict(bytes).unwrap_err(), HeadError::FieldName);
        let read = read_folded(bytes, RULES).unwrap().unwrap();
        let fields: Vec<_> = read.head.fields().collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"a", b"b  \tc   d"), (b"e", b"f"), (b"g", b"h")];
        assert_eq!(fields, expected);
        assert_eq!(read.len, bytes.len());
    }

    #[test]
    fn malformed_heads_are_refused() {
        let rows: [(&[u8], HeadError); 13] = [
            (b"HTTP/1.1 099 x\r\n\r\n", HeadError::Status),
            (b"HTTP/1.1 20 OK\r\n\r\n", HeadError::Status),
            (b"HTTP/1.1 2000 OK\r\n\r\n", HeadError::Status),
            (b"HTTP/1.1 200 O\x01K\r\n\r\n", HeadError::Status),
            (b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n", HeadError::FieldName),
            (b"HTTP/1.1 200 OK\r\na : c\r\n\r\n", HeadError::FieldName),
            (b"HTTP/1.1 200 OK\r\n: c\r\n\r\n", HeadError::FieldName),
            (b"HTTP/1.1 200 OK\r\n a: c\r\n\r\n", HeadError::FieldName),
            (b"HTTP/1.1 200 OK\r\na\r\n\r\n", HeadError::FieldName),
            (b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", HeadError::FieldValue),
            (b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", HeadError::FieldValue),
            (
                b"HTTP/1.1 200 OK\r\na: b\x7f\r\n\r\n",
                HeadError::FieldValue,
            ),
            (b"HTTP/1.1 200 OK\r\n\rx\r\n\r\n", HeadError::LineEnd),
        ];
        for (bytes, error) in rows {
            assert_eq!(
                strict(bytes).unwrap_err(),
                error,
                "{}",
                bytes.escape_ascii()
            );
            assert!(read_folded(bytes, RULES).is_err());
        }
    }

    #[test]
    fn whitespace_before_a_colon_is_stripped_only_where_that_is_allowed() {
        let rules = HeadRules {
            strictness: Strictness::Lenient,
            ..RULES
        };
        let bytes = b"HTTP/1.1 200 OK\r\na \t: c\r\n\r\n";
        let read = read(bytes, rules, |_, _, _, _| None).unwrap().unwrap();
        assert!(read.stripped);
        assert_eq!(read.head.header("a"), Some(&b"c"[..]));
    }

    #[test]
    fn another_protocol_is_known_by_its_first_bytes() {
        assert_eq!(check_prefix(b"SSH-2"), Err(HeadError::NotHttp));
        assert_eq!(check_prefix(b"HTTP/2.0"), Err(HeadError::Version));
        assert_eq!(check_prefix(b"HTTP/1.x"), Err(HeadError::Version));
        assert_eq!(check_prefix(b"HTTP/1."), Ok(()));
        assert_eq!(check_prefix(b"HTTP/1.1 garbage"), Ok(()));
        assert_eq!(check_prefix(b""), Ok(()));
    }
}
