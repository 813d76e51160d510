//! The boundary between a driver and TLS, over a toy in place of TLS.

use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use chacha20::ChaCha8Rng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::tls::{CIPHER_AHEAD, Connector, Tls, TlsEnd};
use fulmar_tests::toy_tls::{
    Alert, MAX_PLAINTEXT, ServerConfig, ServerStream, ToyConnector, ToyServer,
};
use proptest::prelude::*;
use rand_core::SeedableRng;

const NAME: &str = "api.test";

/// A client and a server, and the bytes between them.
struct Pair {
    client: Box<dyn Tls>,
    server: ToyServer,
    rng: ChaCha8Rng,
    wall: SystemTime,
    /// The client's four buffers.
    cipher_rx: BytesMut,
    rx: BytesMut,
    tx: WriteBuf,
    cipher_tx: WriteBuf,
    /// The server's.
    server_cipher_rx: BytesMut,
    server_rx: BytesMut,
    server_cipher_tx: WriteBuf,
}

impl Pair {
    fn new(config: ServerConfig) -> Self {
        let connector: &dyn Connector = &ToyConnector;
        let client = connector
            .connect(NAME, &[b"h2", b"http/1.1"])
            .expect("a client");
        let mut pair = Self {
            client,
            server: ToyServer::new(config),
            rng: ChaCha8Rng::from_seed([7; 32]),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            cipher_rx: BytesMut::new(),
            rx: BytesMut::new(),
            tx: WriteBuf::default(),
            cipher_tx: WriteBuf::default(),
            server_cipher_rx: BytesMut::new(),
            server_rx: BytesMut::new(),
            server_cipher_tx: WriteBuf::default(),
        };
        let (cipher_tx, rng) = (&mut pair.cipher_tx, &mut pair.rng);
        pair.client
            .start(cipher_tx, pair.wall, rng)
            .expect("a first flight");
        pair
    }

    /// A pair past its handshake.
    fn connected() -> Self {
        let mut pair = Self::new(ServerConfig::named(NAME));
        pair.exchange(usize::MAX).expect("a handshake");
        assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
        pair
    }

    /// Carries bytes both ways, `step` at a time, until none are left.
    fn exchange(&mut self, step: usize) -> Result<(), Fault> {
        while !self.cipher_tx.is_empty() || !self.server_cipher_tx.is_empty() {
            self.carry_up(step)?;
            self.carry_down(step)?;
        }
        Ok(())
    }

    fn carry_up(&mut self, step: usize) -> Result<(), Fault> {
        let length = step.min(self.cipher_tx.len());
        self.server_cipher_rx
            .extend_from_slice(&self.cipher_tx.copy_to_bytes(length));
        let (cipher_rx, rx) = (&mut self.server_cipher_rx, &mut self.server_rx);
        self.server
            .handle_input(cipher_rx, rx, &mut self.server_cipher_tx)
    }

    fn carry_down(&mut self, step: usize) -> Result<(), Fault> {
        let length = step.min(self.server_cipher_tx.len());
        let bytes = self.server_cipher_tx.copy_to_bytes(length);
        self.feed(&bytes)
    }

    /// What the server has queued.
    fn served(&mut self) -> Vec<u8> {
        let length = self.server_cipher_tx.len();
        self.server_cipher_tx.copy_to_bytes(length).to_vec()
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.cipher_rx.extend_from_slice(bytes);
        self.client.handle_input(
            &mut self.cipher_rx,
            &mut self.rx,
            &mut self.cipher_tx,
            self.wall,
            &mut self.rng,
        )
    }

    fn send(&mut self, limit: usize) -> Result<usize, Fault> {
        self.client
            .send(&mut self.tx, &mut self.cipher_tx, limit, &mut self.rng)
    }

    fn serve(&mut self, plaintext: &[u8]) {
        let mut tx = WriteBuf::default();
        tx.put_slice(plaintext);
        self.server
            .send(&mut tx, &mut self.server_cipher_tx)
            .expect("an open connection");
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_segmentation_gives_the_same_plaintext(
        steps in prop::collection::vec(1_usize..9000, 1..40),
        lengths in prop::collection::vec(0_usize..40_000, 1..5),
    ) {
        let mut pair = Pair::connected();
        let mut expected = Vec::new();
        for (turn, length) in lengths.into_iter().enumerate() {
            let plaintext = pattern(length);
            pair.serve(&plaintext);
            expected.extend_from_slice(&plaintext);
            match turn % 3 {
                0 => pair.server.send_ticket(&mut pair.server_cipher_tx),
                1 => pair.server.update_keys(&mut pair.server_cipher_tx),
                _ => {}
            }
        }
        for step in steps.iter().cycle() {
            if pair.server_cipher_tx.is_empty() {
                break;
            }
            let before = (pair.cipher_rx.len(), pair.rx.len());
            let step = (*step).min(pair.server_cipher_tx.len());
            prop_assert_eq!(pair.carry_down(step), Ok(()));
            let shrunk = before.0 + step - pair.cipher_rx.len();
            prop_assert!(pair.rx.len() - before.1 <= shrunk);
        }
        prop_assert_eq!(&pair.rx[..], &expected[..]);
        // The answers to the key updates are good: the server reads on.
        pair.tx.put_slice(b"still there");
        prop_assert_eq!(pair.send(CIPHER_AHEAD), Ok(11));
        prop_assert_eq!(pair.exchange(17), Ok(()));
        prop_assert_eq!(&pair.server_rx[..], b"still there");
    }

    #[test]
    fn no_bytes_from_a_peer_panic_and_faults_stick(
        garbage in prop::collection::vec(any::<u8>(), 1..200),
        connected in any::<bool>(),
        place in 0_usize..300,
    ) {
        let mut pair =
            if connected { Pair::connected() } else { Pair::new(ServerConfig::named(NAME)) };
        pair.carry_up(usize::MAX).expect("a fair hello");
        if connected {
            pair.serve(&pattern(200));
        }
        let mut bytes = pair.served();
        let place = place.min(bytes.len());
        bytes.splice(place..place, garbage);
        if let Err(fault) = pair.feed(&bytes) {
            prop_assert_eq!(fault.phase, Phase::Tls);
            prop_assert_eq!(pair.feed(b"more"), Err(fault.clone()));
            pair.tx.put_slice(b"x");
            prop_assert_eq!(pair.send(CIPHER_AHEAD), Err(fault));
        }
    }
}

#[test]
fn a_handshake_takes_a_byte_at_a_time_and_agrees_on_a_protocol() {
    let mut config = ServerConfig::named(NAME);
    config.alpn = vec![b"http/1.1".to_vec()];
    let mut pair = Pair::new(config);
    pair.tx.put_slice(b"early");
    assert_eq!(pair.send(CIPHER_AHEAD), Ok(0));
    assert_eq!(pair.client.alpn(), None);
    pair.exchange(1).expect("a handshake");
    assert!(!pair.client.is_handshaking());
    assert_eq!(pair.client.alpn(), Some(&b"http/1.1"[..]));
    assert_eq!(pair.server.alpn(), pair.client.alpn());
    assert_eq!(pair.send(CIPHER_AHEAD), Ok(5));
}

#[test]
fn plaintext_waits_while_ciphertext_is_at_its_bound() {
    let mut pair = Pair::connected();
    let body = pattern(1_000_000);
    pair.tx.put_bytes(body.clone().into());
    let mut most = 0;
    while !pair.tx.is_empty() {
        let before = pair.tx.len();
        let taken = pair.send(CIPHER_AHEAD).expect("an open connection");
        assert_eq!(taken, before - pair.tx.len());
        most = most.max(pair.cipher_tx.len());
        assert_eq!(pair.send(CIPHER_AHEAD), Ok(0), "took more at its bound");
        pair.carry_up(10_000).expect("a fair record");
    }
    let bound = CIPHER_AHEAD..CIPHER_AHEAD + MAX_PLAINTEXT + 64;
    assert!(bound.contains(&most), "{most}");
    pair.exchange(usize::MAX).expect("fair records");
    assert_eq!(pair.server_rx, body);
}

#[test]
fn what_tls_must_send_goes_out_past_the_bound() {
    let mut pair = Pair::connected();
    pair.tx.put_slice(&pattern(200_000));
    pair.send(CIPHER_AHEAD).expect("an open connection");
    let before = pair.cipher_tx.len();
    pair.server.update_keys(&mut pair.server_cipher_tx);
    pair.carry_down(usize::MAX).expect("a fair record");
    assert!(pair.cipher_tx.len() > before);
    assert!(pair.rx.is_empty());
}

#[test]
fn a_record_without_data_is_no_plaintext() {
    let mut pair = Pair::connected();
    pair.server.send_ticket(&mut pair.server_cipher_tx);
    pair.serve(b"");
    pair.carry_down(usize::MAX).expect("fair records");
    assert!(pair.rx.is_empty() && pair.cipher_rx.is_empty() && pair.cipher_tx.is_empty());
}

#[test]
fn a_flood_of_key_updates_is_an_error_and_not_a_queue() {
    let mut pair = Pair::connected();
    for _ in 0..1000 {
        pair.server.update_keys(&mut pair.server_cipher_tx);
    }
    let fault = pair.carry_down(usize::MAX).expect_err("a flood");
    assert_eq!(fault.kind, FaultKind::Record);
    assert!(pair.cipher_tx.len() < 1000);
}

#[test]
fn a_close_notify_is_told_from_a_truncation() {
    let mut pair = Pair::connected();
    pair.serve(b"all of it");
    assert_eq!(pair.client.handle_eof(), TlsEnd::Truncated);
    pair.server.close(&mut pair.server_cipher_tx);
    pair.carry_down(usize::MAX).expect("fair records");
    assert!(pair.client.is_closed());
    assert_eq!(pair.client.handle_eof(), TlsEnd::Clean);
    pair.feed(b"what comes after is ignored")
        .expect("no look at it");
    assert_eq!((&pair.rx[..], pair.cipher_rx.len()), (&b"all of it"[..], 0));
    // The other direction is still open.
    pair.tx.put_slice(b"goodbye");
    assert_eq!(pair.send(CIPHER_AHEAD), Ok(7));
    pair.client.close(&mut pair.cipher_tx);
    pair.client.close(&mut pair.cipher_tx);
    pair.tx.put_slice(b"too late");
    assert_eq!(pair.send(CIPHER_AHEAD), Ok(0));
    pair.carry_up(usize::MAX).expect("fair records");
    assert_eq!(
        (&pair.server_rx[..], pair.server.is_closed()),
        (&b"goodbye"[..], true)
    );
    assert_eq!(pair.server.handle_eof(), TlsEnd::Clean);
}

#[test]
fn a_damaged_record_queues_the_alert_that_tells_the_peer() {
    let mut pair = Pair::connected();
    pair.serve(b"good");
    pair.serve(b"bad");
    let mut bytes = pair.served();
    *bytes.last_mut().expect("a byte") ^= 1;
    let fault = pair.feed(&bytes).expect_err("a wrong check sum");
    assert_eq!((fault.kind, fault.phase), (FaultKind::Record, Phase::Tls));
    assert_eq!(&pair.rx[..], b"good");
    let told = pair.carry_up(usize::MAX).expect_err("an alert");
    assert_eq!(told.kind, FaultKind::Reset);
}

#[test]
fn a_record_beyond_the_largest_is_refused_by_its_header() {
    let mut pair = Pair::connected();
    let fault = pair.feed(&[3, 0xff, 0xff]).expect_err("too long");
    assert_eq!(fault.kind, FaultKind::Record);
    assert!(!pair.cipher_tx.is_empty());
}

#[test]
fn a_certificate_of_another_name_or_out_of_date_is_rejected_and_the_server_told() {
    let mut expired = ServerConfig::named(NAME);
    expired.not_after = Duration::from_secs(999_999_999);
    for config in [ServerConfig::named("other.test"), expired] {
        let mut pair = Pair::new(config);
        pair.carry_up(usize::MAX).expect("a fair hello");
        let fault = pair
            .carry_down(usize::MAX)
            .expect_err("a wrong certificate");
        assert_eq!(
            (fault.kind, fault.phase),
            (FaultKind::Certificate, Phase::Tls)
        );
        assert!(!pair.client.is_handshaking());
        assert_eq!(
            pair.carry_up(usize::MAX).expect_err("an alert").kind,
            FaultKind::Handshake
        );
    }
}

#[test]
fn a_passing_trouble_of_the_server_is_told_from_a_lasting_one() {
    let kinds = [
        (Alert::InternalError, FaultKind::HandshakeAborted),
        (Alert::CloseNotify, FaultKind::HandshakeAborted),
        (Alert::HandshakeFailure, FaultKind::Handshake),
    ];
    for (alert, kind) in kinds {
        let mut pair = Pair::new(ServerConfig::named(NAME));
        pair.server.abort(alert, &mut pair.server_cipher_tx);
        assert_eq!(
            pair.carry_down(usize::MAX).expect_err("an alert").kind,
            kind
        );
    }
    let mut config = ServerConfig::named(NAME);
    config.alpn = vec![b"gopher".to_vec()];
    let fault = Pair::new(config)
        .exchange(usize::MAX)
        .expect_err("no common protocol");
    assert_eq!(fault.kind, FaultKind::Handshake);
}

/// The client's end of a byte stream: it sends what it has, then closes.
struct Below<'a>(&'a mut Pair);

impl Read for Below<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.0.client.is_handshaking() {
            self.0.send(CIPHER_AHEAD).map_err(io::Error::other)?;
            self.0.client.close(&mut self.0.cipher_tx);
        }
        let length = buf.len().min(self.0.cipher_tx.len()).min(5);
        self.0.cipher_tx.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}

impl Write for Below<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let length = buf.len().min(3);
        self.0.feed(&buf[..length]).map_err(io::Error::other)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_server_speaks_over_any_byte_stream() {
    let config = ServerConfig::named(NAME);
    let mut pair = Pair::new(config.clone());
    pair.tx.put_slice(b"a question");
    let mut stream = ServerStream::new(config, Below(&mut pair));
    stream
        .write_all(b"an answer")
        .expect("a handshake and room");
    stream.with(ToyServer::send_ticket).expect("room");
    let mut question = String::new();
    stream
        .read_to_string(&mut question)
        .expect("plaintext and a clean end");
    assert_eq!(question, "a question");
    assert_eq!(&pair.rx[..], b"an answer");
}
