//! What the HTTP/1.1 connection sends, and what it refuses to send.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::h1::{
    BodyLength, CloseReason, Connection, End, Event, Limits, RequestError, RequestHead, Reuse,
    Scratch,
};
use fulmar_core::http::EncodedFields;
use fulmar_core::time::Instant;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    map
}

struct Case {
    method: Method,
    target: &'static str,
    host: &'static str,
    defaults: HeaderMap,
    headers: HeaderMap,
    close: bool,
    body: BodyLength,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            method: Method::GET,
            target: "/",
            host: "a.test",
            defaults: HeaderMap::new(),
            headers: HeaderMap::new(),
            close: false,
            body: BodyLength::Empty,
        }
    }
}

impl Case {
    fn send(&self, connection: &mut Connection, tx: &mut WriteBuf) -> Result<(), RequestError> {
        let defaults = EncodedFields::new(&self.defaults).unwrap();
        let request = RequestHead {
            method: &self.method,
            target: self.target,
            host: self.host,
            defaults: &defaults,
            headers: &self.headers,
            close: self.close,
        };
        connection.send(Instant::ORIGIN, &request, self.body, tx)
    }

    fn encoded(&self) -> Result<String, RequestError> {
        let (mut connection, mut tx) = (Connection::new(Limits::default()), WriteBuf::default());
        let sent = self.send(&mut connection, &mut tx);
        assert_eq!(
            sent.is_err(),
            tx.is_empty() && connection.is_idle(),
            "all or nothing"
        );
        sent.map(|()| String::from_utf8(tx.chunk().to_vec()).unwrap())
    }

    fn refused(&self) -> RequestError {
        self.encoded().unwrap_err()
    }
}

fn with(fields: &[(&'static str, &'static str)]) -> Case {
    Case {
        headers: map(fields),
        ..Case::default()
    }
}

#[test]
fn a_plain_request_is_its_line_its_host_and_the_defaults() {
    let case = Case {
        defaults: map(&[("accept", "*/*")]),
        target: "/a?b",
        ..Case::default()
    };
    assert_eq!(
        case.encoded().unwrap(),
        "GET /a?b HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\n\r\n"
    );
    assert_eq!(
        Case::default().encoded().unwrap(),
        "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
    );
}

#[test]
fn own_headers_replace_defaults_and_host() {
    let case = Case {
        defaults: map(&[
            ("accept", "*/*"),
            ("user-agent", "x"),
            ("proxy-connection", "close"),
        ]),
        headers: map(&[
            ("accept", "a"),
            ("accept", "b"),
            ("host", "b.test"),
            ("proxy-connection", "x"),
        ]),
        close: true,
        ..Case::default()
    };
    let head = case.encoded().unwrap();
    let expected = "GET / HTTP/1.1\r\nhost: b.test\r\nuser-agent: x\r\naccept: a\r\naccept: b\r\n\
        connection: close\r\n\r\n";
    assert_eq!(head, expected);
    let case = Case {
        defaults: map(&[("host", "c.test")]),
        ..Case::default()
    };
    assert_eq!(
        case.encoded().unwrap(),
        "GET / HTTP/1.1\r\nhost: c.test\r\n\r\n"
    );
    assert_eq!(
        with(&[("host", "a"), ("host", "a")]).refused(),
        RequestError::DuplicateHost
    );
}

#[test]
fn nothing_that_could_split_a_request_is_sent() {
    for target in ["", "/a b", "/a\r\nx: y", "/\0", "/\u{7f}", "/ä", "/\t"] {
        assert_eq!(
            Case {
                target,
                ..Case::default()
            }
            .refused(),
            RequestError::Target
        );
    }
    for host in ["a b", "a\r\n", "a\0", "ä"] {
        assert_eq!(
            Case {
                host,
                ..Case::default()
            }
            .refused(),
            RequestError::Host
        );
    }
    assert_eq!(with(&[("host", "a b")]).refused(), RequestError::Host);
}

type Row = (
    &'static [(&'static str, &'static str)],
    BodyLength,
    RequestError,
);

#[test]
fn the_length_is_said_once_and_truly() {
    let length = |method: Method, body| {
        let head = Case {
            method,
            body,
            ..Case::default()
        }
        .encoded()
        .unwrap();
        head.split("\r\n")
            .skip(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join("|")
    };
    assert_eq!(length(Method::GET, BodyLength::Empty), "|");
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        assert_eq!(length(method, BodyLength::Empty), "content-length: 0||");
    }
    assert_eq!(
        length(Method::DELETE, BodyLength::Known(12)),
        "content-length: 12||"
    );
    assert_eq!(
        length(Method::POST, BodyLength::Unknown),
        "transfer-encoding: chunked||"
    );
    let body = BodyLength::Known(5);
    let own = |fields, body| Case {
        body,
        ..with(fields)
    };
    let head = own(&[("content-length", "5")], body).encoded().unwrap();
    assert_eq!(head.matches("content-length: 5\r\n").count(), 1);
    let head = own(&[("content-length", "0")], BodyLength::Empty)
        .encoded()
        .unwrap();
    assert_eq!(head.matches("content-length: 0\r\n").count(), 1);
    let head = own(&[("transfer-encoding", "Chunked")], BodyLength::Unknown)
        .encoded()
        .unwrap();
    assert_eq!(head.matches("transfer-encoding: chunked\r\n").count(), 1);
    let refusals: [Row; 8] = [
        (
            &[("content-length", "6")],
            body,
            RequestError::ContentLength,
        ),
        (
            &[("content-length", "x")],
            body,
            RequestError::ContentLength,
        ),
        (
            &[("content-length", "5"), ("content-length", "6")],
            body,
            RequestError::ContentLength,
        ),
        (
            &[("content-length", "5")],
            BodyLength::Unknown,
            RequestError::ContentLength,
        ),
        (
            &[("content-length", "5")],
            BodyLength::Empty,
            RequestError::ContentLength,
        ),
        (
            &[("transfer-encoding", "chunked")],
            body,
            RequestError::TransferEncoding,
        ),
        (
            &[("transfer-encoding", "gzip")],
            BodyLength::Unknown,
            RequestError::TransferEncoding,
        ),
        (
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            BodyLength::Unknown,
            RequestError::Ambiguous,
        ),
    ];
    for (fields, body, error) in refusals {
        assert_eq!(own(fields, body).refused(), error, "{fields:?}");
    }
}

#[test]
fn trace_and_connect_have_no_body() {
    for method in [Method::TRACE, Method::CONNECT] {
        let case = Case {
            method,
            body: BodyLength::Known(1),
            ..Case::default()
        };
        assert_eq!(case.refused(), RequestError::BodyNotAllowed);
    }
}

#[test]
fn an_upgrade_names_itself_in_connection() {
    let head = with(&[("upgrade", "websocket")]).encoded().unwrap();
    assert!(head.contains("\r\nupgrade: websocket\r\nconnection: upgrade\r\n"));
    let head = with(&[("upgrade", "websocket"), ("connection", "Upgrade")])
        .encoded()
        .unwrap();
    assert_eq!(head.matches("connection").count(), 1);
}

fn begin(case: &Case) -> (Connection, WriteBuf) {
    let (mut connection, mut tx) = (Connection::new(Limits::default()), WriteBuf::default());
    case.send(&mut connection, &mut tx).unwrap();
    tx.clear();
    (connection, tx)
}

fn poll(connection: &mut Connection, bytes: &str) -> Option<Event> {
    let mut rx = BytesMut::from(bytes.as_bytes());
    connection
        .poll_event(&mut rx, &mut Scratch::default())
        .unwrap()
}

#[test]
fn a_body_is_as_long_as_declared() {
    let case = Case {
        method: Method::PUT,
        body: BodyLength::Known(5),
        ..Case::default()
    };
    let (mut connection, mut tx) = begin(&case);
    let long = connection.send_data(Bytes::from_static(b"abcdef"), &mut tx);
    assert_eq!(
        (long, tx.is_empty()),
        (Err(RequestError::TooMuchBody), true)
    );
    connection
        .send_data(Bytes::from_static(b"abc"), &mut tx)
        .unwrap();
    assert!(connection.is_body_wanted() && !connection.request_complete());
    connection
        .send_data(Bytes::from_static(b"de"), &mut tx)
        .unwrap();
    assert!(!connection.is_body_wanted() && connection.request_complete());
    connection.send_end(None, &mut tx).unwrap();
    assert_eq!(tx.chunk(), b"abcde");
    let more = connection.send_data(Bytes::from_static(b"x"), &mut tx);
    assert_eq!(more, Err(RequestError::TooMuchBody));
    let whole = poll(&mut connection, "HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(whole, Some(Event::Whole(Bytes::new(), Reuse::Keep)));

    let (mut connection, mut tx) = begin(&case);
    assert_eq!(
        connection.send_end(None, &mut tx),
        Err(RequestError::TooLittleBody)
    );
    let whole = poll(&mut connection, "HTTP/1.1 204 x\r\n\r\n");
    let close = Reuse::Close(CloseReason::RequestAborted);
    assert_eq!(whole, Some(Event::Whole(Bytes::new(), close)));
    assert_eq!(
        case.send(&mut connection, &mut tx),
        Err(RequestError::Unusable)
    );
}

#[test]
fn trailers_follow_chunks_and_nothing_else() {
    let case = Case {
        method: Method::PUT,
        body: BodyLength::Unknown,
        ..Case::default()
    };
    let (mut connection, mut tx) = begin(&case);
    connection
        .send_data(Bytes::from(vec![b'x'; 26]), &mut tx)
        .unwrap();
    let bad = map(&[("content-length", "5")]);
    assert_eq!(
        connection.send_end(Some(&bad), &mut tx),
        Err(RequestError::Trailers)
    );
    connection
        .send_end(Some(&map(&[("digest", "d")])), &mut tx)
        .unwrap();
    let body = format!("1a\r\n{}\r\n0\r\ndigest: d\r\n\r\n", "x".repeat(26));
    assert_eq!(tx.chunk(), body.as_bytes());
    let (mut connection, mut tx) = begin(&Case::default());
    let refused = connection.send_end(Some(&map(&[("digest", "d")])), &mut tx);
    assert_eq!(refused, Err(RequestError::Trailers));
}

fn expecting() -> Case {
    let headers = map(&[("expect", "100-continue")]);
    Case {
        method: Method::PUT,
        body: BodyLength::Known(1),
        headers,
        ..Case::default()
    }
}

#[test]
fn a_body_that_expects_waits_for_100_or_a_second() {
    let second = Instant::ORIGIN + Duration::from_secs(1);
    let (mut connection, mut tx) = begin(&expecting());
    assert!(!connection.is_body_wanted());
    let early = connection.send_data(Bytes::from_static(b"x"), &mut tx);
    assert_eq!((early, tx.is_empty()), (Err(RequestError::NotWanted), true));
    assert_eq!(connection.poll_timeout(), Some(second));
    connection.handle_timeout(second - Duration::from_nanos(1));
    assert!(!connection.is_body_wanted());
    connection.handle_timeout(second);
    assert!(connection.is_body_wanted() && connection.poll_timeout().is_none());

    let (mut connection, _) = begin(&expecting());
    let event = poll(&mut connection, "HTTP/1.1 102 x\r\n\r\n");
    assert_eq!(
        (event, connection.is_body_wanted()),
        (Some(Event::Informational(102)), false)
    );
    let event = poll(&mut connection, "HTTP/1.1 100 x\r\n\r\n");
    assert_eq!(
        (event, connection.is_body_wanted()),
        (Some(Event::Informational(100)), true)
    );
    assert!(connection.poll_timeout().is_none());
}

#[test]
fn a_final_response_before_the_body_means_that_it_is_never_sent() {
    let (mut connection, mut tx) = begin(&expecting());
    let event = poll(
        &mut connection,
        "HTTP/1.1 417 x\r\nContent-Length: 0\r\n\r\n",
    );
    let close = Reuse::Close(CloseReason::EarlyResponse);
    assert_eq!(event, Some(Event::Whole(Bytes::new(), close)));
    assert!(!connection.is_body_wanted() && connection.poll_timeout().is_none());
    assert!(
        connection
            .send_data(Bytes::from_static(b"x"), &mut tx)
            .is_err()
    );

    let case = Case {
        headers: HeaderMap::new(),
        body: BodyLength::Unknown,
        ..expecting()
    };
    let (mut connection, mut tx) = begin(&case);
    connection
        .send_data(Bytes::from_static(b"x"), &mut tx)
        .unwrap();
    let event = poll(
        &mut connection,
        "HTTP/1.1 413 x\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(
        (event, connection.is_body_wanted()),
        (Some(Event::Head), false)
    );
    assert_eq!(
        connection.send_end(None, &mut tx),
        Err(RequestError::NotWanted)
    );
    poll(&mut connection, "too large");
    assert_eq!(poll(&mut connection, ""), Some(Event::End(close)));
}

#[test]
fn an_empty_body_expects_nothing() {
    for body in [BodyLength::Empty, BodyLength::Known(0)] {
        let case = Case {
            body,
            ..expecting()
        };
        assert!(!case.encoded().unwrap().contains("expect"));
        assert!(begin(&case).0.poll_timeout().is_none());
    }
}

#[test]
fn a_peer_that_spoke_http_1_0_gets_no_chunks_and_no_expectations() {
    let (mut connection, mut tx) = begin(&Case::default());
    poll(
        &mut connection,
        "HTTP/1.0 204 x\r\nConnection: keep-alive\r\n\r\n",
    );
    assert!(connection.is_idle());
    let case = Case {
        method: Method::PUT,
        body: BodyLength::Unknown,
        ..Case::default()
    };
    assert_eq!(
        case.send(&mut connection, &mut tx),
        Err(RequestError::ChunkedToHttp10)
    );
    expecting().send(&mut connection, &mut tx).unwrap();
    assert!(connection.is_body_wanted());
    assert!(!tx.chunk().windows(6).any(|window| window == b"expect"));
}

#[test]
fn an_http_1_0_proxy_does_not_persist() {
    let case = Case {
        target: "http://a.test/",
        ..Case::default()
    };
    let (mut connection, _) = begin(&case);
    let event = poll(
        &mut connection,
        "HTTP/1.0 204 x\r\nConnection: keep-alive\r\n\r\n",
    );
    let close = Reuse::Close(CloseReason::Http10);
    assert_eq!(event, Some(Event::Whole(Bytes::new(), close)));
}

#[test]
fn one_exchange_at_a_time() {
    let (mut connection, mut tx) = begin(&Case::default());
    assert_eq!(
        Case::default().send(&mut connection, &mut tx),
        Err(RequestError::Busy)
    );
    assert!(!connection.response_started() && !connection.is_head_begun());
    assert_eq!(poll(&mut connection, "HTTP"), None);
    assert!(connection.response_started() && connection.is_head_begun());
    assert_eq!(connection.response_bytes(), 4);
}

#[test]
fn a_request_that_says_close_itself_says_it_once() {
    let case = Case {
        close: true,
        ..with(&[("connection", "close")])
    };
    let head = case.encoded().unwrap();
    assert_eq!(head.matches("close").count(), 1, "{head}");
}

#[test]
fn the_same_length_may_be_said_twice() {
    let case = Case {
        method: Method::PUT,
        body: BodyLength::Known(5),
        ..with(&[("content-length", "5"), ("content-length", "5")])
    };
    let head = case.encoded().unwrap();
    assert_eq!(head.matches("content-length: 5\r\n").count(), 1, "{head}");
}

#[test]
fn a_connection_whose_peer_has_closed_takes_no_request() {
    let mut connection = Connection::new(Limits::default());
    connection.handle_eof(End::Clean);
    let mut tx = WriteBuf::default();
    assert_eq!(
        Case::default().send(&mut connection, &mut tx),
        Err(RequestError::Unusable)
    );
    assert!(tx.is_empty());
}

#[test]
fn chunks_that_wait_for_100_do_not_end_before_it() {
    let case = Case {
        body: BodyLength::Unknown,
        ..expecting()
    };
    let (mut connection, mut tx) = begin(&case);
    assert_eq!(
        connection.send_end(None, &mut tx),
        Err(RequestError::NotWanted)
    );
    assert!(tx.is_empty());
    poll(&mut connection, "HTTP/1.1 100 x\r\n\r\n");
    connection.send_end(None, &mut tx).unwrap();
    assert_eq!(tx.chunk(), b"0\r\n\r\n");
}

#[test]
fn a_request_asks_to_close_by_its_flag_its_header_or_the_defaults() {
    let asks = |case: Case| {
        let (mut connection, _) = begin(&case);
        match poll(&mut connection, "HTTP/1.1 204 x\r\n\r\n") {
            Some(Event::Whole(_, reuse)) => reuse == Reuse::Close(CloseReason::Asked),
            other => panic!("{other:?}"),
        }
    };
    let defaults = || map(&[("connection", "close")]);
    assert!(!asks(Case::default()));
    assert!(asks(Case {
        close: true,
        ..Case::default()
    }));
    assert!(asks(with(&[("connection", "close")])));
    assert!(asks(Case {
        defaults: defaults(),
        ..Case::default()
    }));
    // A header of the request replaces the default one.
    assert!(!asks(Case {
        defaults: defaults(),
        ..with(&[("connection", "keep-alive")])
    }));
    let head = Case {
        close: true,
        ..Case::default()
    };
    let expected = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    assert_eq!(head.encoded().unwrap(), expected);
}

#[test]
fn each_method_is_written_by_its_name() {
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let name = method.to_string();
        let head = Case {
            method,
            ..Case::default()
        };
        assert!(
            head.encoded()
                .unwrap()
                .starts_with(&format!("{name} / HTTP/1.1\r\n"))
        );
    }
}
