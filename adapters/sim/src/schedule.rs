//! The order of tasks that are ready at one instant.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::random::Stream;

/// Choices kept of one schedule. Later ones are made, but neither reported nor explored.
const KEPT: usize = 10_000;

/// Decides which of the tasks that are ready runs next; see [`Sim::schedule`](crate::Sim::schedule)
/// and [`explore`](crate::explore).
///
/// A clone is the same schedule: it goes on where the other is. Its `Debug` form is the Rust that
/// makes it anew.
#[derive(Clone)]
pub struct Schedule(Arc<Mutex<Choices>>);

struct Choices {
    rule: Rule,
    /// How many tasks were ready at each choice so far.
    options: Vec<u32>,
}

enum Rule {
    Seeded(u64, Box<Stream>),
    Replay(Vec<u32>),
}

impl Schedule {
    /// A schedule that a seed decides: any of the tasks that are ready may be the next.
    pub fn seeded(seed: u64) -> Self {
        Self::of(Rule::Seeded(
            seed,
            Box::new(Stream::named(seed, "schedule")),
        ))
    }

    /// The schedule that makes these choices, one wherever two or more tasks are ready: 0 is the one
    /// that waits the longest. When there are no more choices, it is always that one.
    pub fn replay(choices: impl Into<Vec<u32>>) -> Self {
        Self::of(Rule::Replay(choices.into()))
    }

    fn of(rule: Rule) -> Self {
        let options = Vec::new();
        Self(Arc::new(Mutex::new(Choices { rule, options })))
    }

    /// The next of so many tasks.
    pub(crate) fn choose(&self, ready: usize) -> usize {
        let Some(last) = ready.checked_sub(1).filter(|last| *last > 0) else {
            return 0;
        };
        let mut choices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = choices.options.len();
        if at < KEPT {
            choices.options.push(ready as u32);
        }
        match &mut choices.rule {
            Rule::Seeded(_, draws) => draws.uniform(0, last as u64) as usize,
            Rule::Replay(script) => {
                let choice = script.get(at).map_or(0, |choice| *choice as usize);
                choice.min(last)
            }
        }
    }

    /// How many tasks were ready at each choice so far.
    pub(crate) fn options(&self) -> Vec<u32> {
        let choices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        choices.options.clone()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &choices.rule {
            Rule::Seeded(seed, _) => write!(f, "Schedule::seeded({seed})"),
            Rule::Replay(script) => write!(f, "Schedule::replay({script:?})"),
        }
    }
}
