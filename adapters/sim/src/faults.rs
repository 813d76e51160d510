//! Faults as values.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

/// Something that goes wrong, for as long as it is in force; see [`Sim::between`](crate::Sim::between).
///
/// The target of a fault is written as a host's name (`"api.test"`, either side of its connections),
/// one of its addresses (`"10.0.0.2"`, `"fd00::1"`), or one of these with a port (`"api.test:80"`,
/// `"[fd00::1]:80"`: connections to that port only).
///
/// A fault is a value: it compares, clones, and its `Debug` form is the Rust that makes it, so a
/// shrunk plan can be pasted into a test.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) target: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Reset,
    Refuse,
    HalfOpen,
    Partition,
    Slow(u64),
    Segment(usize),
    Corrupt,
    DnsError,
    DnsSilent,
}

impl Fault {
    fn new(target: impl Into<String>, kind: Kind) -> Self {
        Self {
            target: target.into(),
            kind,
        }
    }

    /// Connections that exist when it begins are reset at both ends, and attempts to connect while
    /// it lasts are reset after a round trip.
    pub fn reset(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Reset)
    }

    /// Attempts to connect are refused after a round trip. Existing connections go on.
    pub fn refuse(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Refuse)
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

    /// No more than so many bytes per second pass on each link of the target and each direction.
    pub fn slow(target: impl Into<String>, bytes_per_second: u64) -> Self {
        Self::new(target, Kind::Slow(bytes_per_second))
    }

    /// Bytes arrive in pieces of at most `max`, and a read gives one piece.
    pub fn segment(target: impl Into<String>, max: usize) -> Self {
        Self::new(target, Kind::Segment(max))
    }

    /// One bit of every piece that is sent is flipped.
    pub fn corrupt(target: impl Into<String>) -> Self {
        Self::new(target, Kind::Corrupt)
    }

    /// The resolver fails for that name (SERVFAIL).
    pub fn dns_error(target: impl Into<String>) -> Self {
        Self::new(target, Kind::DnsError)
    }

    /// The resolver does not answer questions about that name that would be answered meanwhile, not
    /// even later.
    pub fn dns_silent(target: impl Into<String>) -> Self {
        Self::new(target, Kind::DnsSilent)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Reset => "reset",
            Kind::Refuse => "refuse",
            Kind::HalfOpen => "half_open",
            Kind::Partition => "partition",
            Kind::Slow(_) => "slow",
            Kind::Segment(_) => "segment",
            Kind::Corrupt => "corrupt",
            Kind::DnsError => "dns_error",
            Kind::DnsSilent => "dns_silent",
        };
        write!(f, "Fault::{name}({:?}", self.target)?;
        match self.kind {
            Kind::Slow(rate) => write!(f, ", {rate})"),
            Kind::Segment(max) => write!(f, ", {max})"),
            _ => f.write_str(")"),
        }
    }
}

/// A plan as the Rust that makes it, to be pasted into a test.
///
/// ```
/// # use std::time::Duration;
/// # use fulmar_sim::{Fault, plan_source};
/// let plan = [(Duration::from_secs(2)..Duration::from_millis(4500), Fault::reset("api.test"))];
/// assert_eq!(
///     plan_source(&plan),
///     "vec![\n    (Duration::from_secs(2)..Duration::from_millis(4500), Fault::reset(\"api.test\")),\n]"
/// );
/// ```
pub fn plan_source(plan: &[(Range<Duration>, Fault)]) -> String {
    let mut out = String::from("vec![\n");
    for (range, fault) in plan {
        let (start, end) = (duration_source(range.start), duration_source(range.end));
        let _ = writeln!(out, "    ({start}..{end}, {fault:?}),");
    }
    out.push(']');
    out
}

fn duration_source(duration: Duration) -> String {
    if duration == Duration::MAX {
        return "Duration::MAX".to_owned();
    }
    match duration.subsec_nanos() {
        0 => format!("Duration::from_secs({})", duration.as_secs()),
        nanos if nanos % 1_000_000 == 0 => {
            format!("Duration::from_millis({})", duration.as_millis())
        }
        _ => format!(
            "Duration::new({}, {})",
            duration.as_secs(),
            duration.subsec_nanos()
        ),
    }
}

/// A target, parsed.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) addr: Option<IpAddr>,
    pub(crate) port: Option<u16>,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Self {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Self {
                host: String::new(),
                addr: Some(addr.ip()),
                port: Some(addr.port()),
            };
        }
        if let Ok(addr) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Self {
                host: String::new(),
                addr: Some(addr),
                port: None,
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text, None),
        };
        Self {
            host: host.to_ascii_lowercase(),
            addr: None,
            port,
        }
    }
}

/// A fault as one connection sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) kind: Kind,
}

impl Window {
    pub(crate) fn contains(&self, at: u64) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether packets vanish in it.
    pub(crate) fn is_lossy(&self) -> bool {
        matches!(self.kind, Kind::Partition | Kind::HalfOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_prints_as_the_rust_that_makes_it() {
        assert_eq!(
            format!("{:?}", Fault::slow("api.test", 10)),
            "Fault::slow(\"api.test\", 10)"
        );
        assert_eq!(
            format!("{:?}", Fault::segment("a", 1)),
            "Fault::segment(\"a\", 1)"
        );
        assert_eq!(
            format!("{:?}", Fault::half_open("a:80")),
            "Fault::half_open(\"a:80\")"
        );
    }

    #[test]
    fn a_target_is_a_name_or_an_address_with_or_without_a_port() {
        let parse = |text| {
            let target = Target::parse(text);
            (
                target.host,
                target.addr.map(|addr| addr.to_string()),
                target.port,
            )
        };
        assert_eq!(parse("API.test"), ("api.test".into(), None, None));
        assert_eq!(parse("api.test:80"), ("api.test".into(), None, Some(80)));
        assert_eq!(
            parse("10.0.0.1"),
            (String::new(), Some("10.0.0.1".into()), None)
        );
        assert_eq!(
            parse("[fd00::1]:8080"),
            (String::new(), Some("fd00::1".into()), Some(8080))
        );
        assert_eq!(
            parse("fd00::1"),
            (String::new(), Some("fd00::1".into()), None)
        );
    }
}
