//! Hosts, their addresses, their listeners, and the resolver that knows them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fulmar::net::{Answer, Family};
use fulmar_core::fault::{Fault, FaultKind, Phase};

use crate::faults::Kind;
use crate::link::Latency;
use crate::random::Stream;
use crate::record::{Actor, What};
use crate::world::{Service, State, World};

pub(crate) struct Host {
    pub(crate) name: Box<str>,
    /// Its index in the trace's names.
    pub(crate) label: u32,
    pub(crate) addrs: Vec<IpAddr>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) listeners: BTreeMap<u16, Arc<Service>>,
    pub(crate) dns_latency: Latency,
    pub(crate) dns: Stream,
    pub(crate) entropy: Stream,
    /// What servers on this host draw.
    pub(crate) draws: Stream,
    next_port: u16,
}

/// First of the ports that IANA leaves to clients (RFC 6335 section 6).
const FIRST_PORT: u16 = 49152;

impl Host {
    pub(crate) fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }
}

impl State {
    /// The host of that name, made where there is none: with the next address of 10.0.0.0/8.
    pub(crate) fn host(&mut self, name: &str) -> usize {
        let name = name.to_ascii_lowercase();
        if let Some(index) = self.by_name.get(&*name) {
            return *index;
        }
        let index = self.hosts.len();
        let [_, a, b, c] = (index as u32 + 1).to_be_bytes();
        let addr = IpAddr::V4(Ipv4Addr::new(10, a, b, c));
        self.hosts.push(Host {
            label: self.trace.name(&name),
            addrs: vec![addr],
            ttl: None,
            listeners: BTreeMap::new(),
            dns_latency: Duration::from_millis(1).into(),
            dns: self.stream(&format!("dns {name}")),
            entropy: self.stream(&format!("entropy {name}")),
            draws: self.stream(&format!("server {name}")),
            next_port: FIRST_PORT,
            name: name.clone().into(),
        });
        self.by_name.insert(name.into(), index);
        self.by_addr.entry(addr).or_insert(index);
        index
    }

    /// An answer of the resolver; `None` where there is none and will be none.
    pub(crate) fn look_up(
        &mut self,
        asker: usize,
        name: &str,
        family: Family,
    ) -> Option<Result<Answer, Fault>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.named(&name).any(|kind| *kind == Kind::DnsSilent) {
            return None;
        }
        let answer = self.answer(&name, family);
        let text = match &answer {
            Ok(answer) => format!("{:?}", answer.addrs),
            Err(fault) => fault.to_string(),
        };
        let actor = self
            .hosts
            .get(asker)
            .map_or(Actor::World, |host| Actor::Named(host.label));
        self.record(
            actor,
            What::Resolved {
                name: name.into(),
                answer: text.into(),
            },
        );
        self.activity += 1;
        Some(answer)
    }

    fn answer(&self, name: &str, family: Family) -> Result<Answer, Fault> {
        let mut whose = name;
        for kind in self.named(name) {
            match kind {
                Kind::DnsError => return Err(Fault::new(FaultKind::NameFailed, Phase::Dns)),
                Kind::DnsMissing => return Err(Fault::new(FaultKind::NameNotFound, Phase::Dns)),
                Kind::DnsChanged(to) => whose = to,
                _ => {}
            }
        }
        let missing = || Fault::new(FaultKind::NameNotFound, Phase::Dns);
        let (addrs, ttl) = self.addrs_of(whose).ok_or_else(missing)?;
        let wanted = |addr: &IpAddr| match family {
            Family::V4 => addr.is_ipv4(),
            Family::V6 => addr.is_ipv6(),
            _ => true,
        };
        let addrs: Vec<IpAddr> = addrs.into_iter().filter(wanted).collect();
        if addrs.is_empty() {
            return Err(missing());
        }
        Ok(Answer { addrs, ttl })
    }

    /// The addresses of a host, or of an address itself.
    fn addrs_of(&self, name: &str) -> Option<(Vec<IpAddr>, Option<Duration>)> {
        if let Ok(addr) = name.parse() {
            return Some((vec![addr], None));
        }
        let index = self.by_name.get(&*name.to_ascii_lowercase())?;
        let host = self.hosts.get(*index)?;
        Some((host.addrs.clone(), host.ttl))
    }

    /// How much longer the resolver takes for a name.
    pub(crate) fn dns_delay(&self, name: &str) -> u64 {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let delays = self.named(&name).map(|kind| match kind {
            Kind::DnsSlow(extra) => *extra,
            _ => 0,
        });
        delays.fold(0, u64::saturating_add)
    }
}

/// A host's settings; see [`Sim::host`](crate::Sim::host).
#[derive(Clone)]
pub struct HostSetup<'a> {
    pub(crate) world: &'a World,
    pub(crate) host: usize,
}

impl HostSetup<'_> {
    fn edit(&self, f: impl FnOnce(&mut Host)) -> &Self {
        self.world
            .with(|state| state.hosts.get_mut(self.host).map(f));
        self
    }

    /// Sets the host's addresses, in the order in which the resolver gives them. Without it, a host
    /// has one, `10.0.0.n`. An address that another host had first leads there: so two names may
    /// share a host.
    pub fn addrs<A: Into<IpAddr>>(&self, addrs: impl IntoIterator<Item = A>) -> &Self {
        let addrs: Vec<IpAddr> = addrs.into_iter().map(Into::into).collect();
        self.world.with(|state| {
            state.by_addr.retain(|_, host| *host != self.host);
            for addr in &addrs {
                state.by_addr.entry(*addr).or_insert(self.host);
            }
        });
        self.edit(|host| host.addrs = addrs)
    }

    /// Sets the time to live that the resolver gives with the host's addresses. Default: none is
    /// given.
    pub fn ttl(&self, ttl: Duration) -> &Self {
        self.edit(|host| host.ttl = Some(ttl))
    }

    /// Sets how long answers of the resolver take that this host asks. Default: 1 ms.
    pub fn dns_latency(&self, latency: impl Into<Latency>) -> &Self {
        let latency = latency.into();
        self.edit(|host| host.dns_latency = latency)
    }
}
