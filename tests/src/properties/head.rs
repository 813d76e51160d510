//! Response heads, read by our parser and by `httparse`.

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_core::h1::{BodyLength, Connection, Event, Limits, RequestHead, Scratch, Strictness};
use fulmar_core::http::{EncodedFields, ResponseHead};
use fulmar_core::time::Instant;
use http::{HeaderMap, Method};

use super::script::Script;

/// What both parsers say of a head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    is_http_10: bool,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What we accept, `httparse` accepts and reads in the same way; what it accepts without options,
/// we accept. Between the two lie folded lines, of which it keeps the line breaks and we do not.
///
/// Known differences, which the comparison evens out: a minor version from 2 to 9 counts as 1
/// (RFC 9110 section 2.5), and a status below 100 is none.
///
/// The first bytes choose strictness and mutations; the rest is the head, spelt out or put together
/// from pieces.
///
/// # Panics
///
/// If they differ otherwise.
pub fn h1_heads_as_httparse(data: &[u8]) {
    let mut script = Script::new(data);
    let lenient = script.byte() & 1 == 1;
    let mutations: Vec<_> = (0..script.below(4))
        .map(|_| (script.below(1 << 16), script.byte()))
        .collect();
    let mut bytes = b"HTTP/1.1 ".to_vec();
    while !script.is_over() {
        match script.byte() {
            byte @ 0x60.. => bytes.extend_from_slice(PIECES[usize::from(byte) % PIECES.len()]),
            byte => bytes.push(byte),
        }
    }
    for (place, byte) in mutations {
        let place = place % bytes.len();
        bytes[place] = byte;
    }
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        // Skipped by both, but by us twice at most.
        return;
    }
    let Ours::Read(ours) = read(&bytes, lenient) else {
        return;
    };
    let text = bytes.escape_ascii();
    let theirs = parse(&bytes, lenient, false);
    match (&ours, &theirs) {
        (None, Some(theirs)) => panic!("refused: {text}\nby httparse: {theirs:?}"),
        (Some(ours), None) => {
            let folded = parse(&bytes, lenient, true);
            assert_eq!(Some(ours), folded.as_ref(), "{text}");
        }
        _ => assert_eq!(ours, theirs, "{text}"),
    }
}

enum Ours {
    Read(Option<Head>),
    /// Refused for what the head says, not for how it is written.
    Unknown,
}

/// Reads in answer to HEAD, so that no field frames anything.
fn read(bytes: &[u8], lenient: bool) -> Ours {
    let strictness = if lenient {
        Strictness::Lenient
    } else {
        Strictness::Strict
    };
    let mut connection = Connection::new(Limits::default().strictness(strictness));
    let (defaults, headers) = (EncodedFields::default(), HeaderMap::new());
    let request = RequestHead {
        method: &Method::HEAD,
        target: "/",
        host: "a.test",
        defaults: &defaults,
        headers: &headers,
        close: false,
    };
    let mut tx = WriteBuf::default();
    let sent = connection.send(Instant::ORIGIN, &request, BodyLength::Empty, &mut tx);
    sent.expect("a sound request");
    let (mut rx, mut scratch) = (BytesMut::from(bytes), Scratch::default());
    match connection.poll_event(&mut rx, &mut scratch) {
        Ok(Some(Event::Whole(..) | Event::Informational(_))) => {
            Ours::Read(scratch.head().map(told))
        }
        Ok(_) | Err(fulmar_core::h1::Error::Head(_)) => Ours::Read(None),
        Err(_) => Ours::Unknown,
    }
}

fn told(head: &ResponseHead) -> Head {
    let map = head.to_header_map();
    for (name, value) in head.fields() {
        let name = http::HeaderName::from_bytes(name).expect("a token");
        let of_map: Vec<_> = map
            .get_all(&name)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect();
        assert!(of_map.contains(&value), "{head:?}");
    }
    assert_eq!(map.len(), head.len());
    Head {
        status: head.status().as_u16(),
        is_http_10: head.version() == http::Version::HTTP_10,
        fields: head
            .fields()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
    }
}

fn parse(bytes: &[u8], lenient: bool, folds: bool) -> Option<Head> {
    let mut bytes = bytes.to_vec();
    if let Some(minor @ b'2'..=b'9') = bytes.get_mut(7) {
        *minor = b'1';
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(lenient)
        .allow_obsolete_multiline_headers_in_responses(folds)
        .parse_response(&mut response, &bytes);
    let Ok(httparse::Status::Complete(_)) = parsed else {
        return None;
    };
    let status = response.code.filter(|status| *status >= 100)?;
    let value = |value: &[u8]| {
        let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let value: Vec<_> = value
            .iter()
            .map(|byte| if line_end(byte) { b' ' } else { *byte })
            .collect();
        value.trim_ascii().to_vec()
    };
    Some(Head {
        status,
        is_http_10: response.version == Some(0),
        fields: response
            .headers
            .iter()
            .map(|field| (field.name.as_bytes().to_vec(), value(field.value)))
            .collect(),
    })
}

const PIECES: [&[u8]; 40] = [
    b"200 OK\r\n",
    b"200 OK\r\n",
    b"404\n",
    b"999 \r\n",
    b"099 x\r\n",
    b"103 Early\tHints\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"date: Tue, 24 Nov 2026 04:00:00 GMT\r\n",
    b"Content-Length: 5\r\n",
    b"content-type:application/json\r\n",
    b"Server:  a \t b  \r\n",
    b"location: /x\r\n",
    b"Connection: keep-alive\r\n",
    b"a: b\r\n c\r\n",
    b"a:\r\n\tb\n c\r\n",
    b"A : b\r\n",
    b"x-b3-traceid: 7b1d9f0e4c5a4b7e9a51\r\n",
    b"fifteen-letters: ",
    b"sixteen-letters-",
    b"set-cookie: ",
    b"vary:\r\n",
    b"value-of-38-bytes-value-of-38-bytes--38",
    b"value",
    b"\xe2\x82\xac",
    b"\t",
    b" ",
    b":",
    b": ",
    b"\r",
    b"\0",
    b"\x7f",
    b"\xff",
    b"-",
    b"name",
    b"_~",
    b"\"",
    b"retry-after: 7\r\nKeep-Alive: timeout=5\r\n",
    b"x: y\r\nx: z\r\nx: y\r\nx: z\r\nx: y\r\nx: z\r\nx: y\r\nx: z\r\nx: y\r\n",
];
