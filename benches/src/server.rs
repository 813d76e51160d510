//! A loopback HTTP/1.1 server that costs as little as possible: one response, one write.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;

use crate::descriptors;

/// Eight fields and 128 bytes of body, as an ordinary API behind an ordinary proxy would answer.
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    date: Tue, 24 Nov 2026 04:00:00 GMT\r\n\
    server: nginx\r\n\
    content-type: application/json\r\n\
    content-length: 128\r\n\
    cache-control: private, max-age=0\r\n\
    etag: \"5f3c6d2a-80\"\r\n\
    vary: accept-encoding\r\n\
    x-request-id: 7b1d9f0e4c5a4b7e9a51\r\n\
    \r\n\
    {\"id\":104857,\"name\":\"a body of one hundred and twenty-eight bytes\",\"tags\":[\"north\",\"fulmar\",\
    \"glacialis\"],\"seen\":true,\"kg\":0.800}";

/// The length of the body of [`RESPONSE`].
pub const BODY_LEN: usize = 128;

/// The path that answers only when as many requests as there are wanted wait for it. Who asks for
/// it that often at once has that many connections.
pub const GATHER: &str = "/gather";

/// The argument of this process that makes it a server.
pub const SERVE: &str = "serve";

/// Serves until the process ends. Prints the port, on a line of its own.
///
/// `gather` is how many requests for [`GATHER`] are answered at once.
///
/// # Errors
///
/// No port could be listened on, or no more connections accepted.
pub fn serve(gather: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(16_384)?;
        println!("{}", listener.local_addr()?.port());
        io::stdout().flush()?;
        let gathered = Arc::new(Barrier::new(gather));
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream, Arc::clone(&gathered)));
        }
    })
}

/// Answers every head on one connection until its end.
async fn answer(mut stream: TcpStream, gathered: Arc<Barrier>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        // No request here has a body, and nobody pipelines.
        if input.ends_with(b"\r\n\r\n") {
            let line = input.get(4..).unwrap_or_default();
            if line.starts_with(GATHER.as_bytes()) {
                gathered.wait().await;
            }
            input.clear();
            stream.write_all(RESPONSE).await?;
        }
    }
}

/// A server in a process of its own, until dropped.
pub struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    /// Starts this very program anew, as a server. Its `main` must hand [`SERVE`] to [`serve`].
    ///
    /// # Errors
    ///
    /// The process did not start, or ended before it printed its port.
    pub fn start(gather: usize) -> io::Result<Self> {
        Self::with_args(&[SERVE, &gather.to_string()])
    }

    /// Starts this very program anew, with arguments that make it a server. It prints its port first.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn with_args(args: &[&str]) -> io::Result<Self> {
        let mut child = descriptors::command(0)?
            .args(args)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line)?;
        }
        let port: u16 = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self {
            child,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_what_the_table_says_it_is() {
        let text = std::str::from_utf8(RESPONSE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().count() - 1, body.len()), (8, BODY_LEN));
        assert!(head.contains(&format!("content-length: {BODY_LEN}")));
    }
}
