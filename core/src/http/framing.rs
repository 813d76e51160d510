//! How long the body of a response is, and what its head says of the connection.
//!
//! ```text
//! RFC 9112 section 6.3, the client's view; the first rule that matches decides
//!   1  HEAD, 1xx, 204, 304          Empty, whatever the fields say
//!   2  CONNECT and 2xx              Tunnel
//!   3  TE and CL                    error, or TE alone and no reuse (lenient)
//!   4  TE, chunked last             Chunked
//!   5  TE, chunked not last         Close
//!   6  CL invalid                   error
//!   7  CL valid                     Length
//!   8  otherwise                    Close
//! ```

use std::fmt;

use crate::http::field::{KeepAlive, content_length, is_name, keep_alive, tokens};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After that many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// Where the connection ends.
    Close,
    /// Nowhere: the connection is no longer HTTP/1.1.
    Tunnel,
}

/// How much a peer may deviate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// What two parsers could read in two ways is an error.
    #[default]
    Strict,
    /// What browsers read is read, and the connection is not used again.
    Lenient,
}

/// Why a body's length cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// `Content-Length` is not one number.
    ContentLength,
    /// `Transfer-Encoding` and `Content-Length` together.
    Ambiguous,
    /// An empty `Transfer-Encoding`, or one with parameters, or chunked twice.
    TransferEncoding,
    /// A transfer coding that nobody asked for and this side does not decode.
    TransferCoding,
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentLength => "content-length is not one valid number",
            Self::Ambiguous => "both transfer-encoding and content-length are present",
            Self::TransferEncoding => "transfer-encoding is malformed",
            Self::TransferCoding => "a transfer coding is not supported",
        })
    }
}

impl std::error::Error for FramingError {}

/// What the request was, as far as the response's framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Any other method.
    #[default]
    Other,
    /// HEAD: no body follows.
    Head,
    /// CONNECT: a tunnel may follow.
    Connect,
}

/// What the fields of one head say of framing and persistence, gathered while they are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// The version is 1.0.
    pub http_10: bool,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// The `Keep-Alive` field.
    pub hint: KeepAlive,
    length: Length,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    Absent,
    Valid(u64),
    Invalid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    /// Chunked and nothing else.
    Chunked,
    /// Others, then chunked.
    CodedChunked,
    /// Chunked is not there, or not last.
    NotChunked {
        chunked: bool,
    },
    Invalid(FramingError),
}

impl Facts {
    /// Takes in a `Content-Length` field.
    pub fn content_length(&mut self, value: &[u8]) {
        self.length = match (self.length, content_length(value)) {
            (Length::Absent, Some(length)) => Length::Valid(length),
            (Length::Valid(before), Some(length)) if before == length => Length::Valid(length),
            _ => Length::Invalid,
        };
    }

    /// Takes in a `Transfer-Encoding` field.
    pub fn transfer_encoding(&mut self, value: &[u8]) {
        let mut codings = tokens(value).peekable();
        if codings.peek().is_none() && self.coding == Coding::Absent {
            self.coding = Coding::Invalid(FramingError::TransferEncoding);
        }
        for coding in codings {
            self.coding = self.coding.then(coding);
        }
    }

    /// Takes in a `Connection` field.
    pub fn connection(&mut self, value: &[u8]) {
        // One token, which is nearly always all there is.
        if is_name(value, b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for token in tokens(value) {
            match token.len() {
                5 => self.close |= token.eq_ignore_ascii_case(b"close"),
                10 => self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
    }

    /// Takes in a `Keep-Alive` field.
    pub fn keep_alive_hint(&mut self, value: &[u8]) {
        let hint = keep_alive(value);
        self.hint.timeout = hint.timeout.or(self.hint.timeout);
        self.hint.max = hint.max.or(self.hint.max);
    }

    /// Whether the framing is one that a peer should not have used: the connection ends with it.
    pub fn is_faulty(&self) -> bool {
        // RFC 9112 section 6.1: HTTP/1.0 has no transfer codings.
        self.coding != Coding::Absent && (self.http_10 || self.length != Length::Absent)
    }

    /// Decides where the body ends.
    pub fn framing(
        &self,
        asked: Asked,
        status: u16,
        strictness: Strictness,
    ) -> Result<Framing, FramingError> {
        if asked == Asked::Head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(Framing::Empty);
        }
        if asked == Asked::Connect && matches!(status, 200..=299) {
            return Ok(Framing::Tunnel);
        }
        let both = self.coding != Coding::Absent && self.length != Length::Absent;
        if both && strictness == Strictness::Strict {
            return Err(FramingError::Ambiguous);
        }
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Ok(Framing::Chunked),
            // It would have to be asked for by `TE`, which is never sent.
            (Coding::CodedChunked, _) => Err(FramingError::TransferCoding),
            (Coding::Invalid(error), _) => Err(error),
            (Coding::Absent, Length::Invalid) => Err(FramingError::ContentLength),
            (Coding::Absent, Length::Valid(length)) => Ok(Framing::Length(length)),
            (Coding::NotChunked { .. }, _) | (Coding::Absent, Length::Absent) => Ok(Framing::Close),
        }
    }
}

impl Coding {
    /// The codings so far, and one more applied after them.
    fn then(self, coding: &[u8]) -> Self {
        let known = [
            &b"gzip"[..],
            b"deflate",
            b"compress",
            b"x-gzip",
            b"x-compress",
        ];
        if coding.eq_ignore_ascii_case(b"chunked") {
            return match self {
                Self::Absent => Self::Chunked,
                Self::NotChunked { chunked: false } => Self::CodedChunked,
                Self::Invalid(_) => self,
                _ => Self::Invalid(FramingError::TransferEncoding),
            };
        }
        match self {
            Self::Invalid(_) => self,
            _ if coding.contains(&b';') => Self::Invalid(FramingError::TransferEncoding),
            _ if !known.iter().any(|name| coding.eq_ignore_ascii_case(name)) => {
                Self::Invalid(FramingError::TransferCoding)
            }
            Self::Absent | Self::NotChunked { chunked: false } => {
                Self::NotChunked { chunked: false }
            }
            _ => Self::NotChunked { chunked: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is a field; the framing of a response to GET with status 200.
    fn framing(fields: &[(&str, &str)]) -> Result<Framing, FramingError> {
        facts(fields).framing(Asked::Other, 200, Strictness::Strict)
    }

    fn facts(fields: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        for (name, value) in fields {
            match *name {
                "CL" => facts.content_length(value.as_bytes()),
                "TE" => facts.transfer_encoding(value.as_bytes()),
                other => panic!("{other}"),
            }
        }
        facts
    }

    #[test]
    fn lengths_agree_or_are_an_error() {
        assert_eq!(framing(&[("CL", "5")]), Ok(Framing::Length(5)));
        assert_eq!(framing(&[("CL", "5, 5")]), Ok(Framing::Length(5)));
        assert_eq!(framing(&[("CL", "5"), ("CL", "5")]), Ok(Framing::Length(5)));
        assert_eq!(
            framing(&[("CL", "5"), ("CL", "6")]),
            Err(FramingError::ContentLength)
        );
        assert_eq!(
            framing(&[("CL", "x"), ("CL", "6")]),
            Err(FramingError::ContentLength)
        );
        for value in ["+5", "-0", "5 5", "0x5", "5;q=1", "12345678901234567890"] {
            assert_eq!(
                framing(&[("CL", value)]),
                Err(FramingError::ContentLength),
                "{value}"
            );
        }
    }

    #[test]
    fn transfer_codings_decide_by_the_last() {
        use FramingError::{TransferCoding, TransferEncoding};
        let rows: [(&[&str], Result<Framing, FramingError>); 15] = [
            (&["chunked"], Ok(Framing::Chunked)),
            (&["Chunked"], Ok(Framing::Chunked)),
            (&[", chunked ,"], Ok(Framing::Chunked)),
            (&["gzip, chunked"], Err(TransferCoding)),
            (&["gzip", "chunked"], Err(TransferCoding)),
            (&["chunked, gzip"], Ok(Framing::Close)),
            (&["gzip"], Ok(Framing::Close)),
            (&["chunked, chunked"], Err(TransferEncoding)),
            (&["chunked", "chunked"], Err(TransferEncoding)),
            (&["chunked, gzip, chunked"], Err(TransferEncoding)),
            (&["xchunked"], Err(TransferCoding)),
            (&["identity"], Err(TransferCoding)),
            (&["chunked;a=b"], Err(TransferEncoding)),
            (&[""], Err(TransferEncoding)),
            (&["chunked", "br"], Err(TransferCoding)),
        ];
        for (values, expected) in rows {
            let fields: Vec<_> = values.iter().map(|value| ("TE", *value)).collect();
            assert_eq!(framing(&fields), expected, "{values:?}");
        }
    }

    #[test]
    fn both_are_an_error_or_the_last_exchange() {
        let both = facts(&[("TE", "chunked"), ("CL", "5")]);
        let strict = both.framing(Asked::Other, 200, Strictness::Strict);
        assert_eq!(strict, Err(FramingError::Ambiguous));
        let lenient = both.framing(Asked::Other, 200, Strictness::Lenient);
        assert_eq!(lenient, Ok(Framing::Chunked));
        assert!(both.is_faulty());
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let bad = facts(&[("TE", "chunked"), ("CL", "x")]);
        for status in [100, 103, 204, 304] {
            let framing = bad.framing(Asked::Other, status, Strictness::Strict);
            assert_eq!(framing, Ok(Framing::Empty), "{status}");
        }
        assert_eq!(
            bad.framing(Asked::Head, 200, Strictness::Strict),
            Ok(Framing::Empty)
        );
        assert_eq!(
            bad.framing(Asked::Connect, 200, Strictness::Strict),
            Ok(Framing::Tunnel)
        );
        let refused = bad.framing(Asked::Connect, 407, Strictness::Strict);
        assert_eq!(refused, Err(FramingError::Ambiguous));
    }

    #[test]
    fn nothing_said_means_until_the_connection_ends() {
        assert_eq!(framing(&[]), Ok(Framing::Close));
    }
}
