//! What one GET of this library may take, column by column of the table.

use crate::clients::Look;
use crate::counts::Count;

/// One way of asking, and the most that it may take.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether headers are looked at.
    pub look: Look,
    /// How many GETs are in flight.
    pub at_once: usize,
    /// The most user-space instructions.
    instructions: f64,
    /// The most allocations.
    allocations: f64,
    /// The most system calls.
    syscalls: f64,
}

/// The columns of the table. The same budgets stand in `DESIGN.md`.
pub const COLUMNS: [Column; 3] = [
    Column {
        name: "one at a time",
        look: Look::Body,
        at_once: 1,
        instructions: 8_000.0,
        allocations: 2.0,
        syscalls: 3.0,
    },
    Column {
        name: "64 at once",
        look: Look::Body,
        at_once: 64,
        instructions: 7_000.0,
        allocations: 2.0,
        syscalls: 2.1,
    },
    Column {
        name: "with headers",
        look: Look::Headers,
        at_once: 1,
        instructions: 12_500.0,
        allocations: 5.0,
        syscalls: 3.0,
    },
];

/// The most bytes of heap per idle connection.
pub const IDLE_BYTES: isize = 640;

/// What happens once in a while (a tick of the pool's driver, a map that grows) makes a hundredth.
const SLACK: f64 = 0.05;

impl Column {
    /// The most of `count` per GET.
    pub fn most(&self, count: Count) -> f64 {
        match count {
            Count::Instructions => self.instructions,
            Count::Allocations => self.allocations,
            Count::Syscalls => self.syscalls,
        }
    }

    /// Whether so many of `count` per GET are within the budget.
    pub fn admits(&self, count: Count, number: f64) -> bool {
        number <= self.most(count) + SLACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_allocation_or_call_more_is_over_the_budget_and_a_tick_is_not() {
        for column in COLUMNS {
            for count in Count::ALL {
                assert!(column.admits(count, column.most(count) + 0.02));
                assert!(!column.admits(count, column.most(count) + 1.0));
            }
        }
    }
}
