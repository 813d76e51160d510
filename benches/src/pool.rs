//! The core's pool by itself: what a checkout and the park after it take beside many routes, and
//! what a route takes of the heap.

use std::fmt;
use std::time::Duration;

use fulmar_core::pool::{Ask, Config, Connection, Lease, Limits, Pool};
use fulmar_core::rand_core::TryRng;
use fulmar_core::time::Instant;

use crate::clients::Error;
use crate::tools::{self, Count, Missing};

/// The argument of this process that makes it do one [`Work`] and print the allocations.
pub const WORK: &str = "pool-work";

/// The argument of this process that makes it print bytes for each of so many routes.
pub const HEAP: &str = "pool-heap";

/// So many routes are compared.
pub const ROUTES: [usize; 3] = [100, 10_000, 100_000];

/// The most bytes of 100,000 routes with an idle connection each, without what those hold.
pub const MOST_BYTES: usize = 100_000_000;

/// A connection, as small as can be: what it holds is not the pool's.
type Conn = Box<u64>;

/// Checkouts beside many routes.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Routes, each with an idle connection.
    pub routes: usize,
    /// Checkouts, and parks after them, on one route after the other, in no order.
    pub pairs: usize,
}

impl Work {
    /// Does it, and says by `allocations` how many the checkouts and parks took.
    ///
    /// # Errors
    ///
    /// A connection was not idle.
    pub fn run(self, allocations: fn() -> usize) -> Result<usize, Error> {
        let keys = keys(self.routes);
        let (mut pool, mut now) = filled(&keys)?;
        let before = allocations();
        let mut place = 0;
        for _ in 0..self.pairs {
            // A full period: odd, and no multiple of 5.
            place = (place + 61_803) % keys.len();
            now = now + Duration::from_nanos(100);
            let Ok(Lease::Idle(slot, conn, _)) = pool.checkout(now, &keys[place], Ask::default())
            else {
                return Err("nothing is idle".into());
            };
            pool.park(now, slot, conn, None);
        }
        Ok(allocations() - before)
    }
}

/// The time of one checkout and its park: so long the pool's lock is held for a GET.
///
/// # Errors
///
/// A connection was not idle.
pub fn held() -> Result<Duration, Error> {
    let work = Work {
        routes: 100,
        pairs: 1_000_000,
    };
    let start = std::time::Instant::now();
    work.run(|| 0)?;
    Ok(start.elapsed() / 1_000_000)
}

/// Bytes of heap of so many routes without a connection, and with an idle one each; of all together.
///
/// # Errors
///
/// A connection could not be parked.
pub fn heap(routes: usize, live: fn() -> isize) -> Result<[isize; 2], Error> {
    let keys = keys(routes);
    let before = live();
    let (pool, _) = known(&keys);
    let bare = live() - before;
    drop(pool);
    let before = live();
    let (pool, _) = filled(&keys)?;
    // The connections' own bytes are not the pool's.
    let own = isize::try_from(routes * size_of::<u64>())?;
    let full = live() - before - own;
    drop(pool);
    Ok([bare, full])
}

fn keys(routes: usize) -> Vec<String> {
    let key = |n| format!("https://host-{n:06}.example.test");
    (0..routes).map(key).collect()
}

/// A pool that knows the routes.
fn known(keys: &[String]) -> (Pool<Conn, ()>, Instant) {
    let most = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    let config = Config {
        limits: Limits::new().total(most).idle(most),
        ..Config::new()
    };
    let now = Instant::from_nanos(1_000_000_000);
    let mut pool = Pool::new(config, [1, 2], now);
    for key in keys {
        pool.budget(now, key);
    }
    (pool, now)
}

/// A pool with an idle connection on each route.
fn filled(keys: &[String]) -> Result<(Pool<Conn, ()>, Instant), Error> {
    let (mut pool, now) = known(keys);
    for key in keys {
        let Ok(Lease::Dial(ticket, slot)) = pool.checkout(now, key, Ask::default()) else {
            return Err("no room for a dial".into());
        };
        let conn = Connection::Exclusive(Box::new(7));
        pool.handle_connected(now, slot, conn, &mut Zero);
        let Some(Ok(Lease::Idle(slot, conn, _))) = pool.poll_lease(now, ticket) else {
            return Err("the connection is another's".into());
        };
        pool.park(now, slot, conn, None);
        while pool.poll_wake().is_some() {}
    }
    Ok((pool, now))
}

/// What one checkout and its park take beside so many routes.
pub struct Row {
    routes: usize,
    instructions: Result<f64, Missing>,
    allocations: Result<u64, Missing>,
    heap: Result<[isize; 2], Missing>,
}

impl Row {
    /// Measures it, each count in processes of its own.
    pub fn measure(routes: usize) -> Self {
        let total = |count, pairs: usize| {
            let (routes, pairs) = (routes.to_string(), pairs.to_string());
            tools::total(count, [WORK, &routes, &pairs])
        };
        let (few, many) = (1_000, 101_000);
        let instructions = total(Count::Instructions, few).and_then(|low| {
            let high = total(Count::Instructions, many)?;
            Ok((high as f64 - low as f64) / (many - few) as f64)
        });
        Self {
            routes,
            instructions,
            allocations: total(Count::Allocations, many),
            heap: measured_heap(routes),
        }
    }

    /// Instructions of one checkout and its park, where they could be counted.
    pub fn instructions(&self) -> Option<f64> {
        self.instructions.as_ref().ok().copied()
    }

    /// What exceeds its budget, or could not be counted, a line each; `least` are the instructions
    /// beside the fewest routes.
    pub fn excesses(&self, least: f64) -> Vec<String> {
        let routes = self.routes;
        let mut lines = Vec::new();
        match &self.instructions {
            Ok(number) if *number <= 2.0 * least => {}
            Ok(number) => lines.push(format!(
                "{routes} routes: {number:.0} instructions, more than twice {least:.0}"
            )),
            Err(missing) => lines.push(format!("{routes} routes: {missing}")),
        }
        match &self.allocations {
            Ok(0) => {}
            Ok(number) => lines.push(format!("{routes} routes: {number} allocations")),
            Err(missing) => lines.push(format!("{routes} routes: {missing}")),
        }
        match &self.heap {
            Ok([_, full]) if full.unsigned_abs() <= MOST_BYTES => {}
            Ok([_, full]) => lines.push(format!("{routes} routes: {full} bytes of heap")),
            Err(missing) => lines.push(format!("{routes} routes: {missing}")),
        }
        lines
    }
}

fn measured_heap(routes: usize) -> Result<[isize; 2], Missing> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args([HEAP, &routes.to_string()]);
    let printed = tools::run(&mut command, Count::Allocations)?;
    let mut numbers = printed.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(bare)), Some(Ok(full))) => Ok([bare, full]),
        _ => Err(Missing::Failed("bytes not understood".into())),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.routes)?;
        match &self.instructions {
            Ok(number) => write!(f, " {number:.0} |")?,
            Err(missing) => write!(f, " {missing} |")?,
        }
        match &self.allocations {
            Ok(number) => write!(f, " {number} |")?,
            Err(missing) => write!(f, " {missing} |")?,
        }
        match &self.heap {
            Ok([bare, full]) => {
                let each = |bytes: &isize| *bytes as f64 / self.routes as f64;
                let megabytes = *full as f64 / 1e6;
                let (bare, full) = (each(bare), each(full));
                write!(f, " {bare:.0} | {full:.0} | {megabytes:.1} |")
            }
            Err(missing) => write!(f, " {missing} | | |"),
        }
    }
}

/// Draws nothing but zeroes: all connections live equally long.
struct Zero;

impl TryRng for Zero {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        dst.fill(0);
        Ok(())
    }
}
