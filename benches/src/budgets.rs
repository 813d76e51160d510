//! What one GET of this library may take, column by column of the table.

use crate::clients::Look;
use crate::load::Who;
use crate::tools::Count;

/// One way of asking.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether headers are looked at.
    pub look: Look,
    /// How many GETs are in flight.
    pub at_once: usize,
}

/// The columns of the table.
pub const COLUMNS: [Column; 3] = [
    Column {
        name: "one at a time",
        look: Look::Body,
        at_once: 1,
    },
    Column {
        name: "64 at once",
        look: Look::Body,
        at_once: 64,
    },
    Column {
        name: "with headers",
        look: Look::Headers,
        at_once: 1,
    },
];

/// The most that this library takes on one runtime.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// By column.
    pub gets: [Most; COLUMNS.len()],
    /// The most bytes of heap per idle connection.
    pub idle_bytes: isize,
}

/// The most of each count per GET.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    instructions: f64,
    allocations: f64,
    syscalls: f64,
}

/// The same budgets stand in `DESIGN.md`.
const TOKIO: Budget = Budget {
    gets: [
        Most::new(8_000.0, 2.0, 3.0),
        Most::new(7_000.0, 2.0, 2.1),
        Most::new(12_500.0, 5.0, 3.0),
    ],
    idle_bytes: 640,
};

/// On smol and on async-std. One at a time, every GET is a turn of async-io's reactor, which allocates
/// twice and makes five of the system calls.
const ASYNC_IO: Budget = Budget {
    gets: [
        Most::new(9_500.0, 4.0, 8.0),
        Most::new(9_500.0, 4.0, 4.0),
        Most::new(14_000.0, 6.0, 8.0),
    ],
    idle_bytes: 700,
};

/// What happens once in a while (a tick of the pool's driver, a map that grows) makes a hundredth.
const SLACK: f64 = 0.05;

impl Budget {
    /// That of a client, if it is one of this library's.
    pub fn of(who: Who) -> Option<Self> {
        match who {
            Who::Fulmar => Some(TOKIO),
            Who::Smol | Who::AsyncStd => Some(ASYNC_IO),
            Who::Bare | Who::Hyper | Who::Reqwest => None,
        }
    }
}

impl Most {
    const fn new(instructions: f64, allocations: f64, syscalls: f64) -> Self {
        Self {
            instructions,
            allocations,
            syscalls,
        }
    }

    /// The most of `count` per GET.
    pub fn of(&self, count: Count) -> f64 {
        match count {
            Count::Instructions => self.instructions,
            Count::Allocations => self.allocations,
            Count::Syscalls => self.syscalls,
        }
    }

    /// Whether so many of `count` per GET are within the budget.
    pub fn admits(&self, count: Count, number: f64) -> bool {
        number <= self.of(count) + SLACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_allocation_or_call_more_is_over_the_budget_and_a_tick_is_not() {
        let budgets = Who::ALL.into_iter().filter_map(Budget::of);
        for most in budgets.flat_map(|budget| budget.gets) {
            for count in Count::ALL {
                assert!(most.admits(count, most.of(count) + 0.02));
                assert!(!most.admits(count, most.of(count) + 1.0));
            }
        }
    }
}
