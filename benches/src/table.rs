//! One line of the table, and what in it is over the budget.

use std::fmt;
use std::net::SocketAddr;

use crate::budgets::{Budget, COLUMNS};
use crate::clients::Look;
use crate::counts::{Subject, idle};
use crate::load::Who;
use crate::tools::{Count, Missing};

/// How many idle connections are held for the last column.
pub const IDLE_CONNECTIONS: usize = 10_000;

/// What one client took, as far as it could be counted.
pub struct Row {
    who: Who,
    /// By column, then by count; none where a client has no such column.
    gets: [Option<[Result<f64, Missing>; 3]>; 3],
    idle: Result<isize, Missing>,
}

impl Row {
    /// Puts one client through everything. The server gathers [`IDLE_CONNECTIONS`].
    pub fn measure(addr: SocketAddr, who: Who) -> Self {
        let gets = COLUMNS.map(|column| {
            // A loop over a socket has no headers to look at.
            let is_there = who != Who::Bare || column.look == Look::Body;
            let subject = Subject {
                addr,
                who,
                look: column.look,
                concurrency: column.at_once,
            };
            is_there.then(|| Count::ALL.map(|count| subject.per_get(count)))
        });
        let idle = idle(addr, who, IDLE_CONNECTIONS);
        Self { who, gets, idle }
    }

    /// The figures that exceed the client's budget, or are missing, a line each.
    pub fn excesses(&self) -> Vec<String> {
        let Some(budget) = Budget::of(self.who) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for ((column, most), get) in COLUMNS.iter().zip(&budget.gets).zip(&self.gets) {
            for (count, number) in Count::ALL.into_iter().zip(get.iter().flatten()) {
                match number {
                    Ok(number) if most.admits(count, *number) => {}
                    Ok(number) => lines.push(format!(
                        "{}: {number:.2} {count} per GET, the budget is {}",
                        column.name,
                        most.of(count)
                    )),
                    Err(missing) => lines.push(format!("{}: {count}: {missing}", column.name)),
                }
            }
        }
        match &self.idle {
            Ok(bytes) if *bytes <= budget.idle_bytes => {}
            Ok(bytes) => lines.push(format!(
                "idle: {bytes} bytes per connection, the budget is {}",
                budget.idle_bytes
            )),
            Err(missing) => lines.push(format!("idle: {missing}")),
        }
        let name = self.who.as_str();
        lines.iter().map(|line| format!("{name}, {line}")).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.who.as_str())?;
        for get in &self.gets {
            let Some([instructions, allocations, syscalls]) = get else {
                f.write_str(" - |")?;
                continue;
            };
            let (instructions, allocations, syscalls) = (
                show(instructions, |n| format!("{n:.0}")),
                show(allocations, |n| format!("{:.2}", n.max(0.0))),
                show(syscalls, |n| format!("{n:.2}")),
            );
            write!(f, " {instructions} / {allocations} / {syscalls} |")?;
        }
        write!(f, " {} |", show(&self.idle, |n| n.to_string()))
    }
}

fn show<T: Copy>(number: &Result<T, Missing>, format: impl Fn(T) -> String) -> String {
    match number {
        Ok(number) => format(*number),
        Err(missing) => missing.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of ours with one figure of the first column in place of a good one.
    fn row(instructions: Result<f64, Missing>, bytes: isize) -> Row {
        let good = || Some([Ok(1.0), Ok(1.0), Ok(1.0)]);
        Row {
            who: Who::Fulmar,
            gets: [Some([instructions, Ok(1.0), Ok(1.0)]), good(), good()],
            idle: Ok(bytes),
        }
    }

    #[test]
    fn a_figure_over_its_budget_is_named() {
        assert_eq!(row(Ok(8_000.0), 640).excesses(), [""; 0]);
        assert_eq!(
            row(Ok(8_001.0), 641).excesses(),
            [
                "fulmar, one at a time: 8001.00 instructions per GET, the budget is 8000",
                "fulmar, idle: 641 bytes per connection, the budget is 640"
            ]
        );
    }

    #[test]
    fn a_figure_that_could_not_be_counted_is_no_success() {
        let lines = row(Err(Missing::Tool("valgrind")), 1).excesses();
        let expected =
            "fulmar, one at a time: instructions: no valgrind (apt-get install valgrind)";
        assert_eq!(lines, [expected]);
    }
}
