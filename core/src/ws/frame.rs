//! Frames on the wire (RFC 6455 section 5.2): heads read in place, frames written masked.
//!
//! What tungstenite is used for stands here and nowhere else: its opcodes, close codes and the accept
//! key. Its reader and writer of heads are not used, because they cost twice as much.

use bytes::{Bytes, BytesMut};
use rand_core::Rng;
use tungstenite::protocol::frame::coding;

use super::error::Violation;
use super::mask::{mask, masked};
use crate::buf::WriteBuf;

pub(super) use tungstenite::Utf8Bytes;
pub(super) use tungstenite::handshake::derive_accept_key as accept_key;
pub(super) use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The head of a frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    /// The first reserved bit: the message is compressed.
    pub(super) rsv1: bool,
    pub(super) opcode: OpCode,
    /// Bytes of the payload.
    pub(super) len: u64,
    /// Bytes of the head itself.
    pub(super) size: usize,
}

/// Reads the head at the front of `bytes`; `None` until it is whole.
///
/// # Errors
///
/// What no server may send is refused as soon as it can be seen, before the length is complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x30 != 0 {
        return Err(Violation::ReservedBits);
    }
    if second & 0x80 != 0 {
        return Err(Violation::Masked);
    }
    let opcode = OpCode::from(first & 0x0f);
    let fin = first & 0x80 != 0;
    // Before the length, so that of two violations the first is told however the bytes were cut.
    check(opcode, fin, second & 0x7f)?;
    let (len, size) = match second & 0x7f {
        len @ 0..126 => (u64::from(len), 2),
        126 => {
            let Some(len) = rest.first_chunk::<2>() else {
                return Ok(None);
            };
            (long(u64::from(u16::from_be_bytes(*len)), 126)?, 4)
        }
        _ => {
            let Some(len) = rest.first_chunk::<8>() else {
                return Ok(None);
            };
            (long(u64::from_be_bytes(*len), 1 << 16)?, 10)
        }
    };
    Ok(Some(Head {
        fin,
        rsv1: first & 0x40 != 0,
        opcode,
        len,
        size,
    }))
}

/// A length in a longer form than it needs is malformed, and so is one with its highest bit set.
fn long(len: u64, least: u64) -> Result<u64, Violation> {
    match len {
        _ if len < least => Err(Violation::LengthNotMinimal),
        _ if len >> 63 != 0 => Err(Violation::LengthTooLong),
        _ => Ok(len),
    }
}

/// RFC 6455 section 5.5: control frames are short and whole. A length of 126 or more stands for a
/// longer form.
fn check(opcode: OpCode, fin: bool, len: u8) -> Result<(), Violation> {
    match opcode {
        OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
            Err(Violation::Opcode(code))
        }
        OpCode::Control(_) if !fin => Err(Violation::ControlFragmented),
        OpCode::Control(_) if len > 125 => Err(Violation::ControlTooLong),
        _ => Ok(()),
    }
}

/// The first byte of an outgoing frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(u8);

impl Kind {
    #[inline]
    pub(super) fn new(opcode: OpCode, fin: bool, rsv1: bool) -> Self {
        Self(u8::from(fin) << 7 | u8::from(rsv1) << 6 | u8::from(opcode))
    }
}

/// The bit of a head's second byte that says that a key follows.
const MASKED: u8 = 0x80;

/// Writes a short frame: the payload is copied once, and masked where it then lies.
pub(super) fn write(kind: Kind, payload: &[u8], out: &mut BytesMut, rng: &mut dyn Rng) {
    let key = rng.next_u32().to_ne_bytes();
    write_head(kind, payload.len(), key, out);
    let at = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[at..], key);
}

/// Writes a long frame: the payload is masked where it is, or while it is copied, and chained.
pub(super) fn write_long(kind: Kind, payload: Bytes, out: &mut WriteBuf, rng: &mut dyn Rng) {
    let key = rng.next_u32().to_ne_bytes();
    write_head(kind, payload.len(), key, out.tail());
    out.put_bytes(masked(payload, key));
}

/// The length in the shortest form that it has, and the mask bit, which every frame of a client has.
#[inline]
fn write_head(kind: Kind, len: usize, key: [u8; 4], out: &mut BytesMut) {
    let [a, b, c, d] = key;
    if len < 126 {
        out.extend_from_slice(&[kind.0, MASKED | len as u8, a, b, c, d]);
    } else {
        write_long_head(kind.0, len, key, out);
    }
}

#[inline(never)]
fn write_long_head(first: u8, len: usize, key: [u8; 4], out: &mut BytesMut) {
    let [a, b, c, d] = key;
    if len < 0x1_0000 {
        let [high, low] = (len as u16).to_be_bytes();
        out.extend_from_slice(&[first, MASKED + 126, high, low, a, b, c, d]);
    } else {
        out.extend_from_slice(&[first, MASKED + 127]);
        out.extend_from_slice(&(len as u64).to_be_bytes());
        out.extend_from_slice(&key);
    }
}

/// Whether a close code may come in a Close frame: RFC 6455 section 7.4, and 1014, which was
/// registered since.
pub(super) fn is_close_code(code: u16) -> bool {
    code == 1014 || coding::CloseCode::from(code).is_allowed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_with_every_form_of_length() {
        let head = |bytes: &[u8]| parse(bytes).unwrap().unwrap();
        assert_eq!(head(b"\x81\x05Hello").len, 5);
        assert_eq!(head(b"\x82\x7e\x01\x00").len, 256);
        assert_eq!(head(b"\x82\x7f\0\0\0\0\0\x01\0\0").len, 65536);
        assert_eq!(head(b"\x82\x7f\0\0\0\0\0\x01\0\0").size, 10);
        assert!(!head(b"\x01\x03Hel").fin);
        assert_eq!(head(b"\x80\x02lo").opcode, OpCode::Data(Data::Continue));
    }

    #[test]
    fn heads_are_written_with_every_form_of_length_and_read_back() {
        let key = [1, 2, 3, 4];
        for len in [0, 125, 126, 0xffff, 0x1_0000, 1 << 40] {
            for (fin, rsv1) in [(true, false), (false, true)] {
                let opcode = OpCode::Data(Data::Text);
                let kind = Kind::new(opcode, fin, rsv1);
                let mut out = BytesMut::new();
                write_head(kind, len, key, &mut out);
                let size = out.len() - key.len();
                assert_eq!(out[size..], key);
                // The server's side of it: the mask bit is what it expects.
                assert_eq!(out[1] & 0x80, 0x80);
                out[1] &= 0x7f;
                let len = len as u64;
                let head = Head {
                    fin,
                    rsv1,
                    opcode,
                    len,
                    size,
                };
                assert_eq!(parse(&out), Ok(Some(head)));
            }
        }
    }

    #[test]
    fn a_head_that_is_not_whole_waits() {
        for bytes in [
            &b""[..],
            b"\x81",
            b"\x82\x7e\x01",
            b"\x82\x7f\0\0\0\0\0\x01\0",
        ] {
            assert_eq!(parse(bytes), Ok(None), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_heads_are_refused_before_their_length_is_whole() {
        for (bytes, violation) in [
            (&b"\x81\x85"[..], Violation::Masked),
            (b"\x83\x00", Violation::Opcode(3)),
            (b"\x8b\x00", Violation::Opcode(11)),
            (b"\xa1\x00", Violation::ReservedBits),
            (b"\x91\x00", Violation::ReservedBits),
            (b"\x89\x7e", Violation::ControlTooLong),
            (b"\x09\x00", Violation::ControlFragmented),
            (b"\x82\x7e\x00\x7d", Violation::LengthNotMinimal),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", Violation::LengthNotMinimal),
            (b"\x82\x7f\x80\0\0\0\0\0\0\0", Violation::LengthTooLong),
        ] {
            assert_eq!(parse(bytes), Err(violation), "{bytes:?}");
        }
    }
}
