//! The programs that count: this very program run anew, by itself or under valgrind or strace.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::runtimes::ONE_THREAD;

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

/// Runs this program with `args` in a process of its own, and says what it took in all. For
/// [`Count::Allocations`] the program prints the number itself.
///
/// # Errors
///
/// The tool is missing, or the run failed.
pub fn total<'a>(count: Count, args: impl IntoIterator<Item = &'a str>) -> Result<u64, Missing> {
    let out = OutFile::new(count);
    let mut command = match count {
        Count::Allocations => Command::new(std::env::current_exe()?),
        Count::Instructions => {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--quiet", "--separate-threads=yes"]);
            command.arg(format!("--callgrind-out-file={}", out.0.display()));
            command.arg(std::env::current_exe()?);
            command
        }
        Count::Syscalls => {
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-e", "signal=none", "-o"])
                .arg(&out.0)
                .arg(std::env::current_exe()?);
            command
        }
    };
    command.env(ONE_THREAD.0, ONE_THREAD.1);
    command.args(args);
    let printed = run(&mut command, count)?;
    let number = match count {
        Count::Allocations => printed.trim().parse().ok(),
        Count::Instructions => busiest(out.threads()?.iter().map(|file| parse_callgrind(file))),
        Count::Syscalls => parse_strace(&out.read()?),
    };
    number.ok_or_else(|| Missing::Failed(format!("{count:?} not understood")))
}

/// What the program printed.
///
/// # Errors
///
/// The tool of `count` is missing, or the run failed.
pub fn run(command: &mut Command, count: Count) -> Result<String, Missing> {
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
pub(crate) struct OutFile(PathBuf);

impl OutFile {
    pub(crate) fn new(count: Count) -> Self {
        let name = format!("fulmar-counts-{}-{count:?}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn read(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.0)
    }

    /// Callgrind's files, one for each thread.
    fn threads(&self) -> io::Result<Vec<String>> {
        self.of_threads().map(std::fs::read_to_string).collect()
    }

    /// Callgrind's names for them: `name-01` and on.
    fn of_threads(&self) -> impl Iterator<Item = PathBuf> {
        let name = self.0.display().to_string();
        let names = (1..).map(move |thread| PathBuf::from(format!("{name}-{thread:02}")));
        names.take_while(|path| path.exists())
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        let of_threads: Vec<_> = self.of_threads().collect();
        for path in of_threads.iter().chain([&self.0]) {
            // Not every count writes one.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The number of the thread that works. Every client has one, on every runtime. Besides, async-io
/// has a helper that turns its reactor whenever nobody has for a while: what that takes grows with
/// the slowness of the tool, not with the requests.
fn busiest(threads: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    threads.collect::<Option<Vec<_>>>()?.into_iter().max()
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

/// The lines of the busiest thread: each starts with the thread's number. A call that was interrupted
/// by another thread's has two lines.
fn parse_strace(file: &str) -> Option<u64> {
    let mut threads = BTreeMap::new();
    for line in file.lines() {
        let (thread, call) = line.split_once(' ')?;
        if !call.trim_start().starts_with("<... ") {
            *threads.entry(thread).or_insert(0) += 1;
        }
    }
    busiest(threads.into_values().map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_lines_are_counted_by_thread_and_once_for_each_call() {
        let lines = "18542 sendto(48, \"GET / HTTP/1.1\\r\\n\", 18, 0, NULL, 0 <unfinished ...>\n\
            18543 read(4, 0x7f8c4c6866a8, 8)    = -1 EAGAIN (Resource temporarily unavailable)\n\
            18542 <... sendto resumed>) = 18\n\
            18542 recvfrom(30, \"HTTP/1.1\", 2048, 0, NULL, NULL) = 8\n";
        assert_eq!(parse_strace(lines), Some(2));
        assert_eq!(parse_strace(""), None);
        assert_eq!(parse_strace("nonsense\n"), None);
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
