//! So many at a time: who comes later waits, in the order of coming.
//!
//! ```text
//!   enter --> inside (room, and nobody waits) -----------------> leave
//!     |                          ^
//!     `--> queued --admitted-----' (`poll_wake` names the tag)
//!             |         |
//!             `- cancel `- cancel: the pass goes to the next
//! ```
//!
//! Invariants:
//! * At most the limit are inside, those included who have been admitted and have not looked yet;
//!   after the limit was lowered, nobody enters until there is room.
//! * Nobody overtakes: while somebody is queued, nobody enters at once.
//! * While there is room, nobody is queued.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::adaptive::{Adaptive, Aimd, Sample};
use crate::time::Instant;

/// One who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What one who comes gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Inside: [`leave`](Turnstile::leave) once that is over.
    Pass,
    /// Queued; [`poll_wake`](Turnstile::poll_wake) will name the tag.
    Wait(Ticket),
    /// As many wait as may.
    Full,
}

/// Lets so many in at a time.
///
/// After any call, drain [`poll_wake`](Self::poll_wake).
#[derive(Debug)]
pub struct Turnstile {
    limit: usize,
    waiters: usize,
    inside: usize,
    serial: u64,
    /// Tags by age.
    queue: BTreeMap<Ticket, u64>,
    /// Admitted, and not yet seen by whom it concerns.
    admitted: BTreeSet<Ticket>,
    wakes: VecDeque<u64>,
    /// Boxed, because mostly the limit stands.
    aimd: Option<Box<Aimd>>,
}

impl Turnstile {
    /// Nobody is inside. At most `limit` get in, and at most `waiters` wait.
    pub fn new(limit: usize, waiters: usize) -> Self {
        Self {
            limit,
            waiters,
            inside: 0,
            serial: 0,
            queue: BTreeMap::new(),
            admitted: BTreeSet::new(),
            wakes: VecDeque::new(),
            aimd: None,
        }
    }

    /// As [`new`](Self::new), with a limit that follows the samples.
    pub fn adaptive(settings: Adaptive, waiters: usize) -> Self {
        Self {
            aimd: Some(Box::new(Aimd::new(settings))),
            ..Self::new(settings.initial(), waiters)
        }
    }

    /// Comes in, or queues. The tag is the caller's own number for itself.
    pub fn enter(&mut self, tag: u64) -> Entry {
        if self.try_enter() {
            return Entry::Pass;
        }
        if self.queue.len() >= self.waiters {
            return Entry::Full;
        }
        let ticket = Ticket(self.serial);
        self.serial += 1;
        self.queue.insert(ticket, tag);
        Entry::Wait(ticket)
    }

    /// Comes in if there is room and nobody waits for it.
    pub fn try_enter(&mut self) -> bool {
        let is_free = self.inside < self.limit && self.queue.is_empty();
        self.inside += usize::from(is_free);
        is_free
    }

    /// Whether the one who waited is inside now, which ends the ticket.
    pub fn poll_pass(&mut self, ticket: Ticket) -> bool {
        self.admitted.remove(&ticket)
    }

    /// Gives up a place in the queue, or the pass that came meanwhile.
    pub fn cancel(&mut self, ticket: Ticket) {
        if self.queue.remove(&ticket).is_none() && self.admitted.remove(&ticket) {
            self.leave();
        }
    }

    /// One goes out.
    pub fn leave(&mut self) {
        self.inside = self.inside.saturating_sub(1);
        self.admit();
    }

    /// Changes the limit. A lower one throws nobody out. An adaptive one goes on from there.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.admit();
    }

    /// What one who is inside still, or was until now, saw of the other side. Of no consequence
    /// where the limit is not adaptive.
    pub fn handle_sample(&mut self, now: Instant, sample: Sample) {
        let is_full = self.inside >= self.limit;
        if let Some(aimd) = &mut self.aimd {
            let limit = aimd.handle_sample(now, sample, self.limit, is_full);
            self.set_limit(limit);
        }
    }

    /// The tag of one who has been admitted.
    pub fn poll_wake(&mut self) -> Option<u64> {
        self.wakes.pop_front()
    }

    /// Whether the limit follows the samples.
    pub fn is_adaptive(&self) -> bool {
        self.aimd.is_some()
    }

    /// How many may be inside.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are.
    pub fn inside(&self) -> usize {
        self.inside
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether one more would be refused.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= self.waiters
    }

    fn admit(&mut self) {
        while self.inside < self.limit
            && let Some((ticket, tag)) = self.queue.pop_first()
        {
            self.inside += 1;
            self.admitted.insert(ticket);
            self.wakes.push_back(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(turnstile: &mut Turnstile, tag: u64) -> Ticket {
        match turnstile.enter(tag) {
            Entry::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_comes_later_waits_and_is_admitted_in_order() {
        let mut turnstile = Turnstile::new(1, 2);
        assert_eq!(turnstile.enter(1), Entry::Pass);
        let (a, b) = (ticket(&mut turnstile, 2), ticket(&mut turnstile, 3));
        assert_eq!(turnstile.enter(4), Entry::Full);
        assert!(!turnstile.poll_pass(a));
        turnstile.leave();
        assert_eq!(
            (turnstile.poll_wake(), turnstile.poll_wake()),
            (Some(2), None)
        );
        assert!(!turnstile.poll_pass(b) && turnstile.poll_pass(a) && !turnstile.poll_pass(a));
    }

    #[test]
    fn a_pass_that_is_given_up_unseen_goes_to_the_next() {
        let mut turnstile = Turnstile::new(1, 9);
        turnstile.enter(1);
        let (a, b) = (ticket(&mut turnstile, 2), ticket(&mut turnstile, 3));
        turnstile.leave();
        turnstile.cancel(a);
        assert!(turnstile.poll_pass(b));
        turnstile.cancel(a);
        assert_eq!((turnstile.inside(), turnstile.waiting()), (1, 0));
    }

    #[test]
    fn a_lower_limit_throws_nobody_out_and_a_higher_one_admits() {
        let mut turnstile = Turnstile::new(2, 9);
        assert_eq!(
            (turnstile.enter(1), turnstile.enter(2)),
            (Entry::Pass, Entry::Pass)
        );
        turnstile.set_limit(0);
        let a = ticket(&mut turnstile, 3);
        turnstile.leave();
        turnstile.leave();
        assert!(!turnstile.poll_pass(a) && turnstile.inside() == 0);
        turnstile.set_limit(5);
        assert!(turnstile.poll_pass(a));
        assert_eq!(turnstile.enter(4), Entry::Pass);
    }
}
