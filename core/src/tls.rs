//! Where TLS stands: two traits, which an adapter implements over a TLS library.
//!
//! ```text
//!      rx  <--- plaintext ---+-----+--- ciphertext <--- cipher_rx  <--- transport
//!                            | Tls |
//!      tx  ---- plaintext -->+-----+--> ciphertext ---> cipher_tx  ---> transport
//! ```
//!
//! A TLS connection is a machine like the others: it borrows its four buffers and holds no bytes
//! between two calls except what its library cannot do without. It reads no clock and draws no
//! entropy of its own accord where its library lets it.
//!
//! # What a driver does
//!
//! 1. [`Tls::start`] once, then writes `cipher_tx`.
//! 2. After each read: [`Tls::handle_input`], then writes `cipher_tx` **whatever the result**: a
//!    failed call may have queued the alert that tells the peer why.
//! 3. While there is plaintext to send and `cipher_tx` holds less than [`CIPHER_AHEAD`]:
//!    [`Tls::send`], then writes.
//! 4. On the end of the transport: [`Tls::handle_eof`].
//!
//! `cipher_tx` is written as soon as it holds anything: handshake flights, alerts and answers to
//! key updates do not wait for the application to write.

use std::time::SystemTime;

use bytes::BytesMut;
use rand_core::Rng;

use crate::buf::WriteBuf;
use crate::fault::Fault;

/// How much ciphertext may wait for the transport before plaintext has to wait: 64 KiB, the
/// `limit` that a driver gives to [`Tls::send`].
///
/// What is encrypted can no longer be taken back, so this is also how far a request's bytes can run
/// ahead of what the transport accepted.
pub const CIPHER_AHEAD: usize = 64 * 1024;

/// The client's side of one TLS connection, without IO.
///
/// Every fault is in [`Phase::Tls`](crate::fault::Phase::Tls) and sticky: after one, every fallible
/// call returns the same and takes nothing. No method panics on what a peer sends.
pub trait Tls: Send + Sync {
    /// Begins the handshake: queues the first flight. Called once, before anything else.
    fn start(
        &mut self,
        cipher_tx: &mut WriteBuf,
        wall: SystemTime,
        rng: &mut dyn Rng,
    ) -> Result<(), Fault>;

    /// Takes every complete record from `cipher_rx`, appends the plaintext to `rx`, and queues on
    /// `cipher_tx` what TLS itself has to answer (handshake flights, alerts, key updates).
    ///
    /// An incomplete record stays in `cipher_rx` (or is taken and kept), so the caller may read more
    /// behind it. A record without application data (a session ticket, a key update, an empty
    /// record) leaves `rx` as it was: that is not a desynchronised connection. Over all calls `rx`
    /// grows by no more than `cipher_rx` shrinks, so who bounds what it reads bounds both. After a
    /// `close_notify` the rest is taken and ignored (RFC 8446 section 6.1).
    ///
    /// What a peer can make it queue without reading is bounded: a flood of key updates is an error.
    ///
    /// `wall` is what certificates are judged by.
    ///
    /// # Errors
    ///
    /// `Certificate`, `Handshake` or `HandshakeAborted` (a `close_notify` during the handshake too)
    /// while it lasts; later `Record`, or `Reset` for a fatal alert. Plaintext that came before the
    /// offending record is in `rx`, and an alert may wait in `cipher_tx`: write it before closing.
    fn handle_input(
        &mut self,
        cipher_rx: &mut BytesMut,
        rx: &mut BytesMut,
        cipher_tx: &mut WriteBuf,
        wall: SystemTime,
        rng: &mut dyn Rng,
    ) -> Result<(), Fault>;

    /// The transport ended. Whether the peer had said so before, in TLS's own words.
    ///
    /// During the handshake the end is always [`TlsEnd::Truncated`].
    fn handle_eof(&mut self) -> TlsEnd;

    /// Encrypts from `tx` into `cipher_tx` while `cipher_tx` holds less than `limit`, and returns how
    /// many bytes of plaintext it took.
    ///
    /// The last record may pass `limit`, by at most itself (16 KiB and its frame). During the
    /// handshake and after [`Tls::close`] nothing is taken. What TLS itself must send does not count
    /// towards `limit` and is not held back by it.
    ///
    /// # Errors
    ///
    /// The sticky one.
    fn send(
        &mut self,
        tx: &mut WriteBuf,
        cipher_tx: &mut WriteBuf,
        limit: usize,
        rng: &mut dyn Rng,
    ) -> Result<usize, Fault>;

    /// Queues `close_notify`: nothing more will be sent. A second call, and one after a fault, does
    /// nothing.
    fn close(&mut self, cipher_tx: &mut WriteBuf);

    /// Whether the handshake is still going on. False after a fault.
    fn is_handshaking(&self) -> bool;

    /// Whether the peer's `close_notify` has come: there will be no more plaintext.
    fn is_closed(&self) -> bool;

    /// The application protocol that was agreed on, once the handshake is done.
    fn alpn(&self) -> Option<&[u8]>;
}

/// How the transport under a TLS connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsEnd {
    /// After the peer's `close_notify`: what came is all there was.
    Clean,
    /// Without one: bytes may be missing, and a body that ends with the connection is incomplete
    /// (RFC 9112 section 9.8).
    Truncated,
}

/// Makes TLS connections: one configuration (roots, client certificate, pins), many servers.
pub trait Connector: Send + Sync {
    /// A new connection to `server_name`, which has sent nothing yet.
    ///
    /// `server_name` is what the certificate must be for: a host name or an IP address, without
    /// brackets or port. `alpn` lists the application protocols to offer, best first; if it is empty,
    /// none is offered.
    ///
    /// # Errors
    ///
    /// In [`Phase::Tls`](crate::fault::Phase::Tls): `InvalidAddress` where no certificate could name
    /// this server, `Certificate` or `Handshake` where the configuration cannot work.
    fn connect(&self, server_name: &str, alpn: &[&[u8]]) -> Result<Box<dyn Tls>, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_traits_are_object_safe_and_shareable() {
        fn shareable<T: Send + Sync + ?Sized>() {}
        shareable::<dyn Tls>();
        shareable::<dyn Connector>();
    }
}
