//! What the network does to connections.

use std::io::ErrorKind;

use super::{Segment, Stage};
use crate::faults::Kind;
use crate::queue::Event;
use crate::record::What;
use crate::slab::Key;
use crate::world::State;

impl State {
    pub(crate) fn handle_segment(&mut self, key: Key, end: u8, segment: Segment) {
        let (end, peer) = (usize::from(end), usize::from(1 - end));
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.is_dead) else {
            return;
        };
        let actor = conn.actor;
        if conn.ends[peer].is_closed || conn.ends[peer].failure.is_some() {
            // RFC 9293 section 3.10.7.1: what reaches a closed connection is answered by a reset.
            let event = Event::Abort(key, end as u8, ErrorKind::ConnectionReset);
            return self.notify(key, peer, event);
        }
        let len = segment.data.len() as u32;
        conn.flows[end].inbox.push_back(segment);
        let waker = conn.ends[peer].reader.take();
        self.wake(waker);
        self.bytes += u64::from(len);
        self.record(
            actor,
            What::Arrived {
                end: end as u8,
                len,
            },
        );
    }

    pub(crate) fn handle_fin(&mut self, key: Key, end: u8) {
        let (end, peer) = (usize::from(end), usize::from(1 - end));
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.is_dead) else {
            return;
        };
        let actor = conn.actor;
        conn.flows[end].is_end_seen = true;
        let waker = conn.ends[peer].reader.take();
        self.wake(waker);
        self.record(actor, What::FinArrived { end: end as u8 });
    }

    pub(crate) fn handle_abort(&mut self, key: Key, end: u8, kind: ErrorKind) {
        if self.conns.get_mut(key).is_some_and(|conn| !conn.is_dead) {
            self.fail(key, usize::from(end), kind);
        }
    }

    pub(crate) fn handle_credit(&mut self, key: Key, end: u8) {
        let (now, end) = (self.now, usize::from(end));
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.flows[end].is_credit_queued = false;
        conn.flows[end].settle(now);
        let waker = conn.ends[end].writer.take();
        self.wake(waker);
    }

    /// A slow reader may go on.
    pub(crate) fn handle_readable(&mut self, key: Key, end: u8) {
        let end = usize::from(end);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.flows[1 - end].is_read_queued = false;
        let waker = conn.ends[end].reader.take();
        self.wake(waker);
    }

    pub(super) fn fail(&mut self, key: Key, end: usize, kind: ErrorKind) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let (actor, end_of) = (conn.actor, &mut conn.ends[end]);
        if end_of.is_closed || end_of.failure.is_some() {
            return;
        }
        end_of.failure = Some(kind);
        let wakers = [end_of.reader.take(), end_of.writer.take()];
        for waker in wakers {
            self.wake(waker);
        }
        self.record(
            actor,
            What::Failed {
                end: end as u8,
                kind,
            },
        );
    }

    /// A fault strikes an existing connection.
    pub(crate) fn strike(&mut self, key: Key, kind: &Kind) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        match (kind, conn.stage) {
            // Its SYN or the answer is under way, and will meet the fault or slip by.
            (_, Stage::Opening | Stage::Failed(_)) | (Kind::HalfOpen, Stage::Accepted) => {}
            (Kind::HalfOpen, Stage::Established) => conn.is_dead = true,
            _ => {
                if conn.stage == Stage::Accepted {
                    self.handle_handshake(key, Some(ErrorKind::ConnectionReset));
                }
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.is_dead = true;
                }
                self.fail(key, 0, ErrorKind::ConnectionReset);
                self.fail(key, 1, ErrorKind::ConnectionReset);
            }
        }
    }

    /// The connections whose client end is open, as text.
    pub(crate) fn open_clients(&self) -> Vec<String> {
        let open = self.conns.values().filter(|conn| !conn.ends[0].is_closed);
        open.map(|conn| format!("{} to {}", conn.client_addr, conn.server_addr))
            .collect()
    }
}
