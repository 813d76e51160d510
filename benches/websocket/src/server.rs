//! A loopback WebSocket server that costs as little as possible: a thread a connection, one read, one
//! write. It trusts its clients.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The path whose connections get messages of [`FIREHOSE_LEN`] bytes without end.
pub const FIREHOSE: &str = "/firehose";

/// The length of each of its messages.
pub const FIREHOSE_LEN: usize = 64;

/// Serves until the process ends. Prints the port, on a line of its own.
///
/// # Errors
///
/// No port could be listened on, or no more connections accepted.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept()?;
        thread::Builder::new()
            .stack_size(64 * 1024)
            // A client that goes away mid-message is none of the server's business.
            .spawn(move || drop(answer(stream)))?;
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, rest) = read_head(&mut stream)?;
    let key = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, value)| value.trim());
    let accept = derive_accept_key(key.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )?;
    if head.starts_with(&format!("GET {FIREHOSE} ")) {
        let message = [&[0x82, FIREHOSE_LEN as u8][..], &[b'x'; FIREHOSE_LEN]].concat();
        let messages = message.repeat(512);
        loop {
            stream.write_all(&messages)?;
        }
    }
    echo(&mut stream, rest)
}

fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut input = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = input.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&input).into_owned(), rest));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => input.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Sends back every message, as servers do: in one frame, however many it came in; all that one read
/// brought with one write.
fn echo(stream: &mut TcpStream, mut input: Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    let mut message = Message::default();
    let mut output = Vec::new();
    loop {
        let mut at = 0;
        while let Some(frame) = Frame::parse(&input[at..]) {
            if frame.opcode == 8 {
                return Ok(());
            }
            if frame.opcode < 8 {
                message.take(&frame, &mut input[at..], &mut output);
            }
            at += frame.end;
        }
        input.drain(..at);
        stream.write_all(&output)?;
        output.clear();
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => input.extend_from_slice(&chunk[..n]),
        }
    }
}

/// What has come of a message.
#[derive(Default)]
struct Message {
    opcode: u8,
    payload: Vec<u8>,
}

impl Message {
    /// Takes the next frame, and sends the message back if that was its last.
    fn take(&mut self, frame: &Frame, input: &mut [u8], output: &mut Vec<u8>) {
        if frame.opcode != 0 {
            self.opcode = frame.opcode;
        }
        let piece = frame.unmasked(input);
        if frame.fin && self.payload.is_empty() {
            return write(self.opcode, piece, output);
        }
        self.payload.extend_from_slice(piece);
        if frame.fin {
            write(self.opcode, &self.payload, output);
            self.payload.clear();
        }
    }
}

fn write(opcode: u8, payload: &[u8], output: &mut Vec<u8>) {
    output.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => output.push(len as u8),
        len @ 126..0x1_0000 => {
            output.push(126);
            output.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            output.push(127);
            output.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(payload);
}

/// A whole masked frame at the start of the input.
struct Frame {
    opcode: u8,
    fin: bool,
    mask: [u8; 4],
    payload: usize,
    end: usize,
}

impl Frame {
    fn parse(input: &[u8]) -> Option<Self> {
        let (&first, &second) = (input.first()?, input.get(1)?);
        let (len, at) = match second & 0x7f {
            126 => (
                u16::from_be_bytes(input.get(2..4)?.try_into().ok()?).into(),
                4,
            ),
            127 => (u64::from_be_bytes(input.get(2..10)?.try_into().ok()?), 10),
            len => (u64::from(len), 2),
        };
        let mask = input.get(at..at + 4)?.try_into().ok()?;
        let payload = at + 4;
        let end = payload + usize::try_from(len).ok()?;
        (input.len() >= end).then_some(Self {
            opcode: first & 0x0f,
            fin: first & 0x80 != 0,
            mask,
            payload,
            end,
        })
    }

    fn unmasked<'a>(&self, input: &'a mut [u8]) -> &'a [u8] {
        let payload = &mut input[self.payload..self.end];
        let mut words = payload.chunks_exact_mut(4);
        for word in &mut words {
            for (byte, mask) in word.iter_mut().zip(self.mask) {
                *byte ^= mask;
            }
        }
        for (byte, mask) in words.into_remainder().iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        payload
    }
}
