//! HTTP/1.1 as a test's server needs it.

use std::fmt::Write as _;
use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// The most fields of a request.
const FIELDS: usize = 256;

/// A request that a [`Conn`](crate::Conn) read.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    method: String,
    target: String,
    minor: u8,
    fields: Vec<(String, String)>,
    body: Bytes,
}

impl ServerRequest {
    /// The method, as it was sent.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request target as it was sent: path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target's path, without its query.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }

    /// The target's query, where it has one.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first field of that name, whatever its case. Bytes that are not UTF-8 are replaced.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_all(name).next()
    }

    /// All fields of that name.
    pub fn header_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let matching = move |field: &&'a (String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(matching).map(|field| &*field.1)
    }

    /// The fields, as they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The body, decoded from its chunks.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }

    pub(crate) fn is_continue_expected(&self) -> bool {
        self.header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// What the last request means for its response and for the connection.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    /// The connection ends after the response.
    pub(crate) is_last: bool,
    is_head: bool,
}

impl Persistence {
    pub(crate) fn of(request: &ServerRequest) -> Self {
        let mut options = request
            .header_all("connection")
            .flat_map(|value| value.split(','));
        let is_last =
            request.minor == 0 || options.any(|value| value.trim().eq_ignore_ascii_case("close"));
        Self {
            is_last,
            is_head: request.method == "HEAD",
        }
    }
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Takes a complete request head off `rx`.
pub(crate) fn parse_head(rx: &mut BytesMut) -> io::Result<Option<ServerRequest>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(len) = parsed.parse(rx).map_err(invalid)? else {
        return Ok(None);
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let fields = parsed
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), text(field.value)));
    let request = ServerRequest {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        minor: parsed.version.unwrap_or(1),
        fields: fields.collect(),
        body: Bytes::new(),
    };
    rx.advance(len);
    Ok(Some(request))
}

/// Takes the complete body of a request off `rx`.
pub(crate) fn parse_body(request: &ServerRequest, rx: &mut BytesMut) -> io::Result<Option<Bytes>> {
    if request.is_chunked() {
        return parse_chunks(rx);
    }
    let Some(length) = request.header("content-length") else {
        return Ok(Some(Bytes::new()));
    };
    let length: usize = length.parse().map_err(invalid)?;
    Ok((rx.len() >= length).then(|| rx.split_to(length).freeze()))
}

/// Takes a complete chunked body off `rx`. It begins anew with every read, which a test's bodies
/// are small enough for.
fn parse_chunks(rx: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let (mut at, mut body) = (0, BytesMut::new());
    loop {
        let Some(rest) = rx.get(at..) else {
            return Ok(None);
        };
        let size = httparse::parse_chunk_size(rest).map_err(|_| invalid("malformed chunk size"))?;
        let httparse::Status::Complete((len, size)) = size else {
            return Ok(None);
        };
        at += len;
        if size == 0 {
            break;
        }
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size));
        let end = end.ok_or_else(|| invalid("chunk too large"))?;
        let Some(chunk) = rx.get(at..end) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        match rx.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(invalid("chunk without its end")),
            None => return Ok(None),
        }
    }
    // Trailers are read and dropped.
    let mut trailers = [httparse::EMPTY_HEADER; 64];
    let rest = rx.get(at..).unwrap_or_default();
    let parsed = httparse::parse_headers(rest, &mut trailers).map_err(invalid)?;
    let httparse::Status::Complete((len, _)) = parsed else {
        return Ok(None);
    };
    rx.advance(at + len);
    Ok(Some(body.freeze()))
}

/// A response as bytes.
pub(crate) fn encode(
    head: &http::response::Parts,
    body: &Bytes,
    persistence: &mut Persistence,
) -> Bytes {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16());
    let mut out = BytesMut::with_capacity(256 + body.len());
    let (mut is_framed, mut is_chunked) = (false, false);
    let has = |value: &http::HeaderValue, token: &str| {
        value
            .to_str()
            .is_ok_and(|value| value.eq_ignore_ascii_case(token))
    };
    for (name, value) in &head.headers {
        is_framed |= name == http::header::CONTENT_LENGTH;
        is_chunked |= name == http::header::TRANSFER_ENCODING && has(value, "chunked");
        persistence.is_last |= name == http::header::CONNECTION && has(value, "close");
    }
    // RFC 9112 section 6.3, rule 1.
    let is_bare = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
    if !is_framed && !is_chunked && !is_bare {
        let _ = write!(text, "content-length: {}\r\n", body.len());
    }
    if persistence.is_last && !head.headers.contains_key(http::header::CONNECTION) {
        text.push_str("connection: close\r\n");
    }
    out.extend_from_slice(text.as_bytes());
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    if !is_bare && !persistence.is_head {
        encode_body(body, is_chunked, &mut out);
    }
    out.freeze()
}

fn encode_body(body: &Bytes, is_chunked: bool, out: &mut BytesMut) {
    if !is_chunked {
        return out.extend_from_slice(body);
    }
    if !body.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<ServerRequest>> {
        let mut rx = BytesMut::from(bytes);
        let Some(mut request) = parse_head(&mut rx)? else {
            return Ok(None);
        };
        let Some(body) = parse_body(&request, &mut rx)? else {
            return Ok(None);
        };
        request.set_body(body);
        Ok(Some(request))
    }

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        for whole in [
            &b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"[..],
            b"POST /a?b=c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
              2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nt: u\r\n\r\n",
        ] {
            for len in 0..whole.len() {
                assert!(read(&whole[..len]).unwrap().is_none(), "{len}");
            }
            let request = read(whole).unwrap().unwrap();
            assert_eq!((request.method(), request.path()), ("POST", "/a"));
            assert_eq!(
                (request.query(), request.header("HOST")),
                (Some("b=c"), Some("x"))
            );
            assert_eq!(request.body(), "hello");
        }
        assert!(read(b"\0\r\n\r\n").is_err());
    }

    #[test]
    fn a_response_is_framed_as_its_request_allows() {
        let encoded = |status: u16, field: Option<(&str, &str)>, is_head: bool| {
            let mut response = http::Response::builder().status(status);
            if let Some((name, value)) = field {
                response = response.header(name, value);
            }
            let head = response.body(()).unwrap().into_parts().0;
            let mut persistence = Persistence {
                is_head,
                is_last: false,
            };
            let bytes = encode(&head, &Bytes::from_static(b"hi"), &mut persistence);
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert_eq!(
            encoded(200, None, false),
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
        );
        assert_eq!(
            encoded(200, None, true),
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
        );
        assert_eq!(encoded(204, None, false), "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(
            encoded(200, Some(("transfer-encoding", "chunked")), false),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        );
    }
}
