//! Lanes: who is served next from one connection, beside three plain queues.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fulmar_core::lane::Lane;
use fulmar_core::pool::{
    Ask, Config, Connection, Lease, Limits, Pool, Preview, Refusal, Slot, Ticket,
};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::Draw;

const ROUTE: &str = "http://api.test";
const WAITERS: usize = 6;
const LANES: [Lane; 3] = [Lane::High, Lane::Normal, Lane::Bulk];
const SHARES: [u32; 3] = [8, 4, 1];

struct Run {
    pool: Pool<(), u32>,
    now: Instant,
    tickets: BTreeMap<u64, Ticket>,
    /// Whose connection it is, where it is anybody's.
    held: Option<Slot>,
    queues: [VecDeque<u64>; 3],
    left: [u32; 3],
    /// Turns for which the first of each queue has been passed over.
    passed: [u32; 3],
}

/// Runs the script: each freed connection goes to the first of the lane whose turn it is, a full
/// queue sheds the last of the lowest lane below the newcomer's, and nobody who is first in his lane
/// is passed over more than 24 times.
///
/// # Panics
///
/// Where it is not so.
pub fn pool_lanes(data: &[u8]) {
    let mut script = Script::new(data);
    let config = Config {
        limits: Limits::new().total(1).waiters(WAITERS as u32),
        ..Config::new()
    };
    let mut run = Run {
        pool: Pool::new(config, [5, 6], Instant::ORIGIN),
        now: Instant::ORIGIN,
        tickets: BTreeMap::new(),
        held: None,
        queues: Default::default(),
        left: SHARES,
        passed: [0; 3],
    };
    run.open();
    run.left[Lane::Normal as usize] -= 1;
    let mut tag = 1;
    while !script.is_over() {
        run.now = run.now + Duration::from_millis(1);
        match script.below(8) {
            0..=3 => run.ask(tag, script.below(3)),
            4 => run.cancel(&mut script),
            _ => run.serve(),
        }
        tag += 1;
    }
    while run.queues.iter().any(|queue| !queue.is_empty()) {
        run.serve();
    }
}

impl Run {
    /// The one connection there is, in somebody's hands.
    fn open(&mut self) {
        let ask = Ask::default();
        let Ok(Lease::Dial(ticket, slot)) = self.pool.checkout(self.now, ROUTE, ask) else {
            panic!("there is room for a connection");
        };
        let conn = Connection::Exclusive(());
        self.pool
            .handle_connected(self.now, slot, conn, &mut Draw(0));
        self.take(ticket);
        while self.pool.poll_wake().is_some() {}
    }

    fn take(&mut self, ticket: Ticket) {
        match self.pool.poll_lease(self.now, ticket) {
            Some(Ok(Lease::Idle(slot, (), _))) => self.held = Some(slot),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, tag: u64, lane: usize) {
        let ask = Ask {
            lane: LANES[lane],
            tag,
            ..Ask::default()
        };
        let is_full = self.queues.iter().map(VecDeque::len).sum::<usize>() == WAITERS;
        let below = (lane + 1..3).rev().find(|at| !self.queues[*at].is_empty());
        let preview = self.pool.preview(self.now, ROUTE, ask);
        let asked = self.pool.checkout(self.now, ROUTE, ask);
        if is_full && below.is_none() {
            assert_eq!(preview, Preview::Refused(Refusal::QueueFull));
            assert_eq!(asked, Err(Refusal::QueueFull));
            return;
        }
        assert!(matches!(preview, Preview::Wait { .. }));
        let Ok(Lease::Wait(ticket)) = asked else {
            panic!("the one connection is busy: {asked:?}");
        };
        if is_full {
            let shed = below.and_then(|at| self.queues[at].pop_back());
            assert_eq!(self.pool.poll_wake(), shed);
            let shed = self.tickets.remove(&shed.unwrap_or_default());
            let refused = shed.and_then(|ticket| self.pool.poll_lease(self.now, ticket));
            assert_eq!(refused, Some(Err(Refusal::QueueFull)));
        }
        self.queues[lane].push_back(tag);
        self.tickets.insert(tag, ticket);
        assert_eq!(self.pool.poll_wake(), None);
    }

    fn cancel(&mut self, script: &mut Script<'_>) {
        let waiting = self.tickets.len();
        if waiting == 0 {
            return;
        }
        let nth = script.below(waiting);
        let Some((&tag, &ticket)) = self.tickets.iter().nth(nth) else {
            return;
        };
        self.tickets.remove(&tag);
        for (queue, passed) in self.queues.iter_mut().zip(&mut self.passed) {
            if queue.front() == Some(&tag) {
                *passed = 0;
            }
            queue.retain(|waiting| *waiting != tag);
        }
        self.pool.cancel(self.now, ticket);
        assert_eq!(self.pool.poll_wake(), None);
    }

    /// The connection comes back, and goes to whom the plain queues say.
    fn serve(&mut self) {
        let Some(slot) = self.held.take() else { return };
        let waits = |at: &usize| !self.queues[*at].is_empty();
        let next = (0..3).filter(waits).find(|at| self.left[*at] > 0);
        let next = next.or_else(|| (0..3).find(waits));
        self.pool.park(self.now, slot, (), None);
        let Some(lane) = next else {
            assert_eq!(self.pool.poll_wake(), None);
            let again = self.pool.checkout(self.now, ROUTE, Ask::default());
            let Ok(Lease::Idle(slot, (), _)) = again else {
                panic!("nobody waits: {again:?}");
            };
            return self.held = Some(slot);
        };
        if self.left[lane] == 0 {
            self.left = SHARES;
        }
        self.left[lane] -= 1;
        let tag = self.queues[lane].pop_front();
        assert_eq!(self.pool.poll_wake(), tag);
        let ticket = self.tickets.remove(&tag.unwrap_or_default());
        self.take(ticket.expect("it waits"));
        for at in 0..3 {
            let was_passed = at != lane && !self.queues[at].is_empty();
            self.passed[at] = if was_passed { self.passed[at] + 1 } else { 0 };
            assert!(self.passed[at] <= 24, "starved: {:?}", self.passed);
        }
    }
}
