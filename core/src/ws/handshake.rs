//! The opening handshake (RFC 6455 section 4.1), from the client.

use std::fmt;
use std::str;

use ::http::header::{self, HeaderMap, HeaderValue};
use rand_core::Rng;

use super::deflate::{self, Agreed, Compression};
use super::frame::accept_key;
use crate::h1;
use crate::http::ResponseHead;
use crate::http::field::{tokens, trim};

/// How much the head of a response may say.
const HEAD_BYTES: usize = 16 * 1024;
const FIELDS: usize = 64;

/// What is offered to the server beside the protocol itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Sub-protocols, the preferred one first; each a token, each once.
    pub protocols: Vec<String>,
    /// permessage-deflate.
    pub compression: Option<Compression>,
}

/// An offer cannot be put into a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProtocol(pub String);

impl fmt::Display for InvalidProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sub-protocol {:?} is not a token, or is there twice",
            self.0
        )
    }
}

impl std::error::Error for InvalidProtocol {}

/// What the server agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// The sub-protocol that it chose.
    pub protocol: Option<String>,
    /// permessage-deflate, with its parameters.
    pub compression: Option<Agreed>,
}

/// What is wrong with the extensions that a server named. RFC 6455 section 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The field is not a list of extensions.
    Syntax,
    /// One that was not offered, or one twice.
    NotOffered,
    /// A parameter that is unknown, was not offered, or has an impossible value.
    Parameter,
    /// A parameter twice.
    Duplicate,
}

/// Why a response does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A status other than 101; [`HandshakeTable`](super::HandshakeTable) says what it means.
    Status(u16),
    /// The head is longer than [`Handshake::limits`].
    TooLong,
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Connection` does not name `Upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is not the answer to the key.
    Accept,
    /// The extensions are not what was offered.
    Extension(ExtensionError),
    /// The sub-protocol was not offered.
    Protocol,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "the server answered with status {status}"),
            Self::TooLong => "the response's head is longer than a handshake needs",
            Self::Upgrade => "the response does not upgrade to websocket",
            Self::Connection => "the response's connection field does not name upgrade",
            Self::Accept => "the accept key does not answer the request's key",
            Self::Extension(ExtensionError::Syntax) => "the extensions are malformed",
            Self::Extension(ExtensionError::NotOffered) => "an extension was not offered",
            Self::Extension(_) => "an extension's parameters are not what was offered",
            Self::Protocol => "the sub-protocol was not offered",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// One handshake: its key, and what was offered.
#[derive(Clone, Debug)]
pub struct Handshake {
    key: String,
    offer: Offer,
}

impl Handshake {
    /// A handshake with a fresh key of 16 random bytes.
    ///
    /// # Errors
    ///
    /// Where a sub-protocol is not a token (RFC 9110 section 5.6.2), or is there twice.
    pub fn new(offer: Offer, rng: &mut dyn Rng) -> Result<Self, InvalidProtocol> {
        for (place, protocol) in offer.protocols.iter().enumerate() {
            let twice = offer.protocols.iter().take(place).any(|p| p == protocol);
            if twice || !is_token(protocol.as_bytes()) {
                return Err(InvalidProtocol(protocol.clone()));
            }
        }
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Ok(Self {
            key: base64(key),
            offer,
        })
    }

    /// How much a response to it may say: 16 KiB and 64 fields.
    pub fn limits() -> h1::Limits {
        h1::Limits::new().head_bytes(HEAD_BYTES).fields(FIELDS)
    }

    /// Sets the request's fields. The request is a GET without a body.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        let texts = [
            (header::SEC_WEBSOCKET_KEY, Some(self.key.clone())),
            (
                header::SEC_WEBSOCKET_PROTOCOL,
                Some(self.offer.protocols.join(", ")).filter(|text| !text.is_empty()),
            ),
            (
                header::SEC_WEBSOCKET_EXTENSIONS,
                self.offer.compression.map(|offer| offer.offer()),
            ),
        ];
        for (name, text) in texts {
            // Tokens and what is written here are valid values.
            match text.and_then(|text| HeaderValue::try_from(text).ok()) {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }

    /// Checks the response, and says what was agreed. Bytes behind its head are frames.
    ///
    /// # Errors
    ///
    /// Where it is not the one that RFC 6455 section 4.1 asks for.
    pub fn verify(&self, head: &ResponseHead) -> Result<Negotiated, HandshakeError> {
        let fields: Vec<_> = head.fields().collect();
        self.verify_fields(head.status().as_u16(), &fields)
    }

    /// As [`verify`](Self::verify), of a status and fields from anywhere.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn verify_fields(
        &self,
        status: u16,
        fields: &[(&[u8], &[u8])],
    ) -> Result<Negotiated, HandshakeError> {
        if status != 101 {
            return Err(HandshakeError::Status(status));
        }
        // As on the wire: a colon, a space, and the end of the line.
        let lines = fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4);
        if fields.len() > FIELDS || lines.sum::<usize>() > HEAD_BYTES {
            return Err(HandshakeError::TooLong);
        }
        let values = |name: &'static str| {
            fields
                .iter()
                .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
                .map(|(_, value)| trim(value))
        };
        let only = |name| {
            let mut values = values(name);
            values.next().filter(|_| values.next().is_none())
        };
        if !only("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return Err(HandshakeError::Upgrade);
        }
        let mut options = values("connection").flat_map(tokens);
        if !options.any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return Err(HandshakeError::Connection);
        }
        if only("sec-websocket-accept") != Some(accept_key(self.key.as_bytes()).as_bytes()) {
            return Err(HandshakeError::Accept);
        }
        Ok(Negotiated {
            compression: self
                .extensions(values("sec-websocket-extensions"))
                .map_err(HandshakeError::Extension)?,
            protocol: self.protocol(values("sec-websocket-protocol"))?,
        })
    }

    fn protocol<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<String>, HandshakeError> {
        let Some(chosen) = values.next() else {
            return Ok(None);
        };
        let mut offered = self.offer.protocols.iter();
        let found = offered.find(|protocol| protocol.as_bytes() == chosen);
        match (found, values.next()) {
            (Some(protocol), None) => Ok(Some(protocol.clone())),
            _ => Err(HandshakeError::Protocol),
        }
    }

    fn extensions<'a>(
        &self,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Agreed>, ExtensionError> {
        let mut agreed = None;
        for value in values {
            let text = str::from_utf8(value).map_err(|_| ExtensionError::Syntax)?;
            for extension in split(text, ',')?.filter(|extension| !extension.is_empty()) {
                let mut parts = split(extension, ';')?;
                let offer = self.offer.compression.as_ref();
                let offer = offer.filter(|_| parts.next() == Some("permessage-deflate"));
                let (Some(offer), None) = (offer, agreed) else {
                    return Err(ExtensionError::NotOffered);
                };
                let parameters: Vec<_> = parts.map(parameter).collect::<Result<_, _>>()?;
                agreed = Some(deflate::agree(offer, parameters.into_iter())?);
            }
        }
        Ok(agreed)
    }
}

/// The parts between separators. No value that anything here could accept has one in quotes.
fn split(text: &str, separator: char) -> Result<impl Iterator<Item = &str>, ExtensionError> {
    if text.contains('\\') || !text.matches('"').count().is_multiple_of(2) {
        return Err(ExtensionError::Syntax);
    }
    Ok(text
        .split(separator)
        .map(|part| part.trim_matches([' ', '\t'])))
}

/// `name`, `name=value` or `name="value"`.
fn parameter(text: &str) -> Result<(&str, Option<&str>), ExtensionError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let plain = value.map(|value| {
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        quoted.unwrap_or(value)
    });
    let valid = is_token(name.as_bytes()) && plain.is_none_or(|value| is_token(value.as_bytes()));
    if valid {
        Ok((name, plain))
    } else {
        Err(ExtensionError::Syntax)
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_token_char =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token_char)
}

/// RFC 4648 section 4, of 16 bytes.
fn base64(key: [u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 128 bits are 21 digits of six and one of two.
    let bits = u128::from_be_bytes(key);
    let digit = |shift: u32| char::from(ALPHABET[(bits >> shift & 63) as usize]);
    let mut text: String = (1..=21).map(|place| digit(128 - 6 * place)).collect();
    text.push(char::from(ALPHABET[(bits << 4 & 63) as usize]));
    text + "=="
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_base64() {
        assert_eq!(base64(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(base64([0xff; 16]), "/////////////////////w==");
        assert_eq!(base64([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA==");
    }

    #[test]
    fn the_accept_key_of_rfc_6455_section_1_3() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
