//! The server's side over any byte stream that blocks.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;
use fulmar_core::tls::TlsEnd;

use super::server::{ServerConfig, ToyServer};

/// A stream of plaintext over a stream of the toy's records. The handshake happens as it is read.
#[derive(Debug)]
pub struct ServerStream<S> {
    server: ToyServer,
    below: S,
    cipher_rx: BytesMut,
    rx: BytesMut,
    cipher_tx: WriteBuf,
}

impl<S: Read + Write> ServerStream<S> {
    /// Speaks for that server over `below`.
    pub fn new(config: ServerConfig, below: S) -> Self {
        Self {
            server: ToyServer::new(config),
            below,
            cipher_rx: BytesMut::new(),
            rx: BytesMut::new(),
            cipher_tx: WriteBuf::default(),
        }
    }

    /// Acts on the server, then writes what it queued.
    ///
    /// # Errors
    ///
    /// What the stream below said.
    pub fn with(&mut self, act: impl FnOnce(&mut ToyServer, &mut WriteBuf)) -> io::Result<()> {
        act(&mut self.server, &mut self.cipher_tx);
        self.flush()
    }

    /// Reads once from below. False at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        let count = self.below.read(&mut chunk)?;
        self.cipher_rx.extend_from_slice(&chunk[..count]);
        let result =
            self.server
                .handle_input(&mut self.cipher_rx, &mut self.rx, &mut self.cipher_tx);
        self.flush()?;
        result.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        Ok(count > 0)
    }
}

impl<S: Read + Write> Read for ServerStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rx.is_empty() {
            if self.server.is_closed() {
                return Ok(0);
            }
            if !self.fill()? {
                return match self.server.handle_eof() {
                    TlsEnd::Clean => Ok(0),
                    TlsEnd::Truncated => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
        let count = buf.len().min(self.rx.len());
        self.rx.split_to(count).copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

impl<S: Read + Write> Write for ServerStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        while self.server.is_handshaking() {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut tx = WriteBuf::default();
        tx.put_slice(buf);
        let sent = self.server.send(&mut tx, &mut self.cipher_tx);
        self.flush()?;
        sent.map_err(|fault| io::Error::new(io::ErrorKind::BrokenPipe, fault))
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.cipher_tx.has_remaining() {
            let count = self.below.write(self.cipher_tx.chunk())?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.cipher_tx.advance(count);
        }
        self.below.flush()
    }
}
