//! The server's side, without IO.

use std::time::Duration;

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, FaultKind};
use fulmar_core::tls::TlsEnd;

use super::record::{Kind, mix};
use super::session::{Alert, Session};

/// What a `Finished` says; that it can be opened is the point.
pub(super) const FINISHED: &[u8] = b"finished";

/// Who a server is.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The name its certificate is for.
    pub name: String,
    /// When that expires, from 1970 on.
    pub not_after: Duration,
    /// The application protocols it speaks, best first.
    pub alpn: Vec<Vec<u8>>,
    /// Its nonce.
    pub nonce: u64,
}

impl ServerConfig {
    /// A server of that name, whose certificate lasts.
    pub fn named(name: &str) -> Self {
        let century = Duration::from_secs(100 * 365 * 86_400);
        Self {
            name: name.to_owned(),
            not_after: century,
            alpn: Vec::new(),
            nonce: 0x5eed,
        }
    }
}

/// A server over the toy's records.
#[derive(Debug)]
pub struct ToyServer {
    session: Session,
    config: ServerConfig,
    greeted: bool,
    alpn: Option<Vec<u8>>,
}

impl ToyServer {
    /// A server that waits for a client's hello.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            session: Session::new(),
            config,
            greeted: false,
            alpn: None,
        }
    }

    /// Takes ciphertext, appends plaintext to `rx`, and queues what has to be answered.
    ///
    /// # Errors
    ///
    /// The client broke the rules, or said that we did.
    pub fn handle_input(
        &mut self,
        cipher_rx: &mut BytesMut,
        rx: &mut BytesMut,
        cipher_tx: &mut WriteBuf,
    ) -> Result<(), Fault> {
        while let Some((kind, payload)) = self.session.open(cipher_rx, cipher_tx)? {
            match kind {
                Kind::Hello if !self.greeted => self.handle_hello(&payload, cipher_tx)?,
                Kind::Finished if self.greeted && self.session.is_handshaking => {
                    self.session.is_handshaking = false;
                }
                Kind::Data if !self.session.is_handshaking => rx.extend_from_slice(&payload),
                _ => return Err(self.session.reject("out of place", cipher_tx)),
            }
        }
        Ok(())
    }

    /// The transport ended.
    pub fn handle_eof(&mut self) -> TlsEnd {
        self.session.end()
    }

    /// Encrypts all of `tx`.
    ///
    /// # Errors
    ///
    /// The connection has failed before.
    pub fn send(&mut self, tx: &mut WriteBuf, cipher_tx: &mut WriteBuf) -> Result<usize, Fault> {
        self.session.send(tx, cipher_tx, usize::MAX)
    }

    /// Queues a record without application data.
    pub fn send_ticket(&mut self, cipher_tx: &mut WriteBuf) {
        self.session
            .seal(Kind::Ticket, b"a session to resume", cipher_tx);
    }

    /// Queues a key update, which asks for one in return.
    pub fn update_keys(&mut self, cipher_tx: &mut WriteBuf) {
        self.session.update_keys(true, cipher_tx);
    }

    /// Ends the connection with a fatal alert.
    pub fn abort(&mut self, alert: Alert, cipher_tx: &mut WriteBuf) {
        let kind = FaultKind::Aborted;
        self.session
            .fail(kind, alert, "aborted by this side", cipher_tx);
    }

    /// Queues `close_notify`.
    pub fn close(&mut self, cipher_tx: &mut WriteBuf) {
        self.session.close(cipher_tx);
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking
    }

    /// Whether the client's `close_notify` has come.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed
    }

    /// The application protocol that was chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    fn handle_hello(&mut self, payload: &[u8], cipher_tx: &mut WriteBuf) -> Result<(), Fault> {
        let Some((theirs, mut rest)) = number(payload) else {
            return Err(self.session.reject("not a hello", cipher_tx));
        };
        let mut texts = Vec::new();
        while let Some((next, behind)) = text(rest) {
            texts.push(next);
            rest = behind;
        }
        // The first text is the server's name; who asks for another gets our certificate anyway.
        let offered = texts.get(1..).unwrap_or_default();
        let mine = self
            .config
            .alpn
            .iter()
            .find(|name| offered.contains(&name.as_slice()));
        self.alpn = mine.cloned();
        if !offered.is_empty() && !self.config.alpn.is_empty() && self.alpn.is_none() {
            let alert = Alert::HandshakeFailure;
            let fault = self
                .session
                .fail(FaultKind::Handshake, alert, "no protocol", cipher_tx);
            return Err(fault);
        }
        self.greeted = true;
        let hello = self.hello();
        self.session.seal(Kind::Hello, &hello, cipher_tx);
        let secret = mix(theirs ^ mix(self.config.nonce));
        self.session.set_keys(mix(secret), mix(secret ^ 1));
        self.session.seal(Kind::Finished, FINISHED, cipher_tx);
        Ok(())
    }

    fn hello(&self) -> Vec<u8> {
        let mut hello = self.config.nonce.to_be_bytes().to_vec();
        hello.extend_from_slice(&self.config.not_after.as_secs().to_be_bytes());
        let alpn = self.alpn.as_deref();
        for text in std::iter::once(self.config.name.as_bytes()).chain(alpn) {
            hello.push(text.len() as u8);
            hello.extend_from_slice(text);
        }
        hello
    }
}

/// A server's hello, as a client reads it.
pub(super) struct ServerHello<'a> {
    pub(super) nonce: u64,
    pub(super) not_after: Duration,
    pub(super) name: &'a [u8],
    pub(super) alpn: Option<&'a [u8]>,
}

impl<'a> ServerHello<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (nonce, rest) = number(payload)?;
        let (seconds, rest) = number(rest)?;
        let (name, rest) = text(rest)?;
        // No clock goes further than this.
        let not_after = Duration::from_secs(seconds.min(1 << 40));
        let alpn = text(rest).map(|(alpn, _)| alpn);
        Some(Self {
            nonce,
            not_after,
            name,
            alpn,
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}
