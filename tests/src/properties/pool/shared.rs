//! Shared connections: who has a part in which is counted beside the pool.

use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::pool::{Ask, Config, Connection, Discard, Lease, Limits, Pool, Slot, Ticket};
use fulmar_core::time::Instant;

use super::super::script::Script;
use super::Draw;

const ROUTE: &str = "https://h2.test";
const TOTAL: u32 = 4;

/// A connection as its driver knows it.
struct Known {
    id: u32,
    slot: Slot,
    capacity: u32,
    out: u32,
    is_open: bool,
}

struct Run {
    pool: Pool<(), u32>,
    now: Instant,
    known: Vec<Known>,
    dials: Vec<Slot>,
    waiting: Vec<Ticket>,
    parts: Vec<(Slot, u32)>,
}

/// Runs the script, and checks after each step that no connection is given out beyond its
/// capacity, that the least loaded one is, and that nobody waits while there is room.
///
/// # Panics
///
/// Where one of these does not hold, or something is left behind.
pub fn pool_shared_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let config = Config {
        limits: Limits::new().total(TOTAL),
        ..Config::new()
    };
    let mut run = Run {
        pool: Pool::new(config, [3, 4], Instant::ORIGIN),
        now: Instant::ORIGIN,
        known: Vec::new(),
        dials: Vec::new(),
        waiting: Vec::new(),
        parts: Vec::new(),
    };
    while !script.is_over() {
        run.now = run.now + Duration::from_nanos(1);
        run.step(&mut script);
        run.collect();
        run.check();
    }
    run.wind_down();
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) {
        let now = self.now;
        match script.below(16) {
            0..=5 => {
                let ask = Ask {
                    probe: true,
                    ..Ask::default()
                };
                match self.pool.checkout(now, ROUTE, ask) {
                    Ok(lease) => self.take(&lease),
                    Err(refusal) => panic!("{refusal}"),
                }
            }
            6..=8 if !self.parts.is_empty() => {
                let (slot, id) = self.parts.swap_remove(script.below(self.parts.len()));
                self.pool.release(now, slot);
                self.of(id).out -= 1;
            }
            9 if !self.waiting.is_empty() => {
                let ticket = self.waiting.swap_remove(script.below(self.waiting.len()));
                self.pool.cancel(now, ticket);
            }
            10 | 11 if !self.dials.is_empty() => {
                let slot = self.dials.swap_remove(script.below(self.dials.len()));
                let (id, capacity) = (self.known.len() as u32, script.below(5) as u32);
                self.known.push(Known {
                    id,
                    slot,
                    capacity,
                    out: 0,
                    is_open: true,
                });
                let conn = Connection::Shared(id, capacity);
                self.pool.handle_connected(now, slot, conn, &mut Draw(0));
            }
            12 if !self.dials.is_empty() => {
                let slot = self.dials.swap_remove(script.below(self.dials.len()));
                let fault = Fault::new(FaultKind::Refused, Phase::Connect);
                self.pool
                    .handle_dial_failed(now, slot, fault, &mut Draw(1 << 63));
            }
            13 if !self.known.is_empty() => {
                let place = script.below(self.known.len());
                let capacity = script.below(5) as u32;
                self.known[place].capacity = capacity;
                self.pool
                    .handle_capacity(now, self.known[place].slot, capacity);
            }
            14 if !self.known.is_empty() => {
                let place = script.below(self.known.len());
                self.known[place].is_open = false;
                let slot = self.known[place].slot;
                if script.below(2) == 0 {
                    self.pool.handle_draining(now, slot);
                } else {
                    self.pool.discard(now, slot, Discard::Spent);
                }
            }
            _ => {
                self.now = now + Duration::from_millis(script.below(256) as u64 * 50);
                self.pool.handle_timeout(self.now);
                assert!(
                    self.pool.poll_timeout().is_none_or(|at| at > self.now),
                    "busy loop"
                );
            }
        }
    }

    fn of(&mut self, id: u32) -> &mut Known {
        self.known
            .iter_mut()
            .find(|known| known.id == id)
            .expect("a known connection")
    }

    fn take(&mut self, lease: &Lease<(), u32>) {
        match *lease {
            Lease::Share(slot, id) => {
                let known = self.of(id);
                known.out += 1;
                assert_eq!(known.slot, slot);
                assert!(known.out <= known.capacity, "beyond its capacity");
                self.parts.push((slot, id));
            }
            Lease::Dial(ticket, slot) => {
                self.dials.push(slot);
                self.waiting.push(ticket);
            }
            Lease::Wait(ticket) => self.waiting.push(ticket),
            Lease::Idle(..) => panic!("nothing is exclusive here"),
        }
    }

    /// Files what came out of the pool.
    fn collect(&mut self) {
        while let Some(id) = self.pool.poll_evicted_shared() {
            self.of(id).is_open = false;
        }
        while self.pool.poll_wake().is_some() {}
        // Those that were given up are gone.
        self.dials.retain(|slot| self.pool.watch_dial(*slot, 0));
        for ticket in std::mem::take(&mut self.waiting) {
            match self.pool.poll_lease(self.now, ticket) {
                None => self.waiting.push(ticket),
                Some(Ok(lease)) => self.take(&lease),
                Some(Err(_)) => {}
            }
        }
    }

    fn check(&mut self) {
        let gauges = self.pool.gauges();
        assert!(gauges.total <= TOTAL && gauges.connecting as usize == self.dials.len());
        assert_eq!(gauges.waiting as usize, self.waiting.len());
        assert!(
            self.dials.len() <= 2,
            "one probe, and one more where it stalls"
        );
        let room = self
            .known
            .iter()
            .any(|known| known.is_open && known.out < known.capacity);
        assert!(
            !room || self.waiting.is_empty(),
            "somebody waits beside free room"
        );
    }

    fn wind_down(&mut self) {
        for ticket in std::mem::take(&mut self.waiting) {
            self.pool.cancel(self.now, ticket);
        }
        for slot in std::mem::take(&mut self.dials) {
            self.pool.discard(self.now, slot, Discard::Spent);
        }
        for (slot, _) in std::mem::take(&mut self.parts) {
            self.pool.release(self.now, slot);
        }
        let left = self.pool.gauges();
        assert_eq!(
            (left.connecting, left.busy, left.draining, left.waiting),
            (0, 0, 0, 0)
        );
    }
}
