//! How many calls at a time the other side bears, found by trying.
//!
//! Additive increase and multiplicative decrease, which share a resource fairly among all who do
//! the same (Chiu and Jain, 1989; RFC 5681 section 3.1 for TCP).
//!
//! ```text
//!                 p99 within the target, and the limit was reached: limit + 1
//!                .-----------------------------------------------------------.
//!                v                                                           |
//!   opened --> counting ------------------- window over --------------------->+
//!                |                                                           |
//!                | overload, and no decrease for a window    p99 beyond it   |
//!                `------------> limit x 0.9, opened anew <-------------------'
//! ```
//!
//! Invariants:
//! * A limit that it says is from the least to the most of its settings.
//! * It grows by one a window at most, and shrinks by a tenth (at least one) a window at most: what
//!   fails together is one sign.
//! * It does not grow in a window in which more than one sample of a hundred was an overload.
//!
//! It has no timer: a window ends with the first sample behind it. So a limit that nobody tries
//! stays as it is.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::fault::{FaultKind, Phase};
use crate::retry::Cause;
use crate::time::Instant;

/// Settings of a limit that adapts itself.
///
/// Once in a window it grows by one, where the 99th percentile of the latencies in it is within the
/// target and the limit was reached; where it is beyond the target, it shrinks by a tenth. An
/// overload (a timeout, a 429) shrinks it at once, though not twice within one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "these settings do nothing until a limit has them"]
pub struct Adaptive {
    target: Duration,
    window: Duration,
    start: usize,
    least: usize,
    most: usize,
}

impl Adaptive {
    /// Aims at that 99th percentile of latencies, which is best well above that of an idle server.
    /// The limit starts at 10, and stays from 1 to 1,000.
    pub const fn new(p99: Duration) -> Self {
        Self {
            target: p99,
            window: Duration::from_secs(1),
            start: 10,
            least: 1,
            most: 1_000,
        }
    }

    /// Sets how long latencies are gathered before the limit grows. Default 1 s; not zero.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the limit to start with, from the least to the most. Default 10.
    pub const fn start(mut self, limit: usize) -> Self {
        self.start = limit;
        self
    }

    /// Sets the least that the limit can be, from 1. Default 1.
    pub const fn least(mut self, limit: usize) -> Self {
        self.least = limit;
        self
    }

    /// Sets the most that the limit can be. Default 1,000.
    pub const fn most(mut self, limit: usize) -> Self {
        self.most = limit;
        self
    }

    /// The limit that it starts with.
    pub fn initial(&self) -> usize {
        self.clamp(self.start)
    }

    /// Checks that the limit can take effect.
    ///
    /// # Errors
    ///
    /// A target or a window of zero, a least of zero, or a start that is not from the least to the
    /// most.
    pub const fn validate(&self) -> Result<(), AdaptiveError> {
        if self.target.is_zero() {
            Err(AdaptiveError::Target)
        } else if self.window.is_zero() {
            Err(AdaptiveError::Window)
        } else if self.least == 0 || self.start < self.least || self.start > self.most {
            Err(AdaptiveError::Limits {
                least: self.least,
                start: self.start,
                most: self.most,
            })
        } else {
            Ok(())
        }
    }

    /// Within the bounds, those of settings that contradict each other too.
    fn clamp(&self, limit: usize) -> usize {
        limit.min(self.most).max(self.least).max(1)
    }
}

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdaptiveError {
    /// No latency is within a target of zero.
    Target,
    /// Nothing is seen in a window of zero.
    Window,
    /// They are not in this order, or the least lets nobody in.
    Limits {
        /// The least.
        least: usize,
        /// To start with.
        start: usize,
        /// The most.
        most: usize,
    },
}

impl fmt::Display for AdaptiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("the target of an adaptive limit is zero"),
            Self::Window => f.write_str("the window of an adaptive limit is zero"),
            Self::Limits { least, start, most } => write!(
                f,
                "an adaptive limit that starts at {start} is not from {least} (at least 1) to {most}"
            ),
        }
    }
}

impl Error for AdaptiveError {}

/// What a call showed of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It answered, after so long.
    Latency(Duration),
    /// It did not answer in time, or asked for less (429).
    Overload,
}

impl Sample {
    /// Of an answer with that status, after so long. 429 (Too Many Requests) and 503 (Service
    /// Unavailable) are overloads, however fast they come: RFC 6585 section 4, RFC 9110 section 15.6.4.
    pub const fn of_status(status: u16, latency: Duration) -> Self {
        match status {
            429 | 503 => Self::Overload,
            _ => Self::Latency(latency),
        }
    }

    /// Of an attempt that failed after so long, if that says anything of load: a timeout from
    /// the dial to the head does, which the other side could have met. The end of the call as a
    /// whole is the caller's: all that it shows is that an answer takes longer than that.
    pub const fn of_failure(cause: &Cause, elapsed: Duration) -> Option<Self> {
        match cause {
            Cause::Timeout(Phase::Pool | Phase::Dns | Phase::Body) => None,
            Cause::Timeout(Phase::Total) => Some(Self::Latency(elapsed)),
            Cause::Timeout(_) => Some(Self::Overload),
            Cause::Fault(fault) if matches!(fault.kind, FaultKind::TimedOut) => {
                Some(Self::Overload)
            }
            _ => None,
        }
    }
}

/// The machine: tells the next limit from the last one and a sample.
#[derive(Clone, Debug)]
pub struct Aimd {
    settings: Adaptive,
    window: Option<Window>,
    decreased: Option<Instant>,
}

/// What was seen since it opened.
#[derive(Clone, Copy, Debug)]
struct Window {
    opened: Instant,
    samples: u64,
    /// Of these, beyond the target: overloads as well.
    slow: u64,
    was_full: bool,
}

impl Window {
    const fn new(opened: Instant) -> Self {
        Self {
            opened,
            samples: 0,
            slow: 0,
            was_full: false,
        }
    }

    /// Whether the 99th percentile (nearest rank) is beyond the target: more than one sample of a
    /// hundred is. So none of the latencies need be kept.
    const fn is_slow(&self) -> bool {
        self.slow > self.samples / 100
    }
}

impl Aimd {
    /// Nothing seen yet.
    pub const fn new(settings: Adaptive) -> Self {
        Self {
            settings,
            window: None,
            decreased: None,
        }
    }

    /// The limit from now on, where it was `limit`. `is_full`: as many are inside as may be. A limit
    /// of zero stays: it was set to let nobody in.
    pub fn handle_sample(
        &mut self,
        now: Instant,
        sample: Sample,
        limit: usize,
        is_full: bool,
    ) -> usize {
        if limit == 0 {
            return 0;
        }
        let mut limit = limit;
        let window = self.window.get_or_insert(Window::new(now));
        if now - window.opened >= self.settings.window {
            let over = std::mem::replace(window, Window::new(now));
            if over.is_slow() {
                limit = self.decrease(now, limit);
            } else if over.was_full {
                limit = self.settings.clamp(limit.saturating_add(1));
            }
        }
        let is_slow = match sample {
            Sample::Latency(latency) => latency > self.settings.target,
            Sample::Overload => true,
        };
        if let Some(window) = &mut self.window {
            window.samples += 1;
            window.slow += u64::from(is_slow);
            window.was_full |= is_full;
        }
        if sample == Sample::Overload && self.may_decrease(now) {
            limit = self.decrease(now, limit);
        }
        limit
    }

    fn may_decrease(&self, now: Instant) -> bool {
        self.decreased
            .is_none_or(|at| now - at >= self.settings.window)
    }

    fn decrease(&mut self, now: Instant, limit: usize) -> usize {
        self.decreased = Some(now);
        self.window = Some(Window::new(now));
        self.settings.clamp(limit - limit.div_ceil(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + ms(millis)
    }

    const FAST: Sample = Sample::Latency(ms(100));
    const SLOW: Sample = Sample::Latency(ms(101));

    fn aimd() -> Aimd {
        Aimd::new(Adaptive::new(ms(100)).most(50))
    }

    #[test]
    fn a_limit_that_is_reached_grows_by_one_a_window() {
        let mut aimd = aimd();
        let mut limit = 10;
        for millis in 0..5_000 {
            limit = aimd.handle_sample(at(millis), FAST, limit, true);
            assert_eq!(limit, 10 + millis as usize / 1_000);
        }
        // However late the sample that ends it.
        assert_eq!(aimd.handle_sample(at(100_000), FAST, limit, true), 15);
    }

    #[test]
    fn a_limit_that_nobody_reaches_stays() {
        let mut aimd = aimd();
        for millis in 0..5_000 {
            assert_eq!(aimd.handle_sample(at(millis), FAST, 10, false), 10);
        }
    }

    #[test]
    fn one_slow_of_a_hundred_is_borne_and_two_are_not() {
        for (slow, then) in [(1, 21), (2, 18)] {
            let mut aimd = aimd();
            for sample in 0..199 {
                let sample = if sample < slow { SLOW } else { FAST };
                assert_eq!(aimd.handle_sample(at(0), sample, 20, true), 20);
            }
            assert_eq!(aimd.handle_sample(at(1_000), FAST, 20, true), then);
        }
    }

    #[test]
    fn an_overload_takes_a_tenth_at_once_and_no_more_within_a_window() {
        let mut aimd = aimd();
        assert_eq!(aimd.handle_sample(at(0), Sample::Overload, 40, true), 36);
        for millis in 0..1_000 {
            let limit = aimd.handle_sample(at(millis), Sample::Overload, 36, true);
            assert_eq!(limit, 36);
        }
        // Those that were not acted upon have kept it from growing.
        assert_eq!(aimd.handle_sample(at(1_000), FAST, 36, true), 32);
        assert_eq!(
            aimd.handle_sample(at(1_001), Sample::Overload, 32, true),
            32
        );
    }

    #[test]
    fn statuses_and_timeouts_are_signs_of_load_where_they_are_the_servers() {
        use crate::fault::Fault;
        let of_status = |status| Sample::of_status(status, ms(7));
        assert_eq!(of_status(200), Sample::Latency(ms(7)));
        assert_eq!(of_status(500), Sample::Latency(ms(7)));
        assert_eq!([of_status(429), of_status(503)], [Sample::Overload; 2]);
        let of = |cause| Sample::of_failure(&cause, ms(7));
        for phase in [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Head] {
            assert_eq!(of(Cause::Timeout(phase)), Some(Sample::Overload));
        }
        for phase in [Phase::Pool, Phase::Dns, Phase::Body] {
            assert_eq!(of(Cause::Timeout(phase)), None);
        }
        let whole = of(Cause::Timeout(Phase::Total));
        assert_eq!(whole, Some(Sample::Latency(ms(7))));
        let fault = |kind| of(Cause::Fault(Fault::new(kind, Phase::Connect)));
        assert_eq!(fault(FaultKind::TimedOut), Some(Sample::Overload));
        assert_eq!(fault(FaultKind::Refused), None);
    }

    #[test]
    fn a_limit_of_zero_is_left_alone() {
        assert_eq!(aimd().handle_sample(at(0), Sample::Overload, 0, true), 0);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut aimd = Aimd::new(Adaptive::new(ms(100)).least(3).most(5).start(4));
        let mut limit = 4;
        for window in 0..20 {
            limit = aimd.handle_sample(at(window * 1_000), FAST, limit, true);
        }
        assert_eq!(limit, 5);
        for window in 20..40 {
            limit = aimd.handle_sample(at(window * 1_000), Sample::Overload, limit, true);
        }
        assert_eq!(limit, 3);
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let new = Adaptive::new;
        assert_eq!(new(ms(1)).validate(), Ok(()));
        assert_eq!(new(ms(0)).validate(), Err(AdaptiveError::Target));
        let windowless = new(ms(1)).window(ms(0));
        assert_eq!(windowless.validate(), Err(AdaptiveError::Window));
        for wrong in [
            new(ms(1)).least(0),
            new(ms(1)).least(11),
            new(ms(1)).most(9),
            new(ms(1)).start(1_001),
        ] {
            let error = wrong.validate().unwrap_err();
            assert!(matches!(error, AdaptiveError::Limits { .. }), "{error}");
            assert!(wrong.initial() > 0);
        }
    }
}
