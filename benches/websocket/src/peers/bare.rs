//! No library at all: a buffer each way, a mask of zeros, and no check of anything. The floor.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Error, Peer, ended, upgraded};

/// Its name in the table.
pub const NAME: &str = "bare-socket";

/// One socket.
pub struct Bare {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// What of the input is read and not yet parsed.
    unread: std::ops::Range<usize>,
}

impl Peer for Bare {
    const NAME: &'static str = NAME;

    async fn open(addr: SocketAddr, path: &'static str) -> Result<Self, Error> {
        Ok(Self {
            stream: upgraded(addr, path).await?,
            output: Vec::with_capacity(128 * 1024),
            input: vec![0; 2 * 1024 * 1024],
            unread: 0..0,
        })
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        self.output.push(0x82);
        match message.len() {
            len @ 0..126 => self.output.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                self.output.push(0x80 | 126);
                self.output.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.output.push(0x80 | 127);
                self.output.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        self.output.extend_from_slice(&[0; 4]);
        self.output.extend_from_slice(&message);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    async fn recv(&mut self) -> Result<usize, Error> {
        loop {
            let unread = &self.input[self.unread.clone()];
            if let Some((head, len)) = lengths(unread)
                && unread.len() >= head + len
            {
                self.unread.start += head + len;
                return Ok(len);
            }
            if self.unread.is_empty() || self.unread.end == self.input.len() {
                self.input.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
            }
            match self.stream.read(&mut self.input[self.unread.end..]).await? {
                0 => return Err(ended()),
                n => self.unread.end += n,
            }
        }
    }
}

/// The lengths of head and payload.
fn lengths(input: &[u8]) -> Option<(usize, usize)> {
    match *input.get(1)? {
        126 => Some((
            4,
            u16::from_be_bytes(input.get(2..4)?.try_into().ok()?).into(),
        )),
        127 => Some((
            10,
            u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize,
        )),
        len => Some((2, len.into())),
    }
}
