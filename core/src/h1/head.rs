//! Heads, interim and final, and what they decide: how the body is read, and whether the
//! connection is used again.

use ::http::header::UPGRADE;
use bytes::{Buf, Bytes, BytesMut};

use super::chunked::{self, Chunked};
use super::connection::{Connection, Hint};
use super::error::{CloseReason, Error, Stage};
use super::event::{Event, Reuse, Scratch};
use super::receive::Step;
use super::response::{Request, Response};
use crate::http::field::tokens;
use crate::http::head::{HeadRules, Read, check_prefix, read, read_folded};
use crate::http::{Framing, HeadError, ResponseHead, Scan, ScanLimits};
use crate::time::Instant;

/// A body up to this long, if it came with its head, is copied: the read buffer stays whole.
const WHOLE_MAX: u64 = 8 * 1024;
/// Content of a 205 above this is not read to its end.
pub(super) const IGNORED_MAX: u32 = 64 * 1024;

impl Connection {
    pub(super) fn poll_head(&mut self, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        if !self.skip_blank(rx) {
            return Err(Error::Head(HeadError::BlankLines));
        }
        if rx.is_empty() {
            return self.starve(Stage::Start);
        }
        if self.scan.is_begun() {
            check_prefix(rx).map_err(Error::Head)?;
            if self.find_head_end(rx)?.is_none() {
                return self.starve(Stage::Head);
            }
        }
        let limits = self.limits;
        let rules = HeadRules {
            strictness: limits.strictness,
            fields: usize::from(limits.fields),
            asked: self.asked,
        };
        let whole = |status, framing, rest: &[u8], room: &mut [u8]| match framing {
            Framing::Empty => Some((0, 0)),
            // Its content is not for the caller.
            _ if status == 205 => None,
            Framing::Length(length) => {
                let length = usize::try_from(length).ok()?;
                room.get_mut(..length)?.copy_from_slice(rest.get(..length)?);
                Some((length, length))
            }
            Framing::Chunked => chunked::whole(rest, room, &limits),
            Framing::Close | Framing::Tunnel => None,
        };
        // A head longer than this may have broken a limit inside.
        let unseen = usize::from(limits.line).min(limits.head_bytes as usize);
        match read(rx, rules, whole) {
            Ok(Some(read)) if read.len <= unseen => self.accept(read, rx, scratch),
            other => self.poll_unusual_head(other, rules, rx, scratch),
        }
    }

    /// A head that is incomplete, long, folded or wrong: what it is depends on where it ends.
    #[cold]
    fn poll_unusual_head(
        &mut self,
        verdict: Result<Option<Read>, HeadError>,
        rules: HeadRules,
        rx: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Step {
        check_prefix(rx).map_err(Error::Head)?;
        let Some(end) = self.find_head_end(rx)? else {
            return self.starve(Stage::Head);
        };
        let read = match verdict {
            Ok(Some(read)) => read,
            // The scan and the parser disagree on the end; neither is right then.
            Ok(None) => return Err(Error::Head(HeadError::LineEnd)),
            Err(error @ HeadError::FieldName) => {
                let head = rx.get(..end).unwrap_or_default();
                match read_folded(head, rules) {
                    Ok(Some(read)) => read,
                    _ => return Err(Error::Head(error)),
                }
            }
            Err(error) => return Err(Error::Head(error)),
        };
        self.accept(read, rx, scratch)
    }

    fn find_head_end(&mut self, rx: &BytesMut) -> Result<Option<usize>, Error> {
        let total = self.limits.head_bytes as usize;
        let limits = ScanLimits {
            total,
            line: usize::from(self.limits.line),
        };
        self.scan.find_end(rx, limits).map_err(Error::Head)
    }

    // What was read is big to move.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn accept(&mut self, read: Read, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        self.scan = Scan::default();
        self.blank = 0;
        let status = read.head.status().as_u16();
        if status < 200 {
            return self.accept_interim(status, read, rx, scratch);
        }
        let framing = read.framing.map_err(Error::Framing)?;
        self.peer_http_10 = read.facts.http_10;
        self.hint = Hint::new(read.facts.hint);
        self.reuse = self.persistence(&read, framing);
        if matches!(self.request, Request::Length | Request::Chunked) {
            self.request = Request::Stopped;
        }
        self.continue_at = Instant::MAX;
        let Read {
            head, body, len, ..
        } = read;
        scratch.head = Some(head);
        if let Some((body, taken)) = body {
            return Ok(Some(self.whole(body, len + taken, rx)));
        }
        if status == 205 && framing != Framing::Tunnel {
            return Ok(Some(self.begin_ignoring(framing, len, rx)));
        }
        Ok(Some(self.begin_body(framing, len, rx)))
    }

    fn accept_interim(
        &mut self,
        status: u16,
        read: Read,
        rx: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Step {
        rx.advance(read.len);
        self.spent = self.spent.saturating_add(read.len as u32);
        if self.interims >= self.limits.interims || self.spent > self.limits.interim_bytes {
            return Err(Error::Interims);
        }
        self.interims += 1;
        if status == 101 {
            if self.request != Request::Complete || !self.is_offered(&read.head) {
                return Err(Error::Upgrade);
            }
            // The connection may live long from here on, and nobody asks again.
            self.offered = None;
            self.response = Response::Tunnel;
            scratch.head = Some(read.head);
            return Ok(Some(Event::Tunnel));
        }
        if status == 100 {
            self.continue_at = Instant::MAX;
        }
        scratch.head = Some(read.head);
        Ok(Some(Event::Informational(status)))
    }

    /// Whether every protocol that the peer switched to was offered.
    fn is_offered(&self, head: &ResponseHead) -> bool {
        let Some(offer) = &self.offered else {
            return false;
        };
        let is_offered = |token: &[u8]| {
            offer.0.get_all(UPGRADE).iter().any(|value| {
                tokens(value.as_bytes()).any(|offered| offered.eq_ignore_ascii_case(token))
            })
        };
        let mut chosen = head
            .fields()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"))
            .flat_map(|(_, value)| tokens(value))
            .peekable();
        chosen.peek().is_some() && chosen.all(is_offered)
    }

    /// RFC 9112 section 9.3, decided at the head.
    fn persistence(&self, read: &Read, framing: Framing) -> Reuse {
        let facts = &read.facts;
        let faulty = read.stripped || framing != Framing::Empty && facts.is_faulty();
        let reason = if self.asked_close {
            CloseReason::Asked
        } else if facts.close {
            CloseReason::Peer
        } else if facts.http_10 && (!facts.keep_alive || self.via_proxy) {
            CloseReason::Http10
        } else if faulty {
            CloseReason::Faulty
        } else if framing == Framing::Close {
            CloseReason::CloseDelimited
        } else {
            return Reuse::Keep;
        };
        Reuse::Close(reason)
    }

    fn begin_body(&mut self, framing: Framing, len: usize, rx: &mut BytesMut) -> Event {
        self.response = match framing {
            Framing::Empty | Framing::Length(0) => {
                return self.whole(Bytes::new(), len, rx);
            }
            Framing::Length(total) => {
                if total <= WHOLE_MAX {
                    let end = len + total as usize;
                    if let Some(body) = rx.get(len..end).map(Bytes::copy_from_slice) {
                        return self.whole(body, end, rx);
                    }
                }
                Response::Length { left: total, total }
            }
            Framing::Chunked => Response::Chunked(Chunked::default()),
            Framing::Close => Response::Close,
            Framing::Tunnel => Response::Tunnel,
        };
        rx.advance(len);
        match framing {
            Framing::Tunnel => Event::Tunnel,
            _ => Event::Head,
        }
    }

    /// RFC 9110 section 15.3.6: there is no content. Some is read and forgotten; what the end of
    /// the connection would end is not waited for.
    fn begin_ignoring(&mut self, framing: Framing, len: usize, rx: &mut BytesMut) -> Event {
        let close = Reuse::Close(CloseReason::ResetContent);
        self.spent = 0;
        self.response = match framing {
            Framing::Length(0) => return self.whole(Bytes::new(), len, rx),
            Framing::Length(total) if total <= u64::from(IGNORED_MAX) => {
                self.reuse = close;
                Response::Length { left: total, total }
            }
            Framing::Chunked => Response::Chunked(Chunked::default()),
            _ => {
                self.response = Response::Closed;
                rx.clear();
                return Event::Whole(Bytes::new(), close);
            }
        };
        self.ignoring = true;
        rx.advance(len);
        Event::Head
    }
}
