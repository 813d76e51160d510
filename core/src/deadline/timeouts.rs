//! The limits a user sets, per phase.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::fault::Phase;
use crate::time::saturating_nanos;

use super::speed::MinSpeed;

/// How long each phase of a call may take.
///
/// `None` is no limit. Zero is "without waiting": the phase must succeed at once. A phase's limit
/// holds for each time the phase is entered; [`total`](Self::total) spans all attempts, backoffs
/// and the body, unless [`total_covers_body`](Self::total_covers_body) is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Waiting for a connection or a free slot. Default 5 s.
    pub pool: Option<Duration>,
    /// Resolving the name, within `connect`. Default 3 s.
    pub dns: Option<Duration>,
    /// The whole dial: resolving, opening, tunnel and TLS together. Default 5 s.
    pub connect: Option<Duration>,
    /// Opening a tunnel, within `connect`. Default none.
    pub proxy: Option<Duration>,
    /// The TLS handshake, within `connect`. Default 3 s.
    pub tls: Option<Duration>,
    /// Between two bytes that the transport accepts. Default 10 s.
    pub write: Option<Duration>,
    /// From the request written to the first byte of its response. Default 15 s.
    pub first_byte: Option<Duration>,
    /// From the first byte of a head to its last: the guard against slow heads. Default 15 s.
    pub head: Option<Duration>,
    /// Between two bytes of the body. Default 15 s.
    pub between_bytes: Option<Duration>,
    /// One attempt, up to its complete head. Default none.
    pub attempt: Option<Duration>,
    /// The whole call. Default none.
    pub total: Option<Duration>,
    /// Whether `total` goes on where a response's body is read in pieces. Default true.
    pub total_covers_body: bool,
    /// How fast a body must move, up or down, while nobody but the peer holds it up. Default none.
    pub min_speed: Option<MinSpeed>,
    /// Whether an attempt gets no more of the call's deadline than leaves some for the next.
    /// Default false.
    pub split_deadline: bool,
}

const DEFAULT: Timeouts = Timeouts {
    pool: Some(Duration::from_secs(5)),
    dns: Some(Duration::from_secs(3)),
    connect: Some(Duration::from_secs(5)),
    proxy: None,
    tls: Some(Duration::from_secs(3)),
    write: Some(Duration::from_secs(10)),
    first_byte: Some(Duration::from_secs(15)),
    head: Some(Duration::from_secs(15)),
    between_bytes: Some(Duration::from_secs(15)),
    attempt: None,
    total: None,
    total_covers_body: true,
    min_speed: None,
    split_deadline: false,
};

impl Default for Timeouts {
    fn default() -> Self {
        DEFAULT
    }
}

macro_rules! setters {
    ($($name:ident: $what:literal),+ $(,)?) => {$(
        #[doc = concat!("Sets how long ", $what, " may take; `None` lifts the limit.")]
        #[must_use]
        pub fn $name(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.$name = timeout.into();
            self
        }
    )+};
}

impl Timeouts {
    /// The defaults.
    pub const fn new() -> Self {
        DEFAULT
    }

    /// One value for every phase; no limit on an attempt or on the call.
    pub fn all(timeout: Duration) -> Self {
        let each = Some(timeout);
        Self {
            pool: each,
            dns: each,
            connect: each,
            proxy: each,
            tls: each,
            write: each,
            first_byte: each,
            head: each,
            between_bytes: each,
            attempt: None,
            total: None,
            total_covers_body: true,
            min_speed: None,
            split_deadline: false,
        }
    }

    /// No limit anywhere.
    pub const fn none() -> Self {
        Self {
            pool: None,
            dns: None,
            connect: None,
            proxy: None,
            tls: None,
            write: None,
            first_byte: None,
            head: None,
            between_bytes: None,
            attempt: None,
            total: None,
            total_covers_body: true,
            min_speed: None,
            split_deadline: false,
        }
    }

    /// Limits for callers who would rather fail than wait: seconds per phase, 6 s for the call.
    pub const fn strict() -> Self {
        Self {
            pool: Some(Duration::from_secs(2)),
            dns: Some(Duration::from_secs(1)),
            connect: Some(Duration::from_secs(2)),
            tls: Some(Duration::from_secs(2)),
            write: Some(Duration::from_secs(5)),
            first_byte: Some(Duration::from_secs(5)),
            between_bytes: Some(Duration::from_secs(5)),
            total: Some(Duration::from_secs(6)),
            ..DEFAULT
        }
    }

    setters! {
        pool: "waiting for a connection",
        dns: "resolving the name",
        connect: "the whole dial",
        proxy: "opening a tunnel",
        tls: "the TLS handshake",
        write: "the transport to accept another byte",
        first_byte: "the first byte of the response",
        head: "the rest of the response head",
        between_bytes: "another byte of the body",
        attempt: "one attempt, up to its complete head,",
        total: "the whole call",
    }

    /// Sets both limits on reading: the first byte's, and the one between bytes of the body.
    #[must_use]
    pub fn read(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.first_byte(timeout).between_bytes(timeout)
    }

    /// Fails a body, of a request or a response, that moves fewer than `bytes_per_second` on the
    /// average of `window` (whole seconds, at most an hour); zero bytes lift the limit. Default:
    /// no limit.
    ///
    /// Only wire bytes count, and only time in which the peer holds the body up: not while the
    /// reader does not ask, or the writer has nothing to send. It is looked at after one whole
    /// window, and then after every second.
    #[must_use]
    pub fn min_speed(mut self, bytes_per_second: u64, window: Duration) -> Self {
        let speed = MinSpeed {
            bytes_per_second,
            window,
        };
        self.min_speed = (bytes_per_second > 0).then_some(speed);
        self
    }

    /// Sets whether each attempt gets only a part of what is left until the call's deadline: half
    /// of it, or all where it is the last. It has no effect without a deadline, nor where there is
    /// a limit on [`attempt`](Self::attempt)s. Default false: one slow attempt may use up the call.
    #[must_use]
    pub fn split_deadline(mut self, split: bool) -> Self {
        self.split_deadline = split;
        self
    }

    /// Sets whether [`total`](Self::total) covers a response's body that is read in pieces. Default
    /// true: the call ends in time, whatever its body does. Without, `total` ends with the head, and
    /// a body that goes on for hours is limited by [`between_bytes`](Self::between_bytes) and
    /// [`min_speed`](Self::min_speed) alone.
    ///
    /// A body that is taken in one piece is covered in either case, and so is any by a deadline that
    /// was given as an instant.
    #[must_use]
    pub fn total_covers_body(mut self, covers: bool) -> Self {
        self.total_covers_body = covers;
        self
    }

    /// The limit of a phase.
    pub const fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Pool => self.pool,
            Phase::Dns => self.dns,
            Phase::Connect => self.connect,
            Phase::Proxy => self.proxy,
            Phase::Tls => self.tls,
            Phase::Write => self.write,
            Phase::FirstByte => self.first_byte,
            Phase::Head => self.head,
            Phase::Body => self.between_bytes,
            Phase::Attempt => self.attempt,
            Phase::Total => self.total,
        }
    }

    /// The limits that can never be what runs out, because the whole call may take less.
    ///
    /// A limit at its default counts as unset, so `Timeouts::new().total(..)` is always fine.
    pub fn unreachable(&self) -> impl Iterator<Item = TimeoutsError> + '_ {
        Phase::ALL.into_iter().filter_map(|phase| {
            let (timeout, total) = (self.of(phase)?, self.total?);
            let unset = DEFAULT.of(phase) == Some(timeout);
            (timeout > total && !unset).then_some(TimeoutsError::Unreachable {
                phase,
                timeout,
                total,
            })
        })
    }

    /// Checks that every limit that was set can take effect.
    ///
    /// # Errors
    /// A window of [`min_speed`](Self::min_speed) that cannot be measured, or the first of
    /// [`unreachable`](Self::unreachable), which a client may take for a warning.
    pub fn validate(&self) -> Result<(), TimeoutsError> {
        if let Some(MinSpeed { window, .. }) = self.min_speed.filter(|speed| !speed.is_valid()) {
            return Err(TimeoutsError::Window { window });
        }
        self.unreachable().next().map_or(Ok(()), Err)
    }

    /// The limits as the clocks use them, made once for many calls.
    pub fn limits(&self) -> PhaseLimits {
        let nanos = |phase| self.of(phase).map_or(u64::MAX, saturating_nanos);
        let phases: [u64; PhaseLimits::PHASES] =
            std::array::from_fn(|index| nanos(Phase::ALL[index]));
        PhaseLimits {
            phases,
            shortest: phases.into_iter().min().unwrap_or(u64::MAX),
            attempt: nanos(Phase::Attempt),
            total: nanos(Phase::Total),
            speed: self.min_speed,
            split: self.split_deadline && self.attempt.is_none(),
            covers_body: self.total_covers_body,
        }
    }
}

/// [`Timeouts`] in nanoseconds, so that a call does not convert them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseLimits {
    /// Of `Pool` to `Body`, by the phase's number; `u64::MAX` is none.
    pub(super) phases: [u64; PhaseLimits::PHASES],
    pub(super) attempt: u64,
    pub(super) total: u64,
    /// The least of `phases`.
    pub(super) shortest: u64,
    pub(super) speed: Option<MinSpeed>,
    pub(super) split: bool,
    pub(super) covers_body: bool,
}

impl PhaseLimits {
    /// The phases that follow one another, without `Attempt` and `Total`.
    pub(super) const PHASES: usize = Phase::Attempt as usize;
}

/// Two timeouts that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutsError {
    /// A phase may take longer than the whole call, so its limit never takes effect.
    Unreachable {
        /// The phase.
        phase: Phase,
        /// Its limit.
        timeout: Duration,
        /// The limit of the whole call.
        total: Duration,
    },
    /// The window of the least speed is not of whole seconds, none at all, or too long.
    Window {
        /// The window.
        window: Duration,
    },
}

impl fmt::Display for TimeoutsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                phase,
                timeout,
                total,
            } => write!(
                f,
                "the {phase} timeout of {timeout:?} is longer than the total timeout of {total:?}"
            ),
            Self::Window { window } => write!(
                f,
                "the min_speed window of {window:?} is not of whole seconds from 1 s to 1 h"
            ),
        }
    }
}

impl Error for TimeoutsError {}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_presets_are_valid_and_defaults_never_contradict_a_short_total() {
        for timeouts in [Timeouts::new(), Timeouts::strict(), Timeouts::none()] {
            assert_eq!(timeouts.validate(), Ok(()));
        }
        assert_eq!(Timeouts::new().total(secs(1)).validate(), Ok(()));
    }

    #[test]
    fn an_explicit_timeout_longer_than_the_total_is_named_with_it() {
        let timeouts = Timeouts::new().write(secs(8)).total(secs(6));
        assert_eq!(
            timeouts.validate().map_err(|error| error.to_string()),
            Err("the write timeout of 8s is longer than the total timeout of 6s".to_owned())
        );
        let attempt = Timeouts::new().attempt(secs(7)).total(secs(6)).validate();
        assert!(attempt.is_err());
    }

    #[test]
    fn read_sets_the_first_byte_and_the_gap_between_bytes_but_not_the_head_guard() {
        let timeouts = Timeouts::new().read(secs(2));
        assert_eq!(timeouts.of(Phase::FirstByte), Some(secs(2)));
        assert_eq!(timeouts.of(Phase::Body), Some(secs(2)));
        assert_eq!(timeouts.of(Phase::Head), Some(secs(15)));
    }

    #[test]
    fn the_presets_limit_what_they_say() {
        let limits = |timeouts: Timeouts| Phase::ALL.map(|phase| timeouts.of(phase));
        assert!(limits(Timeouts::none()).iter().all(Option::is_none));
        for (phase, limit) in Phase::ALL.into_iter().zip(limits(Timeouts::all(secs(3)))) {
            let whole = matches!(phase, Phase::Attempt | Phase::Total);
            assert_eq!(limit, (!whole).then_some(secs(3)), "{phase:?}");
        }
        let strict = [
            (Phase::Pool, 2),
            (Phase::Dns, 1),
            (Phase::Connect, 2),
            (Phase::Tls, 2),
            (Phase::Write, 5),
            (Phase::FirstByte, 5),
            (Phase::Body, 5),
            (Phase::Total, 6),
        ];
        for (phase, limit) in strict {
            assert_eq!(Timeouts::strict().of(phase), Some(secs(limit)), "{phase:?}");
        }
    }

    #[test]
    fn a_limit_equal_to_the_total_is_no_contradiction() {
        assert_eq!(
            Timeouts::new().write(secs(6)).total(secs(6)).validate(),
            Ok(())
        );
    }
}
