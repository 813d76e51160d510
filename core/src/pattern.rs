//! Patterns of hosts: which hosts a setting is for.
//!
//! Written as in `NO_PROXY`, and stricter: what is not one of these is refused, not guessed at.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | every host |
//! | `api.test` | that host alone |
//! | `*.corp.test` | every host below `corp.test`, and not `corp.test` itself |
//! | `10.0.0.1`, `[::1]` | that address, where a URL is written with it |
//! | `10.0.0.0/8`, `[fd00::]/8` | every address that begins with so many of its bits |
//!
//! Each may end in `:port`, and matches that port alone then. Case makes no difference, nor does the
//! dot at the end of a name. Names are not resolved.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Matches hosts, and ports where it names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Name(String),
    /// With the dot in front.
    Below(String),
    Block(IpAddr, u8),
}

impl HostPattern {
    /// Whether the pattern is for this host, as a URL has it: lower case, IPv6 in brackets or bare.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = bare.strip_suffix('.').unwrap_or(bare);
        match &self.host {
            Host::Any => true,
            Host::Name(own) => own.eq_ignore_ascii_case(name),
            Host::Below(suffix) => {
                // Bytes, because the place to split at may not be between characters.
                let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
                let at = name.len().checked_sub(suffix.len());
                at.is_some_and(|at| at > 0 && name[at..].eq_ignore_ascii_case(suffix))
            }
            Host::Block(address, bits) => {
                bare.parse().is_ok_and(|host| shares(*address, host, *bits))
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (host, port) = split(text)?;
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = digits.parse().ok().filter(|port| *port > 0);
                Some(port.ok_or(PatternError::BadPort)?)
            }
            Some(_) => return Err(PatternError::BadPort),
            None => None,
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

/// The host, and the port behind it. An IPv6 address has its port behind the bracket, and none
/// where it has no bracket.
fn split(text: &str) -> Result<(&str, Option<&str>), PatternError> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && !host.contains(':') => Ok((host, Some(port))),
        Some((host, port)) if !port.contains(']') && host.starts_with('[') => {
            if host.contains(']') {
                Ok((host, Some(port)))
            } else {
                Err(PatternError::BadAddress)
            }
        }
        _ => Ok((text, None)),
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let bracketed = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let parsed: Result<IpAddr, _> = bracketed.unwrap_or(address).parse();
        match (parsed, bits) {
            (Ok(address), bits) => Self::block(address, bits),
            (Err(_), Some(_)) => Err(PatternError::BadAddress),
            (Err(_), None) if text.contains([':', '[', ']']) => Err(PatternError::BadAddress),
            (Err(_), None) => Self::name(text),
        }
    }

    fn block(address: IpAddr, bits: Option<&str>) -> Result<Self, PatternError> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| PatternError::BadBits)?
            }
            Some(_) => return Err(PatternError::BadBits),
            None => most,
        };
        if bits > most {
            return Err(PatternError::BadBits);
        }
        Ok(Self::Block(address, bits))
    }

    fn name(text: &str) -> Result<Self, PatternError> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.split('.').any(str::is_empty) {
            return Err(PatternError::EmptyLabel);
        }
        let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if let Some(c) = name.chars().find(|c| !is_fine(*c)) {
            return Err(PatternError::BadCharacter(c));
        }
        let name = name.to_ascii_lowercase();
        Ok(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Name(name)
        })
    }
}

/// Whether two addresses of one family begin with the same bits.
fn shares(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let differing = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= u32::from(bits)
}

/// Why something is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty, or two dots stand side by side.
    EmptyLabel,
    /// A character that no host has; a `*` is only in front, before a dot.
    BadCharacter(char),
    /// It looks like an address, and is none.
    BadAddress,
    /// What follows the slash is not a number of bits that such an address has.
    BadBits,
    /// What follows the colon is no number from 1 to 65535.
    BadPort,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLabel => f.write_str("a part of the name is empty"),
            Self::BadCharacter('*') => {
                f.write_str("a `*` stands alone, or in front and before a dot")
            }
            Self::BadCharacter(c) => write!(f, "no host contains {c:?}"),
            Self::BadAddress => f.write_str("it is not a valid address"),
            Self::BadBits => f.write_str("it is not a number of bits that the address has"),
            Self::BadPort => f.write_str("the port is not a number from 1 to 65535"),
        }
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_what_the_table_says() {
        for (pattern, host, port, expected) in [
            ("*", "anything", 1, true),
            ("*:81", "anything", 80, false),
            ("api.test", "api.test", 80, true),
            ("API.Test.", "api.test", 80, true),
            ("api.test", "api.test.", 80, true),
            ("api.test", "x.api.test", 80, false),
            ("api.test:8080", "api.test", 8080, true),
            ("api.test:8080", "api.test", 80, false),
            ("*.corp.test", "a.b.corp.test", 80, true),
            ("*.corp.test", "corp.test", 80, false),
            ("*.corp.test", "evilcorp.test", 80, false),
            ("10.0.0.0/8", "10.255.1.2", 80, true),
            ("10.0.0.0/8", "11.0.0.0", 80, false),
            ("10.0.0.0/8", "10.test", 80, false),
            ("0.0.0.0/0", "203.0.113.1", 80, true),
            ("0.0.0.0/0", "[::1]", 80, false),
            ("127.0.0.1:81", "127.0.0.1", 81, true),
            ("[::1]", "[::1]", 80, true),
            ("::1", "[::1]", 80, true),
            ("[::1]:81", "[::1]", 80, false),
            ("[fd00::]/8", "[fd12::1]", 80, true),
            ("[fd00::]/8", "[fe00::1]", 80, false),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(host, port), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_reason() {
        use PatternError::{BadAddress, BadBits, BadCharacter, BadPort, EmptyLabel};
        for (pattern, expected) in [
            ("", EmptyLabel),
            (".corp.test", EmptyLabel),
            ("*.", EmptyLabel),
            ("a..b", EmptyLabel),
            ("a.*.test", BadCharacter('*')),
            ("*corp.test", BadCharacter('*')),
            ("http://a.test/", BadPort),
            ("a b", BadCharacter(' ')),
            ("b\u{fc}cher.test", BadCharacter('\u{fc}')),
            ("a.test/8", BadAddress),
            ("10.0.0.0/33", BadBits),
            ("10.0.0.0/+8", BadBits),
            ("[::1", BadAddress),
            ("[::g]", BadAddress),
            ("a.test:0", BadPort),
            ("a.test:+80", BadPort),
            ("a.test:65536", BadPort),
            ("a.test:", BadPort),
        ] {
            let error = pattern.parse::<HostPattern>().unwrap_err();
            assert_eq!(error, expected, "{pattern}");
        }
    }
}
