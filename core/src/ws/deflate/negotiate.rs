//! The offer of permessage-deflate, and the server's answer to it (RFC 7692 section 7.1).

use std::ops::RangeInclusive;

use super::super::error::ConfigError;
use super::super::handshake::ExtensionError;

const LEVELS: RangeInclusive<u8> = 0..=9;
/// RFC 7692 allows 8, too, which zlib cannot do.
const BITS: RangeInclusive<u8> = 9..=15;

/// How this side compresses, and what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// zlib's level, 0 to 9. Default 6.
    pub(super) level: u8,
    /// zlib's memory level, 1 to 9. Default 8.
    pub(super) memory: u8,
    pub(super) threshold: usize,
    /// The largest windows of both sides, 9 to 15 bits.
    bits: u8,
    takeover: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            level: 6,
            memory: 8,
            threshold: 1024,
            bits: 15,
            takeover: true,
        }
    }
}

impl Compression {
    /// Windows of 32 KiB that outlive a message: some 350 KiB of memory for a connection that uses
    /// both directions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Windows of 4 KiB that end with each message: some 40 KiB while one is under way.
    pub fn low_memory() -> Self {
        Self {
            memory: 5,
            bits: 12,
            takeover: false,
            ..Self::default()
        }
    }

    /// zlib's level, from 0 (none) to 9 (best). Default 6. Another one fails the opening.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Messages shorter than that many bytes are sent as they are. Default 1 KiB.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The largest window, as a power of two from 9 to 15. Default 15. Another one fails the
    /// opening.
    #[must_use]
    pub fn window_bits(mut self, bits: u8) -> Self {
        self.bits = bits;
        self
    }

    /// Whether the windows outlive a message. Default: yes.
    #[must_use]
    pub fn context_takeover(mut self, takeover: bool) -> Self {
        self.takeover = takeover;
        self
    }

    pub(in super::super) fn validate(&self) -> Result<(), ConfigError> {
        for (setting, value, range) in [
            ("compression level", self.level, LEVELS),
            ("compression window bits", self.bits, BITS),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                return Err(ConfigError::OutOfRange {
                    setting,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    /// The offer, as it stands in `Sec-WebSocket-Extensions`.
    pub fn offer(&self) -> String {
        let mut offer = String::from("permessage-deflate; client_max_window_bits");
        if self.bits < 15 {
            let bits = self.bits.to_string();
            for part in ["=", &bits, "; server_max_window_bits=", &bits] {
                offer += part;
            }
        }
        if !self.takeover {
            offer += "; client_no_context_takeover; server_no_context_takeover";
        }
        offer
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The client's largest window, 8 to 15 bits.
    pub client_bits: u8,
    /// The server's largest window, 8 to 15 bits.
    pub server_bits: u8,
    /// Whether the client's window outlives a message.
    pub client_takeover: bool,
    /// Whether the server's window outlives a message.
    pub server_takeover: bool,
}

/// Checks the parameters of the server's `permessage-deflate`: only what may be there, each once,
/// each with a value that the offer allows.
pub(in super::super) fn agree<'a>(
    offered: &Compression,
    parameters: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Agreed, ExtensionError> {
    let mut seen = [false; 4];
    let mut agreed = Agreed {
        client_bits: offered.bits,
        server_bits: 15,
        client_takeover: offered.takeover,
        server_takeover: true,
    };
    for (name, value) in parameters {
        let (place, valid) = match (name, value) {
            ("client_no_context_takeover", None) => {
                agreed.client_takeover = false;
                (0, true)
            }
            ("server_no_context_takeover", None) => {
                agreed.server_takeover = false;
                (1, true)
            }
            ("client_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                agreed.client_bits = bits.unwrap_or_default().min(offered.bits);
                (2, bits.is_some())
            }
            ("server_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                agreed.server_bits = bits.unwrap_or_default();
                (3, bits.is_some_and(|bits| bits <= offered.bits))
            }
            _ => (0, false),
        };
        if !valid {
            return Err(ExtensionError::Parameter);
        }
        if std::mem::replace(&mut seen[place], true) {
            return Err(ExtensionError::Duplicate);
        }
    }
    // RFC 7692 sections 7.1.1.1 and 7.1.2.1: a server that accepts these says so.
    if (!offered.takeover && !seen[1]) || (offered.bits < 15 && !seen[3]) {
        return Err(ExtensionError::Parameter);
    }
    Ok(agreed)
}

/// 8 to 15, without a leading zero.
fn window_bits(value: &str) -> Option<u8> {
    let valid = matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15");
    valid.then(|| value.parse().ok()).flatten()
}
