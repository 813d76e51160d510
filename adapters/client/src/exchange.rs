//! One request and response on a connection, whichever protocol carries it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_core::call::Via;
use fulmar_core::deadline::Clocks;
use fulmar_core::h1::{Event, Reuse};
use fulmar_core::http::ResponseHead;
use fulmar_core::pool::{Discard, Slot};
use fulmar_core::time::Instant;
use http::Version;

use crate::driver::Drain;
use crate::h1::{Failure, H1, Upload};
use crate::shared::{Registration, Shared, State};

/// A stream of a shared connection. There is no protocol with streams yet, so there is no value of
/// it either; the pool's shared connections are tested with a handle of their own.
#[derive(Clone)]
pub(crate) enum StreamHandle {}

/// Request, body and upload code see only this.
pub(crate) enum Exchange {
    H1(Box<H1>),
    #[expect(dead_code, reason = "HTTP/2 fills this room; the boundary is laid now")]
    H2(StreamHandle),
}

/// The response as far as its head.
pub(crate) enum Reply {
    /// It is complete.
    Whole(ResponseHead, Bytes, Reuse),
    /// A body follows.
    Head(ResponseHead),
    /// The connection is no longer HTTP's.
    Tunnel(ResponseHead),
    /// An interim response.
    Informational(u16),
}

/// The next of the response's body.
pub(crate) enum Data {
    Chunk(Bytes),
    End(Reuse),
}

impl Exchange {
    // Where it is called, twice a request, the call would cost as much as the rest.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        upload: &mut Upload,
    ) -> Poll<Result<Reply, Failure>> {
        match self {
            Self::H1(h1) => {
                let event = std::task::ready!(h1.poll_event(cx, now, clocks, upload))?;
                Poll::Ready(h1.reply(event))
            }
            Self::H2(stream) => match *stream {},
        }
    }

    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        clocks: &mut Clocks,
        upload: &mut Upload,
    ) -> Poll<Result<Data, Failure>> {
        match self {
            Self::H1(h1) => loop {
                match std::task::ready!(h1.poll_event(cx, now, clocks, upload))? {
                    Event::Body(chunk) => return Poll::Ready(Ok(Data::Chunk(chunk))),
                    Event::End(reuse) => return Poll::Ready(Ok(Data::End(reuse))),
                    _ => {}
                }
            },
            Self::H2(stream) => match *stream {},
        }
    }

    pub(crate) fn accepted(&self) -> u64 {
        match self {
            Self::H1(h1) => h1.accepted(),
            Self::H2(stream) => match *stream {},
        }
    }

    /// Whether the last byte of the request is with the transport.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Self::H1(h1) => h1.is_sent(),
            Self::H2(stream) => match *stream {},
        }
    }

    pub(crate) fn response_bytes(&self) -> u64 {
        match self {
            Self::H1(h1) => h1.machine().response_bytes(),
            Self::H2(stream) => match *stream {},
        }
    }

    pub(crate) fn body_left(&self) -> Option<u64> {
        match self {
            Self::H1(h1) => h1.machine().body_left(),
            Self::H2(stream) => match *stream {},
        }
    }

    /// The connection.
    pub(crate) fn via(&self) -> Via {
        match self {
            Self::H1(h1) => Via {
                connection: h1.id,
                peer: h1.peer.clone(),
                protocol: Some(Version::HTTP_11),
            },
            Self::H2(stream) => match *stream {},
        }
    }

    pub(crate) fn peer(&self) -> Option<Arc<SocketAddr>> {
        match self {
            Self::H1(h1) => h1.peer.clone(),
            Self::H2(stream) => match *stream {},
        }
    }

    /// Notes that the call decided on the response, and settled with the retry budget.
    pub(crate) fn judge(&mut self) {
        match self {
            Self::H1(h1) => h1.judge(),
            Self::H2(stream) => match *stream {},
        }
    }

    /// Books a success with the retry budget, where nobody has: of a response whose body follows.
    /// The head shows that the peer works, and nobody may ever read the body to its end.
    pub(crate) fn earn(&mut self, shared: &Shared, now: Instant) {
        match self {
            Self::H1(h1) if h1.is_success() => {
                h1.judge();
                shared.locked(|state| state.earn(now, h1.slot));
            }
            Self::H1(_) => {}
            Self::H2(stream) => match *stream {},
        }
    }

    /// Ends a complete exchange: the connection goes back to the pool, or closes. The call's
    /// registration ends in the same locked section.
    pub(crate) fn finish(
        self,
        shared: &Arc<Shared>,
        now: Instant,
        reuse: Reuse,
        registration: &mut Registration,
    ) {
        match self {
            Self::H1(h1) => finish_h1(h1, shared, now, reuse, registration),
            Self::H2(stream) => match stream {},
        }
    }

    /// Gives an exchange up before its end: drained where little is left, else closed. Works in a
    /// `Drop` on any thread.
    pub(crate) fn cancel(self, shared: &Shared, in_body: bool) {
        match self {
            // Where a panic drops it, the transport may be what panics: to read on would end the process.
            Self::H1(h1) if in_body && !std::thread::panicking() => Drain::begin(h1, shared),
            Self::H1(h1) => shared.discard(h1, Discard::Spent, "cancelled"),
            Self::H2(stream) => match stream {},
        }
    }

    /// Takes a new connection out of use that ended before its first response.
    pub(crate) fn bury(self, shared: &Shared) {
        match self {
            Self::H1(h1) => shared.bury(h1),
            Self::H2(stream) => match stream {},
        }
    }

    /// Takes the connection out of use.
    pub(crate) fn discard(self, shared: &Shared, why: &'static str) {
        match self {
            Self::H1(h1) => shared.discard(h1, Discard::Spent, why),
            Self::H2(stream) => match stream {},
        }
    }
}

#[inline]
fn finish_h1(
    mut h1: Box<H1>,
    shared: &Arc<Shared>,
    now: Instant,
    reuse: Reuse,
    registration: &mut Registration,
) {
    let is_success = h1.is_success();
    let earn = |state: &mut State, slot| {
        if is_success {
            state.earn(now, slot);
        }
    };
    if let Reuse::Close(_) = reuse {
        shared.locked(|state| {
            earn(state, h1.slot);
            registration.remove(state)
        });
        return shared.discard(h1, Discard::Answered, "not reusable");
    }
    let hint = h1.machine().keep_alive().timeout;
    let (slot, id) = (h1.slot, h1.id);
    let bufs = h1.park();
    shared.locked(|state| {
        if let Some(bufs) = bufs {
            state.give_back(bufs);
        }
        earn(state, slot);
        state.pool.park(now, slot, h1, hint);
        registration.remove(state)
    });
    shared.emit(0, || fulmar_core::trace::Event::Parked { connection: id });
}

impl State {
    /// A response came on that connection which calls for no retry.
    #[inline]
    fn earn(&mut self, now: Instant, slot: Slot) {
        if let Some(budget) = self.pool.slot_budget(slot) {
            budget.handle_success(now);
        }
    }
}

impl H1 {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn reply(&mut self, event: Event) -> Result<Reply, Failure> {
        let head = || {
            use fulmar_core::fault::{Fault, FaultKind, Phase};
            // The machine puts the head there before it says so.
            Failure::from(Fault::new(FaultKind::Aborted, Phase::Head))
        };
        Ok(match event {
            Event::Whole(body, reuse) => {
                Reply::Whole(self.take_head().ok_or_else(head)?, body, reuse)
            }
            Event::Tunnel => Reply::Tunnel(self.take_head().ok_or_else(head)?),
            Event::Informational(status) => Reply::Informational(status),
            Event::Head | Event::Body(_) | Event::Trailers | Event::End(_) => {
                Reply::Head(self.take_head().ok_or_else(head)?)
            }
        })
    }

    fn take_head(&mut self) -> Option<ResponseHead> {
        self.scratch()?.take_head()
    }
}
