//! Every deadline of one call.
//!
//! ```text
//!            begin_attempt        entered(phase) ..          end_attempt
//!   resting ---------------> begun ------------> in a phase -------------> resting .. finish
//!      |                                            |  ^
//!    only Total runs                      suspended(true/false)
//!
//!   Total    new ........................................................ finish
//!            (or up to the body, where that is read in pieces and not covered)
//!   Attempt         begin_attempt ....... entered(Body) or end_attempt
//!   Connect             entered(Dns | Connect | Proxy | Tls) .. any other phase
//!   phase               entered(phase) .. the next;  restarted by progress (Write, Body)
//! ```
//!
//! Invariants:
//! * `next` is the earliest of the clocks that run; ties go to Total, then Attempt, then the phase.
//! * A suspended phase clock moves along with time: its distance to `mark` stays the same.
//! * Every nanosecond from `start` to `mark` is in exactly one of `spent`, `suspended`, `backoff`.
//! * Time never runs backwards: an earlier `now` counts as `mark`.

use std::time::Duration;

use crate::fault::Phase;
use crate::time::Instant;

use super::speed::Speed;
use super::spent::Spent;
use super::timeouts::{PhaseLimits, Timeouts};

/// What the call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between attempts, or before the first.
    Resting,
    /// An attempt has begun and entered no phase yet.
    Begun,
    /// In a phase.
    In(Phase),
    /// As `In`, with the phase's clock standing still.
    Suspended(Phase),
    /// Over.
    Finished,
}

/// How a response's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// All of it, in one piece.
    Whole,
    /// In pieces, as they come.
    Pieces,
}

/// The clocks of one call: which limit runs out next, and where the time went.
///
/// Plain numbers: each method is a few dozen instructions, and the earliest deadline is kept.
#[derive(Clone, Debug)]
pub struct Clocks {
    limits: [u64; PhaseLimits::PHASES],
    shortest: u64,
    attempt_limit: u64,
    spent: [u64; PhaseLimits::PHASES],
    suspended: u64,
    backoff: u64,
    start: u64,
    mark: u64,
    // Deadlines; `NEVER` while the clock is off.
    overall: u64,
    attempt_at: u64,
    connect_at: u64,
    phase_at: u64,
    next: u64,
    which: Phase,
    state: State,
    split: bool,
    /// Where a body in pieces is not covered. Boxed, because mostly it is.
    apart: Option<Box<Apart>>,
    /// Boxed, because mostly there is no limit on it.
    speed: Option<Box<Speed>>,
}

/// What ends a call by how its body is read.
#[derive(Clone, Debug)]
struct Apart {
    /// Whole: `total`, or the deadline that the user gave as an instant.
    overall: u64,
    /// In pieces: that alone.
    deadline: u64,
}

const NEVER: u64 = u64::MAX;

impl Clocks {
    /// Starts the call's clock.
    ///
    /// `deadline` is an instant that several calls may share; the earlier of it and
    /// `now + timeouts.total` ends this one.
    pub fn new(now: Instant, timeouts: &Timeouts, deadline: Option<Instant>) -> Self {
        Self::with_limits(now, &timeouts.limits(), deadline)
    }

    /// As [`new`](Self::new), with limits converted beforehand: what a hot path uses.
    // Made where it goes to: it is big to move.
    #[inline]
    pub fn with_limits(now: Instant, limits: &PhaseLimits, deadline: Option<Instant>) -> Self {
        let start = now.as_nanos();
        let deadline = deadline.map_or(NEVER, Instant::as_nanos);
        let overall = after(start, limits.total).min(deadline);
        Self {
            limits: limits.phases,
            shortest: limits.shortest,
            attempt_limit: limits.attempt,
            spent: [0; PhaseLimits::PHASES],
            suspended: 0,
            backoff: 0,
            start,
            mark: start,
            overall,
            attempt_at: NEVER,
            connect_at: NEVER,
            phase_at: NEVER,
            next: overall,
            which: Phase::Total,
            state: State::Resting,
            split: limits.split,
            apart: (!limits.covers_body).then(|| Box::new(Apart { overall, deadline })),
            speed: limits.speed.and_then(Speed::new).map(Box::new),
        }
    }

    /// Starts an attempt. Until it enters a phase its time counts as waiting for a connection.
    #[inline]
    pub fn begin_attempt(&mut self, now: Instant) {
        if matches!(self.state, State::Finished) {
            return;
        }
        let now = self.account(now);
        self.state = State::Begun;
        self.connect_at = NEVER;
        self.phase_at = NEVER;
        self.attempt_at = after(now, self.attempt_limit);
        self.choose();
    }

    /// Gives the attempt that has begun its part of what is left of the call, if that is asked for:
    /// `left` is how many attempts there may be, this one included.
    #[inline]
    pub fn split(&mut self, left: u32) {
        if !self.split || self.overall == NEVER || !matches!(self.state, State::Begun) {
            return;
        }
        let whole = self.overall.saturating_sub(self.mark);
        let part = (whole / u64::from(left.max(1))).max(whole / 2);
        self.attempt_at = after(self.mark, part);
        self.choose();
    }

    /// Leaves the phase the attempt is in and enters another, or the same one anew.
    ///
    /// The clock of `Connect` runs on through `Dns`, `Proxy` and `Tls`, whichever comes first
    /// starts it. `Body` ends the attempt's own clock. The new phase's clock runs, even where the
    /// former one was suspended. `Attempt` and `Total` are no phases to enter: they are ignored.
    pub fn entered(&mut self, now: Instant, phase: Phase) {
        if matches!(self.state, State::Finished) {
            return;
        }
        let Some(&limit) = self.limits.get(phase as usize) else {
            return;
        };
        let now = self.account(now);
        if is_dial(phase) {
            if self.connect_at == NEVER {
                self.connect_at = after(now, self.limits[Phase::Connect as usize]);
            }
        } else {
            self.connect_at = NEVER;
        }
        // Connect's limit is `connect_at` already.
        self.phase_at = if phase == Phase::Connect {
            NEVER
        } else {
            after(now, limit)
        };
        if phase == Phase::Body {
            self.attempt_at = NEVER;
        }
        if let Some(speed) = &mut self.speed {
            speed.restart();
        }
        self.state = State::In(phase);
        self.choose();
    }

    /// Says where the time in `Connect` went, since it was entered: until `resolved` for the name,
    /// until `opened` for the transport, and for TLS from there. [`Instant::MAX`] is not yet. No
    /// clock changes, and in another phase nothing at all.
    pub fn dialled(&mut self, now: Instant, resolved: Instant, opened: Instant) {
        if self.state != State::In(Phase::Connect) {
            return;
        }
        let parts = [
            (Phase::Dns, resolved),
            (Phase::Connect, opened),
            (Phase::Tls, now),
        ];
        for (phase, until) in parts {
            self.state = State::In(phase);
            self.account(until.min(now));
        }
        self.state = State::In(Phase::Connect);
    }

    /// Notes bytes that the transport accepted or delivered: restarts the clock of `Write` or
    /// `Body`. In other phases, and for no bytes, nothing changes.
    pub fn progress(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 && self.phase().is_some_and(is_measured) {
            self.account(now);
            if let Some(speed) = &mut self.speed {
                speed.add(bytes as u64);
            }
            self.restart(now);
        }
    }

    /// Restarts the clock of the phase itself: an interim response does so in `FirstByte`.
    pub fn restart(&mut self, now: Instant) {
        let Some(phase) = self.phase() else { return };
        let now = self.account(now);
        if phase != Phase::Connect {
            self.phase_at = after(now, self.limits[phase as usize]);
            self.choose();
        }
    }

    /// Stops the phase's clock while its progress is up to the application, or starts it again
    /// where it stood. `Attempt` and `Total` go on.
    pub fn suspended(&mut self, now: Instant, suspended: bool) {
        let state = match (self.state, suspended) {
            (State::In(phase), true) => State::Suspended(phase),
            (State::Suspended(phase), false) => State::In(phase),
            _ => return,
        };
        self.account(now);
        self.state = state;
        self.choose();
    }

    /// The response's body is read like that from now on. `total` does not count while it is read in
    /// pieces, if it does not cover that ([`Timeouts::total_covers_body`]).
    #[inline]
    pub fn reads(&mut self, reading: Reading) {
        if let Some(apart) = &self.apart
            && self.state != State::Finished
        {
            self.overall = match reading {
                Reading::Whole => apart.overall,
                Reading::Pieces => apart.deadline,
            };
            self.choose();
        }
    }

    /// Ends the attempt. What follows is backoff: only `Total` runs.
    pub fn end_attempt(&mut self, now: Instant) {
        if self.state != State::Finished {
            self.stop(now, State::Resting);
        }
    }

    /// Ends the call: no clock runs any more.
    pub fn finish(&mut self, now: Instant) {
        if self.state != State::Finished {
            self.overall = NEVER;
            self.stop(now, State::Finished);
        }
    }

    /// The earliest deadline of the clocks that run, and whose it is.
    pub fn poll_timeout(&self) -> Option<(Instant, Phase)> {
        (self.next != NEVER).then(|| (Instant::from_nanos(self.next), self.which))
    }

    /// Which limit has run out, if `now` is at or past the earliest deadline.
    pub fn expired(&self, now: Instant) -> Option<Phase> {
        (now.as_nanos() >= self.next && self.next != NEVER).then_some(self.which)
    }

    /// Bytes a second over the last window, if `now` is past the earliest deadline and that is the
    /// one of a body that moves too slowly, rather than not at all.
    pub fn slowness(&self, now: Instant) -> Option<u64> {
        let is_it = self.expired(now) == self.phase() && self.speed_at() == self.next;
        let speed = self.speed.as_ref().filter(|_| is_it)?;
        (self.next < self.phase_at).then(|| speed.rate())
    }

    /// The earliest instant at which anything could expire in this attempt, whatever phases follow
    /// from here: what a call registers with the client's one timer.
    ///
    /// From `Write` on, the phases of the dial do not come back within the attempt.
    #[inline]
    pub fn lower_bound(&self, now: Instant) -> Option<Instant> {
        let now = now.as_nanos().max(self.mark);
        let shortest = match self.state {
            State::Finished => return None,
            State::In(phase) | State::Suspended(phase) if phase >= Phase::Write => {
                let ahead = &self.limits[Phase::Write as usize..];
                ahead.iter().copied().fold(NEVER, u64::min)
            }
            _ => self.shortest,
        };
        let window = self.speed.as_ref().map_or(NEVER, |speed| speed.shortest());
        let shortest = shortest.min(window);
        let mut bound = self.next.min(after(now, shortest));
        if let State::Suspended(_) = self.state {
            // It could go on this very moment.
            let stood = now - self.mark;
            bound = bound
                .min(after(self.phase_at, stood))
                .min(after(self.connect_at, stood))
                .min(after(self.speed_at(), stood));
        }
        (bound != NEVER).then(|| Instant::from_nanos(bound))
    }

    /// The deadline of the whole call.
    pub fn overall(&self) -> Option<Instant> {
        (self.overall != NEVER).then(|| Instant::from_nanos(self.overall))
    }

    /// Whether the deadline of the whole call has passed.
    #[inline]
    pub fn is_overdue(&self, now: Instant) -> bool {
        now.as_nanos() >= self.overall && self.overall != NEVER
    }

    /// The phase that the attempt is in.
    pub fn phase(&self) -> Option<Phase> {
        match self.state {
            State::In(phase) | State::Suspended(phase) => Some(phase),
            State::Resting | State::Begun | State::Finished => None,
        }
    }

    /// Whether the phase's clock stands still.
    pub fn is_suspended(&self) -> bool {
        matches!(self.state, State::Suspended(_))
    }

    /// Time spent in a phase over all attempts, without what was suspended, up to the last change
    /// of phase, suspension or restart.
    ///
    /// Of `Attempt` it is the sum over the phases, of `Total` all the time accounted for, which
    /// is that sum, [`suspended_for`](Self::suspended_for) and [`rested_for`](Self::rested_for).
    pub fn spent(&self, phase: Phase) -> Duration {
        Duration::from_nanos(match phase {
            Phase::Attempt => self.spent.iter().sum(),
            Phase::Total => self.mark - self.start,
            phase => self.spent[phase as usize],
        })
    }

    /// As [`spent`](Self::spent), up to `now` and for all phases.
    pub fn spent_by(&self, now: Instant) -> Spent {
        let running = now.as_nanos().saturating_sub(self.mark);
        let current = match self.state {
            State::In(phase) => Some(phase),
            State::Begun => Some(Phase::Pool),
            State::Suspended(_) | State::Resting | State::Finished => None,
        };
        let mut all = Spent::default();
        for (phase, mut nanos) in Phase::ALL.into_iter().zip(self.spent) {
            if current == Some(phase) {
                nanos += running;
            }
            all.add(phase, nanos);
        }
        all
    }

    /// Time for which phase clocks stood still, as of the same moment.
    pub fn suspended_for(&self) -> Duration {
        Duration::from_nanos(self.suspended)
    }

    /// Time outside of attempts: backoff.
    pub fn rested_for(&self) -> Duration {
        Duration::from_nanos(self.backoff)
    }

    /// Time from the start of the call to `now`, or to its end.
    pub fn elapsed(&self, now: Instant) -> Duration {
        let end = match self.state {
            State::Finished => self.mark,
            _ => now.as_nanos().max(self.mark),
        };
        Duration::from_nanos(end - self.start)
    }

    fn stop(&mut self, now: Instant, state: State) {
        self.account(now);
        self.attempt_at = NEVER;
        self.connect_at = NEVER;
        self.phase_at = NEVER;
        self.state = state;
        self.choose();
    }

    /// Charges the time since `mark` to what the call was doing, and returns the new mark.
    fn account(&mut self, now: Instant) -> u64 {
        let now = now.as_nanos().max(self.mark);
        let passed = now - self.mark;
        if passed == 0 {
            return now;
        }
        self.mark = now;
        match self.state {
            State::In(phase) => {
                self.spent[phase as usize] += passed;
                if let Some(speed) = &mut self.speed {
                    speed.pass(passed);
                }
            }
            State::Begun => self.spent[Phase::Pool as usize] += passed,
            State::Suspended(_) => {
                self.suspended += passed;
                self.phase_at = after(self.phase_at, passed);
                self.connect_at = after(self.connect_at, passed);
            }
            State::Resting => self.backoff += passed,
            State::Finished => {}
        }
        now
    }

    /// Finds the earliest deadline again.
    fn choose(&mut self) {
        (self.next, self.which) = (self.overall, Phase::Total);
        if self.attempt_at < self.next {
            (self.next, self.which) = (self.attempt_at, Phase::Attempt);
        }
        if let State::In(phase) = self.state {
            // Of the two clocks of a dial the narrower is named on a tie: it says more.
            if self.phase_at < self.next {
                (self.next, self.which) = (self.phase_at, phase);
            }
            if self.connect_at < self.next {
                (self.next, self.which) = (self.connect_at, Phase::Connect);
            }
            if self.speed.is_some() && self.speed_at() < self.next {
                (self.next, self.which) = (self.speed_at(), phase);
            }
        }
    }

    /// When the body will have moved too slowly, were its clock to run from `mark` on.
    fn speed_at(&self) -> u64 {
        match (&self.speed, self.phase()) {
            (Some(speed), Some(phase)) if is_measured(phase) => after(self.mark, speed.fires_in()),
            _ => NEVER,
        }
    }
}

/// `limit` after an instant, where both may be never.
const fn after(at: u64, limit: u64) -> u64 {
    at.saturating_add(limit)
}

/// Whether the phase moves a body, whose speed can be told.
const fn is_measured(phase: Phase) -> bool {
    matches!(phase, Phase::Write | Phase::Body)
}

const fn is_dial(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Dns | Phase::Connect | Phase::Proxy | Phase::Tls
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_are_plain_data_of_at_most_256_bytes() {
        const fn is_plain<T: Send + Sync + Clone>() {}
        is_plain::<Clocks>();
        assert!(size_of::<Clocks>() <= 256, "{}", size_of::<Clocks>());
    }

    const fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn in_phase(phase: Phase, timeouts: &Timeouts) -> Clocks {
        let mut clocks = Clocks::new(ms(0), timeouts, Some(ms(10_000)));
        clocks.begin_attempt(ms(0));
        clocks.entered(ms(0), phase);
        clocks
    }

    #[test]
    fn the_lower_bound_is_the_shortest_limit_that_can_still_come() {
        let each = Timeouts::all(Duration::from_millis(500));
        let timeouts = each.dns(Duration::from_millis(100));
        let dialling = in_phase(Phase::Pool, &timeouts);
        assert_eq!(dialling.lower_bound(ms(50)), Some(ms(150)));
        for phase in [Phase::Write, Phase::FirstByte, Phase::Body] {
            let sent = in_phase(phase, &timeouts.head(Duration::from_millis(200)));
            assert_eq!(sent.lower_bound(ms(50)), Some(ms(250)), "{phase:?}");
        }
    }

    #[test]
    fn a_clock_that_stands_still_could_go_on_this_very_moment() {
        let timeouts = Timeouts::none().write(Duration::from_millis(500));
        let mut clocks = in_phase(Phase::Write, &timeouts);
        clocks.suspended(ms(100), true);
        assert!(clocks.is_suspended());
        // 400 ms were left, and are whenever it goes on.
        assert_eq!(clocks.lower_bound(ms(100)), Some(ms(500)));
        assert_eq!(clocks.lower_bound(ms(350)), Some(ms(750)));
        clocks.suspended(ms(350), false);
        assert!(!clocks.is_suspended());
        assert_eq!(clocks.poll_timeout(), Some((ms(750), Phase::Write)));
    }

    #[test]
    fn a_call_that_is_over_has_no_deadline_ahead() {
        let mut clocks = in_phase(Phase::Body, &Timeouts::all(Duration::from_millis(1)));
        clocks.finish(ms(1));
        assert_eq!(clocks.lower_bound(ms(1)), None);
    }

    #[test]
    fn a_dial_is_told_apart_and_its_clock_runs_on() {
        let timeouts = Timeouts::none().connect(Duration::from_millis(900));
        let parts = |resolved, opened| {
            let mut clocks = in_phase(Phase::Connect, &timeouts);
            clocks.dialled(ms(100), resolved, opened);
            assert_eq!(clocks.poll_timeout(), Some((ms(900), Phase::Connect)));
            assert_eq!(clocks.phase(), Some(Phase::Connect));
            let told = [Phase::Dns, Phase::Connect, Phase::Tls];
            told.map(|phase| clocks.spent(phase).as_millis())
        };
        assert_eq!(parts(ms(20), ms(50)), [20, 30, 50]);
        assert_eq!(parts(ms(0), ms(50)), [0, 50, 50]);
        assert_eq!(parts(ms(20), Instant::MAX), [20, 80, 0]);
        assert_eq!(parts(Instant::MAX, Instant::MAX), [100, 0, 0]);
        // A transport of which nobody knows when its name was resolved.
        assert_eq!(parts(Instant::MAX, ms(50)), [100, 0, 0]);
        let mut elsewhere = in_phase(Phase::Pool, &timeouts);
        elsewhere.dialled(ms(100), ms(20), ms(50));
        assert_eq!(elsewhere.spent(Phase::Dns), Duration::ZERO);
    }

    #[test]
    fn all_time_spent_is_what_passed_since_the_start() {
        let mut clocks = Clocks::new(ms(30), &Timeouts::none(), None);
        clocks.begin_attempt(ms(40));
        clocks.end_attempt(ms(100));
        assert_eq!(clocks.spent(Phase::Total), Duration::from_millis(70));
        assert_eq!(clocks.spent(Phase::Attempt), Duration::from_millis(60));
        assert_eq!(clocks.elapsed(ms(110)), Duration::from_millis(80));
    }
}
