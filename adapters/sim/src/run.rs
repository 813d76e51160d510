//! What a run led to.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::plan_source;
use crate::schedule::Schedule;
use crate::world::World;

/// How many lines of the trace a failure shows.
const TAIL: u64 = 60;

/// Why a run ended before its future did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No task can run and nothing will ever happen. The names are those of the tasks that wait,
    /// besides the main future.
    Deadlock(Vec<String>),
    /// Timers of background tasks went off for as long as [`Sim::patience`](crate::Sim::patience)
    /// allows, the main future was never woken and held no timer itself, and nothing happened on
    /// the network.
    Stalled(Vec<String>),
    /// More virtual time passed than [`Sim::limit`](crate::Sim::limit) allows.
    TimeLimit(Duration),
    /// Tasks woke each other a million times and time stood still.
    Livelock,
    /// Something that was to hold did not: its name ([`Sim::invariant`](crate::Sim::invariant)), and
    /// what was wrong.
    Violated(String, String),
    /// A task panicked: its name (`main` is the main future's), and the message.
    Panicked(String, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(tasks) => {
                write!(
                    f,
                    "deadlock: the main future waits and nothing can happen any more"
                )?;
                waiting(f, tasks)
            }
            Self::Stalled(tasks) => {
                write!(
                    f,
                    "stalled: the main future waits while only idle timers go off"
                )?;
                waiting(f, tasks)
            }
            Self::TimeLimit(limit) => write!(f, "not done after {limit:?} of virtual time"),
            Self::Livelock => write!(f, "livelock: tasks wake each other and time stands still"),
            Self::Violated(name, what) => write!(f, "violated: {name}: {what}"),
            Self::Panicked(task, message) => write!(f, "{task} panicked: {message}"),
        }
    }
}

fn waiting(f: &mut fmt::Formatter<'_>, tasks: &[String]) -> fmt::Result {
    if tasks.is_empty() {
        return Ok(());
    }
    write!(f, " (also waiting: {})", tasks.join(", "))
}

impl std::error::Error for Failure {}

/// The outcome of [`Sim::run`](crate::Sim::run).
///
/// A failure must be looked at, by any of [`expect`](Self::expect), [`into_output`](Self::into_output),
/// [`output`](Self::output) and [`failure`](Self::failure): dropping a failed run that nobody looked
/// at panics, so that no test passes by oversight.
#[must_use = "a run may have failed: `run.expect()`"]
pub struct Run<T> {
    pub(crate) output: Option<T>,
    pub(crate) failure: Option<Failure>,
    pub(crate) seed: u64,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) elapsed: Duration,
    pub(crate) open: Vec<String>,
    pub(crate) stats: Stats,
    /// The number of the first trace record after the run.
    pub(crate) end: u64,
    pub(crate) world: Arc<World>,
    pub(crate) is_seen: Cell<bool>,
}

/// How much was done, since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that happened.
    pub events: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Connections begun.
    pub connections: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

impl<T> Run<T> {
    /// The output of the main future.
    ///
    /// # Panics
    ///
    /// If the run failed, with the seed, the reason and the end of the trace.
    #[track_caller]
    pub fn expect(&self) -> &T {
        self.is_seen.set(true);
        match &self.output {
            Some(output) => output,
            None => panic!("{}", self.report()),
        }
    }

    /// The output of the main future.
    ///
    /// # Panics
    ///
    /// If the run failed, as [`expect`](Self::expect) does.
    #[track_caller]
    pub fn into_output(mut self) -> T {
        self.is_seen.set(true);
        match self.output.take() {
            Some(output) => output,
            None => panic!("{}", self.report()),
        }
    }

    /// The output of the main future, if the run did not fail.
    pub fn output(&self) -> Option<&T> {
        self.is_seen.set(true);
        self.output.as_ref()
    }

    /// Why the run failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.is_seen.set(true);
        self.failure.as_ref()
    }

    /// How much virtual time the run took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The trace from the beginning of the simulation to the end of this run: a line for each event,
    /// with its time, its number, its actor, and what happened. For one seed and one program it is
    /// the same text, byte for byte. Of very long simulations, only the last million lines or so.
    pub fn trace(&self) -> String {
        self.world.with(|state| state.trace.render(0, self.end))
    }

    /// How many client sockets were open when everything that the run left had been dropped: those
    /// that the output or something outside the run holds.
    pub fn open_sockets(&self) -> usize {
        self.open.len()
    }

    /// Those sockets, as text.
    pub fn leaks(&self) -> &[String] {
        &self.open
    }

    /// How much was done, since the simulation began.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn report(&self) -> String {
        let tail = self.end.saturating_sub(TAIL);
        let trace = self.world.with(|state| state.trace.render(tail, self.end));
        let plan = self.world.with(|state| plan_source(&state.plan()));
        let failure = self
            .failure
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let (seed, elapsed) = (self.seed, self.elapsed);
        let schedule = match &self.schedule {
            Some(schedule) => format!(", {schedule:?}"),
            None => String::new(),
        };
        format!(
            "{failure}\nafter {elapsed:?} of virtual time, with Sim::seeded({seed:#x}){schedule}\nand the faults {plan}\n\
             the end of the trace:\n{trace}"
        )
    }
}

impl<T> Drop for Run<T> {
    fn drop(&mut self) {
        assert!(
            self.failure.is_none() || self.is_seen.get() || std::thread::panicking(),
            "nobody looked at a failed run: {}",
            self.report()
        );
    }
}

impl<T: fmt::Debug> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("output", &self.output)
            .field("failure", &self.failure)
            .field("elapsed", &self.elapsed)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
