//! A progress bar.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::paint::say;
use crate::units;

/// Cells of the bar.
const CELLS: usize = 40;
/// The bar is redrawn no more often than this.
const EVERY: Duration = Duration::from_millis(100);

/// How far a download is.
pub(super) struct Progress {
    began: Instant,
    drawn: Option<Instant>,
    is_terminal: bool,
    bar: Bar,
}

/// What is drawn.
struct Bar {
    done: u64,
    /// Where the server has told.
    total: Option<u64>,
    took: Duration,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        let took = Duration::ZERO;
        Self {
            began: Instant::now(),
            drawn: None,
            is_terminal: io::stdout().is_terminal(),
            bar: Bar {
                done: 0,
                total,
                took,
            },
        }
    }

    /// So many bytes more are there. A terminal sees the bar move, a file only how it ended.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bar.done += bytes;
        if self.is_terminal && self.drawn.is_none_or(|drawn| drawn.elapsed() >= EVERY) {
            self.drawn = Some(Instant::now());
            self.draw("\r", "");
        }
    }

    /// Draws it for the last time.
    pub(super) fn finish(mut self) {
        self.draw(if self.is_terminal { "\r" } else { "" }, "\n");
    }

    /// Whether a tenth is there, of what is known to come or of 10 MiB.
    pub(super) fn is_past_a_tenth(&self) -> bool {
        self.bar.done >= self.bar.total.unwrap_or(10 * 1024 * 1024) / 10
    }

    fn draw(&mut self, before: &str, after: &str) {
        self.bar.took = self.began.elapsed();
        say(&format!("{before}{}{after}", self.bar));
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = units::rate(self.done, self.took);
        let done = units::size(self.done);
        let Some(total) = self.total else {
            return write!(f, "{done:>10}  {rate:>12}");
        };
        let share = |of: u64| u128::from(self.done) * u128::from(of) / u128::from(total.max(1));
        let full = (share(CELLS as u64) as usize).min(CELLS);
        let (percent, total) = (share(100), units::size(total));
        let bar = "█".repeat(full) + &"░".repeat(CELLS - full);
        write!(f, "{bar} {percent:>3} %  {done:>10} of {total}  {rate:>12}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(done: u64, total: Option<u64>) -> String {
        let took = Duration::from_secs(1);
        Bar { done, total, took }.to_string()
    }

    #[test]
    fn the_bar_fills_with_the_file() {
        let quarter = bar(1 << 20, Some(4 << 20));
        assert_eq!(quarter.matches('█').count(), CELLS / 4);
        assert!(
            quarter.contains(" 25 %     1.0 MiB of 4.0 MiB     1.0 MiB/s"),
            "{quarter}"
        );
        assert_eq!(bar(4 << 20, Some(4 << 20)).matches('░').count(), 0);
    }

    #[test]
    fn a_bar_has_an_answer_for_lengths_that_are_unknown_zero_or_wrong() {
        assert_eq!(bar(1 << 20, None), "   1.0 MiB     1.0 MiB/s");
        assert!(bar(0, Some(0)).contains("  0 %"));
        assert_eq!(bar(9, Some(3)).matches('█').count(), CELLS);
    }
}
