//! The client's side: the core's `Tls`.

use std::time::SystemTime;

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::tls::{Connector, Tls, TlsEnd};
use rand_core::Rng;

use super::record::{Kind, mix};
use super::server::{FINISHED, ServerHello};
use super::session::{Alert, Session};

/// Makes [`ToyClient`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToyConnector;

impl Connector for ToyConnector {
    fn connect(&self, server_name: &str, alpn: &[&[u8]]) -> Result<Box<dyn Tls>, Fault> {
        ToyClient::new(server_name, alpn).map(|client| Box::new(client) as Box<dyn Tls>)
    }
}

/// A client over the toy's records.
#[derive(Debug)]
pub struct ToyClient {
    session: Session,
    server_name: String,
    offered: Vec<Vec<u8>>,
    nonce: u64,
    alpn: Option<Vec<u8>>,
    greeted: bool,
}

impl ToyClient {
    /// A client for that server, which has not begun.
    ///
    /// # Errors
    ///
    /// `InvalidAddress` where the name is empty or longer than 255 bytes.
    pub fn new(server_name: &str, alpn: &[&[u8]]) -> Result<Self, Fault> {
        if server_name.is_empty() || server_name.len() > 255 {
            return Err(Fault::new(FaultKind::InvalidAddress, Phase::Tls));
        }
        Ok(Self {
            session: Session::new(),
            server_name: server_name.to_owned(),
            offered: alpn.iter().map(|name| name.to_vec()).collect(),
            nonce: 0,
            alpn: None,
            greeted: false,
        })
    }

    fn hello(&self) -> Vec<u8> {
        let mut hello = self.nonce.to_be_bytes().to_vec();
        let alpn = self.offered.iter().map(Vec::as_slice);
        for text in std::iter::once(self.server_name.as_bytes()).chain(alpn) {
            hello.push(text.len() as u8);
            hello.extend_from_slice(text);
        }
        hello
    }

    fn handle_handshake(
        &mut self,
        kind: Kind,
        payload: &[u8],
        cipher_tx: &mut WriteBuf,
        wall: SystemTime,
    ) -> Result<(), Fault> {
        match kind {
            Kind::Hello if !self.greeted => self.handle_hello(payload, cipher_tx, wall),
            Kind::Finished if self.greeted && payload == FINISHED => {
                self.session.seal(Kind::Finished, FINISHED, cipher_tx);
                self.session.is_handshaking = false;
                Ok(())
            }
            _ => Err(self
                .session
                .reject("out of place in the handshake", cipher_tx)),
        }
    }

    fn handle_hello(
        &mut self,
        payload: &[u8],
        cipher_tx: &mut WriteBuf,
        wall: SystemTime,
    ) -> Result<(), Fault> {
        let Some(hello) = ServerHello::parse(payload) else {
            return Err(self.session.reject("not a hello", cipher_tx));
        };
        self.greeted = true;
        let secret = mix(self.nonce ^ mix(hello.nonce));
        self.session.set_keys(mix(secret ^ 1), mix(secret));
        let why = if hello.name != self.server_name.as_bytes() {
            "of another name"
        } else if wall > SystemTime::UNIX_EPOCH + hello.not_after {
            "expired"
        } else {
            self.alpn = hello.alpn.map(<[u8]>::to_vec);
            return Ok(());
        };
        let alert = Alert::BadCertificate;
        Err(self
            .session
            .fail(FaultKind::Certificate, alert, why, cipher_tx))
    }
}

impl Tls for ToyClient {
    fn start(
        &mut self,
        cipher_tx: &mut WriteBuf,
        _wall: SystemTime,
        rng: &mut dyn Rng,
    ) -> Result<(), Fault> {
        self.session.fault()?;
        self.nonce = rng.next_u64();
        let hello = self.hello();
        self.session.seal(Kind::Hello, &hello, cipher_tx);
        Ok(())
    }

    fn handle_input(
        &mut self,
        cipher_rx: &mut BytesMut,
        rx: &mut BytesMut,
        cipher_tx: &mut WriteBuf,
        wall: SystemTime,
        _rng: &mut dyn Rng,
    ) -> Result<(), Fault> {
        while let Some((kind, payload)) = self.session.open(cipher_rx, cipher_tx)? {
            if self.session.is_handshaking {
                self.handle_handshake(kind, payload.chunk(), cipher_tx, wall)?;
            } else if kind == Kind::Data {
                rx.extend_from_slice(&payload);
            } else {
                return Err(self.session.reject("out of place", cipher_tx));
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self) -> TlsEnd {
        self.session.end()
    }

    fn send(
        &mut self,
        tx: &mut WriteBuf,
        cipher_tx: &mut WriteBuf,
        limit: usize,
        _rng: &mut dyn Rng,
    ) -> Result<usize, Fault> {
        self.session.send(tx, cipher_tx, limit)
    }

    fn close(&mut self, cipher_tx: &mut WriteBuf) {
        self.session.close(cipher_tx);
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking
    }

    fn is_closed(&self) -> bool {
        self.session.is_closed
    }

    fn alpn(&self) -> Option<&[u8]> {
        let agreed = self.alpn.as_deref();
        agreed.filter(|_| !self.session.is_handshaking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_can_name_nobody() {
        let fault = ToyConnector.connect("", &[]).err();
        assert_eq!(
            fault,
            Some(Fault::new(FaultKind::InvalidAddress, Phase::Tls))
        );
    }
}
