//! One line of the table, and what this library may take.

use std::fmt;
use std::net::SocketAddr;

use fulmar_benches::descriptors;
use fulmar_benches::tools::{self, Count, Missing};

use crate::pattern::Pattern;

/// The argument of this process that makes it play one [`Pattern`] and print the allocations.
pub const PLAY: &str = "play";

/// The argument of this process that makes it hold idle connections and print the bytes for each.
pub const IDLE: &str = "idle";

/// How many idle connections are held for the last column.
pub const IDLE_CONNECTIONS: usize = 1_000;

/// The name of this library's client in the table.
pub const OURS: &str = crate::peers::ours::NAME;

/// The most bytes of heap per idle connection.
const IDLE_BUDGET: isize = 2 * 1024;

/// The most instructions, allocations and system calls per message, where there is a budget.
fn budget(pattern: Pattern, count: Count) -> Option<f64> {
    let (instructions, syscalls) = match pattern {
        Pattern::PingPong(64) => (2_400.0, Some(3.05)),
        Pattern::Pipelined => (650.0, None),
        Pattern::Firehose => (300.0, None),
        Pattern::PingPong(_) => return None,
    };
    match count {
        Count::Instructions => Some(instructions),
        Count::Allocations => Some(0.01),
        Count::Syscalls => syscalls,
    }
}

/// How much more than the best peer's a message of 64 KiB or more may take of the processor.
const LARGE_RATIO: f64 = 1.05;

/// What one client took, as far as it could be counted.
pub struct Row {
    name: &'static str,
    /// By pattern, then by count.
    per_message: [[Result<f64, Missing>; 3]; 5],
    idle: Result<isize, Missing>,
}

impl Row {
    /// Puts one client through everything.
    pub fn measure(addr: SocketAddr, name: &'static str) -> Self {
        let per_message = Pattern::ALL
            .map(|pattern| Count::ALL.map(|count| per_message(addr, name, pattern, count)));
        Self {
            name,
            per_message,
            idle: idle(addr, name),
        }
    }

    /// Instructions per message of a pattern.
    fn instructions(&self, pattern: usize) -> Option<f64> {
        self.per_message[pattern][0].as_ref().ok().copied()
    }
}

/// The figures of this library's row that exceed their budgets, or are missing, a line each. Large
/// messages are held to the best of the others' rows.
pub fn excesses(rows: &[Row]) -> Vec<String> {
    let Some(ours) = rows.iter().find(|row| row.name == OURS) else {
        return vec![format!("{OURS} was not measured")];
    };
    let mut lines = Vec::new();
    for (at, pattern) in Pattern::ALL.into_iter().enumerate() {
        let peers = rows
            .iter()
            .filter(|row| row.name != OURS && row.name != crate::peers::bare::NAME);
        let best = peers
            .filter_map(|row| row.instructions(at))
            .reduce(f64::min);
        for (count, number) in Count::ALL.into_iter().zip(&ours.per_message[at]) {
            let most = budget(pattern, count).or_else(|| {
                let is_large =
                    matches!(pattern, Pattern::PingPong(_)) && count == Count::Instructions;
                best.filter(|_| is_large).map(|best| best * LARGE_RATIO)
            });
            match (number, most) {
                (Ok(number), Some(most)) if *number > most => lines.push(format!(
                    "{}: {number:.2} {count} per message, the budget is {most:.2}",
                    pattern.as_str()
                )),
                (Err(missing), _) => {
                    lines.push(format!("{}: {count}: {missing}", pattern.as_str()))
                }
                _ => {}
            }
        }
    }
    match &ours.idle {
        Ok(bytes) if *bytes <= IDLE_BUDGET => {}
        Ok(bytes) => lines.push(format!("idle: {bytes} bytes, the budget is {IDLE_BUDGET}")),
        Err(missing) => lines.push(format!("idle: {missing}")),
    }
    lines
}

fn per_message(
    addr: SocketAddr,
    name: &str,
    pattern: Pattern,
    count: Count,
) -> Result<f64, Missing> {
    let (few, many) = pattern.runs();
    let total = |messages: usize| {
        let args = [
            PLAY,
            &addr.to_string(),
            name,
            pattern.as_str(),
            &messages.to_string(),
        ];
        tools::total(count, args)
    };
    let (low, high) = (total(few)?, total(many)?);
    Ok((high as f64 - low as f64) / (many - few) as f64)
}

fn idle(addr: SocketAddr, name: &str) -> Result<isize, Missing> {
    let mut command = descriptors::command(IDLE_CONNECTIONS + 100)?;
    command.args([IDLE, &addr.to_string(), name, &IDLE_CONNECTIONS.to_string()]);
    let printed = tools::run(&mut command, Count::Allocations)?;
    let bytes = printed.trim().parse();
    bytes.map_err(|_| Missing::Failed("bytes not understood".into()))
}

/// The heading of the table.
pub fn heading() -> String {
    let names = Pattern::ALL.map(Pattern::as_str).join(" | ");
    format!(
        "| client | {names} | idle, bytes |\n|{}",
        "---|".repeat(Pattern::ALL.len() + 2)
    )
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.name)?;
        for [instructions, allocations, syscalls] in &self.per_message {
            let show = |number: &Result<f64, Missing>, decimals| match number {
                Ok(number) => format!("{:.decimals$}", number.max(0.0)),
                Err(missing) => missing.to_string(),
            };
            let (instructions, allocations, syscalls) = (
                show(instructions, 0),
                show(allocations, 2),
                show(syscalls, 2),
            );
            write!(f, " {instructions} / {allocations} / {syscalls} |")?;
        }
        match &self.idle {
            Ok(bytes) => write!(f, " {bytes} |"),
            Err(missing) => write!(f, " {missing} |"),
        }
    }
}
