//! Plans: faults with their times.

use std::fmt::{self, Write as _};
use std::ops::{Deref, Range};
use std::time::Duration;

use crate::faults::Fault;
use crate::random::Stream;

/// Faults with the times at which they are in force; see [`Sim::plan`](crate::Sim::plan).
///
/// Its `Debug` form is the Rust that makes it ([`plan_source`]). With the feature `proptest`,
/// [`strategy::plan`](crate::strategy::plan) generates plans that shrink.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Plan(Vec<(Range<Duration>, Fault)>);

impl Plan {
    /// A plan that a seed decides: at most `most` faults of any kind but corruption and a lack of
    /// descriptors, of any of the `targets`, that begin within `span` and last no longer than that.
    pub fn seeded(seed: u64, targets: &[&str], span: Duration, most: usize) -> Self {
        let mut draws = Stream::named(seed, "plan");
        let Some(last) = targets.len().checked_sub(1) else {
            return Self::default();
        };
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let mut fault = || {
            let shape = Shape {
                kind: draws.uniform(0, Shape::KINDS - 1),
                amount: draws.uniform(0, Shape::AMOUNTS - 1),
                from: draws.uniform(0, span),
                length: draws.uniform(1, span.max(1)),
            };
            let target = draws.uniform(0, last as u64) as usize;
            shape.of(targets.get(target).copied().unwrap_or_default())
        };
        let first: Vec<_> = (0..most).map(|_| fault()).collect();
        let count = draws.uniform(0, most as u64) as usize;
        Self(first.into_iter().take(count).collect())
    }
}

impl From<Vec<(Range<Duration>, Fault)>> for Plan {
    fn from(faults: Vec<(Range<Duration>, Fault)>) -> Self {
        Self(faults)
    }
}

impl Deref for Plan {
    type Target = [(Range<Duration>, Fault)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plan_source(self))
    }
}

/// A fault as four numbers, the less the milder, so that shrinking them shrinks it. Times are in
/// milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: u64,
    pub(crate) amount: u64,
    pub(crate) from: u64,
    pub(crate) length: u64,
}

impl Shape {
    pub(crate) const KINDS: u64 = 16;
    pub(crate) const AMOUNTS: u64 = 1000;

    pub(crate) fn of(self, target: &str) -> (Range<Duration>, Fault) {
        let Self { amount, .. } = self;
        let delay = Duration::from_millis(1 + 3 * amount);
        // The milder, the more.
        let rate = 100 * (Self::AMOUNTS - amount);
        let fault = match self.kind {
            0 => Fault::delay(target, delay),
            1 => Fault::segment(target, 1 + (Self::AMOUNTS - amount) as usize),
            2 => Fault::loss(target, 1 + (amount / 20) as u8),
            3 => Fault::slow(target, rate),
            4 => Fault::slow_reader(target, rate - 100),
            5 => Fault::refuse(target),
            6 => Fault::reset(target),
            7 => Fault::down(target),
            8 => Fault::partition(target),
            9 => Fault::partition_from(target),
            10 => Fault::partition_to(target),
            11 => Fault::half_open(target),
            12 => Fault::dns_slow(target, delay),
            13 => Fault::dns_error(target),
            14 => Fault::dns_missing(target),
            _ => Fault::dns_silent(target),
        };
        let from = Duration::from_millis(self.from);
        let to = Duration::from_millis(self.from.saturating_add(self.length));
        (from..to, fault)
    }
}

/// A plan as the Rust that makes it, to be pasted into a test.
///
/// ```
/// # use std::time::Duration;
/// # use fulmar_sim::{Fault, plan_source};
/// let plan = [(Duration::from_secs(2)..Duration::from_millis(4500), Fault::reset("api.test"))];
/// assert_eq!(
///     plan_source(&plan),
///     "vec![\n    (Duration::from_secs(2)..Duration::from_millis(4500), Fault::reset(\"api.test\")),\n]"
/// );
/// ```
pub fn plan_source(plan: &[(Range<Duration>, Fault)]) -> String {
    if plan.is_empty() {
        return "vec![]".to_owned();
    }
    let mut out = String::from("vec![\n");
    for (range, fault) in plan {
        let (start, end) = (duration_source(range.start), duration_source(range.end));
        let _ = writeln!(out, "    ({start}..{end}, {fault:?}),");
    }
    out.push(']');
    out
}

pub(crate) fn duration_source(duration: Duration) -> String {
    if duration == Duration::MAX {
        return "Duration::MAX".to_owned();
    }
    match duration.subsec_nanos() {
        0 => format!("Duration::from_secs({})", duration.as_secs()),
        nanos if nanos % 1_000_000 == 0 => {
            format!("Duration::from_millis({})", duration.as_millis())
        }
        _ => format!(
            "Duration::new({}, {})",
            duration.as_secs(),
            duration.subsec_nanos()
        ),
    }
}
