//! What connections taught about addresses: which failed a short while ago, and how far they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::backoff::uniform;
use crate::fault::{Fault, FaultKind};
use crate::lru::Lru;
use crate::rand_core::Rng;
use crate::time::Instant;

use super::config::Known;

/// So many addresses are remembered; those used longest ago are forgotten.
const CAPACITY: usize = 10_000;
/// What was learned is believed for so long.
const DECAY: Duration = Duration::from_secs(600);
/// An address that failed goes last for about this long at first, doubling up to the most.
const BAD_FIRST: u64 = 1_000_000_000;
const BAD_MOST: u64 = 60_000_000_000;

/// Remembers addresses from one dial to the next. A bad address is never left out, only tried after
/// all others: where all are bad, none is.
#[derive(Debug)]
pub struct Memory {
    stats: Lru<SocketAddr, Stat>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stat {
    fails: u8,
    bad_until: Instant,
    /// Smoothed: an eighth of each new sample.
    rtt: Option<Duration>,
    learned_at: Instant,
}

impl Memory {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            stats: Lru::new(CAPACITY),
        }
    }

    /// What is known of these addresses now, for [`Dial::remember`](super::Dial::remember).
    pub fn known(&self, now: Instant, addrs: &[IpAddr], port: u16) -> Vec<Known> {
        let known = addrs.iter().filter_map(|addr| {
            let stat = self.stats.get(&SocketAddr::new(*addr, port))?;
            let known = Known {
                addr: *addr,
                bad: now < stat.bad_until,
                rtt: stat.rtt,
            };
            (now - stat.learned_at < DECAY).then_some(known)
        });
        known.collect()
    }

    /// Its smoothed round-trip time: of the handshakes of the transport, each new one an eighth (RFC
    /// 6298 section 2). It does not go stale as what is [`known`](Self::known) does: there is no
    /// better guess.
    pub fn rtt(&self, addr: SocketAddr) -> Option<Duration> {
        self.stats.get(&addr)?.rtt
    }

    /// A connection to it opened, within this time.
    pub fn handle_connected(&mut self, now: Instant, addr: SocketAddr, took: Duration) {
        let stat = self.learn(now, addr);
        if let Some(stat) = stat {
            stat.fails = 0;
            stat.bad_until = Instant::ORIGIN;
            let smoothed = stat
                .rtt
                .map(|rtt| rtt.saturating_sub(rtt / 8).saturating_add(took / 8));
            stat.rtt = Some(smoothed.unwrap_or(took));
        }
    }

    /// A connection to it failed, in its handshake or before its first response, or was overtaken by
    /// one that began later. It goes last for 0.5 to 1 s, and twice as long each time, up to 60 s.
    /// What fails on this side says nothing of the address.
    pub fn handle_failed(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        fault: &Fault,
        rng: &mut dyn Rng,
    ) {
        if is_own(fault.kind) {
            return;
        }
        if let Some(stat) = self.learn(now, addr) {
            stat.fails = stat.fails.saturating_add(1);
            let most = (BAD_FIRST << (stat.fails - 1).min(6)).min(BAD_MOST);
            stat.bad_until = now + Duration::from_nanos(uniform(rng, most / 2, most));
        }
    }

    fn learn(&mut self, now: Instant, addr: SocketAddr) -> Option<&mut Stat> {
        if self.stats.touch(&addr).is_none() {
            let inserted = self.stats.insert(addr, Stat::default(), |_| true);
            debug_assert!(inserted.is_ok(), "all may go");
        }
        let stat = self.stats.get_mut(&addr)?;
        if now - stat.learned_at >= DECAY {
            *stat = Stat::default();
        }
        stat.learned_at = now;
        Some(stat)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a fault is this side's own, or no passing one.
fn is_own(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::OutOfDescriptors
            | FaultKind::AddressExhausted
            | FaultKind::Forbidden
            | FaultKind::InvalidAddress
            | FaultKind::Aborted
            | FaultKind::RuntimeGone
            | FaultKind::Certificate
            | FaultKind::Handshake
    )
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha8Rng;
    use chacha20::rand_core::SeedableRng;

    use super::*;
    use crate::fault::Phase;

    const SECOND: Duration = Duration::from_secs(1);

    fn world() -> (Memory, ChaCha8Rng, SocketAddr, Instant) {
        let addr = SocketAddr::from(([192, 0, 2, 1], 80));
        let now = Instant::ORIGIN + 1_000 * SECOND;
        (Memory::new(), ChaCha8Rng::seed_from_u64(1), addr, now)
    }

    fn known(memory: &Memory, now: Instant, addr: SocketAddr) -> Option<Known> {
        memory.known(now, &[addr.ip()], addr.port()).pop()
    }

    #[test]
    fn an_address_is_bad_for_twice_as_long_each_time_up_to_a_minute() {
        let (mut memory, mut rng, addr, mut now) = world();
        let refused = Fault::new(FaultKind::Refused, Phase::Connect);
        for most in [1, 2, 4, 8, 16, 32, 60, 60] {
            memory.handle_failed(now, addr, &refused, &mut rng);
            let is_bad = |at| known(&memory, at, addr).is_some_and(|known| known.bad);
            assert!(is_bad(now + SECOND * most / 2 - Duration::from_nanos(1)));
            assert!(!is_bad(now + SECOND * most));
            now = now + SECOND * most;
        }
        memory.handle_connected(now, addr, SECOND);
        assert_eq!(
            known(&memory, now, addr),
            Some(Known::within(addr.ip(), SECOND))
        );
    }

    #[test]
    fn what_fails_on_this_side_says_nothing_of_the_address() {
        let (mut memory, mut rng, addr, now) = world();
        let own = Fault::new(FaultKind::OutOfDescriptors, Phase::Connect);
        memory.handle_failed(now, addr, &own, &mut rng);
        assert_eq!(known(&memory, now, addr), None);
    }

    #[test]
    fn times_are_smoothed_and_forgotten_after_ten_minutes() {
        let (mut memory, _, addr, now) = world();
        memory.handle_connected(now, addr, SECOND);
        memory.handle_connected(now, addr, 9 * SECOND);
        let rtt = |at| known(&memory, at, addr).and_then(|known| known.rtt);
        assert_eq!(rtt(now + 599 * SECOND), Some(2 * SECOND));
        assert_eq!(rtt(now + 600 * SECOND), None);
        assert_eq!(memory.rtt(addr), Some(2 * SECOND), "but not as a guess");
    }
}
