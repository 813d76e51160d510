//! Bodies: by length, in chunks, up to the end of the connection, and those that nobody wants.

use bytes::{Buf, BytesMut};

use super::chunked::{Chunked, Next};
use super::connection::Connection;
use super::error::{CloseReason, End, Error, Stage};
use super::event::{Event, Reuse, Scratch};
use super::head::IGNORED_MAX;
use super::receive::Step;
use super::response::Response;
use super::trailers;
use crate::http::{Framing, Scan, ScanLimits};

/// Chunks below this are put together by copying, up to `COALESCE_MAX` at once.
const COALESCE_BELOW: usize = 1024;
const COALESCE_MAX: usize = 8 * 1024;

impl Connection {
    pub(super) fn poll_ignored(&mut self, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        loop {
            let given_up = match self.poll_body(rx, scratch) {
                Ok(Some(Event::Body(body))) => {
                    self.reuse = Reuse::Close(CloseReason::ResetContent);
                    self.spent = self.spent.saturating_add(body.len() as u32);
                    self.spent > IGNORED_MAX
                }
                Ok(Some(Event::Trailers)) => false,
                Err(error) if error.is_eof() => true,
                other => return other,
            };
            if given_up {
                self.response = Response::Closed;
                rx.clear();
                return Ok(Some(Event::End(Reuse::Close(CloseReason::ResetContent))));
            }
        }
    }

    pub(super) fn poll_body(&mut self, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        match self.response {
            Response::Length { left, total } => self.poll_length(left, total, rx),
            Response::Chunked(chunked) => match self.poll_chunks(chunked, rx)? {
                None if matches!(self.response, Response::Trailers) => {
                    self.poll_trailers(rx, scratch)
                }
                None => self.starve(Stage::Body),
                event => Ok(event),
            },
            Response::Trailers => self.poll_trailers(rx, scratch),
            Response::Close => self.poll_close(rx),
            // Told after the data that came before it.
            Response::Failed(error) => Err(error),
            _ => Ok(Some(Event::End(self.end(rx)))),
        }
    }

    fn poll_length(&mut self, left: u64, total: u64, rx: &mut BytesMut) -> Step {
        if rx.is_empty() {
            return self.starve(Stage::Body);
        }
        let here = rx.len() as u64;
        if here < left {
            self.response = Response::Length {
                left: left - here,
                total,
            };
            return Ok(Some(Event::Body(rx.split().freeze())));
        }
        self.response = Response::Finish(Framing::Length(total));
        Ok(Some(Event::Body(rx.split_to(left as usize).freeze())))
    }

    /// Data of one large chunk, split off, or of several small ones, copied together. An error
    /// behind data is told after it.
    fn poll_chunks(&mut self, mut chunked: Chunked, rx: &mut BytesMut) -> Step {
        let mut small = BytesMut::new();
        loop {
            let (passed, next) = match chunked.advance(rx, &self.limits) {
                Ok(passed) => passed,
                Err(error) if small.is_empty() => return Err(Error::Chunk(error)),
                Err(error) => {
                    self.response = Response::Failed(Error::Chunk(error));
                    rx.clear();
                    return Ok(Some(Event::Body(small.freeze())));
                }
            };
            rx.advance(passed);
            self.response = Response::Chunked(chunked);
            let n = match next {
                Next::Data(left) => left.min(rx.len() as u64) as usize,
                Next::Bytes => 0,
                Next::Trailers => {
                    self.response = Response::Trailers;
                    0
                }
            };
            if n == 0 || !small.is_empty() && small.len() + n > COALESCE_MAX {
                break;
            }
            chunked.take(n as u64);
            self.response = Response::Chunked(chunked);
            if n >= COALESCE_BELOW && small.is_empty() {
                return Ok(Some(Event::Body(rx.split_to(n).freeze())));
            }
            if small.is_empty() {
                small.reserve(rx.len().min(COALESCE_MAX));
            }
            small.extend_from_slice(rx.get(..n).unwrap_or_default());
            rx.advance(n);
        }
        Ok((!small.is_empty()).then(|| Event::Body(small.freeze())))
    }

    fn poll_trailers(&mut self, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        let total = usize::from(self.limits.trailer_bytes);
        let limits = ScanLimits {
            total,
            line: usize::from(self.limits.line),
        };
        let Some(end) = self.scan.find_end(rx, limits).map_err(Error::Trailers)? else {
            return self.starve(Stage::Body);
        };
        let section = rx.get(..end).unwrap_or_default();
        let trailers = trailers::parse(section, usize::from(self.limits.trailers));
        let trailers = trailers.map_err(Error::Trailers)?;
        rx.advance(end);
        self.scan = Scan::default();
        self.response = Response::Finish(Framing::Chunked);
        if trailers.is_empty() {
            return Ok(Some(Event::End(self.end(rx))));
        }
        scratch.trailers = Some(trailers);
        Ok(Some(Event::Trailers))
    }

    fn poll_close(&mut self, rx: &mut BytesMut) -> Step {
        if !rx.is_empty() {
            return Ok(Some(Event::Body(rx.split().freeze())));
        }
        match self.eof {
            None => Ok(None),
            Some(End::Clean) => Ok(Some(Event::End(self.end(rx)))),
            // RFC 9112 section 9.8: without close_notify nobody knows whether it was all.
            Some(End::Truncated) if self.limits.truncated_close => {
                Ok(Some(Event::End(self.end(rx))))
            }
            Some(end) => Err(Error::ended(end, Stage::Body)),
        }
    }
}
