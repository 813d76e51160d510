//! Running a test in many orders, and twice in the same.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::executor::message;
use crate::schedule::Schedule;
use crate::sim::Sim;

/// What [`explore`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many orders were run.
    pub runs: usize,
    /// Whether these are all there are.
    pub is_complete: bool,
}

/// Runs a test once for each order in which tasks that are ready at one instant can run, up to
/// `runs` of them: first the usual one, then all that differ from it in one choice, then in two, and
/// so on, because most bugs of order need few (Emmi, Qadeer and Rakamarić, "Delay-bounded scheduling",
/// POPL 2011).
///
/// The test hands the schedule to [`Sim::schedule`], and panics where it fails.
///
/// ```
/// use fulmar_sim::{Sim, explore};
///
/// let explored = explore(1000, |schedule| {
///     let mut sim = Sim::seeded(1);
///     sim.schedule(schedule);
///     let (one, two) = (sim.handle(), sim.handle());
///     sim.spawn(async move { one.trace_line("one", "runs") });
///     sim.spawn(async move { two.trace_line("two", "runs") });
///     sim.run(async {}).expect();
/// });
/// assert!(explored.is_complete);
/// ```
///
/// # Panics
///
/// When the test does, with its message and the schedule to replay.
pub fn explore(runs: usize, test: impl Fn(&Schedule)) -> Explored {
    let mut scripts = VecDeque::from([Vec::new()]);
    let (mut done, mut is_complete) = (0, true);
    while let Some(script) = scripts.pop_front() {
        if done == runs {
            is_complete = false;
            break;
        }
        let schedule = Schedule::replay(script.clone());
        attempt(&schedule, &test);
        done += 1;
        // Every other choice at every point behind the last one that differs.
        let points = schedule.options().into_iter().enumerate();
        for (at, options) in points.skip(script.len()) {
            for choice in 1..options {
                if done + scripts.len() >= runs {
                    is_complete = false;
                    break;
                }
                let mut next = script.clone();
                next.resize(at, 0);
                next.push(choice);
                scripts.push_back(next);
            }
        }
    }
    Explored {
        runs: done,
        is_complete,
    }
}

/// Runs a test in `runs` random orders: better than [`explore`] where there are too many to see all
/// that differ in a few choices.
///
/// # Panics
///
/// As [`explore`].
pub fn explore_randomly(runs: u64, test: impl Fn(&Schedule)) {
    for seed in 0..runs {
        attempt(&Schedule::seeded(seed), &test);
    }
}

fn attempt(schedule: &Schedule, test: &impl Fn(&Schedule)) {
    // What the test had made is gone with it.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(schedule))) {
        panic!(
            "{}\nin this order: sim.schedule(&{schedule:?})",
            message(&*panic)
        );
    }
}

/// Plays a simulation twice with one seed, and compares the traces byte for byte.
///
/// ```
/// # use fulmar_sim::{check_determinism, net::{Family, Net}};
/// let trace = check_determinism(7, |sim| {
///     let net = sim.net("laptop");
///     sim.host("api.test");
///     sim.run(async move { net.resolve("api.test", Family::Any).await }).expect();
/// });
/// assert!(trace.unwrap().contains("resolves api.test"));
/// ```
///
/// # Errors
///
/// Where the traces differ: the program draws on something besides the simulation (a clock, a
/// random number, the order of a hash map).
pub fn check_determinism(seed: u64, play: impl Fn(&mut Sim)) -> Result<String, Divergence> {
    let trace = || {
        let mut sim = Sim::seeded(seed);
        play(&mut sim);
        sim.trace()
    };
    let (one, two) = (trace(), trace());
    match Divergence::between(&one, &two) {
        Some(divergence) => Err(divergence),
        None => Ok(one),
    }
}

/// The first difference of two traces.
#[derive(Clone, PartialEq, Eq)]
pub struct Divergence {
    line: usize,
    before: Vec<String>,
    /// The line in each, where it has so many.
    lines: [Option<String>; 2],
}

impl Divergence {
    /// Lines of context.
    const CONTEXT: usize = 3;

    /// Where two texts differ, if they do.
    pub fn between(one: &str, two: &str) -> Option<Self> {
        if one == two {
            return None;
        }
        // Split, not `lines`, which would not tell a missing last line break.
        let (left, right): (Vec<_>, Vec<_>) =
            (one.split('\n').collect(), two.split('\n').collect());
        let at = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
        let owned = |line: &&str| (*line).to_owned();
        let from = at.saturating_sub(Self::CONTEXT);
        Some(Self {
            line: at + 1,
            before: left.get(from..at)?.iter().map(owned).collect(),
            lines: [left.get(at).map(owned), right.get(at).map(owned)],
        })
    }

    /// The number of the first line that differs; the first is 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the traces differ from line {} on:", self.line)?;
        for line in &self.before {
            write!(f, "\n  {line}")?;
        }
        for (mark, line) in ["-", "+"].into_iter().zip(&self.lines) {
            match line {
                Some(line) => write!(f, "\n{mark} {line}")?,
                None => write!(f, "\n{mark} (the end)")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Divergence {}
