//! What the scenarios share: durations, clients, servers, and futures that stop halfway.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use fulmar_core::buf::WriteBuf;
use fulmar_sim::{Client, ClientBuilder, Conn, Error, Gauges, Instant, Response, Sim};
use fulmar_tests::toy_tls::{ServerConfig, ToyConnector, ToyServer};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The instant so long after the beginning of a simulation.
pub(crate) fn at(since: Duration) -> Instant {
    Instant::ORIGIN + since
}

pub(crate) fn builder(sim: &Sim) -> ClientBuilder {
    Client::builder(sim.net("laptop"))
}

pub(crate) fn client(sim: &Sim) -> Client {
    builder(sim).build().unwrap()
}

pub(crate) fn secure(sim: &Sim) -> ClientBuilder {
    builder(sim).tls(ToyConnector)
}

/// Answers every request with its path.
pub(crate) fn echo(sim: &Sim, addr: &str) {
    sim.serve(addr, |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
}

/// Reads one request, then does nothing for as long as the client stays.
pub(crate) fn silent(sim: &Sim, addr: &str) {
    sim.serve(addr, |mut conn| async move {
        while conn.request().await?.is_some() {}
        Ok(())
    });
}

/// Answers the first request of each connection with these bytes, and then waits for the client to
/// go.
pub(crate) fn raw(sim: &Sim, addr: &str, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    sim.serve(addr, move |mut conn| {
        let bytes = bytes.clone();
        async move {
            conn.request().await?;
            conn.write_all(bytes).await?;
            while !conn.read(1024).await?.is_empty() {}
            Ok(())
        }
    });
}

/// The same, and closes after them.
pub(crate) fn raw_then_close(sim: &Sim, addr: &str, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    sim.serve(addr, move |mut conn| {
        let bytes = bytes.clone();
        async move {
            conn.request().await?;
            conn.write_all(bytes).await
        }
    });
}

pub(crate) async fn text(client: &Client, url: &str) -> Result<String, Error> {
    client.get(url).send().await?.text().await
}

/// Reads a body to its end and counts.
pub(crate) async fn drain(mut response: Response) -> Result<u64, Error> {
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

/// Nobody uses or waits for a connection.
#[track_caller]
pub(crate) fn assert_quiet(gauges: Gauges) {
    let busy = (
        gauges.busy,
        gauges.connecting,
        gauges.waiting,
        gauges.draining,
    );
    assert_eq!(busy, (0, 0, 0, 0), "{gauges:?}");
}

/// Polls a future so often and drops it then. `None` if it was not ready.
pub(crate) struct PollTimes<F> {
    future: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> PollTimes<F> {
    pub(crate) fn new(left: usize, future: F) -> Self {
        Self {
            future: Some(Box::pin(future)),
            left,
        }
    }
}

impl<F: Future> Future for PollTimes<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left > 0 {
            self.left -= 1;
            let Some(future) = &mut self.future else {
                return Poll::Ready(None);
            };
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if self.left == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// Runs a future until that instant, and drops it then. `None` if it was not ready.
pub(crate) async fn until<F: Future>(
    handle: &fulmar_sim::Handle,
    at: Instant,
    future: F,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut sleep = Box::pin(handle.sleep_until(at));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Runs all at once and returns their outputs in order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures
        .into_iter()
        .map(|f| (Some(Box::pin(f)), None))
        .collect();
    std::future::poll_fn(|cx| {
        let mut done = true;
        for (future, output) in &mut running {
            if let Some(polled) = future {
                match polled.as_mut().poll(cx) {
                    Poll::Ready(ready) => (*future, *output) = (None, Some(ready)),
                    Poll::Pending => done = false,
                }
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// The server's side of the toy TLS over a simulated connection.
pub(crate) struct TlsConn {
    pub(crate) conn: Conn,
    pub(crate) server: ToyServer,
    cipher_rx: BytesMut,
    rx: BytesMut,
    pub(crate) cipher_tx: WriteBuf,
}

impl TlsConn {
    pub(crate) fn new(conn: Conn, name: &str) -> Self {
        Self {
            conn,
            server: ToyServer::new(ServerConfig::named(name)),
            cipher_rx: BytesMut::new(),
            rx: BytesMut::new(),
            cipher_tx: WriteBuf::default(),
        }
    }

    /// Reads once from below. False at its end.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let read = self.conn.read(16 * 1024).await?;
        self.cipher_rx.extend_from_slice(&read);
        let Self {
            server,
            cipher_rx,
            rx,
            cipher_tx,
            ..
        } = self;
        let handled = server.handle_input(cipher_rx, rx, cipher_tx);
        self.flush().await?;
        handled.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        Ok(!read.is_empty())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        use bytes::Buf;
        while self.cipher_tx.has_remaining() {
            let chunk = self.cipher_tx.chunk().to_vec();
            self.cipher_tx.advance(chunk.len());
            self.conn.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Reads a request without a body. False: the client has gone.
    pub(crate) async fn request(&mut self) -> io::Result<bool> {
        Ok(self.head().await?.is_some())
    }

    /// The next request's head as text.
    pub(crate) async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.rx.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.rx.split_to(end + 4);
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if self.server.is_closed() || !self.fill().await? {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut tx = WriteBuf::default();
        tx.put_slice(bytes);
        let sent = self.server.send(&mut tx, &mut self.cipher_tx);
        sent.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        self.flush().await
    }
}
