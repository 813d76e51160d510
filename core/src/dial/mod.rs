//! Happy eyeballs: many addresses, one connection (RFC 8305).
//!
//! ```text
//!                 a AAAA answer, 50 ms after the A answer,
//!                 or no AAAA answer to wait for
//!    Resolving ------------------------------------> Racing --- connected ---> Won
//!        |                                            |  ^                      |  |
//!        |                  nothing left, or deadline |  +-- handshake broke ---+  |
//!        +-- no address, or deadline --> Failed <-----+                            |
//!                                           ^------- no other address would do ----+
//! ```
//!
//! * Attempts begin at least 10 ms apart, and at least the attempt delay apart unless one failed
//!   in between.
//! * At most six are under way at once. No address is tried twice in a race.
//! * There is one winner. All others are abandoned before it is named.
//! * By the deadline the outcome is there, and after it nothing begins.
//! * One address needs no timer.
//! * [`Config::avoid`] is connected to only if the lookups name no other address.
//!
//! A race ends with the first transport that opens; the TLS handshake over it is the driver's. If
//! that breaks for a reason that need not hold for another address, [`Dial::handle_failed`] with
//! the winner's id goes on with what is left: first the addresses not tried yet, then those whose
//! attempts were given up.
//!
//! ```
//! use fulmar_core::dial::{Action, Config, Dial, Lookup, Record};
//! use fulmar_core::time::Instant;
//!
//! let ms = |ms: u64| Instant::from_nanos(ms * 1_000_000);
//! let lookup = Lookup::Only(Record::Any);
//! let mut dial = Dial::by_name(ms(0), 443, lookup, Some(ms(5000)), Config::default());
//! assert_eq!(dial.poll_action(), Some(Action::Resolve(Record::Any)));
//!
//! let addrs = ["2001:db8::1".parse()?, "192.0.2.1".parse()?];
//! dial.handle_answer(ms(20), Record::Any, Ok(addrs.to_vec()));
//! let Some(Action::Connect(first, _)) = dial.poll_action() else { panic!("IPv6 goes first") };
//! assert_eq!(dial.poll_timeout(), Some(ms(270)));
//!
//! dial.handle_timeout(ms(270));
//! let Some(Action::Connect(second, _)) = dial.poll_action() else { panic!("IPv4 joins in") };
//! dial.handle_connected(ms(290), second);
//! assert_eq!(dial.poll_action(), Some(Action::Abandon(first)));
//! assert_eq!(dial.poll_action(), Some(Action::Won(second)));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod action;
mod config;
mod failure;
mod memory;
mod queue;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::fault::Fault;
use crate::time::Instant;

pub use crate::dns::Record;
pub use action::{Action, AttemptId, Lookup};
pub use config::{Config, ConfigError, Known, MIN_GAP};
pub use failure::Failure;
pub use memory::Memory;
use queue::Queue;

/// A race of connections to the addresses of one host.
#[derive(Debug)]
pub struct Dial {
    port: u16,
    deadline: Option<Instant>,
    config: Config,
    state: State,
    pending: Pending,
    queue: Queue,
    flights: Vec<Flight>,
    last_start: Option<Instant>,
    /// The earliest instant at which another attempt may begin.
    next_at: Instant,
    failures: Vec<Failure>,
    overtaken: Vec<SocketAddr>,
    lookup_fault: Option<Fault>,
    actions: VecDeque<Action>,
    issued: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing was tried. IPv4 addresses wait for the AAAA answer until then.
    Resolving {
        until: Option<Instant>,
    },
    Racing,
    Won(Flight),
    Failed(Fault),
}

/// Which answers are still to come.
#[derive(Debug)]
struct Pending {
    v4: bool,
    v6: bool,
}

/// An attempt under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: AttemptId,
    known: Known,
}

impl Dial {
    /// Begins with a name, which the driver looks up. `deadline` ends the dial as a whole, lookups
    /// included.
    pub fn by_name(
        now: Instant,
        port: u16,
        lookup: Lookup,
        deadline: Option<Instant>,
        config: Config,
    ) -> Self {
        let records: &[Record] = match lookup {
            Lookup::Split => &[Record::V6, Record::V4],
            Lookup::Only(Record::V6) => &[Record::V6],
            Lookup::Only(Record::V4) => &[Record::V4],
            Lookup::Only(Record::Any) => &[Record::Any],
        };
        let pending = Pending {
            v4: records != [Record::V6],
            v6: records != [Record::V4],
        };
        let mut dial = Self::new(port, pending, deadline, config);
        dial.actions
            .extend(records.iter().map(|record| Action::Resolve(*record)));
        dial.advance(now);
        dial
    }

    /// Begins with addresses: a literal, or what a cache knew, in order of preference. `known` is
    /// what was learned about them before.
    pub fn to(
        now: Instant,
        addrs: &[IpAddr],
        port: u16,
        deadline: Option<Instant>,
        config: Config,
        known: &[Known],
    ) -> Self {
        let pending = Pending {
            v4: false,
            v6: false,
        };
        let mut dial = Self::new(port, pending, deadline, config);
        dial.remember(known);
        dial.handle_answer(now, Record::Any, Ok(addrs.to_vec()));
        dial
    }

    fn new(port: u16, pending: Pending, deadline: Option<Instant>, config: Config) -> Self {
        Self {
            port,
            deadline,
            config,
            state: State::Resolving { until: None },
            pending,
            queue: Queue::new(config.avoid),
            flights: Vec::new(),
            last_start: None,
            next_at: Instant::ORIGIN,
            failures: Vec::new(),
            overtaken: Vec::new(),
            lookup_fault: None,
            actions: VecDeque::new(),
            issued: 0,
        }
    }

    /// Takes what was learned about addresses before. It holds for the answers that come later: tell
    /// it right before [`Dial::handle_answer`]. Of more than 1,024 addresses the rest is ignored.
    pub fn remember(&mut self, known: &[Known]) {
        self.queue.remember(known);
    }

    /// How many different addresses the host has, as far as its lookups were answered.
    pub fn addresses(&self) -> usize {
        self.queue.seen()
    }

    /// Which attempt won, if it did not fail since.
    pub fn winner(&self) -> Option<AttemptId> {
        match &self.state {
            State::Won(flight) => Some(flight.id),
            _ => None,
        }
    }

    /// Why the dial failed, if it did.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.state {
            State::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Why each address that failed did so, in the order in which they failed: to be remembered.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The addresses that had not answered when a later attempt won, or the dial failed: to be
    /// remembered as failures, or a silent address would be tried first each time.
    pub fn overtaken(&self) -> &[SocketAddr] {
        &self.overtaken
    }

    /// A lookup ended. At most 32 addresses of each family are considered.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        record: Record,
        answer: Result<Vec<IpAddr>, Fault>,
    ) {
        self.pending.v4 &= record == Record::V6;
        self.pending.v6 &= record == Record::V4;
        match answer {
            Ok(addrs) => self.enqueue(record, &addrs),
            Err(fault) => {
                self.lookup_fault = Some(failure::worse_lookup(self.lookup_fault.take(), fault));
            }
        }
        if !self.awaits_answers() {
            self.queue.complete();
        }
        self.advance(now);
    }

    /// The transport of an attempt is open. Of an attempt that was abandoned it is ignored.
    pub fn handle_connected(&mut self, now: Instant, id: AttemptId) {
        if let Some(flight) = self.land(id) {
            self.note_overtaken(flight.id);
            self.end_race();
            self.state = State::Won(flight);
            self.actions.push_back(Action::Won(id));
        }
        self.advance(now);
    }

    /// An attempt failed, or the winner did in its tunnel or TLS handshake. Of an attempt that was
    /// abandoned it is ignored.
    pub fn handle_failed(&mut self, now: Instant, id: AttemptId, fault: Fault) {
        if let Some(flight) = self.land(id) {
            self.note_failure(now, flight, fault);
        } else if self.winner() == Some(id) {
            self.lose(now, fault);
        }
        self.advance(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When [`Dial::handle_timeout`] is due. Once there is a winner or a fault, never: the time a
    /// handshake may take is the driver's to watch.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Resolving { until } => until,
            State::Racing => self.may_start().then_some(self.next_at),
            State::Won(_) | State::Failed(_) => return None,
        };
        let due = [own, self.deadline].into_iter().flatten().min();
        due.filter(|at| *at < Instant::MAX)
    }

    /// What the driver has to do next; ask until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Everything that follows from the state and the time.
    fn advance(&mut self, now: Instant) {
        if matches!(self.state, State::Won(_) | State::Failed(_)) {
            return;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return self.fail(failure::timed_out(&self.failures, self.queue.seen()));
        }
        self.begin_race(now);
        self.start(now);
        if self.flights.is_empty() && self.queue.is_empty() && !self.awaits_answers() {
            self.fail(failure::most_telling(
                &self.failures,
                self.lookup_fault.as_ref(),
            ));
        }
    }

    fn awaits_answers(&self) -> bool {
        self.pending.v4 || self.pending.v6
    }

    /// RFC 8305 section 3: an AAAA answer is worth a short wait.
    fn begin_race(&mut self, now: Instant) {
        let State::Resolving { until } = &mut self.state else {
            return;
        };
        if until.is_none() && !self.queue.is_empty() {
            *until = Some(now + self.config.resolution_delay);
        }
        let waited = until.is_some_and(|until| until <= now);
        if waited || !self.pending.v6 {
            self.state = State::Racing;
        }
    }

    /// Begins one attempt, if it is time. Never two: the gap lies between them.
    fn start(&mut self, now: Instant) {
        let racing = matches!(self.state, State::Racing);
        if !racing || !self.may_start() || now < self.next_at {
            return;
        }
        let Some(known) = self.queue.pop() else {
            return;
        };
        let id = AttemptId(self.issued);
        self.issued += 1;
        let delay = known.attempt_delay().unwrap_or(self.config.attempt_delay);
        self.last_start = Some(now);
        self.next_at = now + delay.max(MIN_GAP);
        self.flights.push(Flight { id, known });
        self.actions
            .push_back(Action::Connect(id, SocketAddr::new(known.addr, self.port)));
    }

    fn may_start(&self) -> bool {
        let limit = self.config.in_flight.clamp(1, Config::IN_FLIGHT);
        !self.queue.is_empty() && self.flights.len() < limit
    }

    /// Takes an attempt out of those under way.
    fn land(&mut self, id: AttemptId) -> Option<Flight> {
        let place = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.remove(place))
    }

    /// Remembers why an address failed, and lets the next one begin.
    fn note_failure(&mut self, now: Instant, flight: Flight, fault: Fault) {
        let addr = SocketAddr::new(flight.known.addr, self.port);
        self.failures.push(Failure { addr, fault });
        let earliest = self.last_start.map_or(now, |last| last + MIN_GAP);
        self.next_at = self.next_at.min(earliest.max(now));
    }

    /// The winner failed: on with the others, unless they could do no better.
    fn lose(&mut self, now: Instant, fault: Fault) {
        let State::Won(flight) = self.state else {
            return;
        };
        self.actions
            .retain(|action| !matches!(action, Action::Won(_)));
        self.note_failure(now, flight, fault.clone());
        self.state = State::Racing;
        if failure::is_final(fault.kind) {
            self.fail(fault);
        }
    }

    fn note_overtaken(&mut self, by: AttemptId) {
        let slow = self.flights.iter().filter(|flight| flight.id < by);
        let slow = slow.map(|flight| SocketAddr::new(flight.known.addr, self.port));
        self.overtaken.extend(slow);
    }

    fn fail(&mut self, fault: Fault) {
        self.note_overtaken(AttemptId(self.issued));
        self.end_race();
        self.actions
            .retain(|action| !matches!(action, Action::Resolve(_)));
        self.state = State::Failed(fault.clone());
        self.actions.push_back(Action::Failed(fault));
    }

    /// Abandons what is under way. What the driver has not heard of yet it never will.
    fn end_race(&mut self) {
        let unheard = |action: &Action| match action {
            Action::Connect(id, _) => Some(*id),
            _ => None,
        };
        let unheard: Vec<AttemptId> = self.actions.iter().filter_map(unheard).collect();
        self.actions
            .retain(|action| !matches!(action, Action::Connect(..)));
        for flight in self.flights.drain(..) {
            if !unheard.contains(&flight.id) {
                self.actions.push_back(Action::Abandon(flight.id));
            }
            self.queue.defer(flight.known);
        }
    }

    fn enqueue(&mut self, record: Record, addrs: &[IpAddr]) {
        if let (Record::Any, None, Some(first)) = (record, self.last_start, addrs.first()) {
            self.queue.lead_with(*first);
        }
        for addr in addrs {
            self.queue.push(*addr);
        }
    }
}
