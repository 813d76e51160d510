//! What must hold after every step of a run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fulmar::{ByRoute, Client, Gauges, Limits};

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

    /// Checks a client's pool after every step: that its connections add up, in all and by route, and
    /// that no limit is exceeded. It does not keep the client.
    pub fn watch(&mut self, client: &Client) {
        let (gauges, limits) = (client.gauge_reader(), client.limits());
        let by_route = client.route_gauge_reader();
        self.invariant("the pool", move || {
            let (Some(gauges), Some(by_route)) = (gauges(), by_route()) else {
                return Ok(());
            };
            check_pool(&gauges, &limits)?;
            check_routes(&by_route, &gauges, &limits)
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
    check_sum(gauges)?;
    let bounds = [
        ("connections", gauges.total, limits.total),
        ("idle connections", gauges.idle, limits.idle),
        ("waiters", gauges.waiting, limits.waiters),
    ];
    check_bounds(bounds, gauges)
}

fn check_routes(by_route: &ByRoute, all: &Gauges, limits: &Limits) -> Result<(), String> {
    let mut sum = by_route.other;
    for row in &by_route.routes {
        sum += row.gauges;
        let own = format!("{}: ", row.route);
        let bounds = [
            ("connections", row.gauges.total, Some(row.limit)),
            ("idle connections", row.gauges.idle, limits.idle_per_origin),
        ];
        check_sum(&row.gauges)
            .and_then(|()| check_bounds(bounds, &row.gauges))
            .map_err(|what| own + &what)?;
    }
    if sum != *all {
        return Err(format!("the routes have {sum:?}, and all have {all:?}"));
    }
    Ok(())
}

fn check_sum(gauges: &Gauges) -> Result<(), String> {
    let sum = gauges.connecting + gauges.busy + gauges.idle + gauges.draining;
    if sum == gauges.total {
        return Ok(());
    }
    let total = gauges.total;
    Err(format!("{sum} connections, counted as {total}: {gauges:?}"))
}

fn check_bounds<const N: usize>(
    bounds: [(&str, u32, Option<u32>); N],
    gauges: &Gauges,
) -> Result<(), String> {
    for (what, n, limit) in bounds {
        if let Some(limit) = limit.filter(|limit| n > *limit) {
            return Err(format!("{n} {what} where {limit} are allowed: {gauges:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges(busy: u32, idle: u32) -> Gauges {
        Gauges {
            busy,
            idle,
            total: busy + idle,
            ..Gauges::default()
        }
    }

    #[test]
    fn routes_that_do_not_add_up_are_told() {
        let limits = Limits::new().idle_per_origin(1);
        let by_route = ByRoute::default();
        assert!(check_routes(&by_route, &gauges(0, 0), &limits).is_ok());
        let found = check_routes(&by_route, &gauges(1, 0), &limits);
        assert!(found.is_err_and(|what| what.starts_with("the routes have")));
    }

    #[test]
    fn more_than_is_allowed_is_told() {
        let bounds =
            |gauges: &Gauges| check_bounds([("connections", gauges.total, Some(2))], gauges);
        assert!(bounds(&gauges(1, 1)).is_ok());
        assert!(bounds(&gauges(2, 1)).is_err());
        let uneven = Gauges {
            total: 3,
            ..gauges(1, 1)
        };
        assert!(check_sum(&uneven).is_err());
    }
}
