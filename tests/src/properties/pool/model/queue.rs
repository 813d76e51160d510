//! Who waits.

use fulmar_core::time::Instant;

use super::{Got, Model, State, Waiter};

impl Model {
    pub(super) fn give(&mut self, now: Instant, w: u32, got: Got) {
        let waiter = self.waiter(w);
        waiter.got = got;
        let tag = waiter.tag;
        self.wakes.push(tag);
        self.leave(now, w);
    }

    /// Out of the queue; a waiter that has got something no longer counts as queued.
    pub(super) fn leave(&mut self, now: Instant, w: u32) {
        let waiter = self.waiter(w);
        let (r, dial) = (waiter.route, waiter.dial.take());
        if waiter.got == Got::Nothing {
            waiter.got = Got::Closed;
        }
        self.routes[r].bearers.retain(|bearer| *bearer != w);
        if let Some(dial) = dial {
            let needless = self.count(r, State::Connecting) > self.waiting(r);
            if needless || self.routes[r].bearers.is_empty() {
                self.drop_conn(now, dial);
            } else {
                self.give_dial(r, dial);
            }
        }
        self.trim(now, r);
        if !self.wants(r) {
            self.ring.retain(|route| *route != r);
        }
        self.note(now, r);
    }

    pub(super) fn queued(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters
            .iter()
            .filter(|waiter| waiter.got == Got::Nothing)
    }

    pub(super) fn first_in_queue(&self, route: Option<usize>) -> Option<u32> {
        let mut of_route = self.queued().filter(|w| route.is_none_or(|r| w.route == r));
        of_route.next().map(|w| w.id)
    }

    pub(super) fn waiting(&self, r: usize) -> usize {
        self.queued().filter(|waiter| waiter.route == r).count()
    }

    pub(super) fn waiter(&mut self, id: u32) -> &mut Waiter {
        self.waiters
            .iter_mut()
            .find(|waiter| waiter.id == id)
            .expect("a known waiter")
    }
}
