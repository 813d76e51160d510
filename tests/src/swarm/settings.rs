//! A random client.

use std::time::Duration;

use fulmar_sim::{Backoff, ClientBuilder, Jitter, Limits, PoolConfig, Retry, Timeouts};

use super::draws::Draws;
use super::ms;

/// No dial takes longer.
pub(super) const LONGEST_DIAL: Duration = ms(6_000);

/// With the limit of its calls, if they have one.
pub(super) fn draw(draws: &mut Draws, builder: ClientBuilder) -> (ClientBuilder, Option<Duration>) {
    let timeouts = timeouts(draws);
    let builder = builder
        .timeouts(timeouts)
        .retry(retry(draws))
        .pool(pool(draws))
        .default_header("X-Default", "d");
    (builder, timeouts.total)
}

fn timeouts(draws: &mut Draws) -> Timeouts {
    // No phase may be longer than the whole.
    let total = draws.chance(85).then(|| 30 + draws.below(8_000));
    let most = total.map_or(u64::MAX, |total| total - 20);
    let mut some = |longest: u64| ms(20 + draws.below(longest.min(most)));
    let mut timeouts = Timeouts::new()
        .pool(some(3_000))
        .dns(some(2_000))
        .connect(some(5_000))
        .write(some(3_000))
        .first_byte(some(4_000))
        .head(some(2_000))
        .between_bytes(some(2_000));
    let attempt = some(4_000);
    if draws.chance(30) {
        timeouts = timeouts.attempt(attempt);
    }
    match total {
        Some(total) => timeouts.total(ms(total)),
        None => timeouts,
    }
}

fn retry(draws: &mut Draws) -> Retry {
    if draws.chance(10) {
        return Retry::never();
    }
    let jitter = draws.pick(&[Jitter::None, Jitter::Full, Jitter::Additive]);
    let base = ms(1 + draws.below(300));
    let backoff = draws.pick(&[Backoff::constant(base), Backoff::exponential(base)]);
    Retry::new(1 + draws.below(5) as u32)
        .backoff(backoff.jitter(jitter))
        .throttle(backoff)
        .transparent(draws.chance(85))
        .trust_503(draws.chance(30))
        .retry_pool(draws.chance(20))
        .retry_nxdomain(draws.chance(20))
        .retry_after_max(ms(draws.below(5_000)))
}

fn pool(draws: &mut Draws) -> PoolConfig {
    let total = 1 + draws.below(8) as u32;
    let per_origin = 1 + draws.below(u64::from(total)) as u32;
    let mut pool = PoolConfig::new();
    pool.limits = Limits::new()
        .total(total)
        .per_origin(per_origin)
        .idle_per_origin(draws.below(u64::from(total) + 1) as u32)
        .waiters(draws.pick(&[1, 4, 100]));
    pool.idle_timeout = draws.chance(50).then(|| ms(1 + draws.below(2_000)));
    pool
}
