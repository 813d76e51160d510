//! No client at all: one write, then reads until the head parses and the body is there. The floor.

use std::fmt::Write;
use std::net::SocketAddr;

use fulmar_tokio::Tokio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Client, Error, Look, unexpected};
/// One socket.
pub struct Bare {
    stream: TcpStream,
    addr: SocketAddr,
    path: &'static str,
    request: String,
}

impl Client for Bare {
    type Runtime = Tokio;
    type Shared = SocketAddr;
    type Idle = TcpStream;

    fn shared(addr: SocketAddr) -> Result<SocketAddr, Error> {
        Ok(addr)
    }

    async fn open(addr: &SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            addr: *addr,
            path: "",
            request: String::new(),
        })
    }

    async fn get(&mut self, path: &'static str, _: Look) -> Result<usize, Error> {
        if self.path != path {
            self.path = path;
            self.request.clear();
            write!(
                self.request,
                "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n",
                self.addr
            )?;
        }
        self.stream.write_all(self.request.as_bytes()).await?;
        let mut buffer = [0; 1024];
        let mut read = 0;
        loop {
            match self.stream.read(&mut buffer[read..]).await? {
                0 => return Err(unexpected("the end of the stream")),
                n => read += n,
            }
            if let Some((head, body)) = lengths(&buffer[..read])?
                && head + body <= read
            {
                return Ok(body);
            }
        }
    }

    fn into_idle(self) -> TcpStream {
        self.stream
    }
}

/// The lengths of head and body, once the head is complete.
fn lengths(read: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(read)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(unexpected("its status"));
    }
    let length = response
        .headers
        .iter()
        .find(|f| f.name.eq_ignore_ascii_case("content-length"));
    let length = length.ok_or_else(|| unexpected("no length"))?;
    Ok(Some((head, std::str::from_utf8(length.value)?.parse()?)))
}
