//! The HTTP/1.1 connection.

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::h1::{
    BodyLength, CloseReason, Connection, End, Error, Event, Limits, RequestHead, Reuse, Scratch,
    Strictness,
};
use fulmar_core::http::EncodedFields;
use fulmar_core::time::Instant;
use http::{HeaderMap, HeaderValue, Method};

use super::script::Script;

/// What a connection told, put together so that cuts do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Interim(u16, String),
    Head(String),
    Body(Vec<u8>),
    Trailers(HeaderMap),
    End(Reuse),
    Tunnel(String, Vec<u8>),
    Error(Error),
}

/// A response body is the same whether it comes at once or byte by byte, whatever the bytes are:
/// so are errors, and they stay. What is left in the buffer is bounded.
///
/// The first bytes choose the request, the end of the connection and the cuts; the rest is what
/// the server sends, spelt out or put together from fragments.
///
/// # Panics
///
/// If it is not.
pub fn h1_response(data: &[u8]) {
    let mut script = Script::new(data);
    let asked = script.byte();
    let end = [End::Clean, End::Truncated, End::Reset][script.below(3)];
    let cuts = [script.byte(), script.byte(), script.byte()];
    let from_fragments = !script.byte().is_multiple_of(4);
    let mut bytes = Vec::new();
    while !script.is_over() {
        let byte = script.byte();
        match byte.checked_sub(0x60) {
            Some(index) if from_fragments => {
                bytes.extend_from_slice(FRAGMENTS[usize::from(index) % FRAGMENTS.len()]);
            }
            _ => bytes.push(byte),
        }
    }
    let whole = told(asked, &bytes, end, |_| usize::MAX);
    let single = told(asked, &bytes, end, |_| 1);
    let cut = told(asked, &bytes, end, |n| usize::from(cuts[n % 3]) + 1);
    assert_same(&whole, &single, &bytes);
    assert_same(&whole, &cut, &bytes);
}

const FRAGMENTS: [&[u8]; 40] = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 ",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 204 None\r\n",
    b"HTTP/1.1 205 Reset\r\n",
    b"HTTP/1.1 304 Same\r\n",
    b"HTTP/1.7 404\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length: 6\r\n\r\n",
    b"Content-Length: 99999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"transfer-encoding: chunked\r\n\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
    b"Server: x\r\n folded\r\n",
    b"X : y\r\n",
    b"A: b\r\n",
    b"Set-Cookie: c\r\n",
    b"5\r\nHELLO\r\n",
    b"HELLO",
    b"00005;ext=1\r\nHELLO\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"1\r\nx\r\n",
    b"400\r\n",
    &[b'z'; 1024],
    b": ",
    b" ",
    b"HTTP/2.0 200\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n",
];

fn told(asked: u8, bytes: &[u8], end: End, cut: impl Fn(usize) -> usize) -> Vec<Told> {
    let (mut connection, mut tx) = begin(asked);
    let (mut rx, mut scratch) = (BytesMut::new(), Scratch::default());
    let (mut told, mut at, mut cuts) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let n = cut(cuts).min(bytes.len() - at);
        rx.extend_from_slice(&bytes[at..at + n]);
        (at, cuts) = (at + n, cuts + 1);
        drain(&mut connection, &mut rx, &mut scratch, &mut told);
        connection.handle_timeout(Instant::from_nanos(cuts as u64));
    }
    connection.handle_eof(end);
    drain(&mut connection, &mut rx, &mut scratch, &mut told);
    tx.clear();
    told
}

fn begin(asked: u8) -> (Connection, WriteBuf) {
    let strictness = if asked & 0x80 == 0 {
        Strictness::Strict
    } else {
        Strictness::Lenient
    };
    let small = Limits::default()
        .head_bytes(700)
        .line(300)
        .fields(9)
        .interims(3);
    let limits = if asked & 0x40 == 0 {
        Limits::default()
    } else {
        small
    };
    let mut connection = Connection::new(limits.strictness(strictness));
    let mut headers = HeaderMap::new();
    let (method, body) = match asked & 7 {
        0 => (Method::HEAD, BodyLength::Empty),
        1 => (Method::CONNECT, BodyLength::Empty),
        2 => {
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            (Method::GET, BodyLength::Empty)
        }
        3 => {
            headers.insert("expect", HeaderValue::from_static("100-continue"));
            (Method::PUT, BodyLength::Known(10))
        }
        _ => (Method::GET, BodyLength::Empty),
    };
    let defaults = EncodedFields::default();
    let request = RequestHead {
        method: &method,
        target: if method == Method::CONNECT {
            "a.test:443"
        } else {
            "/"
        },
        host: "a.test",
        defaults: &defaults,
        headers: &headers,
        close: asked & 0x20 != 0,
    };
    let mut tx = WriteBuf::default();
    connection
        .send(Instant::ORIGIN, &request, body, &mut tx)
        .expect("a sound request");
    (connection, tx)
}

/// Polls until nothing more is told, and checks what holds between any two polls.
fn drain(
    connection: &mut Connection,
    rx: &mut BytesMut,
    scratch: &mut Scratch,
    told: &mut Vec<Told>,
) {
    loop {
        let before = rx.len();
        let event = connection.poll_event(rx, scratch);
        assert!(rx.len() <= before);
        let head = || format!("{:?}", scratch.head());
        match event {
            Ok(None) => break,
            Ok(Some(Event::Whole(body, reuse))) => {
                told.push(Told::Head(head()));
                push_body(told, &body);
                told.push(Told::End(reuse));
            }
            Ok(Some(Event::Informational(status))) => told.push(Told::Interim(status, head())),
            Ok(Some(Event::Head)) => told.push(Told::Head(head())),
            Ok(Some(Event::Body(body))) => {
                assert!(!body.is_empty());
                push_body(told, &body);
            }
            Ok(Some(Event::Trailers)) => {
                told.push(Told::Trailers(
                    scratch.take_trailers().expect("trailers were told"),
                ));
            }
            Ok(Some(Event::End(reuse))) => told.push(Told::End(reuse)),
            Ok(Some(Event::Tunnel)) => told.push(Told::Tunnel(head(), Vec::new())),
            Err(error) => {
                if told.last() != Some(&Told::Error(error)) {
                    told.push(Told::Error(error));
                }
                assert_eq!(
                    connection.poll_event(rx, scratch),
                    Err(error),
                    "errors stay"
                );
                assert!(rx.is_empty() && !connection.is_idle());
                return;
            }
        }
    }
    assert_eq!(
        connection.poll_event(rx, scratch),
        Ok(None),
        "nothing new, nothing told"
    );
    if let Some(Told::Tunnel(_, rest)) = told.last_mut() {
        // What came behind it belongs to somebody else, untouched.
        rest.extend_from_slice(rx);
        rx.clear();
    }
    assert!(
        rx.len() <= 64 * 1024,
        "what is left is a head in the making"
    );
}

fn push_body(told: &mut Vec<Told>, body: &[u8]) {
    match told.last_mut() {
        _ if body.is_empty() => {}
        Some(Told::Body(before)) => before.extend_from_slice(body),
        _ => told.push(Told::Body(body.to_vec())),
    }
}

/// Whether bytes behind a response were there in time depends on the cuts; all else does not.
fn assert_same(a: &[Told], b: &[Told], bytes: &[u8]) {
    let ended = |told: &[Told]| told.iter().position(|told| matches!(told, Told::End(_)));
    let desync = Reuse::Close(CloseReason::Desync);
    let (a, b) = match (ended(a), ended(b)) {
        (Some(i), Some(j)) if a[i] == Told::End(desync) || b[j] == Told::End(desync) => {
            (&a[..i], &b[..j])
        }
        (Some(i), Some(j)) => (&a[..=i], &b[..=j]),
        _ => (a, b),
    };
    assert_eq!(a, b, "{}", bytes.escape_ascii());
}

/// Several exchanges on one connection, with commands, input, timeouts and the end of the
/// connection in any order, tell exactly what was sent, and nothing of another exchange.
///
/// # Panics
///
/// If they do not.
pub fn h1_exchange(data: &[u8]) {
    let mut script = Script::new(data);
    let mut connection = Connection::new(Limits::default());
    for number in 0..8 {
        if !exchange(&mut script, &mut connection, number) {
            assert!(!connection.is_idle());
            break;
        }
        assert!(connection.is_idle() && connection.poll_timeout().is_none());
    }
}

/// What one exchange consists of, before it happens.
struct Plan {
    method: Method,
    length: BodyLength,
    upload: Vec<u8>,
    expect: bool,
    /// The bytes of the response, and what they mean.
    wire: Vec<u8>,
    interims: usize,
    body: Vec<u8>,
    close: bool,
}

fn plan(script: &mut Script<'_>, number: u8) -> Plan {
    let method = [Method::GET, Method::PUT, Method::HEAD, Method::POST][script.below(4)].clone();
    let upload = vec![b'a' + number; script.below(5000)];
    let (length, upload) = match script.below(3) {
        0 => (BodyLength::Empty, Vec::new()),
        1 => (BodyLength::Known(upload.len() as u64), upload),
        _ => (BodyLength::Unknown, upload),
    };
    let expect = script.below(4) == 0;
    let interims = script.below(3);
    let mut wire = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(interims);
    let close = script.below(8) == 0;
    // Upper case marks which response a byte belongs to.
    let mut body = vec![b'A' + number; script.below(20_000)];
    wire.extend_from_slice(b"HTTP/1.1 200 OK\r\nserver: naive\r\n");
    if close {
        wire.extend_from_slice(b"connection: close\r\n");
    }
    let chunked = script.below(2) == 0;
    if chunked {
        wire.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    } else {
        wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    }
    if method == Method::HEAD {
        body.clear();
    } else if chunked {
        let size = script.below(4000) + 16;
        for chunk in body.chunks(size) {
            wire.extend_from_slice(format!("{:x};e\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
    } else {
        wire.extend_from_slice(&body);
    }
    Plan {
        method,
        length,
        upload,
        expect,
        wire,
        interims,
        body,
        close,
    }
}

/// One exchange. False if the connection is used up.
fn exchange(script: &mut Script<'_>, connection: &mut Connection, number: u8) -> bool {
    let plan = plan(script, number);
    let mut headers = HeaderMap::new();
    if plan.expect {
        headers.insert("expect", HeaderValue::from_static("100-continue"));
    }
    let defaults = EncodedFields::default();
    let request = RequestHead {
        method: &plan.method,
        target: "/",
        host: "a.test",
        defaults: &defaults,
        headers: &headers,
        close: false,
    };
    let (mut rx, mut scratch, mut tx) = (
        BytesMut::new(),
        Scratch::default(),
        WriteBuf::with_capacity(64),
    );
    let mut now = Instant::from_nanos(7);
    connection
        .send(now, &request, plan.length, &mut tx)
        .expect("a sound request");
    assert!(
        connection
            .send(now, &request, plan.length, &mut tx)
            .is_err(),
        "one at a time"
    );
    let (mut fed, mut given, mut told) = (0, 0, Vec::new());
    let (mut ended, mut eof) = (false, false);
    for _ in 0..200 {
        match script.below(9) {
            0..=2 => {
                let n = script.below(3000).min(plan.wire.len() - fed);
                rx.extend_from_slice(&plan.wire[fed..fed + n]);
                fed += n;
            }
            3 | 4 => drain(connection, &mut rx, &mut scratch, &mut told),
            5 if connection.is_body_wanted() && given < plan.upload.len() => {
                let n = (script.below(2000) + 1).min(plan.upload.len() - given);
                let data = plan.upload[given..given + n].to_vec().into();
                connection.send_data(data, &mut tx).expect("it is wanted");
                given += n;
            }
            6 if connection.is_body_wanted() && given == plan.upload.len() => {
                connection.send_end(None, &mut tx).expect("it is complete");
                ended = true;
            }
            7 => {
                now = now + std::time::Duration::from_millis(script.below(2000) as u64);
                connection.handle_timeout(now);
                assert!(connection.poll_timeout().is_none_or(|at| at > now));
            }
            8 if script.below(40) == 0 => {
                connection.handle_eof(End::Clean);
                eof = true;
                break;
            }
            _ => {}
        }
        if script.is_over() {
            break;
        }
    }
    // What is not said by then is said in order.
    connection.handle_timeout(Instant::MAX);
    if connection.is_body_wanted() {
        let data = plan.upload[given..].to_vec().into();
        connection.send_data(data, &mut tx).expect("it is wanted");
        given = plan.upload.len();
        connection.send_end(None, &mut tx).expect("it is complete");
        ended = true;
    }
    if !eof {
        rx.extend_from_slice(&plan.wire[fed..]);
        fed = plan.wire.len();
    }
    drain(connection, &mut rx, &mut scratch, &mut told);
    check_sent(&plan, &mut tx, given, ended);
    check_told(&plan, &told, fed, connection)
}

fn check_sent(plan: &Plan, tx: &mut WriteBuf, given: usize, ended: bool) {
    let mut sent = Vec::new();
    while tx.has_remaining() {
        let n = tx.chunk().len();
        sent.extend_from_slice(tx.chunk());
        tx.advance(n);
    }
    let head = sent
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let body = &sent[head..];
    match plan.length {
        BodyLength::Empty => assert!(body.is_empty()),
        BodyLength::Known(_) => assert_eq!(body, &plan.upload[..given]),
        BodyLength::Unknown => {
            let (decoded, complete) = dechunk(body);
            assert_eq!(decoded, &plan.upload[..given]);
            assert_eq!(complete, ended);
        }
    }
}

/// A decoder as simple as can be, of what is known to be sound.
fn dechunk(mut wire: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while !wire.is_empty() {
        let line = wire.iter().position(|&byte| byte == b'\r').expect("a size");
        let size = std::str::from_utf8(&wire[..line]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a size");
        assert_eq!(&wire[line..line + 2], b"\r\n");
        if size == 0 {
            assert_eq!(&wire[line..], b"\r\n\r\n");
            return (body, true);
        }
        wire = &wire[line + 2..];
        body.extend_from_slice(&wire[..size]);
        assert_eq!(&wire[size..size + 2], b"\r\n");
        wire = &wire[size + 2..];
    }
    (body, false)
}

fn check_told(plan: &Plan, told: &[Told], fed: usize, connection: &Connection) -> bool {
    let mut told = told.iter();
    let mut next = told.next();
    let mut interims = 0;
    while let Some(Told::Interim(100, _)) = next {
        interims += 1;
        next = told.next();
    }
    if fed < plan.wire.len() {
        // Cut off: a prefix, then the end.
        if let Some(Told::Head(_)) = next {
            next = told.next();
        }
        if let Some(Told::Body(body)) = next {
            assert!(plan.body.starts_with(body));
            next = told.next();
        }
        assert!(
            matches!(next, Some(Told::Error(error)) if error.is_eof()),
            "{next:?}"
        );
        return false;
    }
    assert_eq!(interims, plan.interims);
    assert!(matches!(next, Some(Told::Head(_))), "{next:?}");
    next = told.next();
    if !plan.body.is_empty() {
        let Some(Told::Body(body)) = next else {
            panic!("no body: {next:?}")
        };
        assert_eq!(body.len(), plan.body.len());
        assert!(*body == plan.body, "a byte of another response");
        next = told.next();
    }
    let Some(Told::End(reuse)) = next else {
        panic!("no end: {next:?}")
    };
    assert_eq!(connection.response_bytes(), plan.wire.len() as u64);
    match reuse {
        Reuse::Keep => {
            assert!(!plan.close && connection.request_complete());
            connection.is_idle()
        }
        Reuse::Close(CloseReason::Peer) => {
            assert!(plan.close);
            false
        }
        Reuse::Close(CloseReason::EarlyResponse) => {
            assert!(!connection.request_complete());
            false
        }
        Reuse::Close(CloseReason::PeerClosed) => false,
        other @ Reuse::Close(_) => panic!("{other:?}"),
    }
}
