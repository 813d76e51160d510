//! From bytes to events: what [`Connection::poll_event`] does in each state, and what they share.

use bytes::{Buf, Bytes, BytesMut};

use super::connection::Connection;
use super::error::{CloseReason, Error, Stage};
use super::event::{Event, Reuse, Scratch};
use super::response::Response;

/// Two empty lines before a message, of two bytes each.
const BLANK_MAX: u8 = 4;

pub(super) type Step = Result<Option<Event>, Error>;

impl Connection {
    pub(super) fn step(&mut self, rx: &mut BytesMut, scratch: &mut Scratch) -> Step {
        match self.response {
            Response::Head => self.poll_head(rx, scratch),
            Response::Idle => self.poll_idle(rx),
            Response::Failed(error) => Err(error),
            Response::Tunnel => Ok(None),
            Response::Closed => {
                rx.clear();
                Ok(None)
            }
            _ if self.ignoring => self.poll_ignored(rx, scratch),
            _ => self.poll_body(rx, scratch),
        }
    }

    fn poll_idle(&mut self, rx: &mut BytesMut) -> Step {
        // RFC 9112 section 9.2: what answers nothing is never a response.
        if !self.skip_blank(rx) || !rx.is_empty() {
            return Err(Error::Unsolicited);
        }
        self.starve(Stage::Idle)
    }

    /// Needs bytes: none, or what their end means.
    pub(super) fn starve(&self, at: Stage) -> Step {
        self.eof.map_or(Ok(None), |end| Err(Error::ended(end, at)))
    }

    /// Passes empty lines between messages, byte by byte, so that none is left in `rx`. False if
    /// there are too many, or half of one.
    pub(super) fn skip_blank(&mut self, rx: &mut BytesMut) -> bool {
        let mut passed = 0;
        for &byte in rx.iter() {
            let in_line = self.blank % 2 == 1;
            match byte {
                b'\r' if !in_line => self.blank += 1,
                b'\n' => self.blank += if in_line { 1 } else { 2 },
                _ if in_line => return false,
                _ => break,
            }
            if self.blank > BLANK_MAX {
                return false;
            }
            passed += 1;
        }
        if passed > 0 {
            rx.advance(passed);
        }
        true
    }

    pub(super) fn whole(&mut self, body: Bytes, taken: usize, rx: &mut BytesMut) -> Event {
        // Not `advance` to the end, which would give up the room in front.
        if taken == rx.len() {
            rx.clear();
        } else {
            rx.advance(taken);
        }
        Event::Whole(body, self.end(rx))
    }

    /// The exchange is over. What follows the response is discarded (RFC 9112 section 6.3).
    pub(super) fn end(&mut self, rx: &mut BytesMut) -> Reuse {
        let reason = if !rx.is_empty() && (!self.skip_blank(rx) || !rx.is_empty()) {
            rx.clear();
            Some(CloseReason::Desync)
        } else if let Reuse::Close(reason) = self.reuse {
            Some(reason)
        } else {
            self.request_reuse()
                .or(self.eof.map(|_| CloseReason::PeerClosed))
        };
        self.response = if reason.is_some() {
            Response::Closed
        } else {
            Response::Idle
        };
        reason.map_or(Reuse::Keep, Reuse::Close)
    }
}
