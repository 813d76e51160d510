//! `Clocks` against an oracle that keeps a log of what happened, and recomputes every clock from
//! it each time it is asked.

use std::time::Duration;

use fulmar_core::deadline::{Clocks, Reading, Timeouts};
use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;

use super::script::Script;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Begin,
    Enter(Phase),
    Progress(usize),
    Restart,
    Suspend(bool),
    Read(Reading),
    End,
}

/// What the call was doing after an event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Resting,
    Begun,
    In(Phase),
}

/// Everything that happened, and nothing computed from it.
struct Log {
    start: u64,
    timeouts: Timeouts,
    deadline: Option<u64>,
    events: Vec<(u64, Event)>,
}

impl Log {
    /// What the call is doing after the first `count` events.
    fn doing(&self, count: usize) -> Doing {
        for (_, event) in self.events[..count].iter().rev() {
            match event {
                Event::Begin => return Doing::Begun,
                Event::Enter(phase) if *phase < Phase::Attempt => return Doing::In(*phase),
                Event::End => return Doing::Resting,
                _ => {}
            }
        }
        Doing::Resting
    }

    fn is_suspended(&self, count: usize) -> bool {
        let Doing::In(_) = self.doing(count) else {
            return false;
        };
        for (_, event) in self.events[..count].iter().rev() {
            match event {
                Event::Suspend(suspended) => return *suspended,
                Event::Enter(phase) if *phase < Phase::Attempt => return false,
                _ => {}
            }
        }
        false
    }

    /// Time that passed while suspended since the event at `index`, up to the last event.
    fn frozen_since(&self, index: usize) -> u64 {
        (index + 1..self.events.len())
            .filter(|&next| self.is_suspended(next))
            .map(|next| self.events[next].0 - self.events[next - 1].0)
            .sum()
    }

    /// `limit` after the event at `index`, plus what it stood still.
    fn running(&self, index: usize, limit: Option<Duration>) -> Option<u64> {
        let frozen = self.frozen_since(index);
        let at = u128::from(self.events[index].0) + limit?.as_nanos() + u128::from(frozen);
        u64::try_from(at).ok().filter(|&at| at < u64::MAX)
    }

    /// Where the clock of the phase last started.
    fn phase_started(&self) -> usize {
        let restarts = |index: usize| match self.events[index].1 {
            Event::Enter(phase) => phase < Phase::Attempt,
            Event::Restart => true,
            Event::Progress(bytes) => {
                bytes > 0 && matches!(self.doing(index), Doing::In(Phase::Write | Phase::Body))
            }
            _ => false,
        };
        (0..self.events.len())
            .rev()
            .find(|&index| restarts(index))
            .expect("in a phase")
    }

    /// Where the dial began that the call is in.
    fn dial_started(&self) -> usize {
        let mut first = self.events.len();
        for (index, (_, event)) in self.events.iter().enumerate().rev() {
            match event {
                Event::Enter(phase) if *phase >= Phase::Attempt => {}
                Event::Enter(phase) if is_dial(*phase) => first = index,
                Event::Enter(_) | Event::Begin | Event::End => break,
                _ => {}
            }
        }
        first
    }

    fn attempt(&self) -> Option<u64> {
        let count = self.events.len();
        let mut limit = self.timeouts.attempt;
        for index in (0..count).rev() {
            match self.events[index].1 {
                Event::End => return None,
                Event::Enter(Phase::Body) => limit = None,
                Event::Begin => {
                    let at = u128::from(self.events[index].0) + limit?.as_nanos();
                    return u64::try_from(at).ok().filter(|&at| at < u64::MAX);
                }
                _ => {}
            }
        }
        None
    }

    /// Whether `total` counts: not while the body is read in pieces, if those are not covered.
    fn is_covered(&self) -> bool {
        let reading = self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Read(reading) => Some(*reading),
            _ => None,
        });
        self.timeouts.total_covers_body || reading != Some(Reading::Pieces)
    }

    fn overall(&self) -> Option<u64> {
        let total = self
            .timeouts
            .total
            .filter(|_| self.is_covered())
            .map(|total| u128::from(self.start) + total.as_nanos());
        let total = total
            .and_then(|at| u64::try_from(at).ok())
            .filter(|&at| at < u64::MAX);
        total.into_iter().chain(self.deadline).min()
    }

    /// The earliest deadline, by POLICIES 2.2: the smallest, ties to the outermost.
    fn next(&self) -> Option<(u64, Phase)> {
        let mut clocks = vec![
            (self.overall(), Phase::Total),
            (self.attempt(), Phase::Attempt),
        ];
        let count = self.events.len();
        if let (Doing::In(phase), false) = (self.doing(count), self.is_suspended(count)) {
            if phase != Phase::Connect {
                clocks.push((
                    self.running(self.phase_started(), self.timeouts.of(phase)),
                    phase,
                ));
            }
            if is_dial(phase) {
                let at = self.running(self.dial_started(), self.timeouts.connect);
                clocks.push((at, Phase::Connect));
            }
        }
        // `min_by_key` takes the first of equals.
        clocks
            .into_iter()
            .filter_map(|(at, phase)| Some((at?, phase)))
            .min_by_key(|&(at, _)| at)
    }

    /// Time in each phase, suspended, and resting, up to `now`.
    fn spent(&self, now: u64) -> ([u64; Phase::COUNT], u64, u64) {
        let (mut phases, mut suspended, mut resting) = ([0; Phase::COUNT], 0, 0);
        for count in 0..=self.events.len() {
            let from = if count == 0 {
                self.start
            } else {
                self.events[count - 1].0
            };
            let to = self.events.get(count).map_or(now, |event| event.0);
            match self.doing(count) {
                Doing::In(_) if self.is_suspended(count) => suspended += to - from,
                Doing::In(phase) => phases[phase as usize] += to - from,
                Doing::Begun => phases[Phase::Pool as usize] += to - from,
                Doing::Resting => resting += to - from,
            }
        }
        (phases, suspended, resting)
    }
}

fn is_dial(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Dns | Phase::Connect | Phase::Proxy | Phase::Tls
    )
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// A limit of few values, so that ties are common: none, at once, and forever among them.
fn limit(script: &mut Script<'_>) -> Option<Duration> {
    match script.below(16) {
        0..=3 => None,
        4 => Some(Duration::MAX),
        short => Some(Duration::from_nanos(short as u64 - 5)),
    }
}

fn timeouts(script: &mut Script<'_>) -> Timeouts {
    Timeouts::none()
        .pool(limit(script))
        .dns(limit(script))
        .connect(limit(script))
        .proxy(limit(script))
        .tls(limit(script))
        .write(limit(script))
        .first_byte(limit(script))
        .head(limit(script))
        .between_bytes(limit(script))
        .attempt(limit(script))
}

fn event(script: &mut Script<'_>) -> Event {
    match script.below(17) {
        0 => Event::Begin,
        1..=6 => Event::Enter(Phase::ALL[script.below(Phase::COUNT)]),
        7 | 8 => Event::Progress(script.below(3)),
        9 => Event::Restart,
        10 | 11 => Event::Suspend(true),
        12 | 13 => Event::Suspend(false),
        14 => Event::Read(Reading::Pieces),
        15 => Event::Read(Reading::Whole),
        _ => Event::End,
    }
}

fn apply(clocks: &mut Clocks, now: u64, event: Event) {
    match event {
        Event::Begin => clocks.begin_attempt(at(now)),
        Event::Enter(phase) => clocks.entered(at(now), phase),
        Event::Progress(bytes) => clocks.progress(at(now), bytes),
        Event::Restart => clocks.restart(at(now)),
        Event::Suspend(suspended) => clocks.suspended(at(now), suspended),
        Event::Read(reading) => clocks.reads(reading),
        Event::End => clocks.end_attempt(at(now)),
    }
}

/// Runs the script on the clocks and on the oracle, and compares after each step.
///
/// I2.1: the limit and its instant are the oracle's. I2.2: it runs out then and not before.
/// R0.3: asking changes nothing. I2.5: all time is accounted for, once.
///
/// # Panics
///
/// Where they differ.
pub fn clocks_steps(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = if script.byte() >= 240 {
        u64::MAX - 40
    } else {
        1_000
    };
    let mut timeouts = timeouts(&mut script);
    timeouts.total = limit(&mut script).map(|total| total.saturating_mul(8));
    timeouts.total_covers_body = script.below(2) > 0;
    let deadline = match script.byte() {
        byte @ 0..64 => Some(now.saturating_add(u64::from(byte))),
        _ => None,
    };
    let mut clocks = Clocks::new(at(now), &timeouts, deadline.map(at));
    let mut log = Log {
        start: now,
        timeouts,
        // The end of time is no deadline.
        deadline: deadline.filter(|&at| at < u64::MAX),
        events: Vec::new(),
    };
    let mut bound = 0;
    while !script.is_over() && log.events.len() < 120 {
        now = now.saturating_add(script.below(6) as u64);
        let event = event(&mut script);
        let count = log.events.len();
        bound = if keeps_bound(&log, event) { bound } else { 0 };
        // What cannot happen is not logged: there is no phase to suspend or to restart.
        let is_moot = matches!(event, Event::Suspend(_) | Event::Restart)
            && !matches!(log.doing(count), Doing::In(_));
        apply(&mut clocks, now, event);
        if !is_moot {
            log.events.push((now, event));
        }
        compare(&clocks, &log, now);
        let next = clocks
            .poll_timeout()
            .map_or(u64::MAX, |(at, _)| at.as_nanos());
        assert!(
            bound <= next,
            "a lower bound of {bound} was promised, and {next} is earlier"
        );
        let lower = clocks
            .lower_bound(at(now))
            .map_or(u64::MAX, Instant::as_nanos);
        bound = bound.max(lower);
    }
}

/// Whether a lower bound given before that event still holds after it: in the same attempt, under
/// the same deadline, and not back from the exchange to the dial.
fn keeps_bound(log: &Log, event: Event) -> bool {
    match event {
        Event::Begin | Event::End | Event::Read(_) => false,
        Event::Enter(to) => match log.doing(log.events.len()) {
            Doing::In(from) => from < Phase::Write || to >= Phase::Write,
            Doing::Begun | Doing::Resting => true,
        },
        _ => true,
    }
}

fn compare(clocks: &Clocks, log: &Log, now: u64) {
    let nanos = |(at, phase): (Instant, _)| (at.as_nanos(), phase);
    let found = || clocks.poll_timeout().map(nanos);
    let expected = log.next();
    assert_eq!(found(), expected, "after {:?}", log.events);
    assert_eq!(clocks.overall().map(Instant::as_nanos), log.overall());
    let phase = expected.map(|(_, phase)| phase);
    assert_eq!(clocks.expired(Instant::MAX), phase);
    if let Some((deadline, _)) = expected {
        assert_eq!(clocks.expired(at(deadline)), phase);
        let is_early = deadline > 0 && clocks.expired(at(deadline - 1)).is_some();
        assert!(!is_early, "before {deadline}");
    }
    assert_eq!(found(), expected, "asking changes nothing");
    compare_accounts(clocks, log, now);
}

fn compare_accounts(clocks: &Clocks, log: &Log, now: u64) {
    let mut over = clocks.clone();
    over.finish(at(now));
    let (phases, suspended, resting) = log.spent(now);
    for phase in Phase::ALL
        .into_iter()
        .filter(|phase| *phase < Phase::Attempt)
    {
        let spent = Duration::from_nanos(phases[phase as usize]);
        assert_eq!(over.spent(phase), spent, "{phase} after {:?}", log.events);
    }
    assert_eq!(over.suspended_for(), Duration::from_nanos(suspended));
    assert_eq!(over.rested_for(), Duration::from_nanos(resting));
    let sum = over.spent(Phase::Attempt) + over.suspended_for() + over.rested_for();
    assert_eq!(sum, over.elapsed(at(now)));
    assert_eq!(sum, Duration::from_nanos(now - log.start));
    assert_eq!(
        (over.poll_timeout(), over.expired(Instant::MAX)),
        (None, None)
    );
    assert_eq!(over.elapsed(Instant::MAX), sum, "the end is the end");
}

/// I2.4: a pause of the application, however long, moves every deadline of a phase by its length
/// and lets none run out.
///
/// # Panics
///
/// Where a pause shows in a deadline otherwise.
pub fn a_pause_only_moves_deadlines(data: &[u8]) {
    let mut script = Script::new(data);
    let timeouts = Timeouts {
        attempt: None,
        ..timeouts(&mut script)
    };
    let mut now = 1_000;
    let pause = u64::from(script.byte()) * 1_000_000_007;
    let mut plain = Clocks::new(at(now), &timeouts, None);
    let mut paused = plain.clone();
    let mut offset = 0;
    while !script.is_over() {
        now += script.below(6) as u64;
        let event = event(&mut script);
        if paused.is_suspended() {
            assert_eq!(
                paused.expired(Instant::MAX),
                None,
                "a suspended clock ran out"
            );
            offset += pause;
        }
        apply(&mut plain, now, event);
        apply(&mut paused, now + offset, event);
        let moved = plain
            .poll_timeout()
            .map(|(at, phase)| (at + Duration::from_nanos(offset), phase));
        assert_eq!(paused.poll_timeout(), moved);
    }
}
