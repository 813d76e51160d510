//! The fields behind a chunked body (RFC 9112 section 7.1.2), and which of them may be there.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::RequestError;
use crate::buf::WriteBuf;
use crate::http::HeadError;
use crate::http::field::encode_field;
use crate::http::framing::Strictness;
use crate::http::head::{Line, line};

/// Fields that frame, route, authenticate or control a message, or describe its content: a trailer
/// cannot change them any more, and whoever merged it could be fooled (RFC 9110 section 6.5.1).
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    let name = name.as_str();
    if let Some(rest) = name.strip_prefix("content-") {
        // An integrity field is what trailers are for (RFC 9530 section 2).
        return rest != "digest";
    }
    name.starts_with("if-")
        || name.starts_with("proxy-")
        || matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "connection"
                | "cookie"
                | "date"
                | "expect"
                | "expires"
                | "host"
                | "keep-alive"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "vary"
                | "warning"
                | "www-authenticate"
        )
}

/// Reads a whole trailer section, its empty line included. Forbidden fields are left out.
pub(super) fn parse(section: &[u8], most: usize) -> Result<HeaderMap, HeadError> {
    let mut before = 0;
    for &byte in section {
        if byte == b'\n' && before != b'\r' {
            return Err(HeadError::LineEnd);
        }
        before = byte;
    }
    let mut map = HeaderMap::new();
    let (mut rest, mut fields) = (section, 0);
    loop {
        let field = match line(rest, Strictness::Strict)? {
            Line::Field(field) => field,
            Line::Empty(_) => return Ok(map),
            Line::Partial => return Err(HeadError::LineEnd),
        };
        fields += 1;
        if fields > most {
            return Err(HeadError::TooManyFields);
        }
        let name = HeaderName::from_bytes(field.name).map_err(|_| HeadError::FieldName)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| HeadError::FieldValue)?;
        if !is_forbidden(&name) {
            map.append(name, value);
        }
        rest = field.rest;
    }
}

/// Writes the last chunk, the trailers and the empty line.
pub(super) fn encode(trailers: Option<&HeaderMap>, tx: &mut WriteBuf) -> Result<(), RequestError> {
    if trailers.is_some_and(|trailers| trailers.keys().any(is_forbidden)) {
        return Err(RequestError::Trailers);
    }
    tx.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        encode_field(name, value, tx.tail());
    }
    tx.put_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_trailers_are_left_out() {
        let section = b"A: b\r\nContent-Length: 5\r\nSet-Cookie: x\r\nContent-Digest: d\r\n\
            If-Match: *\r\nServer-Timing: t\r\n\r\n";
        let map = parse(section, 64).unwrap();
        let names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["a", "content-digest", "server-timing"]);
    }

    #[test]
    fn trailers_are_as_strict_as_chunks() {
        assert_eq!(parse(b"a: b\n\r\n", 64), Err(HeadError::LineEnd));
        assert_eq!(parse(b"\n", 64), Err(HeadError::LineEnd));
        assert_eq!(parse(b"a : b\r\n\r\n", 64), Err(HeadError::FieldName));
        assert_eq!(parse(b"a: b\r\n c\r\n\r\n", 64), Err(HeadError::FieldName));
        assert_eq!(parse(b"a: b\0\r\n\r\n", 64), Err(HeadError::FieldValue));
        assert_eq!(
            parse(b"a: 1\r\nb: 2\r\n\r\n", 1),
            Err(HeadError::TooManyFields)
        );
        assert!(parse(b"\r\n", 64).unwrap().is_empty());
    }

    #[test]
    fn as_many_trailers_as_the_limit_are_read() {
        assert_eq!(parse(b"a: 1\r\nb: 2\r\n\r\n", 2).unwrap().len(), 2);
        let three = b"a: 1\r\nb: 2\r\nc: 3\r\n\r\n";
        assert_eq!(parse(three, 1), Err(HeadError::TooManyFields));
    }
}
