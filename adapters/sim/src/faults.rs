//! Faults as values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::link::nanos;
use crate::plan::duration_source;

/// Something that goes wrong, for as long as it is in force; see [`Sim::between`](crate::Sim::between).
///
/// The target of a fault is written as a host's name (`"api.test"`, either side of its connections),
/// one of its addresses (`"10.0.0.2"`, `"fd00::1"`), or one of these with a port (`"api.test:80"`,
/// `"[fd00::1]:80"`: connections to that port only). That of a DNS fault is the name asked for.
///
/// A fault is a value: it compares, clones, and its `Debug` form is the Rust that makes it, so a
/// shrunk plan can be pasted into a test.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) target: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Delay(u64),
    Loss(u8),
    Slow(u64),
    SlowReader(u64),
    Segment(usize),
    Corrupt,
    Refuse,
    Reset,
    Down,
    HalfOpen,
    Partition,
    PartitionFrom,
    PartitionTo,
    Descriptors(usize),
    DnsSlow(u64),
    DnsChanged(Arc<str>),
    DnsError,
    DnsMissing,
    DnsSilent,
}

impl Kind {
    /// Whether it concerns the resolver, and no connection.
    pub(crate) fn is_dns(&self) -> bool {
        matches!(
            self,
            Self::DnsSlow(_)
                | Self::DnsChanged(_)
                | Self::DnsError
                | Self::DnsMissing
                | Self::DnsSilent
        )
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Loss(_) => "loss",
            Self::Slow(_) => "slow",
            Self::SlowReader(_) => "slow_reader",
            Self::Segment(_) => "segment",
            Self::Corrupt => "corrupt",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Down => "down",
            Self::HalfOpen => "half_open",
            Self::Partition => "partition",
            Self::PartitionFrom => "partition_from",
            Self::PartitionTo => "partition_to",
            Self::Descriptors(_) => "descriptors",
            Self::DnsSlow(_) => "dns_slow",
            Self::DnsChanged(_) => "dns_changed",
            Self::DnsError => "dns_error",
            Self::DnsMissing => "dns_missing",
            Self::DnsSilent => "dns_silent",
        }
    }
}

/// The quality of what passes.
impl Fault {
    fn new(target: impl Into<String>, kind: Kind) -> Self {
        Self {
            target: target.into(),
            kind,
        }
    }

    /// Packets take so much longer, one way.
    pub fn delay(target: impl Into<String>, extra: Duration) -> Self {
        Self::new(target, Kind::Delay(nanos(extra)))
    }

    /// Of a hundred packets, so many (0 to 100) are lost. TCP repeats them, so that is a delay; see
    /// [`Link::loss`](crate::Link::loss).
    pub fn loss(target: impl Into<String>, percent: u8) -> Self {
        Self::new(target, Kind::Loss(percent.min(100)))
    }

    /// No more than so many bytes per second pass on each link of the target and each direction.
    pub fn slow(target: impl Into<String>, bytes_per_second: u64) -> Self {
        Self::new(target, Kind::Slow(bytes_per_second))
    }

    /// The programs of the target read no more than so many bytes per second from each connection;
    /// with 0 they stop reading. The window fills, and then their peers cannot write.
    pub fn slow_reader(target: impl Into<String>, bytes_per_second: u64) -> Self {
        Self::new(target, Kind::SlowReader(bytes_per_second))
    }

    /// Bytes arrive in pieces of at most `max`, and a read gives one piece.
    pub fn segment(target: impl Into<String>, max: usize) -> Self {
        Self::new(target, Kind::Segment(max))
    }

    /// One bit of every piece that is sent is flipped. Which one is drawn by the link.
    pub fn corrupt(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Corrupt)
    }
}

/// Connections that break, or are not made.
impl Fault {
    /// Attempts to connect are refused after a round trip. Existing connections go on.
    pub fn refuse(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Refuse)
    }

    /// Connections that exist when it begins are reset at both ends, and attempts to connect while
    /// it lasts are reset after a round trip.
    pub fn reset(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Reset)
    }

    /// The servers of the target are killed when it begins and start again when it ends: the futures
    /// that serve connections are dropped where they are, their system closes what they had open, and
    /// attempts to connect are refused meanwhile. What a service shares between its connections
    /// survives, as a disk does.
    pub fn down(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Down)
    }

    /// Packets vanish both ways and nobody is told. Connections that exist when it begins never
    /// carry another byte, not even after its end (a NAT has forgotten them, the peer has lost its
    /// power): writes are accepted until the send buffer is full, reads wait. Attempts to connect
    /// vanish too, but the system repeats those, so one begun late may succeed after the end.
    pub fn half_open(target: impl Into<String>) -> Self {
        Self::new(target, Kind::HalfOpen)
    }

    /// Packets vanish both ways, and are sent again with doubling delays by both systems: what is
    /// connected goes on some time after the end, or fails with `TimedOut` after 15 repeats. The
    /// resolver still answers.
    pub fn partition(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Partition)
    }

    /// As [`partition`](Self::partition), one way: what the target sends vanishes, what is sent to it
    /// arrives.
    pub fn partition_from(target: impl Into<String>) -> Self {
        Self::new(target, Kind::PartitionFrom)
    }

    /// As [`partition`](Self::partition), one way: what is sent to the target vanishes, what it sends
    /// arrives.
    pub fn partition_to(target: impl Into<String>) -> Self {
        Self::new(target, Kind::PartitionTo)
    }

    /// The programs of the target have descriptors for so many connections of their own making:
    /// while as many are open or being opened, another attempt fails at once, with `EMFILE`.
    pub fn descriptors(target: impl Into<String>, most: usize) -> Self {
        Self::new(target, Kind::Descriptors(most))
    }
}

/// Names.
impl Fault {
    /// The resolver takes so much longer for that name.
    pub fn dns_slow(target: impl Into<String>, extra: Duration) -> Self {
        Self::new(target, Kind::DnsSlow(nanos(extra)))
    }

    /// The resolver answers for that name with the addresses of another: a host's name or one
    /// address. What is connected stays so.
    pub fn dns_changed(target: impl Into<String>, to: impl AsRef<str>) -> Self {
        Self::new(target, Kind::DnsChanged(to.as_ref().into()))
    }

    /// The resolver fails for that name (SERVFAIL): another time it may not.
    pub fn dns_error(target: impl Into<String>) -> Self {
        Self::new(target, Kind::DnsError)
    }

    /// The resolver says that the name does not exist (NXDOMAIN).
    pub fn dns_missing(target: impl Into<String>) -> Self {
        Self::new(target, Kind::DnsMissing)
    }

    /// The resolver does not answer questions about that name that would be answered meanwhile, not
    /// even later.
    pub fn dns_silent(target: impl Into<String>) -> Self {
        Self::new(target, Kind::DnsSilent)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault::{}({:?}", self.kind.name(), self.target)?;
        match &self.kind {
            Kind::Slow(rate) | Kind::SlowReader(rate) => write!(f, ", {rate}")?,
            Kind::Segment(max) | Kind::Descriptors(max) => write!(f, ", {max}")?,
            Kind::Loss(percent) => write!(f, ", {percent}")?,
            Kind::Delay(extra) | Kind::DnsSlow(extra) => {
                write!(f, ", {}", duration_source(Duration::from_nanos(*extra)))?;
            }
            Kind::DnsChanged(to) => write!(f, ", {to:?}")?,
            _ => {}
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_prints_as_the_rust_that_makes_it() {
        let ms = Duration::from_millis(1500);
        for (fault, source) in [
            (Fault::slow("a", 10), "Fault::slow(\"a\", 10)"),
            (Fault::slow_reader("a", 0), "Fault::slow_reader(\"a\", 0)"),
            (Fault::segment("a", 1), "Fault::segment(\"a\", 1)"),
            (Fault::descriptors("a", 2), "Fault::descriptors(\"a\", 2)"),
            (Fault::loss("a", 5), "Fault::loss(\"a\", 5)"),
            (Fault::half_open("a:80"), "Fault::half_open(\"a:80\")"),
            (
                Fault::delay("a", ms),
                "Fault::delay(\"a\", Duration::from_millis(1500))",
            ),
            (
                Fault::dns_changed("a", "b"),
                "Fault::dns_changed(\"a\", \"b\")",
            ),
        ] {
            assert_eq!(format!("{fault:?}"), source);
        }
    }
}
