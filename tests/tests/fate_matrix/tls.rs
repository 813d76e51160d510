//! A server's side of the toy TLS that reads whole requests.

use std::io;

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_sim::Conn;
use fulmar_tests::toy_tls::{ServerConfig, ToyServer};

use super::run::is_whole;

pub(crate) struct TlsConn {
    conn: Conn,
    server: ToyServer,
    cipher_rx: BytesMut,
    rx: BytesMut,
    cipher_tx: WriteBuf,
}

impl TlsConn {
    pub(crate) fn new(conn: Conn) -> Self {
        Self {
            conn,
            server: ToyServer::new(ServerConfig::named("api.test")),
            cipher_rx: BytesMut::new(),
            rx: BytesMut::new(),
            cipher_tx: WriteBuf::default(),
        }
    }

    /// The next request, body included. `None`: the client has gone.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !is_whole(&self.rx) {
            let read = self.conn.read(16 * 1024).await?;
            if read.is_empty() {
                return Ok(None);
            }
            self.cipher_rx.extend_from_slice(&read);
            let (rx, tx) = (&mut self.rx, &mut self.cipher_tx);
            let handled = self.server.handle_input(&mut self.cipher_rx, rx, tx);
            self.flush().await?;
            handled.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        }
        Ok(Some(self.rx.split().to_vec()))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut tx = WriteBuf::default();
        tx.put_slice(bytes);
        let sent = self.server.send(&mut tx, &mut self.cipher_tx);
        sent.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.cipher_tx.has_remaining() {
            let chunk = self.cipher_tx.chunk().to_vec();
            self.cipher_tx.advance(chunk.len());
            self.conn.write_all(chunk).await?;
        }
        Ok(())
    }
}
