//! Basic authentication (RFC 7617).

use std::fmt::Write;

use percent_encoding::percent_decode_str;

/// The value of `Authorization` for a user and a password, as UTF-8.
///
/// `None` where they cannot be told apart again, or could end the field: a colon in the user's name,
/// a control character in either (RFC 7617 section 2).
pub(crate) fn credentials(user: &str, password: &str) -> Option<String> {
    let mut pair = String::with_capacity(user.len() + 1 + password.len());
    // Writing to a string does not fail.
    let _ = write!(pair, "{user}:{password}");
    if user.contains(':') || pair.chars().any(char::is_control) {
        return None;
    }
    let mut value = String::from("Basic ");
    encode(pair.as_bytes(), &mut value);
    Some(value)
}

/// The same of the user information of a URL, percent-decoded (RFC 3986 section 3.2.1).
pub(crate) fn of_user_information(user: &str, password: &str) -> Option<String> {
    let decoded = |text| percent_decode_str(text).decode_utf8().ok();
    credentials(&decoded(user)?, &decoded(password)?)
}

/// Base64 (RFC 4648 section 4), padded.
fn encode(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| {
            bits << 8 | usize::from(group.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * i) & 63];
            out.push(if i <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_rfcs() {
        for (user, password, expected) in [
            (
                "Aladdin",
                "open sesame",
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            ("test", "123\u{a3}", Some("Basic dGVzdDoxMjPCow==")),
            ("", "", Some("Basic Og==")),
            ("a", "b:c", Some("Basic YTpiOmM=")),
            ("a:b", "c", None),
            ("a\n", "b", None),
            ("a", "b\0", None),
        ] {
            assert_eq!(credentials(user, password).as_deref(), expected, "{user}");
        }
        for (user, password, expected) in [
            ("t%65st", "12%C3%A3", Some(credentials("test", "12\u{e3}"))),
            ("a%4", "%zz%", Some(credentials("a%4", "%zz%"))),
            ("a%3Ab", "c", None),
            ("a", "%FF", None),
            ("a%0D%0A", "", None),
        ] {
            let made = of_user_information(user, password);
            assert_eq!(made, expected.flatten(), "{user}:{password}");
        }
        // RFC 4648 section 10.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{ff}\u{3ff}?>", "w7/Pvz8+"),
        ] {
            let mut out = String::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }
}
