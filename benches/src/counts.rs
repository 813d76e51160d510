//! Counts per GET: each run is a process of its own, each number the difference of two runs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::clients::Look;
use crate::descriptors;
use crate::load::Who;
use crate::runtimes::ONE_THREAD;

/// The argument of this process that makes it do one [`crate::load::Load`] and print the allocations.
pub const LOAD: &str = "load";

/// The argument of this process that makes it hold idle connections and print bytes for each.
pub const IDLE: &str = "idle";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Calls to the allocator for new or larger memory.
    Allocations,
    /// User-space instructions, by callgrind.
    Instructions,
    /// System calls, by strace.
    Syscalls,
}

impl Count {
    /// All, in the order of a cell of the table.
    pub const ALL: [Self; 3] = [Self::Instructions, Self::Allocations, Self::Syscalls];
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allocations => "allocations",
            Self::Instructions => "instructions",
            Self::Syscalls => "system calls",
        })
    }
}

/// Why there is no number.
#[derive(Debug)]
pub enum Missing {
    /// The program that counts is not installed: its Debian package.
    Tool(&'static str),
    /// The run failed: what it said.
    Failed(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(package) => write!(f, "no {package} (apt-get install {package})"),
            Self::Failed(said) => {
                write!(f, "failed: {}", said.lines().last().unwrap_or("silently"))
            }
        }
    }
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// One line of the table, of one client asked in one way.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The server.
    pub addr: SocketAddr,
    /// Who asks.
    pub who: Who,
    /// Whether headers are looked at.
    pub look: Look,
    /// How many at once.
    pub concurrency: usize,
}

impl Subject {
    /// How many of `count` one GET takes.
    ///
    /// # Errors
    ///
    /// The tool is missing, or a run failed.
    pub fn per_get(&self, count: Count) -> Result<f64, Missing> {
        // Multiples of every concurrency. The first run warms up what grows once; the allocator is
        // cheap to watch, so more requests make its number exact.
        let (few, many) = match count {
            Count::Allocations => (1_280, 11_520),
            Count::Instructions | Count::Syscalls => (512, 1_536),
        };
        let (low, high) = (self.total(count, few)?, self.total(count, many)?);
        Ok((high as f64 - low as f64) / (many - few) as f64)
    }

    /// One run in a process of its own.
    fn total(&self, count: Count, requests: usize) -> Result<u64, Missing> {
        let out = OutFile::new(count);
        let mut command = match count {
            Count::Allocations => Command::new(std::env::current_exe()?),
            Count::Instructions => {
                let mut command = Command::new("valgrind");
                command.args(["--tool=callgrind", "--quiet"]);
                command.arg(format!("--callgrind-out-file={}", out.0.display()));
                command.arg(std::env::current_exe()?);
                command
            }
            Count::Syscalls => {
                let mut command = Command::new("strace");
                command
                    .args(["-f", "-c", "-o"])
                    .arg(&out.0)
                    .arg(std::env::current_exe()?);
                command
            }
        };
        let headers = if self.look == Look::Headers {
            "headers"
        } else {
            "body"
        };
        command.env(ONE_THREAD.0, ONE_THREAD.1);
        command.args([LOAD, &self.addr.to_string(), self.who.as_str(), headers]);
        command.args([requests.to_string(), self.concurrency.to_string()]);
        let printed = run(&mut command, count)?;
        let number = match count {
            Count::Allocations => printed.trim().parse().ok(),
            Count::Instructions => parse_callgrind(&out.read()?),
            Count::Syscalls => parse_strace(&out.read()?),
        };
        number.ok_or_else(|| Missing::Failed(format!("{count:?} not understood")))
    }
}

/// Bytes of heap per idle connection.
///
/// # Errors
///
/// The system allows fewer descriptors, or the run failed.
pub fn idle(addr: SocketAddr, who: Who, connections: usize) -> Result<isize, Missing> {
    let mut command = descriptors::command(connections + 100)?;
    command.env(ONE_THREAD.0, ONE_THREAD.1);
    command.args([
        IDLE,
        &addr.to_string(),
        who.as_str(),
        &connections.to_string(),
    ]);
    let printed = run(&mut command, Count::Allocations)?;
    printed
        .trim()
        .parse()
        .map_err(|_| Missing::Failed("bytes not understood".into()))
}

fn run(command: &mut Command, count: Count) -> Result<String, Missing> {
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Missing::Tool(match count {
                Count::Syscalls => "strace",
                _ => "valgrind",
            }));
        }
        output => output?,
    };
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Missing::Failed(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

/// Where a tool writes, removed afterwards.
struct OutFile(PathBuf);

impl OutFile {
    fn new(count: Count) -> Self {
        let name = format!("fulmar-counts-{}-{count:?}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn read(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.0)
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        // Not every count writes one.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The total of a callgrind file: `totals: 12345`, or `summary: 12345` in older versions.
fn parse_callgrind(file: &str) -> Option<u64> {
    let total = |line: &str| -> Option<u64> {
        let rest = line
            .strip_prefix("totals: ")
            .or_else(|| line.strip_prefix("summary: "))?;
        rest.trim().parse().ok()
    };
    file.lines().rev().find_map(total)
}

/// The sum of strace's fourth column, `calls`, over its rows. The total's own row leaves columns
/// out in some versions.
fn parse_strace(file: &str) -> Option<u64> {
    let calls = |line: &str| -> Option<u64> {
        let mut columns = line.split_whitespace();
        let is_row = columns.next()?.parse::<f64>().is_ok() && columns.clone().last()? != "total";
        if is_row {
            columns.nth(2)?.parse().ok()
        } else {
            None
        }
    };
    let rows: Vec<u64> = file.lines().filter_map(calls).collect();
    (!rows.is_empty()).then(|| rows.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_table_is_summed_over_rows_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000030           3        10           write\n \
            40.00    0.000020           2         7         2 recvfrom\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000050           2        17         2 total\n";
        assert_eq!(parse_strace(table), Some(17));
        assert_eq!(parse_strace(""), None);
    }

    #[test]
    fn callgrinds_last_total_counts() {
        assert_eq!(
            parse_callgrind("fn=(1)\n1 2\nsummary: 41\ntotals: 42\n"),
            Some(42)
        );
        assert_eq!(parse_callgrind("events: Ir\n"), None);
    }
}
