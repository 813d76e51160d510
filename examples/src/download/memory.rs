//! How much memory the program has needed at most, as the system counts.

use std::fmt;
use std::fs;

use crate::units;

/// By how much the program's peak has grown between two looks.
#[derive(Debug, Default)]
pub(super) struct Growth {
    first: Option<u64>,
    last: Option<u64>,
}

impl Growth {
    /// Looks at the peak.
    pub(super) fn note(&mut self) {
        if self.first.is_none() {
            self.first = peak();
        }
        self.last = peak();
    }

    /// By how many bytes it has grown since the first look. `None` where the system does not tell.
    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.last?.saturating_sub(self.first?))
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.last, self.bytes()) {
            (Some(peak), Some(bytes)) => {
                let (peak, bytes) = (units::size(peak), units::size(bytes));
                write!(
                    f,
                    "{peak} of memory at the peak, {bytes} of it after the first tenth"
                )
            }
            _ => f.write_str("how much memory it took is not known here"),
        }
    }
}

/// The most physical memory this process has ever had, in bytes. Linux tells.
fn peak() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_a_line_of_the_systems_status() {
        let status = "Name:\tdownload\nVmPeak:\t   99 kB\nVmHWM:\t    7340 kB\n";
        assert_eq!(parse(status), Some(7340 * 1024));
        assert_eq!(parse("Name:\tdownload\n"), None);
    }

    #[test]
    fn growth_is_told_only_where_the_peak_is_known() {
        assert_eq!(Growth::default().bytes(), None);
        let (first, last) = (Some(5), Some(7));
        assert_eq!(Growth { first, last }.bytes(), Some(2));
    }
}
