//! Names that need no resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of an address literal (IPv6 without brackets), and of `localhost` and the names
/// below it, which are the loopback addresses and are never asked for (RFC 6761 section 6.3).
pub fn known_addresses(host: &str) -> Option<Vec<IpAddr>> {
    if let Ok(addr) = host.parse() {
        return Some(vec![addr]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next()?;
    last.eq_ignore_ascii_case("localhost")
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_are_known_and_nothing_else() {
        for name in ["localhost", "LocalHost.", "a.b.localhost"] {
            let addrs = known_addresses(name).unwrap_or_default();
            assert!(
                addrs.len() == 2 && addrs.iter().all(IpAddr::is_loopback),
                "{name}"
            );
        }
        for literal in ["192.0.2.1", "2001:db8::1"] {
            let addrs = known_addresses(literal).unwrap_or_default();
            assert_eq!(
                addrs.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
                [literal]
            );
        }
        for name in ["notlocalhost", "localhost.test", "1.2.3", "", "."] {
            assert_eq!(known_addresses(name), None, "{name}");
        }
    }
}
