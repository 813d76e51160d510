//! The client for the Autobahn test suite, against a server of its protocol with a handful of its
//! cases: sections 1, 2, 4, 5, 6, 9 and 12.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use fulmar_blocking::{Blocking, block_on};
use fulmar_examples::autobahn;
use fulmar_tests::loopback::{Loopback, Request};
use fulmar_tests::websocket::opcode::{BINARY, CLOSE, PONG, TEXT};
use fulmar_tests::websocket::{Frame, client_frames, close_frame, frame};
use tungstenite::handshake::derive_accept_key;

/// What the client sends: an opcode, and the payload of the whole message.
type Sent = (u8, Vec<u8>);

/// What the server sends, and what has to come back before a close with that code.
struct Case {
    bytes: Vec<u8>,
    back: Vec<Sent>,
    code: u16,
}

fn cases() -> Vec<Case> {
    let case = |frames: &[Vec<u8>], back: &[(u8, &[u8])], code| Case {
        bytes: frames.concat(),
        back: back
            .iter()
            .map(|(op, payload)| (*op, payload.to_vec()))
            .collect(),
        code,
    };
    // 9.5.1, with frames of 64 bytes: more of them than a client takes by default.
    let long = vec![b'*'; 1 << 20];
    let mut pieces: Vec<_> = long.chunks(64).map(|piece| frame(0x00, piece)).collect();
    pieces[0][0] = TEXT;
    pieces.push(frame(0x80, b""));
    // 9.2.6, in small: beyond what a client takes by default.
    let large = vec![0xfe; 5 << 20];
    vec![
        case(&[frame(0x81, b"")], &[(TEXT, b"")], 1000),
        case(
            &[frame(0x82, &[0xfe; 65_536])],
            &[(BINARY, &[0xfe; 65_536])],
            1000,
        ),
        case(&[frame(0x89, b"ping")], &[(PONG, b"ping")], 1000),
        case(&[frame(0x83, b"")], &[], 1002),
        case(
            &[frame(0x01, b"a"), frame(0x80, b"b")],
            &[(TEXT, b"ab")],
            1000,
        ),
        case(&[frame(0x81, b"\xce\xba\xed\xa0\x80")], &[], 1007),
        case(&pieces, &[(TEXT, &long)], 1000),
        case(&[frame(0x82, &large)], &[(BINARY, &large)], 1000),
        // RFC 7692 section 7.2.3.1; what is so short is not compressed on its way back.
        case(
            &[frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")],
            &[(TEXT, b"Hello")],
            1000,
        ),
    ]
}

#[test]
fn each_case_is_run_and_a_report_is_asked_for() {
    let (told, verdicts) = mpsc::channel();
    let told = Mutex::new(told);
    let server = Loopback::start(move |request, stream| {
        let told = told.lock().unwrap().clone();
        serve(request, stream, &told).map(|()| false)
    });
    let url = server.url("").replace("http", "ws");
    block_on(autobahn(Blocking::new(), &url, "tested")).unwrap();
    let verdicts: Vec<_> = verdicts.try_iter().collect();
    let mut expected: Vec<_> = (1..=cases().len())
        .map(|case| format!("{case}: ok"))
        .collect();
    expected.push("report".into());
    assert_eq!(verdicts, expected);
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let server = Loopback::echo();
    server.end();
    let url = server.url("").replace("http", "ws");
    assert!(block_on(autobahn(Blocking::new(), &url, "tested")).is_err());
}

fn serve(request: &Request, stream: &mut TcpStream, told: &mpsc::Sender<String>) -> io::Result<()> {
    let key = request.header("sec-websocket-key").unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let offered = request
        .header("sec-websocket-extensions")
        .unwrap_or_default();
    let case = request.target.strip_prefix("/runCase?case=");
    let case = case.and_then(|case| case.strip_suffix("&agent=tested"));
    let number: Option<usize> = case.map(|case| case.parse().unwrap());
    // The last case is of compression, which would change what the others send back.
    let is_packed = number == Some(cases().len()) && offered.starts_with("permessage-deflate");
    let agreed = if is_packed {
        "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    } else {
        ""
    };
    let head = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    write!(
        stream,
        "{head}{agreed}Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let mut wire = Wire {
        stream,
        rx: Vec::new(),
        frames: VecDeque::new(),
    };
    match (&*request.target, number) {
        (_, Some(number)) => {
            let case = cases().remove(number - 1);
            let verdict = format!("{number}: {}", wire.judge(&case)?);
            told.send(verdict).unwrap();
        }
        ("/getCaseCount", _) => {
            let count = cases().len().to_string();
            wire.stream.write_all(&frame(0x81, count.as_bytes()))?;
            wire.end()?;
        }
        ("/updateReports?agent=tested", _) => {
            told.send("report".into()).unwrap();
            wire.end()?;
        }
        (other, _) => panic!("{other}"),
    }
    Ok(())
}

struct Wire<'a> {
    stream: &'a mut TcpStream,
    rx: Vec<u8>,
    frames: VecDeque<Frame>,
}

impl Wire<'_> {
    fn judge(&mut self, case: &Case) -> io::Result<String> {
        self.stream.write_all(&case.bytes)?;
        for wanted in &case.back {
            let (opcode, payload) = self.message()?;
            if (opcode, &payload) != (wanted.0, &wanted.1) {
                return Ok(format!("opcode {opcode} with {} bytes", payload.len()));
            }
        }
        let (opcode, payload) = if case.code == 1000 {
            self.end()?
        } else {
            self.message()?
        };
        let is_ok = opcode == CLOSE && payload.starts_with(&case.code.to_be_bytes());
        Ok(if is_ok { "ok" } else { "another end" }.into())
    }

    /// Closes, and gives the answer.
    fn end(&mut self) -> io::Result<Sent> {
        self.stream.write_all(&close_frame(1000, ""))?;
        self.message()
    }

    /// The next message or control frame of the client.
    fn message(&mut self) -> io::Result<Sent> {
        let mut whole: Option<Sent> = None;
        loop {
            let frame = self.frame()?;
            let (_, payload) = match frame.first & 0x0f {
                0 => whole.as_mut().expect("a message continues"),
                opcode => whole.insert((opcode, Vec::new())),
            };
            payload.extend(frame.payload);
            if frame.first & 0x80 != 0 {
                return Ok(whole.unwrap());
            }
        }
    }

    fn frame(&mut self) -> io::Result<Frame> {
        let mut bytes = [0; 1 << 14];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            let n = self.stream.read(&mut bytes)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.rx.extend_from_slice(&bytes[..n]);
            let (frames, used) = client_frames(&self.rx);
            self.frames.extend(frames);
            self.rx.drain(..used);
        }
    }
}
