//! A request head, checked and then written straight into the outgoing buffer.
//!
//! Nothing is written before everything is checked, so a refused request leaves no trace.

use ::http::Method;
use ::http::header::{HeaderMap, HeaderValue};
use bytes::BytesMut;

use super::error::RequestError;
use crate::http::EncodedFields;
use crate::http::field::{content_length, encode_field, is_visible, names_close, tokens};

/// What a request says before its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, as it goes on the wire: `/path?query`, or absolute to a proxy, or
    /// `host:port` with CONNECT, or `*`. Visible ASCII.
    pub target: &'a str,
    /// The value of `Host`, unless `headers` or `defaults` have one. Visible ASCII, may be empty.
    pub host: &'a str,
    /// Headers of every request, where `headers` does not name them too.
    pub defaults: &'a EncodedFields,
    /// Headers of this request. `Content-Length` and `Transfer-Encoding` are written by the
    /// machine and only checked here; `Proxy-Connection` is left out; `Expect: 100-continue` makes
    /// the body wait.
    pub headers: &'a HeaderMap,
    /// Whether to ask for `Connection: close`.
    pub close: bool,
}

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// That many bytes.
    Known(u64),
    /// As long as it gets: sent in chunks.
    Unknown,
}

impl BodyLength {
    fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Known(0))
    }
}

/// What the request's own headers say, found while they are checked.
// Each says that one header is there.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default)]
pub(super) struct Own<'a> {
    host: Option<&'a HeaderValue>,
    connection: bool,
    names_upgrade: bool,
    /// The connection closes after this exchange.
    pub(super) close: bool,
    /// The body waits for 100 (Continue).
    pub(super) expect: bool,
    /// Protocols offered.
    pub(super) upgrade: Option<&'a HeaderValue>,
    length: Option<u64>,
    chunked: bool,
    bytes: usize,
}

/// Checks a request (RFC 9110 sections 7.2 and 8.6, RFC 9112 sections 3 and 6).
pub(super) fn inspect<'a>(
    request: &RequestHead<'a>,
    body: BodyLength,
    may_expect: bool,
) -> Result<Own<'a>, RequestError> {
    if request.target.is_empty() || !is_visible(request.target.as_bytes()) {
        return Err(RequestError::Target);
    }
    if !is_visible(request.host.as_bytes()) {
        return Err(RequestError::Host);
    }
    let mut own = Own {
        close: request.close,
        ..Own::default()
    };
    if !body.is_empty() && matches!(*request.method, Method::TRACE | Method::CONNECT) {
        return Err(RequestError::BodyNotAllowed);
    }
    if !request.headers.is_empty() {
        own.read(request.headers)?;
        own.check(body)?;
        own.expect &= !body.is_empty() && may_expect;
    }
    own.close |= !own.connection && request.defaults.says_close();
    Ok(own)
}

impl<'a> Own<'a> {
    fn read(&mut self, headers: &'a HeaderMap) -> Result<(), RequestError> {
        for (name, value) in headers {
            let bytes = value.as_bytes();
            match name.as_str() {
                "host" if self.host.is_some() => return Err(RequestError::DuplicateHost),
                "host" if !is_visible(bytes) => return Err(RequestError::Host),
                "host" => self.host = Some(value),
                "content-length" => {
                    let length = content_length(bytes).ok_or(RequestError::ContentLength)?;
                    if self
                        .length
                        .replace(length)
                        .is_some_and(|before| before != length)
                    {
                        return Err(RequestError::ContentLength);
                    }
                }
                "transfer-encoding" if self.chunked || !is_token(bytes, "chunked") => {
                    return Err(RequestError::TransferEncoding);
                }
                "transfer-encoding" => self.chunked = true,
                "connection" => {
                    self.connection = true;
                    self.close |= names_close(value);
                    self.names_upgrade |= tokens(bytes).any(|token| is_token(token, "upgrade"));
                }
                "upgrade" => self.upgrade = Some(value),
                "expect" => self.expect |= is_token(bytes, "100-continue"),
                _ => {}
            }
            self.bytes += name.as_str().len() + bytes.len() + 4;
        }
        Ok(())
    }

    fn check(&self, body: BodyLength) -> Result<(), RequestError> {
        if self.chunked && self.length.is_some() {
            return Err(RequestError::Ambiguous);
        }
        if self.chunked && body != BodyLength::Unknown {
            return Err(RequestError::TransferEncoding);
        }
        let agrees = match (self.length, body) {
            (None, _) => true,
            (Some(length), BodyLength::Known(known)) => length == known,
            (Some(length), BodyLength::Empty) => length == 0,
            (Some(_), BodyLength::Unknown) => false,
        };
        if agrees {
            Ok(())
        } else {
            Err(RequestError::ContentLength)
        }
    }

    /// Whether the header is sent as it is given.
    fn is_sent(&self, name: &str) -> bool {
        match name {
            "host" | "content-length" | "transfer-encoding" | "proxy-connection" => false,
            "expect" => self.expect,
            _ => true,
        }
    }
}

fn is_token(bytes: &[u8], token: &str) -> bool {
    bytes.eq_ignore_ascii_case(token.as_bytes())
}

/// Writes a head that was checked.
pub(super) fn write(
    request: &RequestHead<'_>,
    body: BodyLength,
    own: &Own<'_>,
    out: &mut BytesMut,
) {
    let length = match body {
        BodyLength::Known(length) => Some(length),
        // RFC 9110 section 8.6: a method that anticipates content says that there is none.
        BodyLength::Empty
            if matches!(*request.method, Method::POST | Method::PUT | Method::PATCH) =>
        {
            Some(0)
        }
        // What the caller spelt out is not taken back.
        BodyLength::Empty => own.length,
        BodyLength::Unknown => None,
    };
    out.reserve(
        request.target.len() + request.host.len() + request.defaults.len() + own.bytes + 128,
    );
    write_line(request.method, request.target, out);
    let defaults = request.defaults;
    let is_plain = length.is_none()
        && body != BodyLength::Unknown
        && !request.close
        && request.headers.is_empty()
        && !defaults.has_host();
    if is_plain {
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(request.host.as_bytes());
        out.extend_from_slice(defaults.rest_of_head());
        return;
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if own.host.is_some() || !defaults.has_host() {
        let host = own
            .host
            .map_or(request.host.as_bytes(), HeaderValue::as_bytes);
        write_field(b"host: ", host, out);
    }
    defaults.encode(request.headers, out);
    for (name, value) in request.headers {
        if own.is_sent(name.as_str()) {
            encode_field(name, value, out);
        }
    }
    write_framing(body, length, out);
    if request.close && !names_close_already(request.headers) {
        out.extend_from_slice(b"connection: close\r\n");
    }
    if own.upgrade.is_some() && !own.names_upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_line(method: &Method, target: &str, out: &mut BytesMut) {
    if *method == Method::GET {
        out.extend_from_slice(b"GET ");
    } else {
        out.extend_from_slice(method.as_str().as_bytes());
        out.extend_from_slice(b" ");
    }
    out.extend_from_slice(target.as_bytes());
}

fn write_field(name_and_colon: &[u8], value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(name_and_colon);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(body: BodyLength, length: Option<u64>, out: &mut BytesMut) {
    if body == BodyLength::Unknown {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if let Some(length) = length {
        write_field(b"content-length: ", number(length, 10, &mut [0; 20]), out);
    }
}

fn names_close_already(headers: &HeaderMap) -> bool {
    headers
        .get_all(::http::header::CONNECTION)
        .iter()
        .any(names_close)
}

/// The digits of a number, in a base up to 16; twenty suffice for 64 bits in base ten.
pub(super) fn number(mut value: u64, base: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    for (index, digit) in room.iter_mut().enumerate().rev() {
        *digit = b"0123456789abcdef"
            .get((value % base) as usize)
            .copied()
            .unwrap_or(b'0');
        value /= base;
        at = index;
        if value == 0 {
            break;
        }
    }
    room.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_both_bases() {
        for value in [0, 1, 9, 10, 15, 16, 255, 123_456, u64::MAX] {
            assert_eq!(
                number(value, 10, &mut [0; 20]),
                value.to_string().as_bytes()
            );
            assert_eq!(
                number(value, 16, &mut [0; 20]),
                format!("{value:x}").as_bytes()
            );
        }
    }
}
