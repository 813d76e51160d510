//! A server, and its side of a connection, the same on a real socket and on a simulated one.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use fulmar::net::BoxFuture;

use fulmar_tests::loopback::Request;

use super::real::Socket;

/// What serves one connection.
pub(super) type Service = dyn Fn(Pipe) -> BoxFuture<()> + Send + Sync;

/// A running server.
#[derive(Clone, Default)]
pub(crate) struct Server {
    url: Arc<str>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    accepted: usize,
    open: usize,
    requests: Vec<Request>,
}

impl Server {
    pub(super) fn at(self, url: String) -> Self {
        Self {
            url: url.into(),
            ..self
        }
    }

    pub(super) fn counting<F, Fut>(&self, service: F) -> Arc<Service>
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let counts = Arc::clone(&self.counts);
        Arc::new(move |pipe| {
            let counts = Arc::clone(&counts);
            let connection = {
                let mut counts = counts.lock().unwrap();
                counts.open += 1;
                counts.accepted += 1;
                counts.accepted
            };
            let open = Open(Arc::clone(&counts));
            let peer = Peer {
                pipe,
                rx: BytesMut::new(),
                connection,
                counts,
            };
            let serving = service(peer);
            Box::pin(async move {
                // Dropped after the connection.
                let _open = open;
                let _ = serving.await;
            })
        })
    }

    /// The server's URL followed by `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.lock().unwrap().accepted
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.counts.lock().unwrap().open
    }

    /// The requests read so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.counts.lock().unwrap().requests.clone()
    }

    /// Methods, targets and bodies of the requests read so far.
    pub(crate) fn log(&self) -> Vec<String> {
        let line = |request: &Request| {
            let body = String::from_utf8_lossy(&request.body);
            format!("{} {} {body}", request.method, request.target)
                .trim_end()
                .to_owned()
        };
        self.requests().iter().map(line).collect()
    }
}

struct Open(Arc<Mutex<Counts>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().unwrap().open -= 1;
    }
}

/// The bytes of a connection. On a real socket it is served by a thread of its own, so that reads
/// and writes may block.
pub(super) enum Pipe {
    Real(Socket),
    Simulated(fulmar_sim::Conn),
}

/// A server's side of a connection. Dropping it closes the connection.
pub(crate) struct Peer {
    pipe: Pipe,
    rx: BytesMut,
    /// Which of the server's connections it is, from 1.
    pub(crate) connection: usize,
    counts: Arc<Mutex<Counts>>,
}

impl Peer {
    /// The next request, body included. Where the client expects `100 (Continue)`, that is sent
    /// first. `None`: the client has gone.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(mut request) = self.head().await? else {
            return Ok(None);
        };
        if request.header("expect").is_some() {
            self.write("HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = self.body(&request).await?;
        self.counts.lock().unwrap().requests.push(request.clone());
        Ok(Some(request))
    }

    /// The head of the next request; its body is left.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, len)) = parse(&self.rx, self.connection)? {
                self.rx.advance(len);
                return Ok(Some(request));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        if request.header("transfer-encoding").is_none() {
            let length = request.header("content-length").unwrap_or("0");
            let length = length.parse().map_err(io::Error::other)?;
            return Ok(self.exactly(length).await?.to_vec());
        }
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
            body.extend_from_slice(&self.exactly(size).await?);
            assert_eq!(self.line().await?, "", "a chunk ends with its line");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.rx.windows(2).position(|two| two == b"\r\n") {
                let line = self.rx.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill_or_fail().await?;
        }
    }

    /// So many bytes.
    pub(crate) async fn exactly(&mut self, len: usize) -> io::Result<Bytes> {
        while self.rx.len() < len {
            self.fill_or_fail().await?;
        }
        Ok(self.rx.split_to(len).freeze())
    }

    async fn fill_or_fail(&mut self) -> io::Result<()> {
        if self.fill().await? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Reads more. False: the client has ended its stream.
    async fn fill(&mut self) -> io::Result<bool> {
        let read = match &mut self.pipe {
            Pipe::Real(socket) => socket.read()?,
            Pipe::Simulated(conn) => conn.read(16 * 1024).await?,
        };
        self.rx.extend_from_slice(&read);
        Ok(!read.is_empty())
    }

    /// Reads until the client has gone.
    pub(crate) async fn gone(&mut self) -> io::Result<()> {
        while self.fill().await? {
            self.rx.clear();
        }
        Ok(())
    }

    /// Writes bytes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.pipe {
            Pipe::Real(socket) => socket.write(bytes.as_ref()),
            Pipe::Simulated(conn) => conn.write_all(bytes).await,
        }
    }

    /// Writes a response with a length.
    pub(crate) async fn respond(&mut self, status: u16, body: impl AsRef<[u8]>) -> io::Result<()> {
        self.respond_with(status, "", body).await
    }

    /// The same with more header lines.
    pub(crate) async fn respond_with(
        &mut self,
        status: u16,
        lines: &str,
        body: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.write([head.as_bytes(), body].concat()).await
    }

    /// Breaks the connection off, after what was written.
    pub(crate) fn reset(self) {
        match self.pipe {
            Pipe::Real(socket) => socket.reset(),
            Pipe::Simulated(mut conn) => conn.reset(),
        }
    }
}

/// A request head and its length, where it is complete.
fn parse(rx: &[u8], connection: usize) -> io::Result<Option<(Request, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(len) = parsed.parse(rx).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let field = |f: &httparse::Header<'_>| (f.name.to_ascii_lowercase(), text(f.value));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers: parsed.headers.iter().map(field).collect(),
        body: Vec::new(),
        connection,
    };
    Ok(Some((request, len)))
}
