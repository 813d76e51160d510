//! A WebSocket machine with its buffers, and the server's side of the wire, written and read here
//! without the code under test.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::time::Instant;
use fulmar_core::ws::{
    Closed, Compress, Config, Connection, Event, Keepalive, Message, Negotiated,
};

/// Opcodes (RFC 6455 section 11.8).
pub mod opcode {
    /// Text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// The answer to a ping.
    pub const PONG: u8 = 10;
}

/// A connection, what is lent to it, and the time.
#[derive(Debug)]
pub struct Bench {
    /// The machine.
    pub ws: Connection,
    /// What came in and was not read.
    pub rx: BytesMut,
    /// What is to be written.
    pub tx: WriteBuf,
    /// Its random source.
    pub rng: ChaCha8Rng,
    /// The time.
    pub now: Instant,
}

/// A frame that the client wrote, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: FIN, reserved bits, opcode.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
    /// The masking key.
    pub key: [u8; 4],
}

/// That many seconds and milliseconds after the origin.
pub fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

/// A frame as a server writes it: the first byte, the shortest length, the payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(len as u8),
        len @ 126..65536 => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A Close frame of a server.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The frames that a client wrote, and how many bytes of `bytes` they are.
///
/// # Panics
///
/// Where one is not masked or its length is not in its shortest form.
pub fn client_frames(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut frames = Vec::new();
    let mut used = 0;
    while let Some((frame, size)) = client_frame(&bytes[used..]) {
        frames.push(frame);
        used += size;
    }
    (frames, used)
}

fn client_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    assert!(second & 0x80 != 0, "a client's frame is masked");
    let (len, rest) = match second & 0x7f {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let len = usize::from(u16::from_be_bytes(*len));
            assert!(len > 125, "the shortest form");
            (len, rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            let len = u64::from_be_bytes(*len) as usize;
            assert!(len > 65535, "the shortest form");
            (len, rest)
        }
        len => (usize::from(len), rest),
    };
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let masked = rest.get(..len)?;
    let payload = masked
        .iter()
        .zip(key.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    let size = bytes.len() - rest.len() + len;
    let frame = Frame {
        first,
        payload,
        key: *key,
    };
    Some((frame, size))
}

/// Settings without a keepalive, for tests of something else.
pub fn quiet() -> Config {
    Config::new().keepalive(Keepalive::off())
}

impl Bench {
    /// A connection that opened at the origin.
    pub fn new(config: &Config) -> Self {
        Self::negotiated(config, &Negotiated::default())
    }

    /// A connection that opened at the origin, after that handshake.
    pub fn negotiated(config: &Config, negotiated: &Negotiated) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        Self {
            ws: Connection::new(Instant::ORIGIN, config, negotiated, &mut rng),
            rx: BytesMut::new(),
            tx: WriteBuf::default(),
            rng,
            now: Instant::ORIGIN,
        }
    }

    /// Bytes arrive; the events they make, and the end where there is one.
    pub fn receive(&mut self, bytes: &[u8]) -> (Vec<Event>, Option<Arc<Closed>>) {
        self.rx.extend_from_slice(bytes);
        self.ws.handle_input(self.now);
        self.events()
    }

    /// Bytes arrive that make one message and no end.
    ///
    /// # Panics
    ///
    /// Where they do not.
    pub fn message(&mut self, bytes: &[u8]) -> Message {
        match self.receive(bytes) {
            (mut events, None) if events.len() == 1 => match events.remove(0) {
                Event::Message(message) => message,
                other @ Event::Pong { .. } => panic!("not a message: {other:?}"),
            },
            other => panic!("not one message: {other:?}"),
        }
    }

    /// The events that there are, and the end.
    pub fn events(&mut self) -> (Vec<Event>, Option<Arc<Closed>>) {
        let mut events = Vec::new();
        loop {
            match self.ws.poll_event(self.now, &mut self.rx) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(closed) => return (events, Some(closed)),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    ///
    /// Where it is not taken.
    pub fn send(&mut self, message: impl Into<Message>) {
        self.ws
            .send(message.into(), Compress::Auto, &mut self.tx, &mut self.rng)
            .expect("the message is taken");
    }

    /// All that the machine wants to write, as frames; everything is written.
    ///
    /// # Panics
    ///
    /// Where it is not whole frames.
    pub fn written(&mut self) -> Vec<Frame> {
        let mut bytes = Vec::new();
        loop {
            self.ws.poll_transmit(self.now, &mut self.tx, &mut self.rng);
            if self.tx.is_empty() {
                break;
            }
            while self.tx.has_remaining() {
                let n = self.tx.chunk().len();
                bytes.extend_from_slice(&self.tx.chunk()[..n]);
                self.tx.advance(n);
            }
        }
        let (frames, used) = client_frames(&bytes);
        assert_eq!(used, bytes.len(), "whole frames");
        frames
    }

    /// What the machine writes: first bytes and payloads.
    pub fn sent(&mut self) -> Vec<(u8, Vec<u8>)> {
        let frames = self.written().into_iter();
        frames.map(|frame| (frame.first, frame.payload)).collect()
    }

    /// Time passes, with every timeout on the way, and pings are written.
    ///
    /// # Panics
    ///
    /// Where a timeout that was handled is still due.
    pub fn pass_to(&mut self, then: Instant) -> Vec<(Instant, u8)> {
        let mut sent = Vec::new();
        while let Some(next) = self.ws.poll_timeout().filter(|next| *next <= then) {
            self.now = self.now.max(next);
            self.ws.handle_timeout(self.now, &mut self.rng);
            let frames = self.written().into_iter();
            sent.extend(frames.map(|frame| (self.now, frame.first)));
            assert!(self.ws.poll_timeout().is_none_or(|next| next > self.now));
        }
        self.now = then;
        sent
    }

    /// The close code of the Close frame that the machine writes.
    pub fn close_sent(&mut self) -> Option<u16> {
        let frames = self.sent();
        let (_, payload) = frames.iter().find(|(first, _)| *first == 0x88)?;
        payload
            .first_chunk::<2>()
            .map(|code| u16::from_be_bytes(*code))
    }
}
