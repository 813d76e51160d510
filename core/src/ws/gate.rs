//! How many WebSocket connections there may be, in all and of one kind.
//!
//! With a key per origin it caps a client's connections. With one per address and a limit of one it
//! lets handshakes follow each other (RFC 6455 section 4.1, step 2).
//!
//! Invariants
//! * A pass is held by whoever entered, or by a waiter whose turn it is: never by nobody, and
//!   [`leave`](Gate::leave) hands it on before it returns.
//! * Who waits longest goes first, among those whose key has room.

use std::collections::{BTreeMap, VecDeque};

use crate::time::Instant;

/// One waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateTicket(u64);

/// The answer to a wish to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Enter, and [`leave`](Gate::leave) at the end.
    Pass,
    /// Wait for [`poll_turn`](Gate::poll_turn) to name the ticket.
    Wait(GateTicket),
    /// Too many wait.
    Full,
}

/// A waiter's turn has come, or will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has a pass.
    Pass(GateTicket),
    /// It waited for as long as it would.
    TimedOut(GateTicket),
}

/// Passes, of which there are so many in all and so many for each key.
#[derive(Debug)]
pub struct Gate<K> {
    total: usize,
    per_key: usize,
    most_waiters: usize,
    held: BTreeMap<K, usize>,
    count: usize,
    waiters: VecDeque<Waiter<K>>,
    turns: VecDeque<(Turn, K)>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiter<K> {
    ticket: GateTicket,
    key: K,
    until: Instant,
}

impl<K: Ord + Clone> Gate<K> {
    /// So many passes in all and for each key, and so many waiters.
    pub fn new(total: usize, per_key: usize, most_waiters: usize) -> Self {
        Self {
            total,
            per_key,
            most_waiters,
            held: BTreeMap::new(),
            count: 0,
            waiters: VecDeque::new(),
            turns: VecDeque::new(),
            tickets: 0,
        }
    }

    /// Passes that are held.
    pub fn held(&self) -> usize {
        self.count
    }

    /// Asks for a pass, and would wait until then.
    pub fn enter(&mut self, key: K, until: Instant) -> Admission {
        if self.has_room(&key) {
            self.take(key);
            return Admission::Pass;
        }
        if self.waiters.len() + self.turns.len() >= self.most_waiters {
            return Admission::Full;
        }
        self.tickets += 1;
        let ticket = GateTicket(self.tickets);
        self.waiters.push_back(Waiter { ticket, key, until });
        Admission::Wait(ticket)
    }

    /// Gives a pass back.
    pub fn leave(&mut self, key: &K) {
        let Some(held) = self.held.get_mut(key) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            self.held.remove(key);
        }
        self.count -= 1;
        self.admit();
    }

    /// No longer waits. A pass that the ticket had been given goes to the next.
    pub fn cancel(&mut self, ticket: GateTicket) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
        let of = |turn: &Turn| matches!(turn, Turn::Pass(t) | Turn::TimedOut(t) if *t == ticket);
        if let Some(place) = self.turns.iter().position(|(turn, _)| of(turn))
            && let Some((Turn::Pass(_), key)) = self.turns.remove(place)
        {
            self.leave(&key);
        }
    }

    /// Who waited too long is told so.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (over, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| waiter.until <= now);
        self.waiters = waiting;
        let over: VecDeque<Waiter<K>> = over;
        let turns = over.into_iter().map(|w| (Turn::TimedOut(w.ticket), w.key));
        self.turns.extend(turns);
    }

    /// The next waiter whose wait is over.
    pub fn poll_turn(&mut self) -> Option<Turn> {
        self.turns.pop_front().map(|(turn, _)| turn)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let earliest = self.waiters.iter().map(|waiter| waiter.until).min();
        earliest.filter(|until| *until != Instant::MAX)
    }

    fn has_room(&self, key: &K) -> bool {
        let of_key = self.held.get(key).copied().unwrap_or_default();
        self.count < self.total && of_key < self.per_key
    }

    fn take(&mut self, key: K) {
        *self.held.entry(key).or_default() += 1;
        self.count += 1;
    }

    fn admit(&mut self) {
        while let Some(place) = self.waiters.iter().position(|w| self.has_room(&w.key))
            && let Some(waiter) = self.waiters.remove(place)
        {
            self.take(waiter.key.clone());
            self.turns
                .push_back((Turn::Pass(waiter.ticket), waiter.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Instant = Instant::MAX;

    fn ticket(admission: Admission) -> GateTicket {
        match admission {
            Admission::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn five_may_be_open_and_the_sixth_waits_for_one_to_leave() {
        let mut gate = Gate::new(5, 5, 10);
        for _ in 0..5 {
            assert_eq!(gate.enter("a", NEVER), Admission::Pass);
        }
        let sixth = ticket(gate.enter("a", NEVER));
        let seventh = ticket(gate.enter("a", NEVER));
        gate.leave(&"a");
        assert_eq!(gate.poll_turn(), Some(Turn::Pass(sixth)));
        assert_eq!((gate.poll_turn(), gate.held()), (None, 5));
        gate.leave(&"a");
        assert_eq!(gate.poll_turn(), Some(Turn::Pass(seventh)));
    }

    #[test]
    fn a_waiter_whose_key_is_full_holds_up_nobody() {
        let mut gate = Gate::new(2, 1, 10);
        assert_eq!(gate.enter("a", NEVER), Admission::Pass);
        let second = ticket(gate.enter("a", NEVER));
        assert_eq!(gate.enter("b", NEVER), Admission::Pass);
        let other = ticket(gate.enter("c", NEVER));
        gate.leave(&"b");
        assert_eq!(gate.poll_turn(), Some(Turn::Pass(other)));
        gate.leave(&"a");
        assert_eq!(gate.poll_turn(), Some(Turn::Pass(second)));
    }

    #[test]
    fn a_cancelled_turn_goes_to_the_next() {
        let mut gate = Gate::new(1, 1, 10);
        gate.enter("a", NEVER);
        let first = ticket(gate.enter("a", NEVER));
        let second = ticket(gate.enter("a", NEVER));
        gate.leave(&"a");
        gate.cancel(first);
        assert_eq!(gate.poll_turn(), Some(Turn::Pass(second)));
        assert_eq!((gate.poll_turn(), gate.held()), (None, 1));
        gate.leave(&"a");
        gate.leave(&"a");
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn waits_end_in_time_and_are_bounded() {
        let mut gate = Gate::new(1, 1, 1);
        gate.enter("a", NEVER);
        let then = Instant::from_nanos(5);
        let waiting = ticket(gate.enter("a", then));
        assert_eq!(gate.enter("a", then), Admission::Full);
        assert_eq!(gate.poll_timeout(), Some(then));
        gate.handle_timeout(Instant::from_nanos(4));
        assert_eq!(gate.poll_turn(), None);
        gate.handle_timeout(then);
        assert_eq!(gate.poll_turn(), Some(Turn::TimedOut(waiting)));
        assert_eq!(gate.poll_timeout(), None);
    }
}
