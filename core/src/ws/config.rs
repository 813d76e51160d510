//! The settings of a connection.

use std::time::Duration;

use super::deflate::Compression;
use super::error::ConfigError;
use super::keepalive::Keepalive;
use super::limits::Limits;

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) limits: Limits,
    pub(super) keepalive: Keepalive,
    pub(super) times: Times,
    pub(super) fragment: usize,
    pub(super) fragment_above: usize,
    pub(super) compression: Option<Compression>,
}

/// How long a connection waits, for what. It is what a connection keeps of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) close_timeout: Duration,
    pub(super) eof_timeout: Duration,
    pub(super) message_idle: Option<Duration>,
    pub(super) message_progress: Option<Duration>,
    pub(super) message_total: Option<Duration>,
    pub(super) slow_consumer: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            close_timeout: Duration::from_secs(5),
            eof_timeout: Duration::from_secs(1),
            message_idle: None,
            message_progress: Some(Duration::from_secs(30)),
            message_total: Some(Duration::from_secs(120)),
            slow_consumer: Some(Duration::from_secs(30)),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            times: Times::default(),
            fragment: 16 * 1024,
            fragment_above: 64 * 1024,
            compression: None,
        }
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much the server may send.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How its silence is noticed.
    #[must_use]
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// How long the server has to answer a Close frame. Default 5 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.times.close_timeout = timeout;
        self
    }

    /// How long the server has to end the transport after both Close frames. Default 1 s.
    #[must_use]
    pub fn eof_timeout(mut self, timeout: Duration) -> Self {
        self.times.eof_timeout = timeout;
        self
    }

    /// How long there may be no complete message; pings and pongs do not count. Default: no limit.
    #[must_use]
    pub fn message_idle(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.times.message_idle = timeout.into();
        self
    }

    /// How long a message that has begun may be without another byte of it. Default 30 s.
    #[must_use]
    pub fn message_progress(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.times.message_progress = timeout.into();
        self
    }

    /// How long a message may take from its first byte to its last. Default 120 s.
    #[must_use]
    pub fn message_total(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.times.message_total = timeout.into();
        self
    }

    /// How long this side may leave messages unread before it admits that it lags. Default 30 s.
    #[must_use]
    pub fn slow_consumer(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.times.slow_consumer = timeout.into();
        self
    }

    /// Outgoing messages longer than `above` go out in frames of `size` bytes, so that control
    /// frames get in between. Default: above 64 KiB in 16 KiB.
    #[must_use]
    pub fn fragments(mut self, size: usize, above: usize) -> Self {
        (self.fragment, self.fragment_above) = (size, above);
        self
    }

    /// Whether and how messages are compressed, as far as the server agrees. Default: not.
    ///
    /// Without the feature `deflate` nothing is offered.
    #[must_use]
    pub fn compression(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = compression.into().filter(|_| cfg!(feature = "deflate"));
        self
    }

    /// What is offered to the server.
    pub fn offered_compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Checks that the settings agree with each other.
    ///
    /// # Errors
    ///
    /// Where a ping interval is not longer than its timeout, or shorter than 1 ms, a frame may be
    /// larger than a message, fragments would be empty, or the compression is none that there is.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.keepalive.validate()?;
        let (frame, message) = (self.limits.frame, self.limits.message);
        if frame > message {
            return Err(ConfigError::Limits { frame, message });
        }
        if self.fragment == 0 {
            return Err(ConfigError::Fragment);
        }
        self.compression.map_or(Ok(()), |set| set.validate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_settings_are_named_with_both_values() {
        let secs = Duration::from_secs;
        let keepalive = Keepalive::every(secs(10)).timeout(secs(10));
        let error = Config::new().keepalive(keepalive).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the ping interval of 10s is not longer than the pong timeout of 10s"
        );
        let limits = Limits::new().frame(8).message(4);
        let error = Config::new().limits(limits).validate().unwrap_err();
        assert_eq!(
            error,
            ConfigError::Limits {
                frame: 8,
                message: 4
            }
        );
        let nanos = Duration::from_nanos;
        for often in [
            Keepalive::every(nanos(999_999)),
            Keepalive::every(secs(1)).timeout(nanos(5)).missed(2),
        ] {
            let error = Config::new().keepalive(often).validate().unwrap_err();
            assert!(matches!(error, ConfigError::TooOften(_)), "{error}");
        }
        for (compression, named) in [
            (
                Compression::new().level(10),
                "the compression level of 10 is not from 0 to 9",
            ),
            (
                Compression::new().window_bits(8),
                "the compression window bits of 8 is not from 9 to 15",
            ),
            (
                Compression::new().window_bits(16),
                "the compression window bits of 16 is not from 9 to 15",
            ),
        ] {
            // As it is with the feature `deflate`, without which it is not set.
            let config = Config {
                compression: Some(compression),
                ..Config::new()
            };
            assert_eq!(config.validate().unwrap_err().to_string(), named);
        }
        for compression in [
            Compression::new().level(0).window_bits(9),
            Compression::new().level(9).window_bits(15),
            Compression::low_memory(),
        ] {
            assert_eq!(Config::new().compression(compression).validate(), Ok(()));
        }
        let missed = Keepalive::default().missed(0);
        assert!(Config::new().keepalive(missed).validate().is_err());
        assert!(Config::new().fragments(0, 0).validate().is_err());
        assert_eq!(Config::new().validate(), Ok(()));
        assert_eq!(
            Config::new()
                .keepalive(Keepalive::every(secs(4)))
                .validate(),
            Ok(()),
            "an unset pong timeout derives from the interval"
        );
    }
}
