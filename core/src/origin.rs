//! Where a request goes, and where a connection leads.
//!
//! An [`Origin`] is what redirects and cookies compare (RFC 6454, section 4). A [`Route`] is what
//! the pool compares: two requests may share a connection only if nothing that shaped it differs
//! (CVE-2022-27782 is what happens otherwise). Both are one string, made once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The longest host: a DNS name has at most 253 characters, and a dot may follow.
const MAX_HOST: usize = 254;

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme as URLs write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Scheme, host and port, normalised: lower case, IPv6 literals in brackets and in their shortest
/// form, the scheme's own port left out. Equal origins are equal strings.
///
/// ```
/// # use fulmar_core::origin::{Origin, Scheme};
/// let origin = Origin::new(Scheme::Https, "API.Example", Some(443)).unwrap();
/// assert_eq!(origin.as_str(), "https://api.example");
/// assert_eq!((origin.host(), origin.port()), ("api.example", 443));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    text: Arc<str>,
    port: u16,
    /// Where the host ends, without its bracket.
    host_end: u16,
    /// Where the host starts, behind its bracket.
    host_start: u8,
    scheme: Scheme,
}

impl Origin {
    /// The origin of these three; `host` is a name in ASCII (an international one as A-label), an
    /// IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    ///
    /// The host is empty, too long, or has a character that no host has; the port is 0.
    pub fn new(scheme: Scheme, host: &str, port: Option<u16>) -> Result<Self, OriginError> {
        let host = Host::parse(host)?;
        let port = port.unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(OriginError::BadPort);
        }
        let mut text = String::with_capacity(host.len() + 16);
        text.push_str(scheme.as_str());
        text.push_str("://");
        let start = host.write(&mut text);
        let host_end = text.len() - usize::from(matches!(host, Host::V6(_)));
        if port != scheme.default_port() {
            use fmt::Write;
            let _infallible = write!(text, ":{port}");
        }
        Ok(Self {
            text: text.into(),
            port,
            host_end: host_end as u16,
            host_start: start as u8,
            scheme,
        })
    }

    /// `scheme://host[:port]`, normalised.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without the brackets of an IPv6 literal.
    pub fn host(&self) -> &str {
        &self.text[usize::from(self.host_start)..usize::from(self.host_end)]
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host[:port]`, as the `Host` field carries it (RFC 9110, section 7.2).
    pub fn authority(&self) -> &str {
        &self.text[self.scheme.as_str().len() + 3..]
    }
}

// The text decides, the rest follows from it.
impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Reads `scheme://host[:port]`; one trailing slash is allowed, nothing else may follow.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::BadScheme)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(OriginError::BadScheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(authority);
        let port = port
            .filter(|digits| !digits.is_empty())
            .map(parse_port)
            .transpose()?;
        Self::new(scheme, host, port)
    }
}

/// Splits at the colon that ends a host: behind the bracket of a literal, or the last one.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn parse_port(digits: &str) -> Result<u16, OriginError> {
    // `parse` alone would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(OriginError::BadPort);
    }
    digits.parse().map_err(|_| OriginError::BadPort)
}

/// A host that may stand in an origin.
enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    fn parse(host: &'a str) -> Result<Self, OriginError> {
        let literal = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = literal.or(host.contains(':').then_some(host)) {
            return address
                .parse()
                .map(Self::V6)
                .map_err(|_| OriginError::BadAddress);
        }
        if host.is_empty() {
            return Err(OriginError::EmptyHost);
        }
        if host.len() > MAX_HOST {
            return Err(OriginError::HostTooLong);
        }
        match host.chars().find(|&c| !is_host_char(c)) {
            Some(c) => Err(OriginError::BadCharacter(c)),
            None => Ok(Self::Name(host)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Name(name) => name.len(),
            Self::V6(_) => 41,
        }
    }

    /// Appends the host as an authority has it, and says where it starts behind its bracket.
    fn write(&self, text: &mut String) -> usize {
        match self {
            Self::Name(name) => {
                let start = text.len();
                text.push_str(name);
                text[start..].make_ascii_lowercase();
                start
            }
            Self::V6(address) => {
                use fmt::Write;
                let _infallible = write!(text, "[{address}]");
                text.len() - address.to_string().len() - 1
            }
        }
    }
}

/// RFC 3986, section 3.2.2: unreserved and sub-delims. No percent sign: what it would hide must be
/// decoded before hosts are compared.
fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c)
}

/// Why something is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OriginError {
    /// Neither `http` nor `https`.
    BadScheme,
    /// There is no host.
    EmptyHost,
    /// The host is longer than a name can be.
    HostTooLong,
    /// The host has a character that no host has.
    BadCharacter(char),
    /// The host is written as an IPv6 address, and is none.
    BadAddress,
    /// The port is 0, above 65535, or no number.
    BadPort,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadScheme => f.write_str("the scheme is neither http nor https"),
            Self::EmptyHost => f.write_str("the host is empty"),
            Self::HostTooLong => write!(f, "the host is longer than {MAX_HOST} characters"),
            Self::BadCharacter(c) if c.is_ascii() => {
                write!(f, "the host contains the character {c:?}")
            }
            Self::BadCharacter(c) => {
                write!(
                    f,
                    "the host contains {c:?}, and must be written in ASCII (as A-label)"
                )
            }
            Self::BadAddress => f.write_str("the host is not a valid IPv6 address"),
            Self::BadPort => f.write_str("the port is not a number from 1 to 65535"),
        }
    }
}

impl std::error::Error for OriginError {}

/// Where a connection leads, and how: the pool's key.
#[derive(Clone)]
pub struct Route {
    key: Arc<str>,
    origin: Origin,
    via: Option<Origin>,
    profile: u32,
    socket: Option<Arc<Path>>,
    avoid: Option<IpAddr>,
}

impl Route {
    /// Straight to the origin, in the client's default manner.
    pub fn direct(origin: Origin) -> Self {
        Self {
            key: Arc::clone(&origin.text),
            origin,
            via: None,
            profile: 0,
            socket: None,
            avoid: None,
        }
    }

    /// The same route through a proxy.
    #[must_use]
    pub fn with_via(self, via: Origin) -> Self {
        let via = Some(via);
        Self { via, ..self }.keyed()
    }

    /// The same route in another manner. The number stands for whatever the client distinguishes:
    /// TLS settings with their client certificate, ALPN, local address, isolation. 0 is its
    /// default.
    #[must_use]
    pub fn with_profile(self, profile: u32) -> Self {
        Self { profile, ..self }.keyed()
    }

    /// The same route over the unix socket at `path`, whatever address the origin has.
    #[must_use]
    pub fn with_unix_socket(self, path: Arc<Path>) -> Self {
        let socket = Some(path);
        Self { socket, ..self }.keyed()
    }

    /// The same route, but to this address only where the origin has no other.
    #[must_use]
    pub fn without(self, addr: IpAddr) -> Self {
        let avoid = Some(addr.to_canonical());
        Self { avoid, ..self }.keyed()
    }

    /// The origin at the end.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The proxy on the way.
    pub fn via(&self) -> Option<&Origin> {
        self.via.as_ref()
    }

    /// The manner.
    pub fn profile(&self) -> u32 {
        self.profile
    }

    /// The unix socket that it goes over.
    pub fn unix_socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// All of it as one string; of a direct route in the default manner, the origin's own.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn keyed(self) -> Self {
        // Origins hold no space and no `#`, a space and `!` begin an address alone, and the path
        // comes last, escaped so that paths that differ look different: hence no two routes share a
        // key.
        let origin = &self.origin;
        let mut key = match (&self.via, self.profile) {
            (None, 0) => Arc::clone(&origin.text),
            (None, profile) => format!("{origin} #{profile}").into(),
            (Some(via), 0) => format!("{origin} {via}").into(),
            (Some(via), profile) => format!("{origin} {via} #{profile}").into(),
        };
        if let Some(addr) = &self.avoid {
            key = format!("{key} !{addr}").into();
        }
        if let Some(path) = &self.socket {
            let path = path.as_os_str().as_encoded_bytes().escape_ascii();
            key = format!("{key} @{path}").into();
        }
        Self { key, ..self }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen<'a> = Result<(&'a str, &'a str, u16), OriginError>;

    #[test]
    fn origins_are_normalised_or_refused_with_a_reason() {
        use OriginError::{BadAddress, BadCharacter, BadPort, BadScheme, EmptyHost, HostTooLong};
        let long = format!("http://{}", "a".repeat(255));
        let table: &[(&str, Seen<'_>)] = &[
            ("http://A.Test", Ok(("http://a.test", "a.test", 80))),
            ("HTTPS://a.test:443/", Ok(("https://a.test", "a.test", 443))),
            ("https://a.test:80", Ok(("https://a.test:80", "a.test", 80))),
            ("http://a.test:", Ok(("http://a.test", "a.test", 80))),
            (
                "http://a.test.:8080",
                Ok(("http://a.test.:8080", "a.test.", 8080)),
            ),
            (
                "http://127.0.0.1:1",
                Ok(("http://127.0.0.1:1", "127.0.0.1", 1)),
            ),
            ("http://[::1]:8080", Ok(("http://[::1]:8080", "::1", 8080))),
            (
                "https://[2001:DB8:0::0:1]",
                Ok(("https://[2001:db8::1]", "2001:db8::1", 443)),
            ),
            (
                "http://xn--bcher-kva.test",
                Ok(("http://xn--bcher-kva.test", "xn--bcher-kva.test", 80)),
            ),
            ("http://b\u{fc}cher.test", Err(BadCharacter('\u{fc}'))),
            ("http://", Err(EmptyHost)),
            ("http://:80", Err(EmptyHost)),
            ("ftp://a.test", Err(BadScheme)),
            ("a.test", Err(BadScheme)),
            ("http://a.test:0", Err(BadPort)),
            ("http://a.test:65536", Err(BadPort)),
            ("http://a.test:+80", Err(BadPort)),
            ("http://a b", Err(BadCharacter(' '))),
            ("http://user@a.test", Err(BadCharacter('@'))),
            ("http://a.test/path", Err(BadCharacter('/'))),
            ("http://a%2etest", Err(BadCharacter('%'))),
            ("http://a\r\n", Err(BadCharacter('\r'))),
            ("http://[::1", Err(BadAddress)),
            ("http://[fe80::1%25eth0]", Err(BadAddress)),
            ("http://a:b:c", Err(BadPort)),
            ("http://::1", Err(BadAddress)),
            (&long, Err(HostTooLong)),
        ];
        for (text, expected) in table {
            let origin = text.parse::<Origin>();
            let seen = origin
                .as_ref()
                .map(|o| (o.as_str(), o.host(), o.port()))
                .map_err(|e| *e);
            assert_eq!(seen, *expected, "{text}");
            if let Ok(origin) = &origin {
                let again = Origin::new(origin.scheme(), origin.host(), Some(origin.port()));
                assert_eq!(again.as_ref(), Ok(origin), "{text}");
                assert!(origin.as_str().ends_with(origin.authority()));
            }
        }
    }

    #[test]
    fn the_authority_is_what_the_host_field_carries() {
        let v6 = Origin::new(Scheme::Http, "::1", Some(8080)).expect("an origin");
        assert_eq!(v6.authority(), "[::1]:8080");
        let name = Origin::new(Scheme::Https, "A.test", None).expect("an origin");
        assert_eq!(name.authority(), "a.test");
    }

    #[test]
    fn routes_differ_where_anything_that_shapes_a_connection_differs() {
        let origin: Origin = "https://a.test".parse().expect("an origin");
        let proxy: Origin = "http://proxy.test:3128".parse().expect("an origin");
        let direct = Route::direct(origin.clone());
        assert_eq!(direct.key(), origin.as_str());
        let routes = [
            direct.clone(),
            direct.clone().with_profile(1),
            direct.clone().with_via(proxy.clone()),
            direct.clone().with_via(proxy.clone()).with_profile(1),
            Route::direct(proxy.clone()).with_via(origin),
            direct.clone().with_unix_socket(Path::new("/a").into()),
            direct.clone().with_unix_socket(Path::new("/b").into()),
            direct.clone().with_unix_socket(Path::new("/a\" #1").into()),
            direct.clone().without([192, 0, 2, 1].into()),
            direct.clone().without([192, 0, 2, 2].into()),
            direct
                .clone()
                .with_profile(1)
                .with_unix_socket(Path::new("/a").into()),
        ];
        for (i, a) in routes.iter().enumerate() {
            for (j, b) in routes.iter().enumerate() {
                assert_eq!(a == b, i == j, "{a:?} {b:?}");
            }
        }
        assert_eq!(direct.clone().with_profile(1).with_profile(0), direct);
        assert_eq!(
            direct.with_profile(1).with_via(proxy.clone()).via(),
            Some(&proxy)
        );
    }
}
