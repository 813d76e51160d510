//! A session with its buffers and a driver that obeys it; the server is the test.

use bytes::{Buf, BytesMut};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::session::{
    Action, Config, Connect, ConnectFailure, Event, MessageId, Session, State,
};
use fulmar_core::time::Instant;
use fulmar_core::ws::{self, Connection, Negotiated};

use crate::websocket::{Frame, client_frames, close_frame, quiet};

/// A session, what is lent to it, and the time.
#[derive(Debug)]
pub struct Bench {
    /// The machine.
    pub session: Session,
    /// How its connections behave.
    pub connection: ws::Config,
    /// What came in and was not read.
    pub rx: BytesMut,
    /// What is to be written.
    pub tx: WriteBuf,
    /// Its random source.
    pub rng: ChaCha8Rng,
    /// The time.
    pub now: Instant,
}

impl Bench {
    /// A session that started at the origin and asks for its first connection.
    pub fn new(config: Config) -> Self {
        Self::seeded(config, 7)
    }

    /// The same with a random source of that seed.
    pub fn seeded(config: Config, seed: u64) -> Self {
        let mut session = Session::new(config);
        session.start(Instant::ORIGIN);
        Self {
            session,
            connection: quiet(),
            rx: BytesMut::new(),
            tx: WriteBuf::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Instant::ORIGIN,
        }
    }

    /// A session whose first connection is open.
    pub fn open(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.connect();
        bench.events();
        bench
    }

    /// What the session asks for, of which there must be one.
    ///
    /// # Panics
    ///
    /// Where it does not ask to connect.
    pub fn asked(&mut self) -> Connect {
        loop {
            match self.session.poll_action() {
                Some(Action::Connect(connect)) => return connect,
                Some(_) => {}
                None => panic!("no connection is asked for in {:?}", self.session.state()),
            }
        }
    }

    /// The connection that was asked for is open.
    pub fn connect(&mut self) -> Connect {
        let asked = self.asked();
        let ws = Connection::new(
            self.now,
            &self.connection,
            &Negotiated::default(),
            &mut self.rng,
        );
        self.rx.clear();
        self.tx.clear();
        self.session.handle_connected(self.now, ws, false);
        asked
    }

    /// The connection that was asked for cannot be had.
    pub fn refuse(&mut self, failure: ConnectFailure) {
        self.asked();
        self.session
            .handle_connect_failed(self.now, failure, &mut self.rng);
    }

    /// Waits for the end of a backoff, and connects.
    pub fn reconnect(&mut self) -> Connect {
        self.wait();
        self.connect()
    }

    /// Waits for the end of a backoff.
    ///
    /// # Panics
    ///
    /// Where it has none.
    pub fn wait(&mut self) {
        while self.session.state() == State::Backoff {
            let next = self.session.poll_timeout().expect("a backoff ends");
            self.now = self.now.max(next);
            self.session.handle_timeout(self.now, &mut self.rng);
        }
    }

    /// Time passes, with every timeout on the way; everything is written.
    ///
    /// # Panics
    ///
    /// Where a timeout that was handled is still due.
    pub fn pass_to(&mut self, then: Instant) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(next) = self.session.poll_timeout().filter(|next| *next <= then) {
            self.now = self.now.max(next);
            self.session.handle_timeout(self.now, &mut self.rng);
            frames.extend(self.written());
            assert!(self.session.poll_timeout().is_none_or(|at| at > self.now));
        }
        self.now = then;
        frames
    }

    /// Bytes arrive.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.rx.extend_from_slice(bytes);
        self.session.handle_input(self.now);
        self.read();
    }

    /// What is in `rx` is read, as far as the session wants.
    pub fn read(&mut self) {
        self.session
            .poll_input(self.now, &mut self.rx, &mut self.rng);
    }

    /// The server closes with a code; its transport ends.
    pub fn close_from_server(&mut self, code: u16, reason: &str) {
        self.receive(&close_frame(code, reason));
        self.written();
        self.session.handle_eof(self.now, &mut self.rng);
    }

    /// The transport ends without a word.
    pub fn drop_connection(&mut self) {
        self.session.handle_eof(self.now, &mut self.rng);
    }

    /// What the session puts into `tx`, which the transport does not take.
    pub fn fill(&mut self) {
        self.session
            .poll_transmit(self.now, &mut self.tx, &mut self.rng);
    }

    /// Everything the session wants to write is written: its frames.
    ///
    /// # Panics
    ///
    /// Where it is not whole frames.
    pub fn written(&mut self) -> Vec<Frame> {
        let mut bytes = Vec::new();
        loop {
            self.fill();
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

    /// The texts of what is written.
    pub fn texts(&mut self) -> Vec<String> {
        let frames = self.written().into_iter();
        let data = frames.filter(|frame| frame.first & 0x0f < 8);
        data.map(|frame| String::from_utf8_lossy(&frame.payload).into_owned())
            .collect()
    }

    /// Takes a message to be sent.
    ///
    /// # Panics
    ///
    /// Where it is not taken.
    pub fn send(&mut self, outgoing: impl Into<fulmar_core::session::Outgoing>) -> MessageId {
        self.session
            .send(self.now, outgoing)
            .expect("the message is taken")
    }

    /// What happened.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }
}
