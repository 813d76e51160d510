//! Records and the key stream.

use bytes::{Buf, BytesMut};
use fulmar_core::buf::WriteBuf;

/// The most plaintext one record carries.
pub const MAX_PLAINTEXT: usize = 16 * 1024;

const HEADER: usize = 3;
const TAG: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Hello = 1,
    Finished = 2,
    Data = 3,
    Alert = 4,
    Ticket = 5,
    KeyUpdate = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Hello,
            Self::Finished,
            Self::Data,
            Self::Alert,
            Self::Ticket,
            Self::KeyUpdate,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One direction's key stream.
#[derive(Debug)]
pub(super) struct Key {
    seed: u64,
    at: u64,
}

impl Key {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, at: 0 }
    }

    /// The key after an update.
    pub(super) fn update(&mut self) {
        *self = Self::new(mix(self.seed ^ 0x5eed));
    }

    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= mix(self.seed.wrapping_add(self.at)) as u8;
            self.at += 1;
        }
    }
}

/// Why a record cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Kind,
    TooLong,
    CheckSum,
}

/// Appends one record. Without a key it goes out in the clear.
pub(super) fn seal(kind: Kind, payload: &[u8], key: Option<&mut Key>, out: &mut WriteBuf) {
    let mut body = payload.to_vec();
    if let Some(key) = key {
        body.extend_from_slice(&check_sum(payload).to_be_bytes());
        key.apply(&mut body);
    }
    out.put_slice(&[kind as u8]);
    out.put_slice(&(body.len() as u16).to_be_bytes());
    out.put_slice(&body);
}

/// Takes one record, if it is complete.
pub(super) fn open(
    input: &mut BytesMut,
    key: Option<&mut Key>,
) -> Result<Option<(Kind, BytesMut)>, Malformed> {
    let [kind, high, low, ..] = input[..] else {
        return Ok(None);
    };
    let kind = Kind::of(kind).ok_or(Malformed::Kind)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_PLAINTEXT + TAG {
        return Err(Malformed::TooLong);
    }
    if input.len() < HEADER + length {
        return Ok(None);
    }
    input.advance(HEADER);
    let mut body = input.split_to(length);
    if let Some(key) = key {
        key.apply(&mut body);
        let tag = length.checked_sub(TAG).map(|at| body.split_off(at));
        if tag.is_none_or(|tag| tag[..] != check_sum(&body).to_be_bytes()) {
            return Err(Malformed::CheckSum);
        }
    }
    Ok(Some((kind, body)))
}

/// FNV-1a.
fn check_sum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// The finisher of `SplitMix64`.
pub(super) fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
