//! What must hold after every step of a run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fulmar::{Client, Gauges, Limits};

use crate::executor::message;
use crate::run::Failure;
use crate::sim::Sim;
use crate::world::State;

/// Something that must hold.
pub(crate) struct Invariant {
    name: String,
    check: Box<dyn FnMut() -> Result<(), String> + Send>,
}

impl Sim {
    /// Checks the simulation itself after every step: that no connection holds more bytes than its
    /// link's window, that none is kept that both ends have closed, that no event lies in the past, and
    /// that timers are counted right.
    ///
    /// A step is one poll of one task, or one event. A run ends with [`Failure::Violated`] at the
    /// first step after which something does not hold.
    pub fn check(&mut self) {
        self.is_checked = true;
    }

    /// Checks something of the user's after every step, beginning with the next run: an `Err`, or a
    /// panic, ends the run with [`Failure::Violated`].
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    /// # use fulmar_sim::Sim;
    /// let mut sim = Sim::seeded(1);
    /// let served = Arc::new(AtomicUsize::new(0));
    /// let seen = Arc::clone(&served);
    /// sim.invariant("one order at most", move || match seen.load(Ordering::Relaxed) {
    ///     0 | 1 => Ok(()),
    ///     n => Err(format!("{n} orders")),
    /// });
    /// ```
    pub fn invariant(
        &mut self,
        name: &str,
        check: impl FnMut() -> Result<(), String> + Send + 'static,
    ) {
        self.invariants.push(Invariant {
            name: name.to_owned(),
            check: Box::new(check),
        });
    }

    /// Checks a client's pool after every step: that its connections add up, and that no limit is
    /// exceeded. It does not keep the client.
    pub fn watch(&mut self, client: &Client) {
        let (gauges, limits) = (client.gauge_reader(), client.limits());
        self.invariant("the pool", move || {
            gauges().map_or(Ok(()), |gauges| check_pool(&gauges, &limits))
        });
    }

    /// Checks all that is to be checked.
    pub(crate) fn check_invariants(&mut self) -> Result<(), Failure> {
        if self.is_checked {
            let found = self.world.with(State::check);
            found.map_err(|what| Failure::Violated("the simulation".to_owned(), what))?;
        }
        for invariant in &mut self.invariants {
            // What panicked ends the run, and is not called again in it.
            let checked = catch_unwind(AssertUnwindSafe(|| (invariant.check)()));
            let checked = checked.unwrap_or_else(|panic| Err(message(&*panic)));
            checked.map_err(|what| Failure::Violated(invariant.name.clone(), what))?;
        }
        Ok(())
    }
}

fn check_pool(gauges: &Gauges, limits: &Limits) -> Result<(), String> {
    let Gauges {
        connecting,
        busy,
        idle,
        draining,
        waiting,
        total,
    } = *gauges;
    let sum = connecting + busy + idle + draining;
    if sum != total {
        return Err(format!("{sum} connections, counted as {total}: {gauges:?}"));
    }
    let bounds = [
        ("connections", total, limits.total),
        ("idle connections", idle, limits.idle),
        ("waiters", waiting, limits.waiters),
    ];
    for (what, n, limit) in bounds {
        if let Some(limit) = limit.filter(|limit| n > *limit) {
            return Err(format!("{n} {what} where {limit} are allowed: {gauges:?}"));
        }
    }
    Ok(())
}
