//! What connections taught about addresses: which failed a short while ago, and how far they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::backoff::uniform;
use crate::fault::{Fault, FaultKind};
use crate::lru::Lru;
use crate::rand_core::Rng;
use crate::time::Instant;

use super::config::Known;

/// So many addresses and networks are remembered; those used longest ago are forgotten.
const CAPACITY: usize = 10_000;
/// What was learned is believed for so long.
const DECAY: Duration = Duration::from_secs(600);
/// An address that failed goes last for about this long at first, doubling up to the most.
const BAD_FIRST: u64 = 1_000_000_000;
const BAD_MOST: u64 = 60_000_000_000;
/// Addresses that agree in so many bits are about as far away: they are announced as one network.
const V4_NETWORK: u32 = 24;
const V6_NETWORK: u32 = 48;

/// Remembers addresses from one dial to the next. A bad address is never left out, only tried after
/// all others: where all are bad, none is.
///
/// How far an address is that was never connected to, its neighbours tell: those in its /24 (IPv4)
/// or /48 (IPv6), on any port.
#[derive(Debug)]
pub struct Memory {
    stats: Lru<SocketAddr, Stat>,
    networks: Lru<IpAddr, Distance>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stat {
    fails: u8,
    bad_until: Instant,
    distance: Option<Distance>,
    learned_at: Instant,
}

/// How long connections take to open.
#[derive(Clone, Copy, Debug)]
struct Distance {
    /// An eighth of each new sample.
    smoothed: Duration,
    learned_at: Instant,
}

impl Memory {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            stats: Lru::new(CAPACITY),
            networks: Lru::new(CAPACITY),
        }
    }

    /// What is known of these addresses now, for [`Dial::remember`](super::Dial::remember).
    pub fn known(&self, now: Instant, addrs: &[IpAddr], port: u16) -> Vec<Known> {
        let known = addrs.iter().filter_map(|addr| {
            let stat = self.stats.get(&SocketAddr::new(*addr, port));
            let own = stat.and_then(|stat| stat.distance?.at(now));
            let neighbours = || self.networks.get(&network(*addr))?.at(now);
            let bad = stat.is_some_and(|stat| now < stat.bad_until);
            let rtt = own.or_else(neighbours);
            let addr = *addr;
            (bad || rtt.is_some()).then_some(Known { addr, bad, rtt })
        });
        known.collect()
    }

    /// Its smoothed round-trip time: of the handshakes of the transport, each new one an eighth (RFC
    /// 6298 section 2). It does not go stale as what is [`known`](Self::known) does: there is no
    /// better guess.
    pub fn rtt(&self, addr: SocketAddr) -> Option<Duration> {
        Some(self.stats.get(&addr)?.distance?.smoothed)
    }

    /// A connection to it opened, within this time.
    pub fn handle_connected(&mut self, now: Instant, addr: SocketAddr, took: Duration) {
        if let Some(stat) = self.learn(now, addr) {
            stat.fails = 0;
            stat.bad_until = Instant::ORIGIN;
            stat.distance = Some(Distance::after(stat.distance, now, took));
        }
        self.measure(now, network(addr.ip()), took);
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

    fn measure(&mut self, now: Instant, network: IpAddr, took: Duration) {
        let distance = Distance::after(self.networks.get(&network).copied(), now, took);
        if self.networks.touch(&network).is_none() {
            let inserted = self.networks.insert(network, distance, |_| true);
            debug_assert!(inserted.is_ok(), "all may go");
        } else if let Some(known) = self.networks.get_mut(&network) {
            *known = distance;
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

impl Distance {
    fn after(before: Option<Self>, now: Instant, took: Duration) -> Self {
        let before = before.and_then(|before| before.at(now));
        let smoothed = before.map(|rtt| rtt.saturating_sub(rtt / 8).saturating_add(took / 8));
        Self {
            smoothed: smoothed.unwrap_or(took),
            learned_at: now,
        }
    }

    fn at(self, now: Instant) -> Option<Duration> {
        (now - self.learned_at < DECAY).then_some(self.smoothed)
    }
}

/// The network of an address, by its first address.
fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(v4) => IpAddr::from((v4.to_bits() & !(u32::MAX >> V4_NETWORK)).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !(u128::MAX >> V6_NETWORK)).to_be_bytes()),
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
    #[test]
    fn a_failure_does_not_make_an_old_time_younger() {
        let (mut memory, mut rng, addr, now) = world();
        memory.handle_connected(now, addr, SECOND);
        let refused = Fault::new(FaultKind::Refused, Phase::Connect);
        memory.handle_failed(now + 599 * SECOND, addr, &refused, &mut rng);
        let at = |at| known(&memory, at, addr).map(|known| (known.bad, known.rtt));
        assert_eq!(at(now + 599 * SECOND), Some((true, Some(SECOND))));
        assert_eq!(at(now + 600 * SECOND), None);
    }

    #[test]
    fn what_is_unknown_of_an_address_its_neighbours_tell() {
        let (mut memory, _, _, now) = world();
        let at = |text: &str| text.parse().unwrap_or(IpAddr::from([0; 4]));
        for (text, took) in [("192.0.2.1", 1), ("2001:db8:1::1", 2)] {
            memory.handle_connected(now, SocketAddr::new(at(text), 80), took * SECOND);
        }
        let rtt = |text, now| {
            let known = memory.known(now, &[at(text)], 443).pop();
            known.and_then(|known| known.rtt)
        };
        for (text, expected) in [
            ("192.0.2.0", Some(1)),
            ("192.0.2.255", Some(1)),
            ("::ffff:192.0.2.7", Some(1)),
            ("192.0.3.0", None),
            ("192.0.1.255", None),
            ("2001:db8:1:ffff::", Some(2)),
            ("2001:db8:2::", None),
            ("2001:db8:0:ffff::", None),
        ] {
            assert_eq!(rtt(text, now), expected.map(|n| n * SECOND), "{text}");
        }
        assert_eq!(rtt("192.0.2.0", now + 600 * SECOND), None);
    }

    #[test]
    fn what_is_known_of_an_address_itself_outweighs_its_neighbours() {
        let (mut memory, mut rng, addr, now) = world();
        let other = SocketAddr::from(([192, 0, 2, 2], 80));
        memory.handle_connected(now, addr, SECOND);
        memory.handle_connected(now, other, 9 * SECOND);
        assert_eq!(
            known(&memory, now, addr),
            Some(Known::within(addr.ip(), SECOND))
        );
        let third = SocketAddr::from(([192, 0, 2, 3], 80));
        assert_eq!(
            known(&memory, now, third),
            Some(Known::within(third.ip(), 2 * SECOND)),
            "smoothed over both"
        );
        // That one is bad says nothing of its neighbours.
        let refused = Fault::new(FaultKind::Refused, Phase::Connect);
        memory.handle_failed(now, third, &refused, &mut rng);
        assert_eq!(
            known(&memory, now, addr).map(|known| known.bad),
            Some(false)
        );
    }
}
