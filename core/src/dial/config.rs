//! The numbers of a race, and what is known of addresses beforehand.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// No two connection attempts begin closer together than this (RFC 8305 section 5: "MUST NOT").
pub const MIN_GAP: Duration = Duration::from_millis(10);

/// How long a race waits, and for what (RFC 8305 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long IPv4 addresses wait for the AAAA answer. Default: 50 ms.
    pub resolution_delay: Duration,
    /// How long an attempt has before the next one begins beside it, where nothing is known of its
    /// address. Default: 250 ms; at least [`MIN_GAP`].
    pub attempt_delay: Duration,
    /// How many attempts may be under way at once. Default and most: 6.
    pub in_flight: usize,
    /// An address that is left out where the host has others. Default: none.
    pub avoid: Option<IpAddr>,
}

impl Config {
    pub(super) const IN_FLIGHT: usize = 6;

    /// Checks the numbers. A race heeds [`MIN_GAP`] and the limit of 6 even with a configuration
    /// that was never checked.
    ///
    /// # Errors
    ///
    /// The first number that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.attempt_delay < MIN_GAP {
            return Err(ConfigError::AttemptDelay(self.attempt_delay));
        }
        if !(1..=Self::IN_FLIGHT).contains(&self.in_flight) {
            return Err(ConfigError::InFlight(self.in_flight));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolution_delay: Duration::from_millis(50),
            attempt_delay: Duration::from_millis(250),
            in_flight: Self::IN_FLIGHT,
            avoid: None,
        }
    }
}

/// A number of [`Config`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The delay between attempts is shorter than RFC 8305 allows.
    AttemptDelay(Duration),
    /// The limit of attempts is 0 or more than 6.
    InFlight(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttemptDelay(delay) => {
                write!(
                    f,
                    "an attempt delay of {delay:?} is below the least, {MIN_GAP:?}"
                )
            }
            Self::InFlight(n) => {
                write!(
                    f,
                    "{n} connection attempts at once is not between 1 and {}",
                    Config::IN_FLIGHT
                )
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What earlier connections taught about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The address.
    pub addr: IpAddr,
    /// Whether it failed a short while ago: it is then tried after all others.
    pub bad: bool,
    /// The smoothed time that a connection to it takes, or to its neighbours where it has none.
    pub rtt: Option<Duration>,
}

impl Known {
    /// An address that failed a short while ago.
    pub const fn bad(addr: IpAddr) -> Self {
        Self {
            addr,
            bad: true,
            rtt: None,
        }
    }

    /// An address that takes so long to connect to.
    pub const fn within(addr: IpAddr, rtt: Duration) -> Self {
        Self {
            addr,
            bad: false,
            rtt: Some(rtt),
        }
    }

    /// How long an attempt at it has before the next one begins: 1.5 times its usual time, between
    /// 100 ms and 2 s.
    pub(super) fn attempt_delay(&self) -> Option<Duration> {
        let usual = self.rtt?;
        let delay = usual.saturating_add(usual / 2);
        Some(delay.clamp(Duration::from_millis(100), Duration::from_secs(2)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_rfc_and_valid() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.resolution_delay, Duration::from_millis(50));
        assert_eq!(config.attempt_delay, Duration::from_millis(250));
    }

    #[test]
    fn a_delay_below_the_least_and_a_limit_out_of_range_are_refused() {
        let attempt_delay = Duration::from_millis(9);
        let hasty = Config {
            attempt_delay,
            ..Config::default()
        };
        assert_eq!(
            hasty.validate(),
            Err(ConfigError::AttemptDelay(attempt_delay))
        );
        for in_flight in [0, 7] {
            let config = Config {
                in_flight,
                ..Config::default()
            };
            assert_eq!(config.validate(), Err(ConfigError::InFlight(in_flight)));
        }
    }

    #[test]
    fn the_delay_follows_the_round_trip_between_its_bounds() {
        let delay = |rtt| {
            let addr = Ipv4Addr::LOCALHOST.into();
            Known::within(addr, Duration::from_millis(rtt))
                .attempt_delay()
                .unwrap_or_default()
        };
        for (rtt, millis) in [(0, 100), (60, 100), (100, 150), (400, 600), (5000, 2000)] {
            assert_eq!(delay(rtt), Duration::from_millis(millis));
        }
    }

    #[test]
    fn the_bounds_themselves_are_valid() {
        for in_flight in [1, Config::IN_FLIGHT] {
            let config = Config {
                attempt_delay: MIN_GAP,
                in_flight,
                ..Config::default()
            };
            assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn an_error_says_which_number_and_what_it_may_be() {
        assert_eq!(
            ConfigError::AttemptDelay(Duration::from_millis(9)).to_string(),
            "an attempt delay of 9ms is below the least, 10ms"
        );
        assert_eq!(
            ConfigError::InFlight(7).to_string(),
            "7 connection attempts at once is not between 1 and 6"
        );
    }
}
