//! The numbers of the cache.

use std::fmt;
use std::time::Duration;

/// No answer is believed for less than this, whatever its TTL.
pub(super) const MIN_TTL: Duration = Duration::from_secs(1);
/// For how long addresses are believed of which the resolver gave no TTL (`getaddrinfo`).
pub(super) const UNKNOWN_TTL: Duration = Duration::from_secs(30);
/// For how long past their TTL addresses are given out while a query renews them.
pub(super) const WHILE_REVALIDATING: Duration = Duration::from_secs(60);
/// For how long past their TTL they are given out where the resolver fails or is slow (RFC 8767).
pub(super) const IF_ERROR: Duration = Duration::from_secs(3_600);
/// How long a query has before older addresses are given out instead (RFC 8767 section 5, the
/// client response timer).
pub(super) const RESPONSE: Duration = Duration::from_millis(1_800);
/// A failed renewal is not tried again before this (RFC 8767 section 5, the failure recheck timer).
pub(super) const RECHECK: Duration = Duration::from_secs(30);
/// For how long a name without addresses is believed to have none: at most, and where it is not
/// known.
pub(super) const MAX_MISSING: Duration = Duration::from_secs(30);
pub(super) const UNKNOWN_MISSING: Duration = Duration::from_secs(5);
/// After a failure, and with nothing older to give, the next query waits so long: at first, and
/// doubling up to the most (RFC 9520).
pub(super) const FAILED_FIRST: Duration = Duration::from_secs(1);
pub(super) const FAILED_MOST: Duration = Duration::from_secs(60);
/// Addresses that were used within this time are renewed ahead of their end.
pub(super) const IN_USE: Duration = Duration::from_secs(30);
/// A longer name is none (RFC 1035 section 3.1).
pub(super) const MAX_NAME: usize = 254;

/// So many addresses are kept of one answer.
pub const MAX_ADDRS: usize = 128;

/// How much the cache holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// For how long addresses are believed at most, whatever their TTL. Default: 300 s; at least
    /// 1 s. What is believed for less than its TTL is asked for that much more often.
    pub max_ttl: Duration,
    /// How many names are kept. Default: 10,000; at least 1. Those used longest ago are forgotten.
    pub capacity: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_ttl: Duration::from_secs(300),
            capacity: 10_000,
        }
    }
}

impl Config {
    /// Checks the numbers. A cache raises what is too small, even with a configuration that was
    /// never checked.
    ///
    /// # Errors
    ///
    /// The first number that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.max_ttl < MIN_TTL {
            return Err(ConfigError::MaxTtl(self.max_ttl));
        }
        if self.capacity == 0 {
            return Err(ConfigError::Capacity);
        }
        Ok(())
    }

    /// For how long addresses with this TTL are believed.
    pub(super) fn believed(&self, ttl: Option<Duration>) -> Duration {
        let most = self.max_ttl.max(MIN_TTL);
        ttl.unwrap_or(UNKNOWN_TTL).clamp(MIN_TTL, most)
    }
}

/// A number of [`Config`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The longest TTL is shorter than the shortest.
    MaxTtl(Duration),
    /// There is room for no name.
    Capacity,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxTtl(ttl) => {
                write!(
                    f,
                    "a DNS TTL of at most {ttl:?} is below the least, {MIN_TTL:?}"
                )
            }
            Self::Capacity => f.write_str("a DNS cache of no names"),
        }
    }
}

impl std::error::Error for ConfigError {}
