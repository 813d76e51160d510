//! Who waits: one queue per route in two lanes, and what each asker has been granted.

use crate::time::Instant;

use super::lease::{Ask, Lease, Refusal, Slot, Ticket};
use super::pool::{KEPT, Pool};
use super::slab::{Links, NONE, Place};

/// What an asker has got. It is his from the moment it is written here.
#[derive(Clone, Debug)]
pub(super) enum Grant<S> {
    /// The place is free.
    Vacant,
    /// Nothing yet.
    Queued,
    /// The connection held in this slot.
    Connection(u32),
    /// A part in a shared connection, which may end before it is taken.
    Share(Slot, S),
    Refused(Refusal),
}

#[derive(Debug)]
pub(super) struct Waiter<S> {
    pub(super) route: u32,
    pub(super) tag: u64,
    /// Grows with every asker: who is older, and which ticket is his.
    pub(super) serial: u64,
    pub(super) since: Instant,
    pub(super) fresh: bool,
    pub(super) repeatable: bool,
    pub(super) lane: Links,
    pub(super) bearer: Links,
    /// A slot to dial for, which the asker has not taken yet; such a one is not in the bearers.
    pub(super) dial: u32,
    pub(super) grant: Grant<S>,
}

impl<S> Waiter<S> {
    pub(super) fn new() -> Self {
        Self {
            route: 0,
            tag: 0,
            serial: 0,
            since: Instant::ORIGIN,
            fresh: false,
            repeatable: true,
            lane: Links::new(),
            bearer: Links::new(),
            dial: NONE,
            grant: Grant::Vacant,
        }
    }

    /// Of the serial, and not of the place: places are forgotten after a burst.
    fn generation(&self) -> u32 {
        self.serial as u32
    }
}

impl<S> Place for Waiter<S> {
    fn next_free(&mut self) -> &mut u32 {
        &mut self.lane.next
    }
}

impl<U, S: Clone> Pool<U, S> {
    /// Nothing idle will do: takes a part in a shared connection, or queues.
    pub(super) fn checkout_cold(
        &mut self,
        now: Instant,
        r: u32,
        ask: Ask,
    ) -> Result<Lease<U, S>, Refusal> {
        if let Some((slot, shared)) = self.share(now, r) {
            return Ok(Lease::Share(slot, shared));
        }
        if let Some(connections) = ask.per_origin {
            self.routes.at(r).limit = connections.max(1);
        }
        if self.waiting >= self.settings.waiters {
            return Err(Refusal::QueueFull);
        }
        self.routes.at(r).probes = ask.probe;
        let w = self.enqueue(now, r, ask);
        let begun = match self.take_over(r) {
            Some(dial) => {
                self.pump(now, r, None);
                Some(dial)
            }
            None => self.pump(now, r, Some(w)),
        };
        self.serve_ring(now);
        let ticket = self.ticket(w);
        Ok(match begun {
            Some(dial) => Lease::Dial(ticket, self.slots.at(dial).slot(dial)),
            None => Lease::Wait(ticket),
        })
    }

    /// The dial that an asker has been given, or another, who has not begun it.
    pub(super) fn take_dial(&mut self, w: u32, ticket: Ticket) -> Option<Lease<U, S>> {
        let waiter = self.waiters.at(w);
        let r = waiter.route;
        let mut dial = std::mem::replace(&mut waiter.dial, NONE);
        if dial == NONE {
            dial = self.take_over(r)?;
        } else {
            let bearers = &mut self.routes.at(r).bearers;
            bearers.push_back(&mut self.waiters.entries, w, |w| &mut w.bearer);
            self.stage_begun(dial);
        }
        let slot = self.slots.at(dial).slot(dial);
        Some(Lease::Dial(ticket, slot))
    }

    pub(super) fn enqueue(&mut self, now: Instant, r: u32, ask: Ask) -> u32 {
        let w = self.waiters.take(|_| Waiter::new());
        self.serial += 1;
        let waiter = self.waiters.at(w);
        waiter.route = r;
        waiter.tag = ask.tag;
        waiter.serial = self.serial;
        waiter.since = now;
        waiter.fresh = ask.fresh;
        waiter.repeatable = ask.repeatable;
        waiter.dial = NONE;
        waiter.grant = Grant::Queued;
        let round = self.round;
        let route = self.routes.at(r);
        if route.waiting == 0 {
            route.turn = round;
        }
        let lane = if ask.fresh {
            &mut route.fresh
        } else {
            &mut route.any
        };
        lane.push_back(&mut self.waiters.entries, w, |w| &mut w.lane);
        route
            .bearers
            .push_back(&mut self.waiters.entries, w, |w| &mut w.bearer);
        route.waiting += 1;
        self.waiting += 1;
        w
    }

    /// The asker who has waited longest.
    pub(super) fn oldest(&mut self, r: u32) -> Option<u32> {
        let route = self.routes.at(r);
        let serial = |w: u32| self.waiters.get(w).map_or(u64::MAX, |waiter| waiter.serial);
        let (any, fresh) = (route.any.head, route.fresh.head);
        let oldest = if serial(any) < serial(fresh) {
            any
        } else {
            fresh
        };
        (oldest != NONE).then_some(oldest)
    }

    /// Takes an asker out of the queue; a dial that he has not taken goes to the next.
    pub(super) fn unqueue(&mut self, now: Instant, w: u32) {
        let waiter = self.waiters.at(w);
        let (r, fresh) = (waiter.route, waiter.fresh);
        let dial = std::mem::replace(&mut waiter.dial, NONE);
        let route = self.routes.at(r);
        let lane = if fresh {
            &mut route.fresh
        } else {
            &mut route.any
        };
        lane.remove(&mut self.waiters.entries, w, |w| &mut w.lane);
        if dial == NONE {
            route
                .bearers
                .remove(&mut self.waiters.entries, w, |w| &mut w.bearer);
        }
        route.waiting -= 1;
        self.waiting -= 1;
        if dial != NONE {
            self.pass_dial(now, r, dial);
        }
        self.trim_dials(now, r);
        self.leave_ring_unless_wanted(r);
        self.note_empty(now, r);
    }

    /// Gives a dial that nobody has begun to the next who can bear it, where one still needs it.
    fn pass_dial(&mut self, now: Instant, r: u32, dial: u32) {
        let route = self.routes.at(r);
        let bearer = route.bearers.head;
        if bearer == NONE || route.connecting() > route.waiting {
            self.free_slot(now, dial);
        } else {
            self.grant_dial(r, bearer, dial);
        }
    }

    /// Gives a dial to an asker among the bearers.
    pub(super) fn grant_dial(&mut self, r: u32, w: u32, dial: u32) {
        let bearers = &mut self.routes.at(r).bearers;
        bearers.remove(&mut self.waiters.entries, w, |w| &mut w.bearer);
        let waiter = self.waiters.at(w);
        waiter.dial = dial;
        self.wakes.push_back(waiter.tag);
        self.stage_granted(dial, w);
    }

    /// Writes down what an asker gets, and takes him out of the queue.
    pub(super) fn grant(&mut self, now: Instant, w: u32, grant: Grant<S>) {
        let waiter = self.waiters.at(w);
        waiter.grant = grant;
        self.wakes.push_back(waiter.tag);
        self.unqueue(now, w);
    }

    pub(super) fn refuse_all(&mut self, now: Instant, r: u32) {
        while let Some(w) = self.oldest(r) {
            self.grant(now, w, Grant::Refused(Refusal::Closed));
        }
    }

    /// The asker of a ticket, unless it is stale.
    pub(super) fn asker(&self, ticket: Ticket) -> Option<u32> {
        let waiter = self.waiters.get(ticket.index)?;
        let is_current =
            waiter.generation() == ticket.generation && !matches!(waiter.grant, Grant::Vacant);
        is_current.then_some(ticket.index)
    }

    pub(super) fn ticket(&mut self, w: u32) -> Ticket {
        Ticket {
            index: w,
            generation: self.waiters.at(w).generation(),
        }
    }

    /// Ends a ticket whose asker is out of the queue, and says what he had.
    pub(super) fn end_ticket(&mut self, w: u32) -> Grant<S> {
        let waiter = self.waiters.at(w);
        let grant = std::mem::replace(&mut waiter.grant, Grant::Vacant);
        self.waiters.give_back(w);
        self.waiters.trim(KEPT);
        grant
    }
}
