//! The server's end of a connection: just enough HTTP to misbehave with.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};

/// The longest request head that is put up with.
const HEAD_MAX: usize = 64 * 1024;

/// A byte stream and what was read of it ahead of use.
pub(crate) struct Peer<S> {
    stream: S,
    rx: Vec<u8>,
}

/// A request's first line, as far as the server cares.
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Of a WebSocket's handshake.
    pub(crate) key: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            rx: Vec::new(),
        }
    }

    /// Reads the next request, body included. `None`: the client has closed the connection.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Asked>> {
        let end = loop {
            if let Some(at) = self.rx.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.rx.len() > HEAD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.rx[..end]).into_owned();
        self.rx.drain(..end);
        self.skip(content_length(&head)).await?;
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let key = field(&head, "sec-websocket-key").map(str::to_owned);
        Ok(Some(Asked { path, key }))
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let stream = &mut self.stream;
            let sent = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, rest)).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[sent..];
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)).await
    }

    /// Says nothing more and waits until the client has had enough.
    pub(crate) async fn hang(&mut self) -> io::Result<()> {
        loop {
            self.rx.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    async fn skip(&mut self, mut length: usize) -> io::Result<()> {
        while length > self.rx.len() {
            length -= self.rx.len();
            self.rx.clear();
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.rx.drain(..length);
        Ok(())
    }

    /// What has come and was not consumed.
    pub(crate) fn received(&self) -> &[u8] {
        &self.rx
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.rx.drain(..bytes);
    }

    /// Waits for more; 0: there is none.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 4096];
        let stream = &mut self.stream;
        let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut piece)).await?;
        self.rx.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

fn content_length(head: &str) -> usize {
    let value = field(head, "content-length");
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.trim())
}
