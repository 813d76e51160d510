//! Links: what lies between two hosts.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bytes::Bytes;

use crate::faults::Kind;
use crate::random::Stream;
use crate::target::Window;
use crate::world::{State, World};

/// The first retransmission delay of a segment (RFC 6298 section 2 allows less than its 1 s; Linux
/// and the rest use 200 ms), doubled with every repeat.
const RTO: u64 = 200_000_000;
/// No delay between two repeats is longer (Linux, `TCP_RTO_MAX`; RFC 6298 section 2.5 allows it).
const RTO_MAX: u64 = 120_000_000_000;
/// After so many repeats the system gives the connection up (Linux, `tcp_retries2`).
const REPEATS: u32 = 15;
/// The first retransmission delay of a SYN, and how many are sent again (Linux,
/// `tcp_syn_retries`).
const SYN_RTO: u64 = 1_000_000_000;
const SYN_REPEATS: u32 = 6;

/// How long a packet is under way, one way: always the same, or drawn evenly from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub(crate) lo: u64,
    pub(crate) hi: u64,
}

impl From<Duration> for Latency {
    fn from(fixed: Duration) -> Self {
        Self {
            lo: nanos(fixed),
            hi: nanos(fixed),
        }
    }
}

impl From<Range<Duration>> for Latency {
    fn from(range: Range<Duration>) -> Self {
        let (lo, hi) = (nanos(range.start), nanos(range.end));
        Self {
            lo,
            hi: hi.saturating_sub(1).max(lo),
        }
    }
}

impl From<RangeInclusive<Duration>> for Latency {
    fn from(range: RangeInclusive<Duration>) -> Self {
        Self {
            lo: nanos(*range.start()),
            hi: nanos(*range.end()),
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One way of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The direction of the link.
    pub(crate) direction: usize,
    /// The end of the connection that sends.
    pub(crate) sender: usize,
}

/// The world's side of a link. Direction 0 leads from `a` to the other host.
pub(crate) struct Wire {
    pub(crate) a: usize,
    pub(crate) latency: Latency,
    loss: f64,
    bandwidth: Option<u64>,
    segment: Option<usize>,
    /// The most bytes of one connection and direction that are written and not yet read.
    pub(crate) window: usize,
    /// The widest window that it ever had.
    pub(crate) widest: usize,
    /// When the last bit of what was sent has left, per direction.
    busy: [u64; 2],
    draws: [Stream; 2],
}

impl Wire {
    /// The most bytes that one piece has at `at`, and how long each takes to leave.
    fn piece(&self, at: u64, windows: &[Window]) -> (usize, Option<u64>, bool) {
        let (mut rate, mut cut) = (self.bandwidth, self.segment);
        for window in windows.iter().filter(|window| window.contains(at)) {
            match window.kind {
                Kind::Slow(slow) => rate = Some(rate.map_or(slow, |rate| rate.min(slow))),
                Kind::Segment(most) => cut = Some(cut.map_or(most, |cut| cut.min(most))),
                _ => {}
            }
        }
        let is_cut = cut.is_some();
        let mut max = cut.unwrap_or(usize::MAX).clamp(1, 64 * 1024);
        // Twenty pieces a second make a slow stream a stream, and let its rate change underway.
        if let Some(rate) = rate {
            max = max.min(usize::try_from(rate / 20).unwrap_or(max).max(1));
        }
        (max, rate, is_cut)
    }

    /// Takes the next piece of `len` bytes: its length, whether a read must end there, and when its
    /// last bit leaves.
    pub(crate) fn take(
        &mut self,
        now: u64,
        direction: usize,
        len: usize,
        windows: &[Window],
    ) -> (usize, bool, u64) {
        let start = now.max(self.busy[direction & 1]);
        let (max, rate, is_cut) = self.piece(start, windows);
        let len = len.min(max);
        let Some(rate) = rate else {
            return (len, is_cut, start);
        };
        let leaves = start.saturating_add((len as u64).saturating_mul(1_000_000_000) / rate.max(1));
        self.busy[direction & 1] = leaves;
        (len, is_cut, leaves)
    }

    /// Flips one bit.
    pub(crate) fn corrupt(&mut self, direction: usize, data: &[u8]) -> Bytes {
        let mut data = data.to_vec();
        let bit = self.draws[direction & 1].uniform(0, data.len() as u64 * 8 - 1);
        if let Some(byte) = data.get_mut((bit / 8) as usize) {
            *byte ^= 1 << (bit % 8);
        }
        data.into()
    }

    /// When what leaves at `at` arrives, with the repeats that it needs. `None`: the system gives
    /// up.
    pub(crate) fn arrival(&mut self, at: u64, way: Way, windows: &[Window]) -> Option<u64> {
        self.repeat(at, way, windows, RTO, REPEATS)
    }

    /// The same for a packet of the handshake.
    pub(crate) fn greeting(&mut self, at: u64, way: Way, windows: &[Window]) -> Option<u64> {
        self.repeat(at, way, windows, SYN_RTO, SYN_REPEATS)
    }

    fn repeat(
        &mut self,
        mut at: u64,
        way: Way,
        windows: &[Window],
        mut rto: u64,
        repeats: u32,
    ) -> Option<u64> {
        let draws = &mut self.draws[way.direction & 1];
        for _ in 0..=repeats {
            let (mut vanishes, mut loss, mut extra) = (false, self.loss, 0_u64);
            for window in windows.iter().filter(|window| window.contains(at)) {
                vanishes |= window.swallows(way.sender);
                match window.kind {
                    Kind::Loss(percent) => loss = loss.max(f64::from(percent) / 100.0),
                    Kind::Delay(more) => extra = extra.saturating_add(more),
                    _ => {}
                }
            }
            if !vanishes && !draws.chance(loss) {
                let latency = draws.uniform(self.latency.lo, self.latency.hi);
                return Some(at.saturating_add(latency).saturating_add(extra));
            }
            at = at.saturating_add(rto);
            rto = (rto * 2).min(RTO_MAX);
        }
        None
    }
}

/// How long the system tries before it gives up: data, and a handshake.
pub(crate) fn patience(is_handshake: bool) -> u64 {
    let (mut rto, repeats) = if is_handshake {
        (SYN_RTO, SYN_REPEATS)
    } else {
        (RTO, REPEATS)
    };
    let mut sum = 0;
    for _ in 0..=repeats {
        sum += rto;
        rto = (rto * 2).min(RTO_MAX);
    }
    sum
}

impl State {
    /// The link between two hosts, made where there is none.
    pub(crate) fn wire(&mut self, a: usize, b: usize) -> usize {
        let pair = (a.min(b), a.max(b));
        if let Some(index) = self.by_pair.get(&pair) {
            return *index;
        }
        let name = |host: usize| self.hosts.get(host).map_or("?", |host| &*host.name);
        let (a_name, b_name) = (name(a), name(b));
        let draws = [
            self.stream(&format!("link {a_name}>{b_name}")),
            self.stream(&format!("link {b_name}>{a_name}")),
        ];
        let index = self.wires.len();
        self.wires.push(Wire {
            a,
            latency: Duration::from_millis(1).into(),
            loss: 0.0,
            bandwidth: None,
            segment: None,
            window: 64 * 1024,
            widest: 64 * 1024,
            busy: [0; 2],
            draws,
        });
        self.by_pair.insert(pair, index);
        index
    }
}

/// A link's settings; see [`Sim::link`](crate::Sim::link). They hold for both directions.
#[derive(Clone)]
pub struct Link<'a> {
    pub(crate) world: &'a World,
    pub(crate) wire: usize,
}

impl Link<'_> {
    fn edit(&self, f: impl FnOnce(&mut Wire)) -> &Self {
        self.world
            .with(|state| state.wires.get_mut(self.wire).map(f));
        self
    }

    /// Sets how long a packet is under way, one way: a duration, or a range that each packet draws
    /// from (bytes of a connection never overtake each other all the same). Default: 1 ms.
    pub fn latency(&self, latency: impl Into<Latency>) -> &Self {
        let latency = latency.into();
        self.edit(|wire| wire.latency = latency)
    }

    /// Sets how much longer than the latency's least a packet may be under way. Default: 0.
    pub fn jitter(&self, jitter: Duration) -> &Self {
        self.edit(|wire| wire.latency.hi = wire.latency.lo.saturating_add(nanos(jitter)))
    }

    /// Sets the most bytes of one piece; a read gives one piece. Default: 64 KiB, and a read gives all
    /// that is there.
    pub fn segment(&self, bytes: usize) -> &Self {
        self.edit(|wire| wire.segment = Some(bytes))
    }

    /// Sets the probability that a packet is lost. As TCP repeats it, that is a delay of 200 ms,
    /// doubled with every repeat (1 s for a handshake), and never a missing byte. Default: 0.
    pub fn loss(&self, probability: f64) -> &Self {
        self.edit(|wire| wire.loss = probability.clamp(0.0, 1.0))
    }

    /// Sets how many bytes per second pass, for each direction and shared by all connections.
    /// Default: no limit.
    pub fn bandwidth(&self, bytes_per_second: u64) -> &Self {
        self.edit(|wire| wire.bandwidth = Some(bytes_per_second.max(1)))
    }

    /// Sets how many bytes of one connection and direction can be written and not yet read: the
    /// send and receive buffers together. Default: 64 KiB, at least 1.
    pub fn window(&self, bytes: usize) -> &Self {
        self.edit(|wire| {
            wire.window = bytes.max(1);
            wire.widest = wire.widest.max(bytes);
        })
    }
}
