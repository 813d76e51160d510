//! The grammar of the few fields that framing and persistence read, and header blocks that are
//! encoded once and sent many times.

use std::fmt;
use std::time::Duration;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::BytesMut;

/// The members of a comma-separated list: trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|token| !token.is_empty())
}

/// The bytes without optional whitespace around them.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The value of a `Content-Length` field: one number, or a list of the same number.
///
/// RFC 9110 section 8.6. Digits only, at most 19 of them, at most 2^63 - 1.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if let length @ Some(_) = digits(value) {
        return length;
    }
    let mut members = value
        .split(|&byte| byte == b',')
        .map(|member| digits(trim(member)));
    let first = members.next()??;
    members.all(|member| member == Some(first)).then_some(first)
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    // Nineteen digits stay below 2^64, so nothing wraps before the last comparison.
    let mut value = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    i64::try_from(value).is_ok().then_some(value)
}

/// What a server says of how long it keeps an idle connection: a hint, not a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long the connection may idle.
    pub timeout: Option<Duration>,
    /// How many more requests it takes.
    pub max: Option<u32>,
}

/// The parameters of a `Keep-Alive` field. What is not understood is ignored.
pub fn keep_alive(value: &[u8]) -> KeepAlive {
    let mut hint = KeepAlive::default();
    for parameter in tokens(value) {
        let Some(equals) = parameter.iter().position(|&byte| byte == b'=') else {
            continue;
        };
        let (name, number) = parameter.split_at(equals);
        let Some(number) = digits(trim(&number[1..])) else {
            continue;
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let name = trim(name);
        if name.eq_ignore_ascii_case(b"timeout") {
            hint.timeout = Some(Duration::from_secs(u64::from(number)));
        } else if name.eq_ignore_ascii_case(b"max") {
            hint.max = Some(number);
        }
    }
    hint
}

/// Whether a field name is the given one, which is in lower case.
///
/// Exact for tokens only: setting one bit makes their letters small and leaves the rest alone.
pub(crate) fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    name.iter()
        .zip(lower)
        .fold(0, |diff, (a, b)| diff | ((a | 0x20) ^ b))
        == 0
}

/// Whether every byte is a visible ASCII character.
pub(crate) fn is_visible(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Per byte: below 0x21, or 0x7f, or with the high bit set (RFC 3986 has no such character).
    let bad = |word: u64| {
        let low = (word | HIGH).wrapping_sub(0x2121_2121_2121_2121);
        let delete = (word & !HIGH).wrapping_add(0x0101_0101_0101_0101);
        (!low | delete | word) & HIGH
    };
    let (words, _) = text.as_chunks::<8>();
    // The last word may overlap the one before it.
    let last = text.last_chunk().copied().unwrap_or_else(|| {
        let mut last = [b'x'; 8];
        last[..text.len()].copy_from_slice(text);
        last
    });
    words
        .iter()
        .fold(bad(u64::from_ne_bytes(last)), |all, word| {
            all | bad(u64::from_ne_bytes(*word))
        })
        == 0
}

/// Writes one field line.
pub(crate) fn encode_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Why a set of default headers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// The field describes one message and has no place among defaults.
    PerMessage(HeaderName),
    /// `Host` twice, or with a space or control character in it.
    Host,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerMessage(name) => write!(f, "{name} cannot be a default header"),
            Self::Host => f.write_str("the default host header is duplicate or malformed"),
        }
    }
}

impl std::error::Error for FieldError {}

/// Default headers, encoded once.
///
/// A request without headers of its own copies the whole block; one with headers leaves out the
/// defaults that it names itself.
#[derive(Clone, Debug)]
pub struct EncodedFields {
    /// `CRLF`, the field lines, `CRLF`: what stands between the last field of a head that was
    /// written before and the body.
    block: Box<[u8]>,
    lines: Box<[Line]>,
    has_host: bool,
    says_close: bool,
}

#[derive(Clone, Debug)]
struct Line {
    name: HeaderName,
    start: u32,
    end: u32,
}

impl Default for EncodedFields {
    fn default() -> Self {
        Self {
            block: b"\r\n\r\n".as_slice().into(),
            lines: [].into(),
            has_host: false,
            says_close: false,
        }
    }
}

impl EncodedFields {
    /// Encodes the headers. `Proxy-Connection` is left out: it is never sent.
    ///
    /// # Errors
    ///
    /// `Content-Length`, `Transfer-Encoding`, `Expect`, `Trailer` and `Upgrade` belong to one
    /// message; `Host` may be there once.
    pub fn new(headers: &HeaderMap) -> Result<Self, FieldError> {
        let mut block = BytesMut::from(&b"\r\n"[..]);
        let mut lines = Vec::with_capacity(headers.len());
        let (mut has_host, mut says_close) = (false, false);
        for (name, value) in headers {
            match name.as_str() {
                "proxy-connection" => continue,
                "content-length" | "transfer-encoding" | "expect" | "trailer" | "upgrade" => {
                    return Err(FieldError::PerMessage(name.clone()));
                }
                "host" if has_host || !is_visible(value.as_bytes()) => {
                    return Err(FieldError::Host);
                }
                "host" => has_host = true,
                "connection" => says_close |= names_close(value),
                _ => {}
            }
            let start = block.len() as u32;
            encode_field(name, value, &mut block);
            lines.push(Line {
                name: name.clone(),
                start,
                end: block.len() as u32,
            });
        }
        block.extend_from_slice(b"\r\n");
        Ok(Self {
            block: block[..].into(),
            lines: lines.into(),
            has_host,
            says_close,
        })
    }

    /// Writes the field lines of every default that `overrides` does not name.
    pub fn encode(&self, overrides: &HeaderMap, out: &mut BytesMut) {
        if overrides.is_empty() {
            out.extend_from_slice(self.block.get(2..self.block.len() - 2).unwrap_or_default());
            return;
        }
        for line in &self.lines {
            if !overrides.contains_key(&line.name) {
                let range = line.start as usize..line.end as usize;
                out.extend_from_slice(self.block.get(range).unwrap_or_default());
            }
        }
    }

    /// Whether a default of that name is there.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.lines.iter().any(|line| line.name == *name)
    }

    /// Bytes of all field lines together.
    pub fn len(&self) -> usize {
        self.block.len() - 4
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The block with the end of the line before it and the empty line after it.
    pub(crate) fn rest_of_head(&self) -> &[u8] {
        &self.block
    }

    pub(crate) fn has_host(&self) -> bool {
        self.has_host
    }

    pub(crate) fn says_close(&self) -> bool {
        self.says_close
    }
}

/// Whether a `Connection` value has the token `close`.
pub(crate) fn names_close(value: &HeaderValue) -> bool {
    tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_digits_or_a_list_of_equals() {
        let good: [(&[u8], u64); 6] = [
            (b"0", 0),
            (b"5", 5),
            (b"5, 5", 5),
            (b"5 ,5,\t05", 5),
            (b"0000000000000000005", 5),
            (b"9223372036854775807", i64::MAX as u64),
        ];
        for (value, expected) in good {
            assert_eq!(
                content_length(value),
                Some(expected),
                "{}",
                value.escape_ascii()
            );
        }
        let bad: [&[u8]; 13] = [
            b"",
            b",",
            b"5,",
            b",5",
            b"5,6",
            b"+5",
            b"-0",
            b"5 5",
            b"0x5",
            b"5;q=1",
            b"5.0",
            b"9223372036854775808",
            b"00000000000000000005",
        ];
        for value in bad {
            assert_eq!(content_length(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_keep_alive_hint_ignores_what_it_does_not_know() {
        let hint = keep_alive(b"Timeout=5, max = 100, x, y=z, max=99999999999");
        let expected = KeepAlive {
            timeout: Some(Duration::from_secs(5)),
            max: Some(u32::MAX),
        };
        assert_eq!(hint, expected);
        assert_eq!(keep_alive(b"timeout=-1, max="), KeepAlive::default());
    }

    #[test]
    fn visible_is_decided_for_every_byte_at_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..20 {
                let mut text = [b'a'; 20];
                text[place] = byte;
                assert_eq!(
                    is_visible(&text),
                    byte.is_ascii_graphic(),
                    "{byte:#x} at {place}"
                );
                assert_eq!(is_visible(&text[..=place]), byte.is_ascii_graphic());
            }
        }
        assert!(is_visible(b""));
    }

    #[test]
    fn a_request_header_replaces_the_default_of_its_name() {
        let mut defaults = HeaderMap::new();
        defaults.insert("user-agent", HeaderValue::from_static("fulmar"));
        defaults.insert("accept", HeaderValue::from_static("*/*"));
        defaults.insert("proxy-connection", HeaderValue::from_static("keep-alive"));
        let fields = EncodedFields::new(&defaults).unwrap();
        let mut out = BytesMut::new();
        fields.encode(&HeaderMap::new(), &mut out);
        assert_eq!(&out[..], b"user-agent: fulmar\r\naccept: */*\r\n");
        assert_eq!(out.len(), fields.len());
        let mut own = HeaderMap::new();
        own.insert("user-agent", HeaderValue::from_static("mine"));
        out.clear();
        fields.encode(&own, &mut out);
        assert_eq!(&out[..], b"accept: */*\r\n");
        assert!(fields.contains(&::http::header::ACCEPT) && !fields.is_empty());
    }

    #[test]
    fn defaults_cannot_frame_a_message() {
        for name in [
            "content-length",
            "transfer-encoding",
            "expect",
            "trailer",
            "upgrade",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("1"));
            assert!(matches!(
                EncodedFields::new(&headers),
                Err(FieldError::PerMessage(_))
            ));
        }
    }
}
