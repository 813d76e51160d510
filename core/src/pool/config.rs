//! The pool's numbers: how many, and how long.

use std::fmt;
use std::time::Duration;

use crate::budget::{BudgetConfig, InvalidBudget};
use crate::time::saturating_nanos;

/// How many connections and askers there may be. What is not set derives from what is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, dials and idle ones included. Default 512.
    pub total: Option<u32>,
    /// Connections of one route. Default 64, at most the total.
    pub per_origin: Option<u32>,
    /// Idle connections in all; 0 keeps none. Default 256, at most the total.
    pub idle: Option<u32>,
    /// Idle connections of one route. Default 16, at most all idle ones.
    pub idle_per_origin: Option<u32>,
    /// Askers in the queue. Default 10,000.
    pub waiters: Option<u32>,
    /// Shared connections of one route; a second one is opened when the first is full. Default 2.
    pub shared_per_origin: Option<u32>,
}

impl Limits {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the connections in all.
    #[must_use]
    pub fn total(self, connections: u32) -> Self {
        Self {
            total: Some(connections),
            ..self
        }
    }

    /// Sets the connections of one route.
    #[must_use]
    pub fn per_origin(self, connections: u32) -> Self {
        Self {
            per_origin: Some(connections),
            ..self
        }
    }

    /// Sets the idle connections in all.
    #[must_use]
    pub fn idle(self, connections: u32) -> Self {
        Self {
            idle: Some(connections),
            ..self
        }
    }

    /// Sets the idle connections of one route.
    #[must_use]
    pub fn idle_per_origin(self, connections: u32) -> Self {
        Self {
            idle_per_origin: Some(connections),
            ..self
        }
    }

    /// Sets the askers in the queue.
    #[must_use]
    pub fn waiters(self, askers: u32) -> Self {
        Self {
            waiters: Some(askers),
            ..self
        }
    }

    /// Sets the shared connections of one route.
    #[must_use]
    pub fn shared_per_origin(self, connections: u32) -> Self {
        Self {
            shared_per_origin: Some(connections),
            ..self
        }
    }
}

/// How a pool behaves. What is not set derives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Config {
    /// How many.
    pub limits: Limits,
    /// How long a connection may idle where its server says nothing. Default 55 s, at most the
    /// lifetime.
    pub idle_timeout: Option<Duration>,
    /// How long a connection lives, of which a random tenth at most is taken off. Default 10 min,
    /// and at least the idle timeout. [`Duration::MAX`]: without end.
    pub max_lifetime: Option<Duration>,
    /// How long a connection may have idled and still serve a request that cannot be sent twice,
    /// where its server says nothing. Default 4 s.
    pub nonidempotent_max_idle: Option<Duration>,
    /// The retry budget of each route.
    pub budget: BudgetConfig,
}

impl Config {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that what is set fits together.
    ///
    /// # Errors
    ///
    /// Names the first two settings that contradict each other, or the one that allows nothing.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Limits {
            total,
            per_origin,
            idle,
            idle_per_origin,
            waiters,
            shared_per_origin,
        } = self.limits;
        let zeroes = [
            ("total", total),
            ("per_origin", per_origin),
            ("waiters", waiters),
            ("shared_per_origin", shared_per_origin),
        ];
        if let Some((name, _)) = zeroes.into_iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(ConfigError::Zero(name));
        }
        let pairs = [
            ("per_origin", per_origin, "total", total),
            ("idle_per_origin", idle_per_origin, "idle", idle),
            ("idle", idle, "total", total),
            ("idle_per_origin", idle_per_origin, "total", total),
        ];
        for (smaller, a, larger, b) in pairs {
            if a.zip(b).is_some_and(|(a, b)| a > b) {
                return Err(ConfigError::InvalidLimits { smaller, larger });
            }
        }
        let lifetimes = self.idle_timeout.zip(self.max_lifetime);
        if lifetimes.is_some_and(|(idle, life)| idle > life) {
            return Err(ConfigError::InvalidLifetime);
        }
        self.budget.validate().map_err(ConfigError::InvalidBudget)
    }

    /// The limits in force: all set, with what was not derived.
    pub fn effective_limits(&self) -> Limits {
        let settings = self.resolve();
        Limits {
            total: Some(settings.total),
            per_origin: Some(settings.per_origin),
            idle: Some(settings.idle),
            idle_per_origin: Some(settings.idle_per_origin),
            waiters: Some(settings.waiters),
            shared_per_origin: Some(settings.shared),
        }
    }

    /// The numbers in force, with what was not set derived.
    pub(super) fn resolve(&self) -> Settings {
        let Limits {
            total,
            per_origin,
            idle,
            idle_per_origin,
            waiters,
            shared_per_origin,
        } = self.limits;
        let floor = [per_origin, idle, idle_per_origin]
            .into_iter()
            .flatten()
            .max();
        let total = total.unwrap_or(512.max(floor.unwrap_or(0)));
        let idle = idle.unwrap_or(256.max(idle_per_origin.unwrap_or(0)).min(total));
        let idle_timeout = self.idle_timeout.unwrap_or(Duration::from_secs(55));
        Settings {
            total,
            per_origin: per_origin.unwrap_or(64.min(total)),
            idle,
            idle_per_origin: idle_per_origin.unwrap_or(16.min(idle)),
            waiters: waiters.unwrap_or(10_000),
            shared: shared_per_origin.unwrap_or(2),
            idle_nanos: saturating_nanos(
                idle_timeout.min(self.max_lifetime.unwrap_or(Duration::MAX)),
            ),
            max_lifetime: self
                .max_lifetime
                .unwrap_or(Duration::from_secs(600).max(idle_timeout)),
            shy_nanos: saturating_nanos(
                self.nonidempotent_max_idle
                    .unwrap_or(Duration::from_secs(4)),
            ),
            budget: self.budget,
        }
    }
}

/// A [`Config`] with every number decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) total: u32,
    pub(super) per_origin: u32,
    pub(super) idle: u32,
    pub(super) idle_per_origin: u32,
    pub(super) waiters: u32,
    pub(super) shared: u32,
    pub(super) idle_nanos: u64,
    pub(super) shy_nanos: u64,
    pub(super) max_lifetime: Duration,
    pub(super) budget: BudgetConfig,
}

/// What is wrong with a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A limit of 0 that lets no request through.
    Zero(&'static str),
    /// Two limits in the wrong order.
    InvalidLimits {
        /// The limit that should be the smaller one.
        smaller: &'static str,
        /// The limit that it exceeds.
        larger: &'static str,
    },
    /// Connections may idle for longer than they live.
    InvalidLifetime,
    /// The retry budget is wrong.
    InvalidBudget(InvalidBudget),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(limit) => write!(f, "the limit {limit} is 0, and lets no request through"),
            Self::InvalidLimits { smaller, larger } => {
                write!(f, "the limit {smaller} is above the limit {larger}")
            }
            Self::InvalidLifetime => f.write_str("idle_timeout is longer than max_lifetime"),
            Self::InvalidBudget(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named_and_what_is_unset_derives() {
        let of = |limits| Config {
            limits,
            ..Config::new()
        };
        let pair = |smaller, larger| Err(ConfigError::InvalidLimits { smaller, larger });
        let l = Limits::new;
        let table = [
            (l(), Ok(())),
            (l().total(10), Ok(())),
            (l().per_origin(1_000), Ok(())),
            (l().total(10).per_origin(11), pair("per_origin", "total")),
            (l().total(10).idle(11), pair("idle", "total")),
            (l().idle(0), Ok(())),
            (
                l().idle(4).idle_per_origin(5),
                pair("idle_per_origin", "idle"),
            ),
            (
                l().total(4).idle_per_origin(5),
                pair("idle_per_origin", "total"),
            ),
            (l().total(0), Err(ConfigError::Zero("total"))),
            (l().waiters(0), Err(ConfigError::Zero("waiters"))),
        ];
        for (limits, expected) in table {
            assert_eq!(of(limits).validate(), expected, "{limits:?}");
            let set = of(limits).resolve();
            if expected.is_ok() {
                assert!(
                    set.per_origin <= set.total && set.idle <= set.total,
                    "{set:?}"
                );
                assert!(set.idle_per_origin <= set.idle, "{set:?}");
            }
        }
        let secs = |n| Some(Duration::from_secs(n));
        let config = Config {
            max_lifetime: secs(30),
            ..Config::new()
        };
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.resolve().idle_nanos, 30_000_000_000);
        let config = Config {
            idle_timeout: secs(31),
            ..config
        };
        assert_eq!(config.validate(), Err(ConfigError::InvalidLifetime));
        let config = Config {
            idle_timeout: config.max_lifetime,
            ..config
        };
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn limits_that_are_set_are_the_limits_in_force() {
        let limits = Limits::new()
            .total(60)
            .per_origin(50)
            .idle(40)
            .idle_per_origin(30)
            .waiters(20)
            .shared_per_origin(10);
        let config = Config {
            limits,
            ..Config::new()
        };
        assert_eq!(config.effective_limits(), limits);
        assert_eq!(config.resolve().shared, 10);
    }

    #[test]
    fn an_error_names_the_limits() {
        for (error, text) in [
            (
                ConfigError::Zero("total"),
                "the limit total is 0, and lets no request through",
            ),
            (
                ConfigError::InvalidLimits {
                    smaller: "idle",
                    larger: "total",
                },
                "the limit idle is above the limit total",
            ),
            (
                ConfigError::InvalidLifetime,
                "idle_timeout is longer than max_lifetime",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
