//! Who waits: a queue in lanes per route, and what each asker has been granted.

use crate::lane::Lane;
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
    pub(super) lane: Lane,
    pub(super) fresh: bool,
    pub(super) repeatable: bool,
    pub(super) queue: Links,
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
            lane: Lane::Normal,
            fresh: false,
            repeatable: true,
            queue: Links::new(),
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
        &mut self.queue.next
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
        let is_full = self.waiting >= self.settings.waiters;
        if is_full && !self.routes.at(r).has_waiters_below(ask.lane) {
            return Err(Refusal::QueueFull);
        }
        self.routes.at(r).probes = ask.probe;
        let w = self.enqueue(now, r, ask);
        let taken = self.take_over(r);
        if is_full {
            // Only now: a dial that the one who goes has not taken is for those who stay.
            self.shed(now, r, ask.lane);
        }
        let begun = match taken {
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
        waiter.lane = ask.lane;
        waiter.fresh = ask.fresh;
        waiter.repeatable = ask.repeatable;
        waiter.dial = NONE;
        waiter.grant = Grant::Queued;
        let round = self.round;
        let route = self.routes.at(r);
        if route.waiting == 0 {
            route.turn = round;
        }
        let queue = route.queue(ask.lane, ask.fresh);
        queue.push_back(&mut self.waiters.entries, w, |w| &mut w.queue);
        route
            .bearers
            .push_back(&mut self.waiters.entries, w, |w| &mut w.bearer);
        route.waiting += 1;
        self.waiting += 1;
        w
    }

    /// The asker who has waited longest.
    pub(super) fn oldest(&mut self, r: u32) -> Option<u32> {
        let heads = Lane::ALL.map(|lane| self.head(r, lane, true));
        let oldest = heads.into_iter().min_by_key(|w| self.serial_of(*w))?;
        (oldest != NONE).then_some(oldest)
    }

    /// The asker whose turn it is, among those that take any connection, and a new one too if it is.
    pub(super) fn first(&mut self, r: u32, is_new: bool) -> Option<u32> {
        let heads = Lane::ALL.map(|lane| self.head(r, lane, is_new));
        let lane = self.routes.at(r).lanes.next(heads.map(|w| w != NONE))?;
        Some(heads[lane as usize])
    }

    fn head(&mut self, r: u32, lane: Lane, is_new: bool) -> u32 {
        let route = self.routes.at(r);
        let any = route.queue(lane, false).head;
        let fresh = if is_new {
            route.queue(lane, true).head
        } else {
            NONE
        };
        if self.serial_of(any) < self.serial_of(fresh) {
            any
        } else {
            fresh
        }
    }

    fn serial_of(&self, w: u32) -> u64 {
        self.waiters.get(w).map_or(u64::MAX, |waiter| waiter.serial)
    }

    /// Makes room in a full queue for an asker of that lane: the one who came last of the lowest lane
    /// below it is refused.
    fn shed(&mut self, now: Instant, r: u32, lane: Lane) {
        for below in Lane::ALL
            .into_iter()
            .rev()
            .take_while(|below| *below > lane)
        {
            let route = self.routes.at(r);
            let tails = [true, false].map(|fresh| route.queue(below, fresh).tail);
            let last = tails.into_iter().filter(|w| *w != NONE);
            if let Some(last) = last.max_by_key(|w| self.serial_of(*w)) {
                return self.grant(now, last, Grant::Refused(Refusal::QueueFull));
            }
        }
    }

    /// Takes an asker out of the queue; a dial that he has not taken goes to the next.
    pub(super) fn unqueue(&mut self, now: Instant, w: u32) {
        let waiter = self.waiters.at(w);
        let (r, lane, fresh) = (waiter.route, waiter.lane, waiter.fresh);
        let dial = std::mem::replace(&mut waiter.dial, NONE);
        let route = self.routes.at(r);
        let queue = route.queue(lane, fresh);
        queue.remove(&mut self.waiters.entries, w, |w| &mut w.queue);
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
        if !matches!(grant, Grant::Refused(_)) {
            self.routes.at(waiter.route).lanes.take(waiter.lane);
        }
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
