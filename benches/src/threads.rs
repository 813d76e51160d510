//! One client on many threads: how often, and for how long, they wait for each other.
//!
//! Each thread has a runtime of its own, of that one thread, so that nothing but a lock makes it wait
//! in `futex`: the pool's, for all that a GET shares. strace counts these waits and times them, and
//! stops nothing else.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fulmar_tokio::Tokio;

use crate::clients::ours::Ours;
use crate::clients::{Client, Error, Look};
use crate::load::repeat;
use crate::runtimes::Runtime;
use crate::tools::{self, Count, Missing, OutFile};

/// The argument of this process that makes it do one [`Crowd`] and print the time it took.
pub const CROWD: &str = "crowd";

/// How many threads share the client.
pub const THREADS: usize = 16;

/// Threads that share a client.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many.
    pub threads: usize,
    /// GETs of each, one after the other.
    pub requests: usize,
}

/// How threads waited for each other.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Waits for a lock, per GET.
    pub per_get: f64,
    /// The share of all threads' time that went by in them.
    pub share: f64,
    /// The processor time that a GET took in this process, system calls included.
    pub get: Duration,
}

impl Crowd {
    /// Does it, and says how long it took.
    ///
    /// # Errors
    ///
    /// The first error of any request.
    pub fn run(self, addr: SocketAddr) -> Result<Duration, Error> {
        let shared = Tokio::alone(async move { Ours::<Tokio>::shared(addr) })??;
        let done = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let threads: Vec<_> = (0..self.threads)
            .map(|_| {
                let (shared, done) = (shared.clone(), Arc::clone(&done));
                std::thread::spawn(move || -> Result<(), Error> {
                    Tokio::alone(async move {
                        let mut client = Ours::<Tokio>::open(&shared).await?;
                        let asked = repeat(&mut client, Look::Body, self.requests).await;
                        done.fetch_add(1, Ordering::Relaxed);
                        // With its runtime a thread would take connections away from the others.
                        while done.load(Ordering::Relaxed) < self.threads {
                            Tokio::sleep(Duration::from_millis(1)).await;
                        }
                        asked
                    })?
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(start.elapsed())
    }

    /// Does it in a process of its own, and says how the threads waited.
    ///
    /// # Errors
    ///
    /// strace is missing, or the run failed.
    pub fn measure(self, addr: SocketAddr) -> Result<Waits, Missing> {
        let out = OutFile::new(Count::Syscalls);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "--seccomp-bpf", "-T", "-e", "trace=futex"])
            .args(["-e", "signal=none", "-o"])
            .arg(out.path())
            .arg(std::env::current_exe()?);
        command.args([
            CROWD,
            &addr.to_string(),
            &self.threads.to_string(),
            &self.requests.to_string(),
        ]);
        let printed = tools::run(&mut command, Count::Syscalls)?;
        let mut numbers = printed.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(elapsed)), Some(Ok(busy))) = (numbers.next(), numbers.next()) else {
            return Err(Missing::Failed("seconds not understood".into()));
        };
        let main = std::fs::read_to_string(out.path())?;
        let (waits, seconds) = waits(&main);
        let gets = (self.threads * self.requests) as f64;
        Ok(Waits {
            per_get: waits as f64 / gets,
            share: seconds / (elapsed * self.threads as f64),
            get: Duration::from_secs_f64(busy / gets),
        })
    }
}

/// The processor time of this process so far, as Linux counts it: in hundredths of a second.
///
/// # Errors
///
/// There is no `/proc`.
pub fn busy() -> Result<Duration, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    busy_of(&stat).ok_or_else(|| "/proc/self/stat not understood".into())
}

/// In user mode and in system calls: the fields 14 and 15, of which the second is a name in brackets.
fn busy_of(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(10 * ticks))
}

/// Waits of all threads but the first, which joins the others: how many, and their seconds in all.
fn waits(lines: &str) -> (usize, f64) {
    let main = lines.split_whitespace().next();
    let (mut count, mut seconds) = (0, 0.0);
    let mut waiting = std::collections::HashSet::new();
    for line in lines.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        if Some(thread) == main {
            continue;
        }
        let is_wait = call.contains("FUTEX_WAIT");
        let took = call
            .rsplit_once('<')
            .and_then(|(_, took)| took.strip_suffix('>')?.parse::<f64>().ok());
        match took {
            // Its end is on a line of its own.
            None if is_wait => {
                waiting.insert(thread);
            }
            Some(took) if is_wait || waiting.remove(thread) => {
                count += 1;
                seconds += took;
            }
            _ => {}
        }
    }
    (count, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_processor_time_are_added_up() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(busy_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(busy_of("7 (a) S 1"), None);
    }

    #[test]
    fn waits_are_counted_once_and_their_time_added_up() {
        let lines = "1 futex(0x1, FUTEX_WAIT_BITSET_PRIVATE, 2, NULL) = 0 <9.000000>\n\
            2 futex(0x2, FUTEX_WAIT_PRIVATE, 2, NULL <unfinished ...>\n\
            3 futex(0x2, FUTEX_WAKE_PRIVATE, 1) = 1 <0.000010>\n\
            2 <... futex resumed>) = 0 <0.000100>\n\
            3 futex(0x2, FUTEX_WAIT_PRIVATE, 2, NULL) = -1 EAGAIN (Resource) <0.000020>\n";
        let (count, seconds) = waits(lines);
        assert_eq!(count, 2);
        assert!((seconds - 0.000_12).abs() < 1e-9, "{seconds}");
        assert_eq!(waits(""), (0, 0.0));
    }
}
