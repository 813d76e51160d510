//! How the HTTP/1.1 connection reads responses: the table of body framing row by row, and every
//! rule on heads, interim responses, persistence and the end of a connection.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_core::h1::{
    BodyLength, ChunkError, CloseReason, Connection, End, Error, Event, Limits, RequestHead, Reuse,
    Scratch, Stage, Strictness,
};
use fulmar_core::http::{EncodedFields, Framing, FramingError, HeadError};
use fulmar_core::time::Instant;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

struct Exchange {
    connection: Connection,
    rx: BytesMut,
    scratch: Scratch,
}

/// A response as its reader sees it.
#[derive(Debug, PartialEq)]
enum Got {
    /// Complete: the body, and whether the connection is used again.
    Body(&'static str, Reuse),
    /// A part of it, and the wait for more.
    More(&'static str),
    Tunnel,
    Error(Error),
}

const KEEP: Reuse = Reuse::Keep;

const fn close(reason: CloseReason) -> Reuse {
    Reuse::Close(reason)
}

fn framing_error(error: FramingError) -> Got {
    Got::Error(Error::Framing(error))
}

impl Exchange {
    fn begin(method: &Method, fields: &[(&'static str, &'static str)], limits: Limits) -> Self {
        let mut exchange = Self {
            connection: Connection::new(limits),
            rx: BytesMut::new(),
            scratch: Scratch::default(),
        };
        exchange.send(method, fields, BodyLength::Empty);
        exchange
    }

    fn get() -> Self {
        Self::begin(&Method::GET, &[], Limits::default())
    }

    fn send(&mut self, method: &Method, fields: &[(&'static str, &'static str)], body: BodyLength) {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let defaults = EncodedFields::default();
        let request = RequestHead {
            method,
            target: if method == Method::CONNECT {
                "a.test:443"
            } else {
                "/"
            },
            host: "a.test",
            defaults: &defaults,
            headers: &headers,
            close: false,
        };
        let mut tx = WriteBuf::default();
        self.connection
            .send(Instant::ORIGIN, &request, body, &mut tx)
            .unwrap();
    }

    fn feed(&mut self, bytes: &[u8]) -> &mut Self {
        self.rx.extend_from_slice(bytes);
        self
    }

    fn poll(&mut self) -> Result<Option<Event>, Error> {
        self.connection.poll_event(&mut self.rx, &mut self.scratch)
    }

    /// Polls to the end of the response, or until it needs more.
    fn read(&mut self) -> Got {
        let mut body = String::new();
        loop {
            let leak = |body: &String| -> &'static str { Box::leak(body.clone().into_boxed_str()) };
            match self.poll() {
                Err(error) => return Got::Error(error),
                Ok(None) => return Got::More(leak(&body)),
                Ok(Some(Event::Body(data))) => body.push_str(std::str::from_utf8(&data).unwrap()),
                Ok(Some(Event::Whole(data, reuse))) => {
                    body.push_str(std::str::from_utf8(&data).unwrap());
                    return Got::Body(leak(&body), reuse);
                }
                Ok(Some(Event::End(reuse))) => return Got::Body(leak(&body), reuse),
                Ok(Some(Event::Tunnel)) => return Got::Tunnel,
                Ok(Some(_)) => {}
            }
        }
    }
}

/// The response to a request, with the connection ended cleanly behind it or not.
fn read(method: &Method, head: &str, behind: &str) -> Got {
    let mut exchange = Exchange::begin(method, &[], Limits::default());
    exchange
        .feed(format!("{head}\r\n\r\n{behind}").as_bytes())
        .read()
}

fn get(fields: &str, behind: &str) -> Got {
    read(
        &Method::GET,
        &format!("HTTP/1.1 200 OK\r\n{fields}"),
        behind,
    )
}

#[test]
fn the_table_of_body_framing_holds() {
    let hello = || Got::Body("HELLO", KEEP);
    let chunks = "5\r\nHELLO\r\n0\r\n\r\n";
    assert_eq!(get("Content-Length: 5", "HELLO"), hello());
    assert_eq!(get("Content-Length: 5, 5", "HELLO"), hello());
    assert_eq!(
        get("Content-Length: 5\r\nContent-Length: 5", "HELLO"),
        hello()
    );
    let bad = framing_error(FramingError::ContentLength);
    assert_eq!(get("Content-Length: 5\r\nContent-Length: 6", "HELLO"), bad);
    for value in [
        "+5",
        "-0",
        "5 5",
        "0x5",
        "5;q=1",
        "12345678901234567890",
        "",
        "5, 6",
        "5,",
    ] {
        assert_eq!(
            get(&format!("Content-Length: {value}"), "HELLO"),
            bad,
            "{value}"
        );
    }
    assert_eq!(get("Transfer-Encoding: chunked", chunks), hello());
    assert_eq!(get("Transfer-Encoding: Chunked", chunks), hello());
    let unsupported = framing_error(FramingError::TransferCoding);
    assert_eq!(get("Transfer-Encoding: gzip, chunked", chunks), unsupported);
    assert_eq!(get("Transfer-Encoding: chunked, gzip", "x"), Got::More("x"));
    let malformed = framing_error(FramingError::TransferEncoding);
    assert_eq!(
        get("Transfer-Encoding: chunked, chunked", chunks),
        malformed
    );
    assert_eq!(get("Transfer-Encoding: xchunked", chunks), unsupported);
    assert_eq!(get("Transfer-Encoding: chunked;a=b", chunks), malformed);
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5";
    assert_eq!(get(both, chunks), framing_error(FramingError::Ambiguous));
    assert_eq!(get("Server: x", "HEL"), Got::More("HEL"));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5";
    assert_eq!(read(&Method::HEAD, head, ""), Got::Body("", KEEP));
    for status in [204, 304] {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 5");
        assert_eq!(read(&Method::GET, &head, ""), Got::Body("", KEEP));
    }
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked";
    assert_eq!(read(&Method::CONNECT, head, ""), Got::Tunnel);
    let switch = "HTTP/1.1 101 x\r\nUpgrade: websocket";
    assert_eq!(read(&Method::GET, switch, ""), Got::Error(Error::Upgrade));
    let extra = get("Content-Length: 5", "HELLOHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(extra, Got::Body("HELLO", close(CloseReason::Desync)));
}

#[test]
fn the_table_of_chunks_holds() {
    let chunked = |body: &str| get("Transfer-Encoding: chunked", body);
    let error = |error| Got::Error(Error::Chunk(error));
    // The data before the error is told before it.
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHELLOXX0\r\n\r\n");
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    assert_eq!(exchange.poll(), Ok(Some(Event::Body("HELLO".into()))));
    assert_eq!(exchange.poll(), Err(Error::Chunk(ChunkError::DataEnd)));
    assert_eq!(chunked("5\nHELLO\n0\n\n"), error(ChunkError::LineEnd));
    assert_eq!(
        chunked("00000000000000005\r\nHELLO\r\n0\r\n\r\n"),
        Got::Body("HELLO", KEEP)
    );
    assert_eq!(chunked("FFFFFFFFFFFFFFFFF\r\n"), error(ChunkError::Size));
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    assert_eq!(exchange.read(), Got::More(""));
    exchange.connection.handle_eof(End::Clean);
    assert_eq!(exchange.read(), Got::Error(Error::Eof { at: Stage::Body }));
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n");
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    assert_eq!(exchange.poll(), Ok(Some(Event::Trailers)));
    assert_eq!(exchange.scratch.take_trailers().unwrap()["a"], "b");
    assert_eq!(exchange.poll(), Ok(Some(Event::End(KEEP))));
}

#[test]
fn lenient_reads_what_is_ambiguous_and_closes() {
    let limits = Limits::default().strictness(Strictness::Lenient);
    for head in [
        "Transfer-Encoding: chunked\r\nContent-Length: 9",
        "A : b\r\nTransfer-Encoding: chunked",
    ] {
        let mut exchange = Exchange::begin(&Method::GET, &[], limits);
        exchange.feed(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nab\r\n0\r\n\r\n").as_bytes());
        assert_eq!(exchange.read(), Got::Body("ab", close(CloseReason::Faulty)));
    }
    assert_eq!(
        get("A : b", ""),
        Got::Error(Error::Head(HeadError::FieldName))
    );
}

#[test]
fn a_transfer_coding_in_http_1_0_is_read_once() {
    let head = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked";
    let got = read(&Method::GET, head, "2\r\nab\r\n0\r\n\r\n");
    assert_eq!(got, Got::Body("ab", close(CloseReason::Faulty)));
}

#[test]
fn a_reset_content_has_none() {
    let reset =
        |fields: &str, body: &str| read(&Method::GET, &format!("HTTP/1.1 205 x\r\n{fields}"), body);
    let refused = || Got::Body("", close(CloseReason::ResetContent));
    assert_eq!(reset("Content-Length: 0", ""), Got::Body("", KEEP));
    assert_eq!(reset("Content-Length: 5", "HELLO"), refused());
    assert_eq!(reset("Content-Length: 5", "HEL"), Got::More(""));
    assert_eq!(reset("Content-Length: 65537", "HEL"), refused());
    assert_eq!(reset("A: b", "HEL"), refused());
    assert_eq!(
        reset("Transfer-Encoding: chunked", "0\r\n\r\n"),
        Got::Body("", KEEP)
    );
    assert_eq!(
        reset("Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
        refused()
    );
    let malformed = Got::Error(Error::Chunk(ChunkError::Size));
    assert_eq!(
        reset("Transfer-Encoding: chunked", "1\r\nx\r\nx"),
        malformed
    );
    let endless = format!("20000\r\n{}", "x".repeat(70_000));
    assert_eq!(reset("Transfer-Encoding: chunked", &endless), refused());
}

#[test]
fn minor_versions_above_one_are_read_as_one() {
    for minor in 1..=9 {
        let head = format!("HTTP/1.{minor} 200 OK\r\nContent-Length: 0");
        assert_eq!(read(&Method::GET, &head, ""), Got::Body("", KEEP));
    }
    for version in ["HTTP/2.0", "HTTP/1.10", "HTTP/0.9", "HTTP/1,1"] {
        let got = read(
            &Method::GET,
            &format!("{version} 200 OK\r\nContent-Length: 0"),
            "",
        );
        assert_eq!(
            got,
            Got::Error(Error::Head(HeadError::Version)),
            "{version}"
        );
    }
    let got = Exchange::get().feed(b"SSH-2.0-x").read();
    assert_eq!(got, Got::Error(Error::Head(HeadError::NotHttp)));
}

#[test]
fn two_empty_lines_before_a_response_are_passed() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for blank in ["\r\n", "\r\n\r\n", "\n\n"] {
        let got = Exchange::get()
            .feed(format!("{blank}{response}").as_bytes())
            .read();
        assert_eq!(got, Got::Body("", KEEP));
    }
    let got = Exchange::get()
        .feed(format!("\r\n\r\n\r\n{response}").as_bytes())
        .read();
    assert_eq!(got, Got::Error(Error::Head(HeadError::BlankLines)));
    for half in ["\r", "\r\r\n"] {
        let got = Exchange::get()
            .feed(format!("{half}{response}").as_bytes())
            .read();
        assert_eq!(got, Got::Error(Error::Head(HeadError::BlankLines)));
    }
}

#[test]
fn two_empty_lines_behind_a_response_are_passed_and_a_third_closes() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (blank, reuse) in [
        ("\r\n", KEEP),
        ("\r\n\r\n", KEEP),
        ("\r\n\r\n\r\n", close(CloseReason::Desync)),
        ("\r\nx", close(CloseReason::Desync)),
    ] {
        let mut exchange = Exchange::get();
        exchange.feed(format!("{response}{blank}").as_bytes());
        assert_eq!(exchange.read(), Got::Body("", reuse), "{blank:?}");
        assert!(exchange.rx.is_empty());
    }
}

#[test]
fn a_connection_that_was_closed_tells_nothing_more() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange.read(), Got::Body("", close(CloseReason::Peer)));
    exchange.feed(b"HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(exchange.poll(), Ok(None));
    assert!(exchange.rx.is_empty());
}

#[test]
fn limits_that_are_set_hold() {
    let read = |limits, response: &str| {
        Exchange::begin(&Method::GET, &[], limits)
            .feed(response.as_bytes())
            .read()
    };
    let limits = Limits::new;
    let limit = |error| Got::Error(Error::Head(error));
    let head = |lines: usize| {
        let lines = "A: 45678\r\n".repeat(lines);
        format!("HTTP/1.1 204 x\r\n{lines}\r\n")
    };
    // 16 bytes of status line, 10 of each field, and the empty line.
    let more = limits().head_bytes(1298);
    assert_eq!(read(more, &head(128)), Got::Body("", KEEP));
    let exact = limits().head_bytes(118);
    assert_eq!(read(exact, &head(10)), Got::Body("", KEEP));
    assert_eq!(read(exact, &head(11)), limit(HeadError::TooLarge));
    assert_eq!(read(limits().fields(3), &head(3)), Got::Body("", KEEP));
    let many = read(limits().fields(3), &head(4));
    assert_eq!(many, limit(HeadError::TooManyFields));
    let long = "HTTP/1.1 204 x\r\nA: 4567890123456789012345\r\n\r\n";
    assert_eq!(read(limits(), long), Got::Body("", KEEP));
    assert_eq!(read(limits().line(20), long), limit(HeadError::LineTooLong));
    let chunked = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n";
    assert_eq!(
        read(limits().trailers(2, 100), chunked),
        Got::Body("", KEEP)
    );
    for (trailers, error) in [
        (limits().trailers(1, 100), HeadError::TooManyFields),
        (limits().trailers(2, 10), HeadError::TooLarge),
    ] {
        assert_eq!(read(trailers, chunked), Got::Error(Error::Trailers(error)));
    }
}

#[test]
fn a_malformed_chunk_is_an_error_and_no_empty_part_of_the_body() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    let malformed = Err(Error::Chunk(ChunkError::Size));
    assert_eq!(exchange.poll(), malformed);
    assert_eq!(exchange.poll(), malformed);
}

#[test]
fn a_small_chunked_body_that_came_with_its_head_is_whole() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    let whole = Event::Whole(bytes::Bytes::from_static(b"ab"), KEEP);
    assert_eq!(exchange.poll(), Ok(Some(whole)));
    let head = exchange.scratch.take_head().unwrap();
    assert_eq!(head.status(), 200);
    assert!(exchange.scratch.take_head().is_none());
}

#[test]
fn heads_end_their_lines_with_or_without_cr_and_may_fold() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\nA: b\r\n\tc\ncontent-length:\r\n 2\n\nab");
    assert_eq!(exchange.read(), Got::Body("ab", KEEP));
    assert_eq!(
        exchange.scratch.head().unwrap().header("a"),
        Some(&b"b  \tc"[..])
    );
}

#[test]
fn limits_on_heads_hold() {
    let limit = |error| Got::Error(Error::Head(error));
    let line = format!("A: {}", "x".repeat(16 * 1024));
    assert_eq!(get(&line, ""), limit(HeadError::LineTooLong));
    let folded = format!("A: {}\r\n {}", "x".repeat(9000), "x".repeat(9000));
    assert_eq!(get(&folded, ""), limit(HeadError::LineTooLong));
    let line = format!("A: {}\r\n", "x".repeat(16_000));
    assert_eq!(get(&line.repeat(5), ""), limit(HeadError::TooLarge));
    assert!(matches!(
        get(&format!("{}Content-Length: 0", line.repeat(4)), ""),
        Got::Body("", KEEP)
    ));
    assert_eq!(
        get(&"A: b\r\n".repeat(129), ""),
        limit(HeadError::TooManyFields)
    );
    assert_eq!(
        get(&format!("{}content-length: 0", "A: b\r\n".repeat(127)), ""),
        Got::Body("", KEEP)
    );
}

#[test]
fn interim_responses_come_first_and_are_limited() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let mut exchange = Exchange::get();
    exchange.feed(hint.as_bytes());
    assert_eq!(exchange.poll(), Ok(Some(Event::Informational(103))));
    assert_eq!(
        exchange.scratch.head().unwrap().header("link"),
        Some(&b"</a>"[..])
    );
    assert!(!exchange.connection.is_head_begun());
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(exchange.read(), Got::Body("", KEEP));
    let mut exchange = Exchange::get();
    assert_eq!(
        exchange.feed(hint.repeat(32).as_bytes()).read(),
        Got::More("")
    );
    assert_eq!(
        exchange.feed(hint.as_bytes()).read(),
        Got::Error(Error::Interims)
    );
    let large = format!("HTTP/1.1 103 x\r\nLink: {}\r\n\r\n", "x".repeat(16_000));
    let mut exchange = Exchange::get();
    assert_eq!(
        exchange.feed(large.repeat(4).as_bytes()).read(),
        Got::More("")
    );
    assert_eq!(
        exchange.feed(large.as_bytes()).read(),
        Got::Error(Error::Interims)
    );
}

#[test]
fn the_highest_limit_on_interim_responses_is_a_limit() {
    let limits = Limits::default().interims(255).interim_bytes(usize::MAX);
    let mut exchange = Exchange::begin(&Method::GET, &[], limits);
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    assert_eq!(
        exchange.feed(hint.repeat(255).as_bytes()).read(),
        Got::More("")
    );
    assert_eq!(
        exchange.feed(hint.as_bytes()).read(),
        Got::Error(Error::Interims)
    );
}

#[test]
fn interim_heads_may_be_as_long_as_their_limit_together() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let limits = Limits::default().interim_bytes(3 * hint.len());
    let mut exchange = Exchange::begin(&Method::GET, &[], limits);
    let three = hint.repeat(3);
    assert_eq!(exchange.feed(three.as_bytes()).read(), Got::More(""));
    let limits = Limits::default().interim_bytes(3 * hint.len() - 1);
    let mut exchange = Exchange::begin(&Method::GET, &[], limits);
    let error = Got::Error(Error::Interims);
    assert_eq!(exchange.feed(three.as_bytes()).read(), error);
}

#[test]
fn a_switch_before_the_request_is_complete_is_refused() {
    let mut exchange = Exchange {
        connection: Connection::new(Limits::default()),
        rx: BytesMut::new(),
        scratch: Scratch::default(),
    };
    exchange.send(
        &Method::PUT,
        &[("upgrade", "websocket")],
        BodyLength::Known(5),
    );
    exchange.feed(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(exchange.read(), Got::Error(Error::Upgrade));
}

#[test]
fn a_switch_is_to_what_was_offered() {
    let offer: &[(&str, &str)] = &[("upgrade", "websocket, foo/2"), ("connection", "upgrade")];
    for (chosen, is_offered) in [
        ("WebSocket", true),
        ("foo/2", true),
        ("foo/2, websocket", true),
        ("bar", false),
        ("", false),
    ] {
        let mut exchange = Exchange::begin(&Method::GET, offer, Limits::default());
        exchange.feed(format!("HTTP/1.1 101 x\r\nUpgrade: {chosen}\r\n\r\n\x01\x02").as_bytes());
        let expected = if is_offered {
            Got::Tunnel
        } else {
            Got::Error(Error::Upgrade)
        };
        assert_eq!(exchange.read(), expected, "{chosen}");
        if is_offered {
            assert_eq!(&exchange.rx[..], b"\x01\x02");
            assert_eq!((exchange.poll(), exchange.rx.len()), (Ok(None), 2));
            assert_eq!(exchange.connection.framing(), Some(Framing::Tunnel));
        }
    }
    let mut exchange = Exchange::begin(&Method::GET, offer, Limits::default());
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(exchange.read(), Got::Body("no", KEEP));
}

#[test]
fn persistence_is_decided_at_the_head() {
    let empty = |version: &str, fields: &str| {
        let head = format!("HTTP/{version} 200 OK\r\n{fields}Content-Length: 0");
        match read(&Method::GET, &head, "") {
            Got::Body("", reuse) => reuse,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(empty("1.1", ""), KEEP);
    assert_eq!(
        empty("1.1", "Connection: x, CLOSE\r\n"),
        close(CloseReason::Peer)
    );
    assert_eq!(
        empty("1.1", "Connection: x\r\nConnection: close\r\n"),
        close(CloseReason::Peer)
    );
    assert_eq!(empty("1.1", "Proxy-Connection: close\r\n"), KEEP);
    assert_eq!(empty("1.0", ""), close(CloseReason::Http10));
    assert_eq!(empty("1.0", "Connection: Keep-Alive\r\n"), KEEP);
    let fields = [("connection", "close")];
    let mut exchange = Exchange::begin(&Method::GET, &fields, Limits::default());
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(exchange.read(), Got::Body("", close(CloseReason::Asked)));
}

#[test]
fn a_keep_alive_hint_is_kept_for_the_pool() {
    let mut exchange = Exchange::get();
    exchange
        .feed(b"HTTP/1.1 204 x\r\nKeep-Alive: timeout=5, max=99\r\n\r\n")
        .read();
    let hint = exchange.connection.keep_alive();
    assert_eq!((hint.timeout.unwrap().as_secs(), hint.max), (5, Some(99)));
}

#[test]
fn the_end_of_the_connection_ends_what_has_no_other_end() {
    let response = |end, limits| {
        let mut exchange = Exchange::begin(&Method::GET, &[], limits);
        exchange.feed(b"HTTP/1.1 200 OK\r\n\r\nabc");
        exchange.connection.handle_eof(end);
        exchange.read()
    };
    let whole = || Got::Body("abc", close(CloseReason::CloseDelimited));
    let (strict, lax) = (
        Limits::default(),
        Limits::default().allow_truncated_close(true),
    );
    assert_eq!(response(End::Clean, strict), whole());
    assert_eq!(response(End::Truncated, lax), whole());
    let at = Stage::Body;
    assert_eq!(
        response(End::Truncated, strict),
        Got::Error(Error::Truncated { at })
    );
    assert_eq!(response(End::Reset, lax), Got::Error(Error::Reset { at }));
}

#[test]
fn an_early_end_says_how_far_the_response_had_come() {
    let rows = [
        ("", Stage::Start),
        ("\r\n", Stage::Start),
        ("HTT", Stage::Head),
        ("HTTP/1.1 200 OK\r\nA: b\r\n", Stage::Head),
        ("HTTP/1.1 100 x\r\n\r\n", Stage::Start),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHELL",
            Stage::Body,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r",
            Stage::Body,
        ),
    ];
    for (bytes, at) in rows {
        for (end, error) in [
            (End::Clean, Error::Eof { at }),
            (End::Truncated, Error::Truncated { at }),
            (End::Reset, Error::Reset { at }),
        ] {
            let mut exchange = Exchange::get();
            exchange.feed(bytes.as_bytes());
            exchange.connection.handle_eof(end);
            assert_eq!(exchange.read(), Got::Error(error), "{bytes:?}");
            assert_eq!(exchange.read(), Got::Error(error), "it stays");
            assert!(error.is_eof() && !error.is_malformed());
        }
    }
}

#[test]
fn a_complete_response_before_a_reset_is_whole_and_the_last() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
    exchange.connection.handle_eof(End::Reset);
    assert_eq!(
        exchange.read(),
        Got::Body("ab", close(CloseReason::PeerClosed))
    );
    assert!(!exchange.connection.is_idle());
}

#[test]
fn bytes_on_an_idle_connection_are_never_a_response() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(exchange.read(), Got::Body("", KEEP));
    assert_eq!(exchange.feed(b"\r\n").poll(), Ok(None));
    assert!(exchange.connection.is_idle() && exchange.rx.is_empty());
    exchange.feed(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange.poll(), Err(Error::Unsolicited));
    assert!(!exchange.connection.is_idle() && exchange.rx.is_empty());
    let mut connection = Connection::new(Limits::default());
    connection.handle_eof(End::Clean);
    assert!(!connection.is_idle());
    let polled = connection.poll_event(&mut BytesMut::new(), &mut Scratch::default());
    assert_eq!(polled, Err(Error::Eof { at: Stage::Idle }));
}

#[test]
fn a_small_body_is_whole_and_leaves_the_read_buffer_whole() {
    let mut exchange = Exchange::get();
    exchange.rx.reserve(16 * 1024);
    let capacity = exchange.rx.capacity();
    for size in [0, 1, 128, 900, 1024, 5000, 8192] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        exchange.feed(head.as_bytes()).feed(&vec![b'x'; size]);
        match exchange.poll() {
            Ok(Some(Event::Whole(body, Reuse::Keep))) => assert_eq!(body, vec![b'x'; size]),
            other => panic!("{other:?}"),
        }
        assert_eq!((exchange.rx.len(), exchange.rx.capacity()), (0, capacity));
        assert_eq!(
            exchange.connection.response_bytes(),
            (head.len() + size) as u64
        );
        exchange.send(&Method::GET, &[], BodyLength::Empty);
    }
}

#[test]
fn a_large_body_is_split_off_and_tells_what_is_left() {
    let mut exchange = Exchange::get();
    exchange
        .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
        .feed(&[b'x'; 12_000]);
    let at = exchange.rx[exchange.rx.len() - 12_000..].as_ptr();
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    let Ok(Some(Event::Body(body))) = exchange.poll() else {
        panic!("no body")
    };
    assert_eq!((body.as_ptr(), body.len()), (at, 12_000));
    assert_eq!(exchange.connection.body_left(), Some(8000));
    assert_eq!(exchange.connection.framing(), Some(Framing::Length(20_000)));
}

#[test]
fn tiny_chunks_are_put_together() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    exchange.feed("1\r\nx\r\n".repeat(5000).as_bytes());
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    let Ok(Some(Event::Body(body))) = exchange.poll() else {
        panic!("no body")
    };
    assert_eq!(body.len(), 5000);
}

#[test]
fn small_chunks_are_put_together_up_to_eight_kibibytes() {
    let chunk = |n: usize| format!("{n:x}\r\n{}\r\n", "x".repeat(n));
    let rows: [(&[usize], &[usize]); 3] = [
        (&[1000; 9], &[8000, 1000]),
        (
            &[1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 192, 1],
            &[8192, 1],
        ),
        // A large one is split off unless small ones came before it.
        (&[1024, 1, 1024, 5000], &[1024, 6025]),
    ];
    for (chunks, bodies) in rows {
        let mut exchange = Exchange::get();
        exchange.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
        for &n in chunks {
            exchange.feed(chunk(n).as_bytes());
        }
        for &len in bodies {
            let Ok(Some(Event::Body(body))) = exchange.poll() else {
                panic!("no body")
            };
            assert_eq!(body.len(), len);
        }
        assert_eq!(exchange.poll(), Ok(None));
    }
}

#[test]
fn the_content_of_a_205_ends_with_the_connection_or_with_patience() {
    let head = "HTTP/1.1 205 x\r\nContent-Length: 5";
    let mut exchange = Exchange::get();
    exchange.feed(head.as_bytes()).feed(b"\r\n\r\nab");
    assert_eq!(exchange.read(), Got::More(""));
    exchange.connection.handle_eof(End::Clean);
    let refused = close(CloseReason::ResetContent);
    assert_eq!(exchange.read(), Got::Body("", refused));

    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 205 x\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n");
    exchange.feed("x".repeat(65_536).as_bytes());
    assert_eq!(exchange.read(), Got::More(""), "as much as is ignored");
    assert_eq!(exchange.feed(b"x").read(), Got::Body("", refused));
}

#[test]
fn a_connection_that_idles_has_no_head_and_no_body_to_come() {
    let fresh = Connection::new(Limits::default());
    assert!(!fresh.is_head_begun() && !fresh.is_in_body());
    assert_eq!(fresh.body_left(), Some(0));
    let mut exchange = Exchange::get();
    assert_eq!(exchange.connection.body_left(), None);
    assert!(!exchange.connection.is_in_body());
    exchange.feed(b"HTTP/1.1 200 x\r\nContent-Length: 9000\r\n\r\n");
    assert_eq!(exchange.poll(), Ok(Some(Event::Head)));
    assert_eq!(exchange.connection.body_left(), Some(9000));
    assert!(exchange.connection.is_in_body());
    exchange.feed(&[b'x'; 9000]);
    assert!(matches!(exchange.poll(), Ok(Some(Event::Body(_)))));
    assert_eq!(exchange.connection.body_left(), Some(0));
    assert!(exchange.connection.is_head_begun() && exchange.connection.is_in_body());
    assert_eq!(exchange.poll(), Ok(Some(Event::End(KEEP))));
    assert!(!exchange.connection.is_head_begun() && !exchange.connection.is_in_body());
}

#[test]
fn a_scratch_that_was_cleared_has_nothing_of_the_exchange_before() {
    let mut exchange = Exchange::get();
    exchange.feed(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n");
    while !matches!(exchange.poll(), Ok(Some(Event::End(_)))) {}
    assert!(exchange.scratch.head().is_some());
    exchange.scratch.clear();
    assert!(exchange.scratch.head().is_none() && exchange.scratch.take_trailers().is_none());
}
