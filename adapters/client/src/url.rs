//! Where a request goes: a URL kept as one shared string with offsets.

use std::fmt;
use std::sync::Arc;

use fulmar_core::origin::Scheme;
use http::header::HeaderValue;

use crate::basic;
use crate::error::{Error, Kind};

/// An absolute `http` or `https` URL, normalised, in one allocation. Cloning bumps a count.
///
/// User information (`user:password@`) is kept apart from it: a request to the URL sends it as
/// `Authorization: Basic`, unless it has that field of its own, and nothing shows it.
///
/// Parse once what is asked often: `client.get(&url)` then allocates nothing for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// With a login, the value of `Authorization` follows in a line of its own.
    text: Arc<str>,
    scheme: Scheme,
    has_login: bool,
    /// Where host, port and path end; the fragment was dropped.
    host_start: u16,
    host_end: u16,
    origin_end: u16,
    port: u16,
}

impl Url {
    /// Parses a URL. A plain ASCII one is recognised in one pass; anything else goes through the
    /// WHATWG parser of the `url` crate. The fragment is dropped.
    ///
    /// # Errors
    ///
    /// `Kind::Request` where the text is no URL, has no host, is neither `http` nor `https`, or has
    /// a raw space or control character in it, or where its user information cannot be sent as
    /// Basic credentials: a colon in the name, a control character, or not UTF-8.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match plain(text) {
            Some(shape) => Ok(shape.with(Arc::from(text))),
            None => Self::normalise(text),
        }
    }

    /// As [`Url::parse`], quicker where `known` is the same URL, which is shared then, or of the same
    /// origin: then only the target is looked at.
    fn parse_beside(text: &str, known: Option<&Self>) -> Result<Self, Error> {
        let Some(known) = known else {
            return Self::parse(text);
        };
        debug_assert!(!known.has_login, "it was asked for, and its login taken");
        if *known.text == *text {
            return Ok(known.clone());
        }
        if let Some(target) = text.strip_prefix(known.origin())
            && is_plain_target(target.as_bytes())
        {
            return Ok(Self {
                text: Arc::from(text),
                ..*known
            });
        }
        Self::parse(text)
    }

    fn normalise(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::new(Kind::Request).because(why);
        // What may be a password is not repeated.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        // The parser would drop some of them and escape others: what was meant is not known.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(refuse(format!("{shown:?}: a space or control character")));
        }
        let mut url = url::Url::parse(text).map_err(|e| refuse(format!("{shown:?}: {e}")))?;
        let login = login(&url).ok_or_else(|| {
            refuse(format!(
                "{shown:?}: user information that Basic cannot send"
            ))
        })?;
        url.set_fragment(None);
        // Neither can fail on a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let normal = url.as_str();
        if let Some(shape) = plain(normal) {
            return Ok(shape.with(Arc::from(normal)).with_login(login));
        }
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(refuse(format!("{shown:?}: unsupported scheme {other:?}"))),
        };
        let missing = || refuse(format!("{shown:?}: no host"));
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(missing)?;
        if host.len() > 255 {
            return Err(refuse(format!("a host name of {} bytes", host.len())));
        }
        let host_start = scheme.as_str().len() + 3;
        let host_end = host_start + host.len();
        let port = url.port();
        let origin_end = host_end + port.map_or(0, |port| 1 + port.to_string().len());
        Ok(Shape {
            scheme,
            host_start,
            host_end,
            origin_end,
            port,
        }
        .with(Arc::from(normal))
        .with_login(login))
    }

    fn with_login(self, login: Option<String>) -> Self {
        match login {
            None => self,
            Some(login) => Self {
                text: Arc::from(format!("{}\n{login}", self.text)),
                has_login: true,
                ..self
            },
        }
    }

    /// Whether it has user information.
    #[inline]
    pub(crate) fn has_login(&self) -> bool {
        self.has_login
    }

    /// What the user information stands for, marked sensitive. The URL is without it then.
    pub(crate) fn take_login(&mut self) -> Option<HeaderValue> {
        let (text, login) = self.text.split_once('\n')?;
        let mut login = HeaderValue::try_from(login).ok()?;
        login.set_sensitive(true);
        (self.text, self.has_login) = (Arc::from(text), false);
        Some(login)
    }

    /// What a reference means here, of which `ws` and `wss` are `http` and `https`. Its user
    /// information is the server's, not the user's.
    #[cfg(feature = "websocket")]
    pub(crate) fn join_websocket(&self, reference: &str) -> Result<Self, Error> {
        let wrong = |error| Error::new(Kind::Request).caused_by(error);
        let base = url::Url::parse(self.as_str()).map_err(wrong)?;
        let url = base.join(&http_of(reference)).map_err(wrong)?;
        let mut url = Self::parse(url.as_str())?;
        drop(url.take_login());
        Ok(url)
    }

    /// Whether it is under TLS.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme() == Scheme::Https
    }

    /// The URL as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        if self.has_login {
            self.without_login()
        } else {
            &self.text
        }
    }

    #[cold]
    fn without_login(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, IPv6 literals in brackets.
    pub fn host(&self) -> &str {
        &self.text[usize::from(self.host_start)..usize::from(self.host_end)]
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host` or `host:port`, as the `Host` field has it.
    pub fn authority(&self) -> &str {
        &self.text[usize::from(self.host_start)..usize::from(self.origin_end)]
    }

    /// `scheme://authority`, the pool's key of a direct connection.
    pub fn origin(&self) -> &str {
        &self.text[..usize::from(self.origin_end)]
    }

    /// Path and query, as the request line has it; `/` where there is none.
    pub fn target(&self) -> &str {
        let target = self.target_and_login();
        target.split('\n').next().unwrap_or(target)
    }

    /// The target alone, where the login was taken.
    #[inline]
    pub(crate) fn target_and_login(&self) -> &str {
        match &self.text[usize::from(self.origin_end)..] {
            "" => "/",
            target => target,
        }
    }

    pub(crate) fn text(&self) -> Arc<str> {
        debug_assert!(!self.has_login, "it is asked for, and its login taken");
        self.text.clone()
    }
}

/// The offsets of a URL that needs no normalising.
struct Shape {
    scheme: Scheme,
    host_start: usize,
    host_end: usize,
    origin_end: usize,
    port: Option<u16>,
}

impl Shape {
    fn with(self, text: Arc<str>) -> Url {
        Url {
            text,
            scheme: self.scheme,
            has_login: false,
            host_start: self.host_start as u16,
            host_end: self.host_end as u16,
            origin_end: self.origin_end as u16,
            port: self.port.unwrap_or(self.scheme.default_port()),
        }
    }
}

/// The user information as a field's value; `None` where Basic cannot send it.
#[expect(clippy::option_option, reason = "there may be none to send")]
fn login(url: &url::Url) -> Option<Option<String>> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return Some(None);
    }
    basic::of_user_information(url.username(), password.unwrap_or_default()).map(Some)
}

const HOST: u8 = 1;
const TARGET: u8 = 2;
/// A dot or hyphen of a host: no two of them stand side by side in a plain one.
const JOINT: u8 = 4;
/// The slash before a segment. What makes it a dot segment, behind it, is the next bit.
const SLASH: u8 = 8;
const DOTTED: u8 = SLASH << 1;

/// What may stand in a host, and in a path or query, without being normalised.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        class[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' => HOST | TARGET,
            b'-' => HOST | TARGET | JOINT,
            b'.' => HOST | TARGET | JOINT | DOTTED,
            b'/' => TARGET | SLASH,
            b'%' => TARGET | DOTTED,
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\'' => 0,
            _ => TARGET,
        };
        byte += 1;
    }
    class
};

/// Recognises `http(s)://host[:port][/path[?query]]` in its normal form: lower case, no default
/// port, no dot segments, nothing to escape. `None` means "ask the real parser", not "invalid".
fn plain(text: &str) -> Option<Shape> {
    let (scheme, rest) = match text.strip_prefix("http://") {
        Some(rest) => (Scheme::Http, rest),
        None => (Scheme::Https, text.strip_prefix("https://")?),
    };
    let host_start = text.len() - rest.len();
    let (host, rest) = plain_host(rest.as_bytes())?;
    let host_end = host_start + host;
    let (port, target) = match rest {
        [b':', rest @ ..] => {
            let (port, target) = plain_port(rest)?;
            // A default port is not written.
            (
                Some(port).filter(|port| *port != scheme.default_port()),
                target,
            )
        }
        _ => (None, rest),
    };
    let origin_end = text.len() - target.len();
    if origin_end > host_end && port.is_none() || !is_plain_target(target) {
        return None;
    }
    Some(Shape {
        scheme,
        host_start,
        host_end,
        origin_end,
        port,
    })
}

/// The length of the host in front and what follows, if the WHATWG parser would leave it alone: no
/// empty label, no A-label to check, and what looks like a number is a dotted quad.
fn plain_host(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut previous, mut doubled, mut len) = (JOINT, 0, 0);
    for byte in bytes {
        let class = CLASS[usize::from(*byte)];
        if class & HOST == 0 {
            break;
        }
        doubled |= class & previous;
        previous = class;
        len += 1;
    }
    let (host, rest) = bytes.split_at(len);
    if (previous | doubled) & JOINT != 0 || len > 253 {
        return None;
    }
    let label = host.rsplit(|byte| *byte == b'.').next().unwrap_or(host);
    let is_number = label.first().is_some_and(u8::is_ascii_digit);
    (!is_number || is_dotted_quad(host)).then_some((len, rest))
}

/// Four decimal numbers without leading zeros, none above 255.
fn is_dotted_quad(host: &[u8]) -> bool {
    let (mut dots, mut number, mut digits) = (0, 0_u32, 0);
    for byte in host {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit <= 9 {
            // A zero stands alone; more than three digits are above 255 unless they begin with one.
            if digits > 0 && number == 0 {
                return false;
            }
            number = number * 10 + digit;
            digits += 1;
            if number > 255 {
                return false;
            }
        } else if *byte == b'.' {
            (dots, number, digits) = (dots + 1, 0, 0);
        } else {
            return false;
        }
    }
    dots == 3
}

/// The port in front, if written without leading zeros, and what follows.
fn plain_port(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let mut port = 0_u32;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return (at > 0).then(|| (port as u16, &bytes[at..]));
        }
        port = port * 10 + digit;
        if port == 0 || port > 65535 {
            return None;
        }
    }
    (port > 0).then_some((port as u16, &[]))
}

/// Whether path and query need no normalising. A segment that begins with a dot or an escape may be
/// a dot segment.
fn is_plain_target(target: &[u8]) -> bool {
    if target.first().is_some_and(|byte| *byte != b'/') {
        return false;
    }
    let (mut previous, mut all, mut dotted) = (0, TARGET, 0);
    for byte in target {
        let class = CLASS[usize::from(*byte)];
        all &= class;
        dotted |= class & (previous << 1);
        previous = class;
    }
    all & TARGET != 0 && dotted & DOTTED == 0
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl std::str::FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// What can name a request's destination.
pub trait IntoUrl: sealed::Sealed {
    #[doc(hidden)]
    fn into_url(self, known: Option<&Url>) -> Result<Url, Error>;

    /// The same, of a URL with `ws` or `wss`, too: which are `http` and `https` by other names.
    #[doc(hidden)]
    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error>;
}

impl IntoUrl for Url {
    fn into_url(self, _: Option<&Url>) -> Result<Url, Error> {
        Ok(self)
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Ok(self)
    }
}

impl IntoUrl for &Url {
    fn into_url(self, _: Option<&Url>) -> Result<Url, Error> {
        Ok(self.clone())
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Ok(self.clone())
    }
}

impl IntoUrl for &str {
    fn into_url(self, known: Option<&Url>) -> Result<Url, Error> {
        Url::parse_beside(self, known)
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Url::parse(&http_of(self))
    }
}

impl IntoUrl for &String {
    fn into_url(self, known: Option<&Url>) -> Result<Url, Error> {
        Url::parse_beside(self, known)
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Url::parse(&http_of(self))
    }
}

impl IntoUrl for String {
    fn into_url(self, known: Option<&Url>) -> Result<Url, Error> {
        Url::parse_beside(&self, known)
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Url::parse(&http_of(&self))
    }
}

impl IntoUrl for http::Uri {
    fn into_url(self, known: Option<&Url>) -> Result<Url, Error> {
        Url::parse_beside(&self.to_string(), known)
    }

    #[cfg(feature = "websocket")]
    fn into_websocket_url(self) -> Result<Url, Error> {
        Url::parse(&http_of(&self.to_string()))
    }
}

/// RFC 6455 section 3: the same URL, as HTTP names it.
#[cfg(feature = "websocket")]
fn http_of(text: &str) -> std::borrow::Cow<'_, str> {
    let is = |scheme: &str, name| scheme.eq_ignore_ascii_case(name);
    match text.split_once(':') {
        Some((scheme, rest)) if is(scheme, "ws") => format!("http:{rest}").into(),
        Some((scheme, rest)) if is(scheme, "wss") => format!("https:{rest}").into(),
        _ => text.into(),
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Url {}
    impl Sealed for &super::Url {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
    impl Sealed for http::Uri {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String, String) {
        let url = Url::parse(text).unwrap();
        (
            url.origin().into(),
            url.port(),
            url.authority().into(),
            url.target().into(),
        )
    }

    #[test]
    fn urls_are_normalised() {
        let row = |o: &str, p, a: &str, t: &str| (o.to_owned(), p, a.to_owned(), t.to_owned());
        for (text, expected) in [
            ("http://a.test", row("http://a.test", 80, "a.test", "/")),
            ("http://a.test/", row("http://a.test", 80, "a.test", "/")),
            (
                "HTTP://A.Test:80/x",
                row("http://a.test", 80, "a.test", "/x"),
            ),
            (
                "https://a.test:8443/x?y=1&z",
                row("https://a.test:8443", 8443, "a.test:8443", "/x?y=1&z"),
            ),
            ("http://a.test?q", row("http://a.test", 80, "a.test", "/?q")),
            (
                "http://u:p@a.test/#f",
                row("http://a.test", 80, "a.test", "/"),
            ),
            (
                "http://[::1]:81/",
                row("http://[::1]:81", 81, "[::1]:81", "/"),
            ),
            (
                "http://127.1/",
                row("http://127.0.0.1", 80, "127.0.0.1", "/"),
            ),
            (
                "http://a.test/b/../c",
                row("http://a.test", 80, "a.test", "/c"),
            ),
            (
                "http://a.test/b/%2e%2E/c",
                row("http://a.test", 80, "a.test", "/c"),
            ),
            (
                "http://bücher.test/ü",
                row(
                    "http://xn--bcher-kva.test",
                    80,
                    "xn--bcher-kva.test",
                    "/%C3%BC",
                ),
            ),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_recognised_as_plain_is_what_the_parser_makes_of_it() {
        for text in [
            "http://a.test/b/.c/d",
            "http://127.0.0.1:8080/x",
            "http://a-b.c/d?e=f/./g",
            "https://a.test/;p=1/~x!$&()*+,=:@",
            "http://a.test/x?a='b'",
            "http://1.a/",
            "http://a.1/",
            "http://0x7f.1/",
            "http://a.test:0/",
            "http://a.test:65535/",
            "http://a.test:65536/",
            "http://a.test:080/",
            "http://a.test:/",
            "http://256.1.1.1/",
            "http://1.2.3/",
            "http://1.2.3.4.5/",
            "http://01.2.3.4/",
            "http://0.0.0.0/",
            "http://1.2.3.4x/",
            "http://1.2.3.x4/",
            "http://4294967296.test/",
            "http://a.4294967295/",
            "http://1.2.3.99999999999/",
        ] {
            let Ok(real) = url::Url::parse(text) else {
                assert!(Url::parse(text).is_err(), "{text}");
                continue;
            };
            assert_eq!(Url::parse(text).unwrap().as_str(), real.as_str(), "{text}");
        }
    }

    #[test]
    fn a_known_origin_changes_nothing_but_the_work() {
        let known = Url::parse("http://a.test:81/x").unwrap();
        for text in [
            "http://a.test:81/y?z=1",
            "http://a.test:81/x",
            "http://a.test:81",
            "http://a.test:812/",
            "http://a.test:81?q",
            "http://a.test:81/b/../c",
            "http://a.test:81@b.test/",
            "http://a.test/",
            "https://a.test:81/",
            "http://a.test:81/\u{fc}",
        ] {
            let beside = Url::parse_beside(text, Some(&known)).unwrap();
            assert_eq!(beside, Url::parse(text).unwrap(), "{text}");
            assert_eq!(
                beside.origin(),
                Url::parse(text).unwrap().origin(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for text in [
            "",
            "a.test",
            "ftp://a.test/",
            "http://",
            "http://a b/",
            "http://a.test:99999/",
            "unix:/x",
        ] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Request, "{text}");
        }
    }
}
