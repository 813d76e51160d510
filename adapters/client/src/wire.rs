//! What stands between a connection and its socket: nothing, or TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use chacha20::ChaCha8Rng;
use fulmar_core::buf::WriteBuf;
use fulmar_core::fault::{Fault, Phase};
use fulmar_core::h1::End;
use fulmar_core::tls::{Tls, TlsEnd};

use crate::checked;
use crate::fault::fault_of;
use crate::net::{Net, Stream};

/// Ciphertext that may wait to be written. More would only delay what comes after it.
const CIPHER_AHEAD: usize = 64 * 1024;
/// Room for one read of ciphertext: a record is at most 16 KiB.
const CIPHER_READ: usize = 17 * 1024;
/// Reads in one poll that may bring no plaintext before others get their turn.
const TURNS: usize = 16;

/// One connection's transport.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    tls: Option<Box<Layer>>,
}

/// What a read brought.
pub(crate) enum Read {
    Data(usize),
    End(End),
}

struct Layer {
    tls: Box<dyn Tls>,
    rx: BytesMut,
    tx: WriteBuf,
    /// Ciphertext that was queued before the request's first record.
    prior: usize,
    net: Arc<dyn Net>,
    rng: ChaCha8Rng,
}

impl Wire {
    pub(crate) fn plain(stream: Box<dyn Stream>) -> Self {
        Self { stream, tls: None }
    }

    pub(crate) fn secure(
        stream: Box<dyn Stream>,
        tls: Box<dyn Tls>,
        net: Arc<dyn Net>,
        rng: ChaCha8Rng,
    ) -> Self {
        let layer = Layer {
            tls,
            rx: BytesMut::new(),
            tx: WriteBuf::default(),
            prior: 0,
            net,
            rng,
        };
        Self {
            stream,
            tls: Some(Box::new(layer)),
        }
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    /// Marks where a request begins: ciphertext queued before does not count as accepted for it.
    pub(crate) fn begin(&mut self) {
        if let Some(layer) = &mut self.tls {
            layer.prior = layer.tx.len();
        }
    }

    /// Reads what there is into `rx`, whose spare capacity the caller has provided. The phase is
    /// what a fault happens in.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut BytesMut,
        phase: impl FnOnce() -> Phase,
    ) -> Poll<Result<Read, Fault>> {
        match &mut self.tls {
            None => read_of(checked::poll_read(&mut *self.stream, cx, rx), phase),
            Some(layer) => layer.poll_read(&mut *self.stream, cx, rx, phase()),
        }
    }

    /// The same for the first read of a poll, whose count is held against less.
    #[inline]
    pub(crate) fn poll_read_first(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut BytesMut,
        phase: impl FnOnce() -> Phase,
    ) -> Poll<Result<Read, Fault>> {
        match &mut self.tls {
            None => read_of(checked::poll_read_first(&mut *self.stream, cx, rx), phase),
            Some(layer) => layer.poll_read(&mut *self.stream, cx, rx, phase()),
        }
    }

    /// Writes some of `tx`, by one system call at the most. Returns the bytes that the transport took
    /// of this request: of ciphertext, under TLS. Called while `tx` is not empty or what is below
    /// is not flushed.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut WriteBuf,
        phase: Phase,
    ) -> Poll<Result<usize, Fault>> {
        match &mut self.tls {
            None => checked::poll_write(&mut *self.stream, cx, tx).map_err(|e| fault_of(&e, phase)),
            Some(layer) => layer.poll_write(&mut *self.stream, cx, tx, phase),
        }
    }

    /// The same for the first write of a poll, whose count is held against less.
    #[inline]
    pub(crate) fn poll_write_first(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut WriteBuf,
        phase: Phase,
    ) -> Poll<Result<usize, Fault>> {
        match &mut self.tls {
            None => checked::poll_write_first(&mut *self.stream, cx, tx)
                .map_err(|e| fault_of(&e, phase)),
            Some(layer) => layer.poll_write(&mut *self.stream, cx, tx, phase),
        }
    }

    /// Whether bytes wait below the connection's own buffer.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|layer| layer.tx.is_empty())
    }

    /// Runs the TLS handshake to its end.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(layer) => layer.poll_handshake(&mut *self.stream, cx),
        }
    }

    /// Queues what opens the handshake.
    pub(crate) fn start(&mut self) -> Result<(), Fault> {
        match &mut self.tls {
            None => Ok(()),
            Some(layer) => layer
                .tls
                .start(&mut layer.tx, layer.net.wall(), &mut layer.rng),
        }
    }

    /// Whether the connection may serve another request: no byte for it, and not closed. Records
    /// that are TLS's own business (session tickets, key updates) are consumed and do not count.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.stream.is_quiet() {
            return true;
        }
        let Some(layer) = &mut self.tls else {
            return false;
        };
        let mut rx = BytesMut::new();
        let mut cx = Context::from_waker(Waker::noop());
        let read = layer.poll_read(&mut *self.stream, &mut cx, &mut rx, Phase::Pool);
        read.is_pending() && rx.is_empty()
    }

    /// Prepares for idling: gives up buffers, arms what the runtime wants armed.
    pub(crate) fn park(&mut self) {
        self.rest();
        self.stream.park();
    }

    /// Gives up buffers that are empty.
    pub(crate) fn rest(&mut self) {
        if let Some(layer) = &mut self.tls {
            if layer.rx.is_empty() {
                layer.rx = BytesMut::new();
            }
            if layer.tx.is_empty() {
                layer.tx = WriteBuf::default();
            }
        }
    }

    /// Says that nothing more will be written, and waits until that has gone out.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Some(layer) = &mut self.tls {
            layer.tls.close(&mut layer.tx);
            ready!(layer.poll_flush(&mut *self.stream, cx, Phase::Write))?;
        }
        let polled = self.stream.poll_shutdown(cx);
        polled.map_err(|e| fault_of(&e, Phase::Write))
    }

    /// Says goodbye as far as it goes without waiting: a `close_notify`, then nothing.
    pub(crate) fn close(&mut self) {
        let Some(layer) = &mut self.tls else { return };
        layer.tls.close(&mut layer.tx);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = layer.poll_flush(&mut *self.stream, &mut cx, Phase::Body);
    }
}

#[inline]
fn read_of(
    polled: Poll<io::Result<usize>>,
    phase: impl FnOnce() -> Phase,
) -> Poll<Result<Read, Fault>> {
    match ready!(polled) {
        Ok(0) => Poll::Ready(Ok(Read::End(End::Clean))),
        Ok(n) => Poll::Ready(Ok(Read::Data(n))),
        Err(e) => Poll::Ready(Err(fault_of(&e, phase()))),
    }
}

/// TLS calls every fault its own. Behind the handshake it concerns the request on its way: what
/// phase that is in decides whether the request may be sent again.
fn at(phase: Phase, mut fault: Fault) -> Fault {
    fault.phase = phase;
    fault
}

impl Layer {
    fn poll_read(
        &mut self,
        stream: &mut dyn Stream,
        cx: &mut Context<'_>,
        rx: &mut BytesMut,
        phase: Phase,
    ) -> Poll<Result<Read, Fault>> {
        let before = rx.len();
        for _ in 0..TURNS {
            // What TLS answers by itself goes out whether or not the application writes. Where it
            // does not, what the peer had sent before is still to be read.
            if let Poll::Ready(Err(_)) = self.poll_flush(stream, cx, phase) {
                self.tx.clear();
            }
            if self.tls.is_closed() {
                return Poll::Ready(Ok(Read::End(End::Clean)));
            }
            self.rx.reserve(CIPHER_READ);
            match ready!(checked::poll_read(stream, cx, &mut self.rx)) {
                Ok(0) => {
                    let end = match self.tls.handle_eof() {
                        TlsEnd::Clean => End::Clean,
                        TlsEnd::Truncated => End::Truncated,
                    };
                    return Poll::Ready(Ok(Read::End(end)));
                }
                Ok(_) => self.handle_input(rx).map_err(|fault| {
                    // The alert, if it goes out at once.
                    let _ = self.poll_flush(stream, cx, phase);
                    at(phase, fault)
                })?,
                Err(e) => return Poll::Ready(Err(fault_of(&e, phase))),
            }
            if rx.len() > before {
                return Poll::Ready(Ok(Read::Data(rx.len() - before)));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn handle_input(&mut self, rx: &mut BytesMut) -> Result<(), Fault> {
        let wall = self.net.wall();
        self.tls
            .handle_input(&mut self.rx, rx, &mut self.tx, wall, &mut self.rng)
    }

    fn poll_write(
        &mut self,
        stream: &mut dyn Stream,
        cx: &mut Context<'_>,
        tx: &mut WriteBuf,
        phase: Phase,
    ) -> Poll<Result<usize, Fault>> {
        if !tx.is_empty() && self.tx.len() < CIPHER_AHEAD {
            let sent = self.tls.send(tx, &mut self.tx, CIPHER_AHEAD, &mut self.rng);
            sent.map_err(|fault| at(phase, fault))?;
        }
        if self.tx.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = ready!(checked::poll_write(stream, cx, &mut self.tx))
            .map_err(|e| fault_of(&e, phase))?;
        let prior = n.min(self.prior);
        self.prior -= prior;
        // Progress is progress, but only this request's bytes count as accepted.
        Poll::Ready(Ok(n - prior))
    }

    fn poll_flush(
        &mut self,
        stream: &mut dyn Stream,
        cx: &mut Context<'_>,
        phase: Phase,
    ) -> Poll<Result<(), Fault>> {
        while !self.tx.is_empty() {
            let n = ready!(checked::poll_write(stream, cx, &mut self.tx))
                .map_err(|e| fault_of(&e, phase))?;
            self.prior = self.prior.saturating_sub(n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_handshake(
        &mut self,
        stream: &mut dyn Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            let flushed = self.poll_flush(stream, cx, Phase::Tls)?;
            if !self.tls.is_handshaking() {
                return flushed.map(Ok);
            }
            self.rx.reserve(CIPHER_READ);
            let n = ready!(checked::poll_read(stream, cx, &mut self.rx))
                .map_err(|e| fault_of(&e, Phase::Tls))?;
            if n == 0 {
                let kind = fulmar_core::fault::FaultKind::Eof;
                return Poll::Ready(Err(Fault::new(kind, Phase::Tls)));
            }
            // Plaintext may follow the last flight in the same read: an HTTP/1.1 server that speaks
            // first is a desync, and the pool will find the connection not quiet.
            let mut early = BytesMut::new();
            let handled = self.handle_input(&mut early);
            if handled.is_err() || !early.is_empty() {
                let _ = self.poll_flush(stream, cx, Phase::Tls);
            }
            handled?;
            if !early.is_empty() {
                let fault = Fault::new(fulmar_core::fault::FaultKind::Record, Phase::Tls);
                return Poll::Ready(Err(fault.with_detail("data before any request")));
            }
        }
    }
}
