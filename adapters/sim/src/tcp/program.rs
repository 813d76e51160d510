//! What programs do with their connections.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};

use super::Segment;
use crate::faults::Kind;
use crate::link::patience;
use crate::queue::Event;
use crate::record::What;
use crate::slab::Key;
use crate::world::{State, remember};

impl State {
    pub(crate) fn poll_write(
        &mut self,
        key: Key,
        end: usize,
        cx: &Context<'_>,
        buf: &mut impl Buf,
    ) -> Poll<io::Result<usize>> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return gone();
        };
        if let Some(kind) = conn.ends[end].failure {
            // The system tells once what happened, then only that the stream is closed.
            let is_told = std::mem::replace(&mut conn.ends[end].is_told, true);
            let kind = if is_told { ErrorKind::BrokenPipe } else { kind };
            return Poll::Ready(Err(kind.into()));
        }
        let flow = &mut conn.flows[end];
        if flow.is_ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        flow.settle(now);
        let window = self.wires.get(conn.wire).map_or(0, |wire| wire.window);
        let n = window.saturating_sub(flow.taken).min(buf.remaining());
        if n == 0 && buf.has_remaining() {
            let before = remember(&mut conn.ends[end].writer, cx);
            self.discard(before);
            self.queue_credit(key, end);
            return Poll::Pending;
        }
        flow.taken += n;
        let data = buf.copy_to_bytes(n);
        self.send(key, end, data);
        Poll::Ready(Ok(n))
    }

    /// Puts bytes on the link, in pieces.
    fn send(&mut self, key: Key, end: usize, data: Bytes) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let (actor, len) = (conn.actor, data.len() as u32);
        let end_id = end as u8;
        let what = match self.launch(key, end, data) {
            Some(arrives) => What::Sent {
                end: end_id,
                len,
                arrives,
            },
            None => What::Vanished { end: end_id, len },
        };
        self.record(actor, what);
    }

    /// Schedules the arrival of bytes; `None` if they never arrive whole.
    fn launch(&mut self, key: Key, end: usize, mut data: Bytes) -> Option<u64> {
        let conn = self.conns.get_mut(key)?;
        let way = conn.way(end);
        let wire = self.wires.get_mut(conn.wire)?;
        let (flow, windows) = (&mut conn.flows[end], &conn.windows);
        if conn.is_dead || flow.is_lost {
            return None;
        }
        while !data.is_empty() {
            let (len, is_cut, leaves) = wire.take(self.now, way.direction, data.len(), windows);
            let Some(at) = wire.arrival(leaves, way, windows) else {
                flow.is_lost = true;
                let at = leaves.saturating_add(patience(false));
                self.queue
                    .push(at, Event::Abort(key, end as u8, ErrorKind::TimedOut));
                return None;
            };
            flow.last_arrival = flow.last_arrival.max(at);
            let mut data = data.split_to(len);
            if windows
                .iter()
                .any(|w| w.kind == Kind::Corrupt && w.contains(leaves))
            {
                data = wire.corrupt(way.direction, &data);
            }
            let event = Event::Segment(key, end as u8, Segment { data, is_cut });
            self.queue.push(flow.last_arrival, event);
        }
        Some(flow.last_arrival)
    }

    /// Gives at most `max` bytes that arrived to `sink`.
    pub(crate) fn poll_read(
        &mut self,
        key: Key,
        end: usize,
        cx: &Context<'_>,
        max: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let Some((max, rate)) = self.allowance(key, end, cx, max) else {
            return Poll::Pending;
        };
        let Some(conn) = self.conns.get_mut(key) else {
            return gone();
        };
        let (ends, flow) = (&mut conn.ends, &mut conn.flows[1 - end]);
        let mut n = 0;
        while n < max
            && let Some(segment) = flow.inbox.front_mut()
        {
            let len = segment.data.len().min(max - n);
            sink(&segment.data[..len]);
            segment.data.advance(len);
            n += len;
            if !segment.data.is_empty()
                || flow.inbox.pop_front().is_some_and(|segment| segment.is_cut)
            {
                break;
            }
        }
        if n > 0 || max == 0 {
            let pause = (n as u64).saturating_mul(1_000_000_000).checked_div(rate);
            flow.next_read = self.now.saturating_add(pause.unwrap_or(0));
            self.give_credit(key, 1 - end, n);
            return Poll::Ready(Ok(n));
        }
        if let Some(kind) = ends[end].failure {
            ends[end].is_told = true;
            return Poll::Ready(Err(kind.into()));
        }
        if flow.is_end_seen {
            return Poll::Ready(Ok(0));
        }
        let before = remember(&mut ends[end].reader, cx);
        self.discard(before);
        Poll::Pending
    }

    /// How much of `max` a reader may read now, and how fast (0: at once); `None` where it has to
    /// wait.
    fn allowance(
        &mut self,
        key: Key,
        end: usize,
        cx: &Context<'_>,
        max: usize,
    ) -> Option<(usize, u64)> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return Some((max, 0));
        };
        let in_force = conn.windows.iter().filter(|w| w.contains(now));
        let slow = in_force.filter_map(|window| match window.kind {
            Kind::SlowReader(rate) if window.ends.has(end) => Some((rate, window.to)),
            _ => None,
        });
        let flow = &mut conn.flows[1 - end];
        let Some((rate, until)) = slow.min() else {
            return Some((max, 0));
        };
        if flow.inbox.is_empty() || conn.ends[end].failure.is_some() {
            return Some((max, 0));
        }
        if rate > 0 && flow.next_read <= now {
            // Twenty reads a second, as for a slow link.
            let most = usize::try_from(rate / 20).unwrap_or(max).max(1);
            return Some((max.min(most), rate));
        }
        let at = if rate == 0 {
            until
        } else {
            until.min(flow.next_read)
        };
        if at != u64::MAX && !std::mem::replace(&mut flow.is_read_queued, true) {
            self.queue.push(at, Event::Readable(key, end as u8));
        }
        let before = remember(&mut conn.ends[end].reader, cx);
        self.discard(before);
        None
    }

    /// Sends the room of bytes that were read back to their writer.
    fn give_credit(&mut self, key: Key, end: usize, n: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let lossy = conn.windows.iter().filter(|w| w.swallows(1 - end));
        let ends = lossy
            .filter(|window| window.contains(self.now))
            .map(|window| window.to);
        let clear = ends.max().unwrap_or(self.now);
        if conn.is_dead || clear == u64::MAX {
            return;
        }
        let latency = self.wires.get(conn.wire).map_or(0, |wire| wire.latency.lo);
        let at = clear.saturating_add(latency);
        match conn.flows[end].credits.back_mut() {
            Some((last, sum)) if *last >= at => *sum += n,
            _ => conn.flows[end].credits.push_back((at, n)),
        }
        if conn.ends[end].writer.is_some() {
            self.queue_credit(key, end);
        }
    }

    fn queue_credit(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let flow = &mut conn.flows[end];
        if let Some((at, _)) = flow.credits.front()
            && !flow.is_credit_queued
        {
            flow.is_credit_queued = true;
            self.queue.push(*at, Event::Credit(key, end as u8));
        }
    }

    /// Ends the stream of an end: what was written arrives, then its end does.
    pub(crate) fn shutdown(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if conn.flows[end].is_ended {
            return;
        }
        conn.flows[end].is_ended = true;
        let actor = conn.actor;
        self.record(actor, What::FinSent { end: end as u8 });
        self.notify(key, end, Event::Fin(key, end as u8));
    }

    /// Breaks the connection off: the peer learns it after what was written.
    pub(crate) fn reset(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if conn.ends[end].failure.is_some() {
            return;
        }
        let peer = (1 - end) as u8;
        self.notify(
            key,
            end,
            Event::Abort(key, peer, ErrorKind::ConnectionReset),
        );
        self.fail(key, end, ErrorKind::ConnectionReset);
    }

    /// Sends a packet without bytes after all bytes of that direction.
    pub(super) fn notify(&mut self, key: Key, end: usize, event: Event) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if !conn.is_alive() || conn.flows[end].is_lost {
            return;
        }
        let way = conn.way(end);
        let Some(wire) = self.wires.get_mut(conn.wire) else {
            return;
        };
        let Some(at) = wire.arrival(self.now, way, &conn.windows) else {
            return;
        };
        let flow = &mut conn.flows[end];
        flow.last_arrival = flow.last_arrival.max(at);
        self.queue.push(flow.last_arrival, event);
    }

    /// A program lets go of its end. As a system does, it breaks the connection off if there is
    /// something unread, and ends the stream otherwise.
    pub(crate) fn close(&mut self, key: Key, end: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if conn.ends[end].is_closed {
            return;
        }
        let actor = conn.actor;
        let is_unread = !conn.flows[1 - end].inbox.is_empty();
        self.record(actor, What::Closed { end: end as u8 });
        self.say_goodbye(key, end, is_unread);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.ends[end].is_closed = true;
        conn.flows[1 - end].inbox.clear();
        let wakers = [conn.ends[end].reader.take(), conn.ends[end].writer.take()];
        if conn.ends.iter().all(|end| end.is_closed) {
            self.conns.remove(key);
        }
        for waker in wakers {
            self.discard(waker);
        }
    }

    fn say_goodbye(&mut self, key: Key, end: usize, is_unread: bool) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let is_ended = std::mem::replace(&mut conn.flows[end].is_ended, true);
        if conn.ends[end].failure.is_some() {
            return;
        }
        if is_unread {
            let peer = (1 - end) as u8;
            self.notify(
                key,
                end,
                Event::Abort(key, peer, ErrorKind::ConnectionReset),
            );
        } else if !is_ended {
            self.notify(key, end, Event::Fin(key, end as u8));
        }
    }

    /// Whether an end has nothing to read and its peer has neither ended nor failed.
    pub(crate) fn is_quiet(&mut self, key: Key, end: usize) -> bool {
        self.conns.get_mut(key).is_some_and(|conn| {
            let flow = &conn.flows[1 - end];
            flow.inbox.is_empty() && !flow.is_end_seen && conn.ends[end].failure.is_none()
        })
    }
}
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(ErrorKind::NotConnected.into()))
}

/// Reads into spare room.
pub(crate) fn read_into(
    state: &mut State,
    key: Key,
    end: usize,
    cx: &Context<'_>,
    buf: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let room = buf.capacity() - buf.len();
    if room == 0 {
        buf.reserve(4096);
    }
    let room = buf.capacity() - buf.len();
    state.poll_read(key, end, cx, room, |bytes| buf.extend_from_slice(bytes))
}
