//! The names that most fields of responses have, each told by one comparison of numbers.
//!
//! `http` finds a name by copying it letter by letter and comparing it with all of its length, at
//! three times the cost.

use ::http::header::{self, HeaderName};

/// Bytes of a number.
const LONGEST: usize = size_of::<u128>();

/// A name of small letters as a number: its bytes, and spaces behind them.
const fn number(name: &str) -> u128 {
    let mut bytes = [b' '; LONGEST];
    let (room, _) = bytes.split_at_mut(name.len());
    room.copy_from_slice(name.as_bytes());
    u128::from_le_bytes(bytes)
}

macro_rules! usual {
    ($($constant:ident $name:literal $value:expr,)*) => {
        /// The field name in front of `text`, `len` bytes long and a token, if it is a usual one.
        #[inline]
        pub(super) fn usual(text: &[u8], len: usize) -> Option<HeaderName> {
            $(const $constant: u128 = number($name);)*
            if len > LONGEST {
                return None;
            }
            let word = u128::from_le_bytes(*text.first_chunk()?);
            let others = u128::MAX.checked_shl(8 * len as u32).unwrap_or(0);
            // Exact for tokens only: setting one bit makes their letters small and leaves the rest
            // alone, and what is behind the name becomes spaces.
            match word & !others | number("") {
                $($constant => Some($value),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const USUAL: &[&str] = &[$($name),*];
    };
}

usual! {
    ACCEPT_RANGES "accept-ranges" header::ACCEPT_RANGES,
    AGE "age" header::AGE,
    ALT_SVC "alt-svc" header::ALT_SVC,
    CACHE_CONTROL "cache-control" header::CACHE_CONTROL,
    CONNECTION "connection" header::CONNECTION,
    CONTENT_ENCODING "content-encoding" header::CONTENT_ENCODING,
    CONTENT_LANGUAGE "content-language" header::CONTENT_LANGUAGE,
    CONTENT_LENGTH "content-length" header::CONTENT_LENGTH,
    CONTENT_RANGE "content-range" header::CONTENT_RANGE,
    CONTENT_TYPE "content-type" header::CONTENT_TYPE,
    DATE "date" header::DATE,
    ETAG "etag" header::ETAG,
    EXPIRES "expires" header::EXPIRES,
    LAST_MODIFIED "last-modified" header::LAST_MODIFIED,
    LINK "link" header::LINK,
    LOCATION "location" header::LOCATION,
    PRAGMA "pragma" header::PRAGMA,
    RETRY_AFTER "retry-after" header::RETRY_AFTER,
    SERVER "server" header::SERVER,
    SET_COOKIE "set-cookie" header::SET_COOKIE,
    VARY "vary" header::VARY,
    VIA "via" header::VIA,
    WWW_AUTHENTICATE "www-authenticate" header::WWW_AUTHENTICATE,
    // `http` would allocate these.
    KEEP_ALIVE "keep-alive" HeaderName::from_static("keep-alive"),
    X_CACHE "x-cache" HeaderName::from_static("x-cache"),
    X_POWERED_BY "x-powered-by" HeaderName::from_static("x-powered-by"),
    X_REQUEST_ID "x-request-id" HeaderName::from_static("x-request-id"),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_name_in_any_case_is_what_http_makes_of_it() {
        for name in USUAL {
            for spelt in [(*name).to_owned(), name.to_uppercase()] {
                let text = format!("{spelt}: and what follows");
                let expected = HeaderName::from_bytes(spelt.as_bytes()).unwrap();
                assert_eq!(usual(text.as_bytes(), spelt.len()), Some(expected));
            }
        }
    }

    #[test]
    fn other_names_are_left_to_http() {
        for name in [
            "",
            "dat",
            "dates",
            "x",
            "content-encodings",
            "content_type",
            "a-very-long-name-of-32-characters",
        ] {
            let text = format!("{name}: and what follows");
            assert_eq!(usual(text.as_bytes(), name.len()), None, "{name}");
        }
        // Too few bytes to look at.
        assert_eq!(usual(b"date: 1", 4), None);
    }
}
