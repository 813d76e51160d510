//! Whom a fault concerns, and when.

use std::net::{IpAddr, SocketAddr};

use crate::faults::Kind;

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

/// Which ends of a connection are a fault's target: bit 0 the client's, bit 1 the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends(pub(crate) u8);

impl Ends {
    pub(crate) fn has(self, end: usize) -> bool {
        self.0 & 1 << end != 0
    }
}

/// A fault as one connection sees it.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) kind: Kind,
    pub(crate) ends: Ends,
}

impl Window {
    pub(crate) fn contains(&self, at: u64) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether what that end sends vanishes in it.
    pub(crate) fn swallows(&self, sender: usize) -> bool {
        match self.kind {
            Kind::Partition | Kind::HalfOpen => true,
            Kind::PartitionFrom => self.ends.has(sender),
            Kind::PartitionTo => self.ends.has(1 - sender),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
