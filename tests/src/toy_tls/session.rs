//! What both sides share: keys, alerts, and records once the handshake is done.

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::tls::TlsEnd;

use super::record::{self, Key, Kind, MAX_PLAINTEXT};

/// How many key updates in a row are answered, so that nobody can make us queue without end.
const MAX_UPDATES: u32 = 32;

/// Why a side ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// It has sent all it had.
    CloseNotify = 0,
    /// It gives up for a passing reason.
    InternalError = 1,
    /// Nothing could be agreed on.
    HandshakeFailure = 2,
    /// A record could not be opened or was out of place.
    BadRecord = 3,
    /// The certificate was rejected.
    BadCertificate = 4,
}

/// One side of a connection, without its part in the handshake.
#[derive(Debug)]
pub(super) struct Session {
    keys: Option<Keys>,
    pub(super) is_handshaking: bool,
    pub(super) is_closed: bool,
    has_closed: bool,
    fault: Option<Fault>,
    updates: u32,
}

#[derive(Debug)]
struct Keys {
    rx: Key,
    tx: Key,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            keys: None,
            is_handshaking: true,
            is_closed: false,
            has_closed: false,
            fault: None,
            updates: 0,
        }
    }

    pub(super) fn fault(&self) -> Result<(), Fault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    pub(super) fn set_keys(&mut self, rx: u64, tx: u64) {
        let (rx, tx) = (Key::new(rx), Key::new(tx));
        self.keys = Some(Keys { rx, tx });
    }

    pub(super) fn end(&self) -> TlsEnd {
        if self.is_closed {
            TlsEnd::Clean
        } else {
            TlsEnd::Truncated
        }
    }

    pub(super) fn seal(&mut self, kind: Kind, payload: &[u8], out: &mut WriteBuf) {
        record::seal(
            kind,
            payload,
            self.keys.as_mut().map(|keys| &mut keys.tx),
            out,
        );
    }

    /// The next record that is the handshake's or carries data; the others are dealt with here.
    pub(super) fn open(
        &mut self,
        cipher_rx: &mut BytesMut,
        cipher_tx: &mut WriteBuf,
    ) -> Result<Option<(Kind, BytesMut)>, Fault> {
        self.fault()?;
        while !self.is_closed {
            let key = self.keys.as_mut().map(|keys| &mut keys.rx);
            let record = match record::open(cipher_rx, key) {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(None),
                Err(why) => return Err(self.reject(&format!("{why:?}"), cipher_tx)),
            };
            match record {
                (Kind::Alert, payload) => self.handle_alert(payload.first().copied())?,
                (Kind::Ticket, _) if !self.is_handshaking => {}
                (Kind::KeyUpdate, payload) if !self.is_handshaking => {
                    self.handle_key_update(payload[..] == [1], cipher_tx)?;
                }
                (Kind::Data, payload) => {
                    self.updates = 0;
                    return Ok(Some((Kind::Data, payload)));
                }
                other => return Ok(Some(other)),
            }
        }
        cipher_rx.clear();
        Ok(None)
    }

    /// Encrypts while there is room below `limit`.
    pub(super) fn send(
        &mut self,
        tx: &mut WriteBuf,
        cipher_tx: &mut WriteBuf,
        limit: usize,
    ) -> Result<usize, Fault> {
        self.fault()?;
        let mut taken = 0;
        if self.is_handshaking || self.has_closed {
            return Ok(taken);
        }
        while !tx.is_empty() && cipher_tx.len() < limit {
            let chunk = tx.chunk();
            let length = chunk.len().min(MAX_PLAINTEXT);
            self.seal(Kind::Data, &chunk[..length], cipher_tx);
            tx.advance(length);
            taken += length;
        }
        Ok(taken)
    }

    pub(super) fn close(&mut self, cipher_tx: &mut WriteBuf) {
        if !self.has_closed && self.fault.is_none() {
            self.has_closed = true;
            self.seal(Kind::Alert, &[Alert::CloseNotify as u8], cipher_tx);
        }
    }

    /// Asks the peer for new keys in both directions.
    pub(super) fn update_keys(&mut self, ask: bool, cipher_tx: &mut WriteBuf) {
        self.seal(Kind::KeyUpdate, &[u8::from(ask)], cipher_tx);
        if let Some(keys) = &mut self.keys {
            keys.tx.update();
        }
    }

    /// A record that has no place here.
    pub(super) fn reject(&mut self, why: &str, cipher_tx: &mut WriteBuf) -> Fault {
        self.fail(FaultKind::Record, Alert::BadRecord, why, cipher_tx)
    }

    /// Tells the peer, and remembers the fault for good.
    pub(super) fn fail(
        &mut self,
        kind: FaultKind,
        alert: Alert,
        why: &str,
        cipher_tx: &mut WriteBuf,
    ) -> Fault {
        self.seal(Kind::Alert, &[alert as u8], cipher_tx);
        self.stick(Fault::new(kind, Phase::Tls).with_detail(why))
    }

    fn stick(&mut self, fault: Fault) -> Fault {
        self.is_handshaking = false;
        self.fault = Some(fault.clone());
        fault
    }

    fn handle_alert(&mut self, alert: Option<u8>) -> Result<(), Fault> {
        let kind = match alert {
            Some(0) if !self.is_handshaking => {
                self.is_closed = true;
                return Ok(());
            }
            Some(0 | 1) if self.is_handshaking => FaultKind::HandshakeAborted,
            _ if self.is_handshaking => FaultKind::Handshake,
            _ => FaultKind::Reset,
        };
        let detail = format!("alert {alert:?} from the peer");
        Err(self.stick(Fault::new(kind, Phase::Tls).with_detail(detail)))
    }

    fn handle_key_update(&mut self, asks: bool, cipher_tx: &mut WriteBuf) -> Result<(), Fault> {
        self.updates += 1;
        if self.updates > MAX_UPDATES {
            return Err(self.reject("too many key updates", cipher_tx));
        }
        if let Some(keys) = &mut self.keys {
            keys.rx.update();
        }
        // The answer goes out in either direction's turn: it waits for nobody.
        if asks && !self.has_closed {
            self.update_keys(false, cipher_tx);
        }
        Ok(())
    }
}
