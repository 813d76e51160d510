//! Counts per GET: each run is a process of its own, each number the difference of two runs.

use std::net::SocketAddr;

use crate::clients::Look;
use crate::descriptors;
use crate::load::Who;
use crate::runtimes::ONE_THREAD;
use crate::tools::{self, Count, Missing};

/// The argument of this process that makes it do one [`crate::load::Load`] and print the allocations.
pub const LOAD: &str = "load";

/// The argument of this process that makes it hold idle connections and print bytes for each.
pub const IDLE: &str = "idle";

/// One line of the table, of one client asked in one way.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The server.
    pub addr: SocketAddr,
    /// Who asks.
    pub who: Who,
    /// Whether headers are looked at.
    pub look: Look,
    /// How many at once.
    pub concurrency: usize,
}

impl Subject {
    /// How many of `count` one GET takes.
    ///
    /// # Errors
    ///
    /// The tool is missing, or a run failed.
    pub fn per_get(&self, count: Count) -> Result<f64, Missing> {
        // Multiples of every concurrency. The first run warms up what grows once; the allocator is
        // cheap to watch, so more requests make its number exact.
        let (few, many) = match count {
            Count::Allocations => (1_280, 11_520),
            Count::Instructions | Count::Syscalls => (512, 1_536),
        };
        let (low, high) = (self.least(count, few)?, self.least(count, many)?);
        Ok((high as f64 - low as f64) / (many - few) as f64)
    }

    /// The least of a few runs where something else, async-io's helper, can only add to the number.
    fn least(&self, count: Count, requests: usize) -> Result<u64, Missing> {
        let runs = if count == Count::Syscalls { 3 } else { 1 };
        let mut least = u64::MAX;
        for _ in 0..runs {
            least = least.min(self.total(count, requests)?);
        }
        Ok(least)
    }

    /// One run in a process of its own.
    fn total(&self, count: Count, requests: usize) -> Result<u64, Missing> {
        let headers = if self.look == Look::Headers {
            "headers"
        } else {
            "body"
        };
        tools::total(
            count,
            [
                LOAD,
                &self.addr.to_string(),
                self.who.as_str(),
                headers,
                &requests.to_string(),
                &self.concurrency.to_string(),
            ],
        )
    }
}

/// Bytes of heap per idle connection.
///
/// # Errors
///
/// The system allows fewer descriptors, or the run failed.
pub fn idle(addr: SocketAddr, who: Who, connections: usize) -> Result<isize, Missing> {
    let mut command = descriptors::command(connections + 100)?;
    command.env(ONE_THREAD.0, ONE_THREAD.1);
    command.args([
        IDLE,
        &addr.to_string(),
        who.as_str(),
        &connections.to_string(),
    ]);
    let printed = tools::run(&mut command, Count::Allocations)?;
    printed
        .trim()
        .parse()
        .map_err(|_| Missing::Failed("bytes not understood".into()))
}
