//! The machine of one connection: one exchange after the other, never two at once.
//!
//! Invariants
//! * Bytes behind a response are never read as the next one: the connection closes instead.
//! * No event of one response holds a byte of another; no error is followed by anything else.
//! * Events, put together, are a function of the bytes and not of how they were cut.
//! * The machine owns no buffer, and `poll_event` without new bytes is O(1) and allocates nothing.

use std::time::Duration;

use ::http::Method;
use ::http::header::{HeaderMap, UPGRADE};
use bytes::{Bytes, BytesMut};

use super::encode::{BodyLength, Own, RequestHead, inspect, number, write};
use super::error::{CloseReason, End, Error, RequestError};
use super::event::{Event, Reuse, Scratch};
use super::limits::Limits;
use super::response::{Request, Response};
use super::trailers;
use crate::buf::WriteBuf;
use crate::http::framing::Asked;
use crate::http::{Framing, KeepAlive, Scan};
use crate::time::Instant;

/// How long a body waits for 100 (Continue) before it goes out anyway.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// One HTTP/1.1 connection, seen from the client.
///
/// Commands write to `tx`; [`poll_event`](Self::poll_event) reads `rx`. A connection that idles is
/// this struct and no buffer.
// Independent facts about one exchange, a byte each in a struct that has to stay small.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Connection {
    pub(super) response: Response,
    /// Bytes of this exchange's response that were seen, those still in `rx` included.
    pub(super) received: u64,
    /// Bytes of the request body that were declared and not given yet.
    body_left: u64,
    /// When the body goes out anyway; [`Instant::MAX`] unless it waits.
    pub(super) continue_at: Instant,
    /// The protocols offered by `Upgrade`.
    pub(super) offered: Option<Box<Offer>>,
    pub(super) limits: Limits,
    pub(super) scan: Scan,
    /// Bytes that the last `poll_event` left in `rx`.
    pub(super) unparsed: u32,
    /// Bytes of interim heads, or of a body that is ignored.
    pub(super) spent: u32,
    pub(super) hint: Hint,
    pub(super) reuse: Reuse,
    pub(super) eof: Option<End>,
    pub(super) asked: Asked,
    pub(super) request: Request,
    /// Interim heads of this exchange.
    pub(super) interims: u8,
    /// Half empty lines, CR and LF, since the last message.
    pub(super) blank: u8,
    pub(super) asked_close: bool,
    /// The target is absolute: a proxy answers.
    pub(super) via_proxy: bool,
    /// The peer's last response was HTTP/1.0.
    pub(super) peer_http_10: bool,
    /// The body is read and not told.
    pub(super) ignoring: bool,
}

const _: () = assert!(size_of::<Connection>() <= 120);

/// The values of the request's `Upgrade` fields.
#[derive(Debug)]
pub(super) struct Offer(pub(super) HeaderMap);

/// A keep-alive hint in four bytes; the greatest number says that there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    timeout: u16,
    max: u16,
}

impl Hint {
    const NONE: Self = Self {
        timeout: u16::MAX,
        max: u16::MAX,
    };

    pub(super) fn new(hint: KeepAlive) -> Self {
        let pack = |n: u64| n.min(u64::from(u16::MAX) - 1) as u16;
        Self {
            timeout: hint
                .timeout
                .map_or(u16::MAX, |timeout| pack(timeout.as_secs())),
            max: hint.max.map_or(u16::MAX, |max| pack(u64::from(max))),
        }
    }
}

impl Connection {
    /// A connection that was just opened.
    pub fn new(limits: Limits) -> Self {
        Self {
            response: Response::Idle,
            received: 0,
            body_left: 0,
            continue_at: Instant::MAX,
            offered: None,
            limits,
            scan: Scan::default(),
            unparsed: 0,
            spent: 0,
            hint: Hint::NONE,
            reuse: Reuse::Keep,
            eof: None,
            asked: Asked::Other,
            request: Request::Complete,
            interims: 0,
            blank: 0,
            asked_close: false,
            via_proxy: false,
            peer_http_10: false,
            ignoring: false,
        }
    }

    /// Begins an exchange: encodes the head into `tx`.
    ///
    /// # Errors
    ///
    /// Nothing was written, and the connection is as it was.
    pub fn send(
        &mut self,
        now: Instant,
        request: &RequestHead<'_>,
        body: BodyLength,
        tx: &mut WriteBuf,
    ) -> Result<(), RequestError> {
        match self.response {
            Response::Idle if self.eof.is_none() => {}
            Response::Idle | Response::Closed | Response::Tunnel | Response::Failed(_) => {
                return Err(RequestError::Unusable);
            }
            _ => return Err(RequestError::Busy),
        }
        if self.peer_http_10 && body == BodyLength::Unknown {
            return Err(RequestError::ChunkedToHttp10);
        }
        let own = inspect(request, body, !self.peer_http_10)?;
        write(request, body, &own, tx.tail());
        self.begin(now, request, body, &own);
        Ok(())
    }

    fn begin(&mut self, now: Instant, request: &RequestHead<'_>, body: BodyLength, own: &Own<'_>) {
        (self.request, self.body_left) = match body {
            BodyLength::Empty | BodyLength::Known(0) => (Request::Complete, 0),
            BodyLength::Known(length) => (Request::Length, length),
            BodyLength::Unknown => (Request::Chunked, 0),
        };
        self.continue_at = if own.expect {
            now + CONTINUE_WAIT
        } else {
            Instant::MAX
        };
        // Told first: mostly there is none to drop.
        if self.offered.is_some() || own.upgrade.is_some() {
            self.offered = own.upgrade.map(|_| {
                let values = request.headers.get_all(UPGRADE).iter();
                Box::new(Offer(
                    values.map(|value| (UPGRADE, value.clone())).collect(),
                ))
            });
        }
        self.asked = match *request.method {
            Method::HEAD => Asked::Head,
            Method::CONNECT => Asked::Connect,
            _ => Asked::Other,
        };
        self.asked_close = own.close;
        self.via_proxy = self.asked != Asked::Connect && !request.target.starts_with(['/', '*']);
        self.response = Response::Head;
        self.reuse = Reuse::Keep;
        self.hint = Hint::NONE;
        self.ignoring = false;
        (self.received, self.unparsed, self.spent, self.interims) = (0, 0, 0, 0);
    }

    /// Sends a part of the body.
    ///
    /// # Errors
    ///
    /// Nothing was written: it is more than was declared, or the body is not wanted now.
    pub fn send_data(&mut self, data: Bytes, tx: &mut WriteBuf) -> Result<(), RequestError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.request == Request::Complete {
            return Err(RequestError::TooMuchBody);
        }
        if !self.is_body_wanted() {
            return Err(RequestError::NotWanted);
        }
        if self.request == Request::Chunked {
            tx.put_slice(number(data.len() as u64, 16, &mut [0; 20]));
            tx.put_slice(b"\r\n");
            tx.put_bytes(data);
            tx.put_slice(b"\r\n");
            return Ok(());
        }
        let Some(left) = self.body_left.checked_sub(data.len() as u64) else {
            return Err(RequestError::TooMuchBody);
        };
        self.body_left = left;
        if left == 0 {
            self.request = Request::Complete;
        }
        tx.put_bytes(data);
        Ok(())
    }

    /// Ends the body. Trailers are possible where its length was unknown.
    ///
    /// # Errors
    ///
    /// Nothing was written. After [`RequestError::TooLittleBody`] the request is given up and the
    /// connection has to be closed.
    pub fn send_end(
        &mut self,
        trailers: Option<&HeaderMap>,
        tx: &mut WriteBuf,
    ) -> Result<(), RequestError> {
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        match self.request {
            Request::Complete if trailers.is_some() => Err(RequestError::Trailers),
            Request::Complete => Ok(()),
            Request::Stopped | Request::Aborted => Err(RequestError::NotWanted),
            Request::Length => {
                self.request = Request::Aborted;
                self.continue_at = Instant::MAX;
                Err(RequestError::TooLittleBody)
            }
            Request::Chunked if !self.is_body_wanted() => Err(RequestError::NotWanted),
            Request::Chunked => {
                trailers::encode(trailers, tx)?;
                self.request = Request::Complete;
                Ok(())
            }
        }
    }

    /// The peer will send nothing more. What that means is told by
    /// [`poll_event`](Self::poll_event), after the bytes that came before.
    pub fn handle_eof(&mut self, end: End) {
        self.eof.get_or_insert(end);
    }

    /// The wait for 100 (Continue) may be over.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.continue_at {
            self.continue_at = Instant::MAX;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.continue_at != Instant::MAX).then_some(self.continue_at)
    }

    /// What the bytes in `rx` mean next; none if it needs more of them.
    ///
    /// Small parts of a body are copied out of `rx` only where chunks are tiny, or where the body
    /// came whole with its head; everything else is split off.
    ///
    /// # Errors
    ///
    /// Sticky. `rx` is cleared: nothing behind an error is worth reading.
    pub fn poll_event(
        &mut self,
        rx: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Option<Event>, Error> {
        self.received += (rx.len() as u64).saturating_sub(u64::from(self.unparsed));
        let event = self.step(rx, scratch);
        if let Err(error) = event {
            self.response = Response::Failed(error);
            self.continue_at = Instant::MAX;
            rx.clear();
        }
        self.unparsed = rx.len() as u32;
        event
    }

    /// Whether the request body is incomplete and may go out now: not while it waits for 100
    /// (Continue), and not after a final head came first.
    pub fn is_body_wanted(&self) -> bool {
        matches!(self.request, Request::Length | Request::Chunked)
            && self.continue_at == Instant::MAX
            && !matches!(
                self.response,
                Response::Failed(_) | Response::Closed | Response::Tunnel
            )
    }

    /// Whether the request was given whole. Whether it went out, `tx` knows.
    pub fn request_complete(&self) -> bool {
        self.request == Request::Complete
    }

    /// Whether it can begin an exchange.
    pub fn is_idle(&self) -> bool {
        matches!(self.response, Response::Idle) && self.eof.is_none()
    }

    /// Whether any byte came in answer to the present request.
    pub fn response_started(&self) -> bool {
        self.received > 0
    }

    /// Bytes that came in answer to the present or last request, as of the last
    /// [`poll_event`](Self::poll_event).
    pub fn response_bytes(&self) -> u64 {
        self.received
    }

    /// Whether a byte of a head is there: of the final one, or of an interim one that is not
    /// complete.
    pub fn is_head_begun(&self) -> bool {
        match self.response {
            Response::Idle => false,
            Response::Head => self.unparsed > 0,
            _ => true,
        }
    }

    /// What is left of the response body, where that is known.
    pub fn body_left(&self) -> Option<u64> {
        match self.response {
            Response::Length { left, .. } => Some(left),
            Response::Idle | Response::Closed | Response::Finish(_) => Some(0),
            _ => None,
        }
    }

    /// Whether the final head was told, and the end of the response was not.
    pub fn is_in_body(&self) -> bool {
        self.response.is_in_body()
    }

    /// How the body that is being read is framed; none outside a body.
    pub fn framing(&self) -> Option<Framing> {
        self.response.framing()
    }

    /// The hint of the last response, capped at 65,534 seconds and requests.
    pub fn keep_alive(&self) -> KeepAlive {
        let known = |n: u16| (n != u16::MAX).then_some(n);
        KeepAlive {
            timeout: known(self.hint.timeout).map(|n| Duration::from_secs(u64::from(n))),
            max: known(self.hint.max).map(u32::from),
        }
    }

    /// Why the present exchange is the last, as far as the request says.
    pub(super) fn request_reuse(&self) -> Option<CloseReason> {
        match self.request {
            Request::Complete => None,
            Request::Aborted => Some(CloseReason::RequestAborted),
            Request::Length | Request::Chunked | Request::Stopped => {
                Some(CloseReason::EarlyResponse)
            }
        }
    }
}
