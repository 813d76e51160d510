//! `Idempotency-Key`: what makes it safe to send a `POST` again.

use http::HeaderValue;
use rand_core::Rng;

use crate::error::{Error, Kind};

/// The key under which the origin recognises a repeated request.
///
/// It is sent as a structured field string (draft-ietf-httpapi-idempotency-key-header).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdempotencyKey {
    /// 128 random bits, drawn once for the call: every attempt carries the same.
    Auto,
    /// This one, of printable ASCII.
    Given(String),
}

impl From<String> for IdempotencyKey {
    fn from(key: String) -> Self {
        Self::Given(key)
    }
}

impl From<&str> for IdempotencyKey {
    fn from(key: &str) -> Self {
        Self::Given(key.to_owned())
    }
}

impl IdempotencyKey {
    pub(crate) fn into_value(self, rng: &mut dyn Rng) -> Result<HeaderValue, Error> {
        let value = match self {
            Self::Auto => format!("\"{:016x}{:016x}\"", rng.next_u64(), rng.next_u64()),
            Self::Given(key) => quoted(&key)?,
        };
        HeaderValue::try_from(value).map_err(|error| Error::new(Kind::Request).caused_by(error))
    }
}

/// RFC 9651 section 4.1.6.
fn quoted(key: &str) -> Result<String, Error> {
    if key.is_empty() || key.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        let text = "the idempotency key must be printable ASCII, and not empty";
        return Err(Error::new(Kind::Request).because(text));
    }
    let escaped = key.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("\"{escaped}\""))
}
