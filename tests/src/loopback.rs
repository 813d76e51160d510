//! A small HTTP/1.1 server on loopback, in threads of its own: what a real runtime's tests talk to.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// One request as the server read it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, as it stood in the request line.
    pub target: String,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Which connection of the server it came on, from 1.
    pub connection: usize,
}

impl Request {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Counts {
    accepted: usize,
    /// The connections that are open, by number.
    open: BTreeMap<usize, TcpStream>,
    requests: Vec<Request>,
    has_ended: bool,
    has_left: bool,
}

/// A running server. It ends with the process, or [before](Self::end).
#[derive(Clone, Debug)]
pub struct Loopback {
    addr: SocketAddr,
    counts: Arc<(Mutex<Counts>, Condvar)>,
}

/// Answers one request on a connection; false closes the connection afterwards.
pub trait Handler:
    Fn(&Request, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static
{
}
impl<F: Fn(&Request, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static> Handler for F {}

impl Loopback {
    /// Starts a server that answers every request by `handler`.
    ///
    /// # Panics
    ///
    /// If the system has no loopback port to give.
    pub fn start(handler: impl Handler) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), handler)
    }

    /// The same at an address of loopback.
    ///
    /// # Panics
    ///
    /// If that is taken.
    pub fn start_at(addr: SocketAddr, handler: impl Handler) -> Self {
        let listener = TcpListener::bind(addr).expect("a loopback port");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let server = Self {
            addr,
            counts: Arc::default(),
        };
        let accepting = server.clone();
        let handler = Arc::new(handler);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept()
                && let Some(connection) = accepting.admit(&stream)
            {
                let (server, handler) = (accepting.clone(), handler.clone());
                thread::spawn(move || {
                    // How a connection ends is the test's business.
                    let _ = server.serve(stream, &*handler, connection);
                    server.change(|counts| counts.open.remove(&connection));
                });
            }
            drop(listener);
            accepting.change(|counts| counts.has_left = true);
        });
        server
    }

    /// The number of a new connection; `None` once the server has ended.
    fn admit(&self, stream: &TcpStream) -> Option<usize> {
        let stream = stream.try_clone().ok()?;
        self.change(|counts| {
            counts.accepted += 1;
            let number = counts.accepted;
            let admitted = (!counts.has_ended).then_some(number);
            counts.open.extend(admitted.map(|number| (number, stream)));
            admitted
        })
    }

    /// Ends every connection and leaves the address.
    ///
    /// # Panics
    ///
    /// If that does not come about within 10 seconds.
    pub fn end(&self) {
        self.change(|counts| {
            counts.has_ended = true;
            for stream in counts.open.values() {
                // It may have ended by itself.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        // One more connection, for the one who accepts to look up.
        let _ = TcpStream::connect(self.addr);
        self.wait_until(|counts| counts.has_left, "it still listens");
    }

    /// Answers everything with 200 and the target as body.
    pub fn echo() -> Self {
        Self::start(|request, stream| {
            respond(stream, 200, request.target.as_bytes())?;
            Ok(true)
        })
    }

    fn serve(
        &self,
        stream: TcpStream,
        handler: &impl Handler,
        connection: usize,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(request) = read_request(&mut reader, connection)? {
            self.change(|counts| counts.requests.push(request.clone()));
            if !handler(&request, &mut stream)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn change<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> R {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut counts);
        self.counts.1.notify_all();
        result
    }

    /// `http://127.0.0.1:port` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The address listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.change(|counts| counts.accepted)
    }

    /// The requests read so far.
    pub fn requests(&self) -> Vec<Request> {
        self.change(|counts| counts.requests.clone())
    }

    /// Waits until at most `open` connections are open.
    ///
    /// # Panics
    ///
    /// If that does not come about within 10 seconds.
    pub fn wait_until_open(&self, open: usize) {
        let why = "too many connections are still open";
        self.wait_until(|counts| counts.open.len() <= open, why);
    }

    fn wait_until(&self, is_so: impl Fn(&Counts) -> bool, why: &str) {
        let counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Duration::from_secs(10);
        let is_not = |counts: &mut Counts| !is_so(counts);
        let (counts, waited) = self
            .counts
            .1
            .wait_timeout_while(counts, patience, is_not)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "{why}: {counts:?}");
    }
}

/// Writes a response with a length.
///
/// # Errors
///
/// What the socket says.
pub fn respond(stream: &mut TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let mut response = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(body);
    stream.write_all(&response)
}

fn read_request(reader: &mut impl BufRead, connection: usize) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
        connection,
    };
    request.body = read_body(reader, &request)?;
    Ok(Some(request))
}

fn read_body(reader: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    if let Some(length) = request.header("content-length") {
        body.resize(length.parse().map_err(io::Error::other)?, 0);
        reader.read_exact(&mut body)?;
    }
    Ok(body)
}
