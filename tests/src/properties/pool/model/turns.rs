//! Whose turn it is under the total limit.

use fulmar_core::time::Instant;

use super::Model;

impl Model {
    pub(super) fn serve_ring(&mut self, now: Instant) {
        while !self.ring.is_empty() && self.has_room() {
            let Some(r) = self.next_turn(now) else { break };
            self.make_room(now);
            self.ring.retain(|other| *other != r);
            let dial = self.dial(now, r);
            self.give_dial(r, dial);
            self.had.push(r);
            if self.may_take_turn(now, r) {
                self.line_up(r);
            }
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.conns.len() < self.n.total || self.oldest_to_spare(None).is_some()
    }

    /// Where there is none, one connection goes.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.conns.len() >= self.n.total {
            let oldest = self.oldest_to_spare(None);
            self.drop_conn(now, oldest.expect("there is room to make"));
        }
    }

    pub(super) fn line_up(&mut self, r: usize) {
        if self.ring.contains(&r) {
            return;
        }
        if self.had.contains(&r) {
            self.ring.push(r);
        } else {
            self.ring.insert(0, r);
        }
    }

    pub(super) fn next_turn(&mut self, now: Instant) -> Option<usize> {
        let first = self.ring.iter().position(|&r| self.may_take_turn(now, r));
        self.ring.drain(..first.unwrap_or(self.ring.len()));
        let r = *self.ring.first()?;
        if self.had.contains(&r) {
            self.had.clear();
        }
        Some(r)
    }

    pub(super) fn may_take_turn(&self, now: Instant, r: usize) -> bool {
        self.may_dial(now, r) && self.of_route(r) < self.n.per_origin
    }
}
