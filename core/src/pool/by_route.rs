//! Connections counted route by route, of the busiest routes.

use std::cmp::Ordering;
use std::ops::AddAssign;
use std::sync::Arc;

use super::lease::Gauges;
use super::pool::Pool;
use super::route::Route;

/// The connections of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteGauges {
    /// Its [key](crate::origin::Route::key).
    pub route: Arc<str>,
    /// How many there are.
    pub gauges: Gauges,
    /// How many there may be, from 1 on: `per_origin`, or what the route's profile says instead. The
    /// total holds as well.
    pub limit: u32,
}

/// The connections of all routes: one by one of the busiest, and together of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByRoute {
    /// The routes with the most connections and waiters, and of as many of both those whose keys
    /// come first in the alphabet; the busiest first.
    pub routes: Vec<RouteGauges>,
    /// How many other routes are known.
    pub others: usize,
    /// All that those have.
    pub other: Gauges,
}

impl<U, S: Clone> Pool<U, S> {
    /// Counts of the `most` busiest routes, and of the others together: as many labels as whoever
    /// collects them can bear, however many hosts there are.
    ///
    /// It goes over all routes.
    pub fn by_route(&self, most: usize) -> ByRoute {
        let mut busiest: Vec<&Route> = Vec::new();
        let mut by_route = ByRoute::default();
        for route in self.routes.entries.iter().filter(|r| r.key.is_some()) {
            let place = busiest.partition_point(|other| order(other, route).is_lt());
            let mut out = Some(route);
            if place < most {
                busiest.insert(place, route);
                out = (busiest.len() > most).then(|| busiest.pop()).flatten();
            }
            if let Some(route) = out {
                by_route.others += 1;
                by_route.other += route.gauges();
            }
        }
        let row = |route: &Route| {
            Some(RouteGauges {
                route: route.key.clone()?,
                gauges: route.gauges(),
                limit: route.limit,
            })
        };
        by_route.routes = busiest.into_iter().filter_map(row).collect();
        by_route
    }

    /// Counts of one route; zeroes, where it is not known.
    pub fn route_gauges(&self, route: &str) -> Gauges {
        let route = self.index.get(route).and_then(|&r| self.routes.get(r));
        route.map_or_else(Gauges::default, Route::gauges)
    }
}

impl Route {
    fn gauges(&self) -> Gauges {
        self.counts.gauges(self.waiting)
    }
}

/// The busier one is less.
fn order(one: &Route, other: &Route) -> Ordering {
    let load = |route: &Route| u64::from(route.counts.total()) + u64::from(route.waiting);
    let by_load = load(other).cmp(&load(one));
    by_load.then_with(|| one.key.cmp(&other.key))
}

impl AddAssign for Gauges {
    fn add_assign(&mut self, other: Self) {
        self.connecting += other.connecting;
        self.busy += other.busy;
        self.idle += other.idle;
        self.draining += other.draining;
        self.waiting += other.waiting;
        self.total += other.total;
    }
}
