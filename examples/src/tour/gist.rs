//! What two tellings of one story have in common: everything but the time.

use std::fmt;

use fulmar::timeline::{Attempt, Call, Row};
use fulmar::{Fate, Kind, Phase};

use super::story::{Fetched, Told};

/// How a call went, without times, addresses and connection numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gist {
    pub(crate) tries: Vec<Try>,
    pub(crate) end: End,
}

/// One attempt, and why it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Try {
    /// Why there was a rest before it.
    pub(crate) because: Option<&'static str>,
    /// Whether its connection had served before; `None` where it had none.
    pub(crate) is_reused: Option<bool>,
    pub(crate) status: Option<u16>,
    pub(crate) failed_in: Option<Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Response {
        status: u16,
        bytes: u64,
        is_good: bool,
    },
    Failure {
        kind: Kind,
        phase: Option<Phase>,
        fate: Fate,
    },
}

impl Gist {
    pub(crate) fn of(told: &Told) -> Self {
        let mut because = None;
        let mut tries = Vec::new();
        for row in Call::of(&told.records).rows {
            match row {
                Row::Rest(rest) => because = Some(rest.reason),
                Row::Attempt(attempt) => tries.push(Try::of(&attempt, because.take())),
            }
        }
        let end = match &told.end {
            Ok(fetched) => End::of(fetched),
            Err(error) => End::Failure {
                kind: error.kind(),
                phase: error.phase(),
                fate: error.fate(),
            },
        };
        Self { tries, end }
    }

    /// How many connections were made.
    pub(crate) fn opened(&self) -> usize {
        let is_new = |attempt: &&Try| attempt.is_reused == Some(false);
        self.tries.iter().filter(is_new).count()
    }
}

impl Try {
    fn of(attempt: &Attempt, because: Option<&'static str>) -> Self {
        Self {
            because,
            is_reused: attempt.link.map(|link| link.idle_for.is_some()),
            status: attempt.status,
            failed_in: attempt.failure.as_ref().map(|(phase, _)| *phase),
        }
    }
}

impl End {
    fn of(fetched: &Fetched) -> Self {
        Self::Response {
            status: fetched.status.as_u16(),
            bytes: fetched.bytes,
            is_good: fetched.is_good,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response {
                status,
                bytes,
                is_good,
            } => {
                let damaged = if *is_good { "" } else { ", damaged" };
                write!(f, "{status}, {}{damaged}", crate::units::size(*bytes))
            }
            Self::Failure { kind, phase, fate } => {
                write!(f, "{kind:?}")?;
                if let Some(phase) = phase {
                    write!(f, " in {phase}")?;
                }
                write!(f, ", {fate}")
            }
        }
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(because) = self.because {
            write!(f, "after {because}: ")?;
        }
        f.write_str(match self.is_reused {
            Some(true) => "reused",
            Some(false) => "new",
            None => "no connection",
        })?;
        if let Some(status) = self.status {
            write!(f, ", {status}")?;
        }
        match self.failed_in {
            Some(phase) => write!(f, ", failed in {phase}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Gist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for attempt in &self.tries {
            write!(f, "{attempt}; ")?;
        }
        write!(f, "ended with {}", self.end)
    }
}
