//! The user's policy on retries.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::backoff::{Backoff, BackoffError, Jitter};

use super::classifier::{Classifier, Ruling, Seen};
use super::facts::Request;

/// When and how a call is tried again.
///
/// Only what is safe to repeat is repeated, whatever the policy: see
/// [`classify`](super::classify) and [`classify_status`](super::classify_status).
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the user"
)]
pub struct Retry {
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) throttle: Backoff,
    pub(crate) transparent: bool,
    pub(crate) longest_wait: Duration,
    pub(crate) min_attempt_budget: Duration,
    pub(crate) nxdomain: bool,
    pub(crate) pool: bool,
    pub(crate) extended_5xx: bool,
    pub(crate) trust_503: bool,
    pub(super) classifier: Option<Classifier>,
}

impl Default for Retry {
    /// Three attempts.
    fn default() -> Self {
        Self::new(3)
    }
}

impl Retry {
    /// At most that many attempts, the first included.
    ///
    /// One attempt leaves only transparent retries: those of requests that a connection which had
    /// died while idle never carried.
    pub fn new(max_attempts: u32) -> Self {
        let throttle = Backoff::exponential(Duration::from_secs(1)).max(Duration::from_secs(20));
        Self {
            max_attempts,
            backoff: Backoff::default(),
            throttle,
            transparent: true,
            longest_wait: Duration::from_secs(60),
            min_attempt_budget: Duration::from_millis(50),
            nxdomain: false,
            pool: false,
            extended_5xx: false,
            trust_503: false,
            classifier: None,
        }
    }

    /// One attempt, and nothing silently: transparent retries are off as well.
    pub fn never() -> Self {
        Self::new(1).transparent(false)
    }

    /// Three attempts with additive jitter from 200 ms, the companion of `Timeouts::strict`.
    pub fn strict() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(200)).jitter(Jitter::Additive);
        Self::new(3).backoff(backoff)
    }

    /// The same policy for a call that is made to serve a request of somebody else's, which said that
    /// it is the `attempt`-th, from 1 (a client can say so in a header, `x-envoy-attempt-count` for
    /// one): where that is a retry already, this layer makes one attempt. Layers that all retry
    /// multiply the load: three attempts in three layers are 27.
    #[must_use]
    pub fn serving(mut self, attempt: u32) -> Self {
        if attempt > 1 {
            self.max_attempts = 1;
        }
        self
    }

    /// Sets how many attempts there are at most, the first included. Default 3.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Sets the delays between attempts. Default: full jitter, from 100 ms, at most 5 s.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the delays where the origin asks for less load (429, 503). Default: full jitter, from
    /// 1 s, at most 20 s.
    #[must_use]
    pub fn throttle(mut self, throttle: Backoff) -> Self {
        self.throttle = throttle;
        self
    }

    /// Sets whether a request that provably was not processed is sent again at once, at most
    /// twice, outside of attempts and budget. Default true.
    #[must_use]
    pub fn transparent(mut self, transparent: bool) -> Self {
        self.transparent = transparent;
        self
    }

    /// Sets the longest `Retry-After` that is waited for. Default 60 s.
    ///
    /// A `Retry-After` also holds back the retries of other calls to the same origin: for as long as
    /// the client's policy says here (or the profile's), whatever the policy of the call that was
    /// told.
    #[must_use]
    pub fn retry_after_max(mut self, max: Duration) -> Self {
        self.longest_wait = max;
        self
    }

    /// Sets how much of the deadline must be left for an attempt to start. Default 50 ms.
    #[must_use]
    pub fn min_attempt_budget(mut self, budget: Duration) -> Self {
        self.min_attempt_budget = budget;
        self
    }

    /// Sets whether a name that does not exist is asked for again. Default false.
    #[must_use]
    pub fn retry_nxdomain(mut self, retry: bool) -> Self {
        self.nxdomain = retry;
        self
    }

    /// Sets whether a call that waited too long for a connection waits again. Default false.
    #[must_use]
    pub fn retry_pool(mut self, retry: bool) -> Self {
        self.pool = retry;
        self
    }

    /// Sets whether 520 to 524 and 529, which some intermediaries send, are treated as 502.
    /// Default false.
    #[must_use]
    pub fn extended_5xx(mut self, retry: bool) -> Self {
        self.extended_5xx = retry;
        self
    }

    /// Sets whether a 503 with `Retry-After` proves that the request was not processed. Default
    /// false.
    #[must_use]
    pub fn trust_503(mut self, trust: bool) -> Self {
        self.trust_503 = trust;
        self
    }

    /// Sets a rule of the user's own, asked about every response and every failure before it is
    /// acted on; `None` leaves the built-in rule. Default: none.
    ///
    /// It should be a function of its argument alone. It is not asked where a part of a response
    /// is with the caller already, nor about the client's own end.
    #[must_use]
    pub fn classifier(
        mut self,
        rule: impl Fn(&Seen<'_>, Request) -> Option<Ruling> + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Some(Classifier::new(rule));
        self
    }

    /// Checks that the settings can work.
    ///
    /// # Errors
    /// Where there is no attempt at all, or a backoff contradicts itself.
    pub fn validate(&self) -> Result<(), RetryError> {
        if self.max_attempts == 0 {
            return Err(RetryError::NoAttempts);
        }
        self.backoff.validate().map_err(RetryError::Backoff)?;
        self.throttle.validate().map_err(RetryError::Throttle)
    }
}

/// Settings of a [`Retry`] that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryError {
    /// No attempt is allowed, not even the first.
    NoAttempts,
    /// The delays between attempts contradict themselves.
    Backoff(BackoffError),
    /// The delays for throttling contradict themselves.
    Throttle(BackoffError),
}

impl fmt::Display for RetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAttempts => f.write_str("the retry max_attempts of 0 leaves no attempt at all"),
            Self::Backoff(error) => error.fmt(f),
            Self::Throttle(error) => write!(f, "for throttling, {error}"),
        }
    }
}

impl Error for RetryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoAttempts => None,
            Self::Backoff(error) | Self::Throttle(error) => Some(error),
        }
    }
}
